/** A range whose faults are a test's to serve. */
import { Advice, Mapping } from '../../../src/os/linux/mapping.ts';
import type { Linux } from '../../../src/os/linux/system-call.ts';
import type { Userfaultfd } from '../../../src/os/linux/userfaultfd.ts';
import { openUserfaultfd } from '../../../src/os/linux/userfaultfd-open.ts';
import { Toucher } from './faults.ts';
import { theLinux } from './machine.ts';

export const PAGES = 16;

/** A registered range, a page to copy from, and the thread that touches; all given back after the test. */
export class UffdRange {
  readonly linux: Linux = theLinux();
  readonly mapping: Mapping = new Mapping(this.linux);
  readonly page: number = this.linux.pageBytes;
  readonly bytes: number = PAGES * this.page;
  readonly at: number;
  readonly source: number;
  readonly from: Uint8Array;
  readonly uffd: Userfaultfd;
  #toucher: Toucher | null = null;

  constructor(features: number, modes: number, at?: number) {
    const { uffd, reason } = openUserfaultfd(this.linux, { required: features });
    if (uffd === null) throw new Error(reason);
    this.uffd = uffd;
    this.at = at ?? this.mapping.reserve(this.bytes);
    this.source = this.mapping.reserve(this.bytes);
    this.from = new Uint8Array(this.mapping.viewOf(this.source, this.bytes));
    // A huge page would resolve its neighbours as well.
    this.mapping.advise(this.at, this.bytes, Advice.noHugePage);
    this.uffd.register(this.at, this.bytes, modes);
  }

  pageAt(n: number): number {
    return this.at + n * this.page;
  }

  async toucher(): Promise<Toucher> {
    this.#toucher = await Toucher.start(this.at, this.bytes);
    return this.#toucher;
  }

  present(): number {
    return this.mapping.resident(this.at, this.bytes, new Uint8Array(PAGES));
  }

  async close(): Promise<void> {
    this.uffd.close(); // whoever still waits runs on
    await this.#toucher?.stop();
    this.mapping.unmap(this.at, this.bytes);
    this.mapping.unmap(this.source, this.bytes);
  }
}

export async function withRange(
  features: number,
  modes: number,
  body: (range: UffdRange) => Promise<void> | void,
): Promise<void> {
  const range = new UffdRange(features, modes);
  try {
    await body(range);
  } finally {
    await range.close();
  }
}
