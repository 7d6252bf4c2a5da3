/** Real memory with a control block, for tests of the calls of native code. */
import { closeSync, openSync, readSync } from 'node:fs';
import { NativeControl } from '../../src/memory/native-control.ts';
import { NativeConst, NativePage } from '../../src/native/layout.ts';
import { openEventFd } from '../../src/os/linux/eventfd.ts';
import { Mapping } from '../../src/os/linux/mapping.ts';
import { loadLinux } from '../../src/os/linux/system-call.ts';
import { FaultFlag, UffdMode } from '../../src/os/linux/uffd-constants.ts';
import { ResolveResult } from '../../src/os/linux/userfaultfd.ts';
import { openUserfaultfd } from '../../src/os/linux/userfaultfd-open.ts';
import { loadNativeFaults, NativeResult } from '../../src/os/native-faults.ts';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { type FailingCall, Failures } from './failures.ts';

export const PAGES = 24;
const PAGE = 4096;
const NUMBER = 1;
const { native, reason } = loadNativeFaults();
/** For the `skip` of a test: false, or why native code cannot serve faults here. */
export const skipUnlessNative: string | false =
  skipUnlessPaging !== false ? skipUnlessPaging : native === null ? reason : false;

/** Memory of PAGES pages that are present, with a control block, as the engine sets it up. */
export class Rig {
  readonly states: Uint8Array = new Uint8Array(PAGES);
  readonly #linux = loadLinux().linux!;
  readonly #mapping = new Mapping(this.#linux);
  readonly #uffd = openUserfaultfd(this.#linux).uffd!;
  readonly #events = [openEventFd(this.#linux), openEventFd(this.#linux)] as const;
  readonly #address = this.#mapping.reserve(PAGES * PAGE);
  readonly #entries = new Int32Array(PAGES);
  readonly #pages = new Int32Array(PAGES);
  readonly #results = new Uint8Array(PAGES);
  readonly control: NativeControl;
  readonly #pagemap = openSync('/proc/self/pagemap', 'r');
  readonly #bits = new Uint8Array(PAGES * 8);

  constructor() {
    new Uint8Array(this.#mapping.viewOf(this.#address, PAGES * PAGE)).fill(1);
    this.control = new NativeControl(this.#linux, this.#mapping, native!, {
      uffd: this.#uffd.fd,
      engineFd: this.#events[0].fd,
      exitFd: this.#events[1].fd,
      hasPoison: false,
      slots: 64,
      isTimed: true,
      mapsMax: 0,
      zeroMap: new Uint8Array(8).fill(0xff), // each slot without a row is a page of zeros
    });
    this.control.addRegion({
      number: NUMBER,
      address: this.#address,
      pages: PAGES,
      state: this.#linux.addressOf(this.states),
      entry: this.#linux.addressOf(this.#entries),
      set: 0,
    });
    this.#uffd.register(this.#address, PAGES * PAGE, UffdMode.missing | UffdMode.writeProtect);
  }

  begin(pages: readonly number[], maySpan: boolean): readonly number[] {
    this.#pages.set(pages);
    const { at } = this.control;
    const [from, results] = [this.#pages, this.#results].map((a) => this.#linux.addressOf(a));
    native!.evictBegin(at, NUMBER, from!, pages.length, results!, maySpan ? 1 : 0);
    return [...this.#results.subarray(0, pages.length)];
  }

  /** Ends the eviction with no slot for any page: all stay. */
  putBack(pages: readonly number[]): void {
    const { at } = this.control;
    const [from, results] = [this.#pages, this.#results].map((a) => this.#linux.addressOf(a));
    const none = this.#linux.addressOf(new Int32Array(NativeConst.BATCH_PAGES));
    native!.evictCommit(at, NUMBER, from!, none, pages.length, results!);
  }

  /** Whether each page is present and protected: bits 63 and 57 of its entry in pagemap, see proc_pid_pagemap(5). */
  protectedPages(): readonly boolean[] {
    readSync(this.#pagemap, this.#bits, 0, PAGES * 8, (this.#address / PAGE) * 8);
    return Array.from({ length: PAGES }, (_, page) => (this.#bits[page * 8 + 7]! & 0x82) === 0x82);
  }

  /** Bytes of a page, without accessing it by this view if it is not resident. */
  page(page: number): Uint8Array {
    return new Uint8Array(this.#mapping.viewOf(this.#address + page * PAGE, PAGE));
  }

  /** Makes a page stored with this entry; it leaves memory. */
  store(page: number, entry: number): void {
    const { at } = this.control;
    native!.change(at, NUMBER, page, NativePage.absent, NativePage.dirty);
    native!.discard(at, NUMBER, page, page + 1);
    this.#entries[page] = entry;
    native!.change(at, NUMBER, page, NativePage.absent, NativePage.stored);
  }

  /** Brings in [from, to) as the engine does. Returns where it ended. */
  bring(from: number, to: number): number {
    return native!.bring(this.control.at, NUMBER, from, to, 0);
  }

  /** A page of an entry as a fault reads it. Returns what fs_load() does. */
  load(entry: number, into: Uint8Array): number {
    return native!.load(this.control.at, entry, this.#linux.addressOf(into));
  }

  blockSum(page: Uint8Array): number {
    return native!.blockSum(this.#linux.addressOf(page));
  }

  change(page: number, from: NativePage, to: NativePage): boolean {
    return native!.change(this.control.at, NUMBER, page, from, to) === 1;
  }

  /** Installs a page as the engine does. */
  install(page: number, bytes: Uint8Array): keyof typeof NativeResult {
    const { at } = this.control;
    const result = native!.install(at, NUMBER, page, this.#linux.addressOf(bytes), 0);
    return Object.entries(NativeResult).find(([, number]) => number === result)![0] as 'done';
  }

  /** True if the engine's eventfd was rung; it is silent afterwards, and may be rung again. */
  takeBell(): boolean {
    this.control.set('isRung', 0);
    return this.#events[0].take() > 0;
  }

  /** See Failures.set(). */
  fail(call: FailingCall, errno = 0, every = 0): number {
    return new Failures(this.control.words).set(call, errno, every);
  }

  /** The owner maps other memory over a page: the kernel forgets its registration. */
  mapOver(page: number): void {
    this.#mapping.mapAnonymous(this.#address + page * PAGE, PAGE);
    new Uint8Array(this.#mapping.viewOf(this.#address + page * PAGE, PAGE)).fill(2);
  }

  setRegionWord(field: 'writeAt' | 'writeWindow', value: number): void {
    this.control.words[this.control.regionWord(NUMBER, field)] = value;
  }

  /** The first write to a page that is protected. */
  writeFault(page: number): void {
    native!.serve(this.control.at, NUMBER, page, FaultFlag.write | FaultFlag.writeProtect);
  }

  lift(): void {
    while (this.#uffd.writeProtect(this.#address, PAGES * PAGE, 0) === ResolveResult.again);
  }

  [Symbol.dispose](): void {
    closeSync(this.#pagemap);
    this.#uffd.unregister(this.#address, PAGES * PAGE);
    this.control.removeRegion(NUMBER);
    this.control.close();
    this.#linux.close(this.#uffd.fd);
    for (const event of this.#events) event.close();
    this.#mapping.unmap(this.#address, PAGES * PAGE);
  }
}
