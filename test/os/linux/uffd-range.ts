/** A range whose faults the test serves. */
import { Advice, Mapping } from '../../../src/os/linux/mapping.ts';
import type { Linux } from '../../../src/os/linux/system-call.ts';
import type { Userfaultfd } from '../../../src/os/linux/userfaultfd.ts';
import { openUserfaultfd } from '../../../src/os/linux/userfaultfd-open.ts';
import { Toucher } from './faults.ts';
import { theLinux } from './machine.ts';

export const PAGES = 16;

/** A registered range, a source page, and the faulting thread; all released after the test. */
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
    // A huge page would also resolve adjacent pages.
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
    this.uffd.close(); // waiting threads continue
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
