/**
 * Implements the pager's interfaces for memory of this process when native code serves its faults. UffdMemory does the
 * registering and copying; calls of the native library change the page states that both sides share (pager/ops.ts,
 * SharedPages).
 *
 * Invariant: the protection of a page changes only inside native calls, while the page is claimed.
 *
 * Cost: 0.1 to 0.3 us a call, and the system calls.
 */
import { NativeConst, NativePage } from '../native/layout.ts';
import type { Mapping } from '../os/linux/mapping.ts';
import { FaultFlag } from '../os/linux/uffd-constants.ts';
import { NativeResult, ServeResult } from '../os/native-faults.ts';
import { type PagedMemory, type SharedPages, StopReason } from '../pager/ops.ts';
import { MemfdMemory } from './memfd-memory.ts';
import type { NativeControl } from './native-control.ts';
import type { UffdFrames, UffdMemory } from './uffd-memory.ts';

/** Flag of serve(): the caller itself evicts, so it must not wait for eviction. */
const NO_ROOM = 0x100;
const WRITE = FaultFlag.write | FaultFlag.writeProtect | NO_ROOM;

/** Addresses of arrays for one batch; shared by all regions. */
export class NativeBatch {
  readonly pages: Int32Array;
  readonly entries: Int32Array;
  readonly results: Uint8Array;
  readonly pagesAt: number;
  readonly entriesAt: number;
  readonly resultsAt: number;

  constructor(mapping: Mapping) {
    const { BATCH_PAGES } = NativeConst;
    this.pages = new Int32Array(BATCH_PAGES);
    this.entries = new Int32Array(BATCH_PAGES);
    this.results = new Uint8Array(BATCH_PAGES);
    this.pagesAt = mapping.addressOf(this.pages);
    this.entriesAt = mapping.addressOf(this.entries);
    this.resultsAt = mapping.addressOf(this.results);
  }
}

export class NativeMemory implements PagedMemory, SharedPages {
  readonly shared: SharedPages = this;
  readonly pages: number;
  readonly results: Uint8Array;
  readonly number: number;
  stop: StopReason = StopReason.none;
  readonly #range: UffdMemory | MemfdMemory;
  readonly #control: NativeControl;
  readonly #batch: NativeBatch;
  readonly #frames: UffdFrames;
  /** NativePage by page. */
  readonly #states: Uint8Array;
  readonly #pins: number;
  readonly #resident: number;
  readonly #writable: number;

  /**
   * @param states one byte per page, zeros, at the address that the region of `control` has
   * @param set number of the region's set
   * @param pinsAt position of the bits of pinned pages in `states`, for a memory file
   */
  constructor(
    number: number,
    set: number,
    range: UffdMemory | MemfdMemory,
    control: NativeControl,
    batch: NativeBatch,
    frames: UffdFrames,
    states: Uint8Array,
    pinsAt: number,
  ) {
    this.number = number;
    this.pages = range.pages;
    this.results = batch.results;
    this.#range = range;
    this.#control = control;
    this.#batch = batch;
    this.#frames = frames;
    this.#states = states;
    this.#pins = pinsAt;
    this.#resident = control.setWord(set, 'resident');
    this.#writable = control.regionWord(number, 'isWritable');
  }

  get address(): number {
    return this.#range.address;
  }

  /** Null: a range of the userfaultfd. */
  get file(): MemfdMemory | null {
    return this.#range instanceof MemfdMemory ? this.#range : null;
  }

  /** Maps a memory file. @param accessible number of pages that the program can access now */
  mapFile(accessible: number): void {
    const at = this.#control.regionWord(this.number, 'accessible');
    Atomics.store(this.#control.words, at, accessible);
    this.file!.map(accessible);
  }

  /** For a memory file: whether native code must leave the page mapped. */
  setPinned(page: number, isPinned: boolean): void {
    const at = this.#pins + (page >>> 3);
    const bit = 1 << (page & 7);
    if (isPinned) Atomics.or(this.#states, at, bit);
    else Atomics.and(this.#states, at, ~bit);
  }

  unregister(): void {
    const at = this.#control.regionWord(this.number, 'accessible');
    this.#range.unregister(Atomics.load(this.#control.words, at));
  }

  unregisterFreed(): void {
    this.#range.unregisterFreed();
  }

  // PagedMemory

  install(page: number, frame: number, count: number, writable: boolean): number {
    const { at, native } = this.#control;
    for (let i = 0; i < count; i++) {
      const from = this.#frames.addressOf(frame + i);
      const result = native.install(at, this.number, page + i, from, writable ? 1 : 0);
      if (result === NativeResult.done) continue;
      this.stop = result === NativeResult.gone ? StopReason.gone : StopReason.busy;
      return i;
    }
    this.stop = StopReason.none;
    return count;
  }

  installZeros(page: number, count: number): number {
    let installed = 0;
    while (installed < count && this.makeDirty(page + installed)) installed++;
    this.stop = StopReason.none;
    return installed;
  }

  protect(): void {}

  makeWritable(page: number, count: number): void {
    for (let i = 0; i < count; i++) this.makeDirty(page + i);
  }

  take(page: number, count: number, frame: number): number {
    this.#range.copyOut(page, count, frame);
    this.stop = StopReason.none;
    return count;
  }

  drop(page: number, count: number): void {
    this.discard(page, page + count);
  }

  dropClean(pages: Int32Array, count: number): number {
    const { at, native } = this.#control;
    this.#batch.pages.set(pages);
    return native.drop(at, this.number, this.#batch.pagesAt, count, this.#batch.resultsAt);
  }

  flush(): void {}

  freeFrames(): void {}

  wake(page: number, count: number): void {
    this.#range.wake(page, count);
  }

  poison(page: number): void {
    this.#range.poison(page);
  }

  // SharedPages

  stateOf(page: number): NativePage {
    const state = Atomics.load(this.#states, page);
    if (state !== NativePage.busy) return state as NativePage;
    return this.#control.native.state(this.#control.at, this.number, page) as NativePage;
  }

  adopt(page: number): boolean {
    const { absent, dirty } = NativePage;
    if (Atomics.compareExchange(this.#states, page, absent, dirty) !== absent) return false;
    Atomics.add(this.#control.words, this.#resident, 1);
    return true;
  }

  bring(from: number, to: number, isWritable: boolean): number {
    return this.#control.native.bring(this.#control.at, this.number, from, to, isWritable ? 1 : 0);
  }

  makeDirty(page: number): boolean {
    const { at, native } = this.#control;
    return native.serve(at, this.number, page, WRITE) !== ServeResult.lost;
  }

  evictBegin(pages: Int32Array, count: number, maySpan: boolean): void {
    const { at, native } = this.#control;
    this.#batch.pages.set(pages);
    const { pagesAt, resultsAt } = this.#batch;
    native.evictBegin(at, this.number, pagesAt, count, resultsAt, maySpan ? 1 : 0);
  }

  evictCommit(pages: Int32Array, entries: Int32Array, count: number): void {
    const { at, native } = this.#control;
    this.#batch.pages.set(pages);
    this.#batch.entries.set(entries);
    const { pagesAt, entriesAt, resultsAt } = this.#batch;
    native.evictCommit(at, this.number, pagesAt, entriesAt, count, resultsAt);
  }

  discard(from: number, to: number): void {
    this.#control.native.discard(this.#control.at, this.number, from, to);
  }

  change(page: number, from: NativePage, to: NativePage): boolean {
    return this.#control.native.change(this.#control.at, this.number, page, from, to) === 1;
  }

  set isWritable(is: boolean) {
    Atomics.store(this.#control.words, this.#writable, is ? 1 : 0);
  }

  /** The region has ended: its pages no longer count in its set. */
  forget(): void {
    let resident = 0;
    const { asked, absent, dirty, clean } = NativePage;
    for (let page = 0; page < this.pages; page++) {
      if (this.#states[page] === dirty || this.#states[page] === clean) resident++;
      else if (this.#states[page] === asked) this.change(page, asked, absent); // no thread waits for it now
    }
    Atomics.sub(this.#control.words, this.#resident, resident);
    this.file?.close();
  }
}
