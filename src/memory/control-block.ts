/**
 * The memory shared by the threads of a program and the fault thread: one SharedArrayBuffer with fixed offsets. It replaces
 * messages and the event loop, because a thread that waits for a page can neither post nor receive.
 *
 *   0        words: state, exiting, thread id, doorbell (an eventfd), ... (Word)
 *   256      text: why the engine did not start, or why it ended
 *   3 KiB    threads that join, and whether the process exits (thread-gate.ts)
 *   4 KiB    calls: 64 slots of 512 bytes     free ─claimed─▶ posted ─▶ done ─▶ free
 *   36 KiB   statistics of the swap: doubles
 *   40 KiB   statistics of regions: 16 doubles each, by index
 *   2088 KiB number of threads with a view of each region, by index: the last one to drop its view unmaps the region
 *   2152 KiB two semaphores of each worker thread (engine-threads.ts)
 *   2168 KiB roots of armed worker threads: ids of Node
 *
 * A call claims a slot, writes its arguments, posts it, rings the doorbell and waits for `done`. If no slot is free,
 * the caller waits for one. A slot's state word also names the thread that claimed it. If that thread was terminated
 * before it freed the slot, a caller that finds no free slot reclaims it.
 *
 * Invariant: no code here uses Atomics.wait() or notify(), because a thread that waits for a page may hold their lock.
 */
import { SwapError } from '../base/errors.ts';
import { Futex } from '../os/linux/futex.ts';
import { Process } from '../os/linux/process.ts';
import { SEMAPHORE_BYTES } from '../os/linux/semaphore.ts';
import type { Linux } from '../os/linux/system-call.ts';
import { EXITING, GATE_AT } from './gate-words.ts';

/** A region's number is a generation and an index below REGIONS_MAX; see live-regions.ts. */
export const INDEX_BITS = 14;
export const REGIONS_MAX: number = 2 ** INDEX_BITS;
export const regionIndex = (id: number): number => id & (REGIONS_MAX - 1);
const SLOTS = 64;
const SLOT_BYTES = 512;
const CALLS_AT = 4096;
const SWAP_STATS_AT = CALLS_AT + SLOTS * SLOT_BYTES;
const REGION_STATS_AT = SWAP_STATS_AT + 4096;
/** Statistics of a region and of the swap, doubles. */
export const REGION_STATS = 16;
export const SWAP_STATS = 32;
const VIEWS_AT = REGION_STATS_AT + REGIONS_MAX * REGION_STATS * 8;
/** Worker threads that adopt memory, by number from 1; 0 is the thread that opened the swap. */
export const THREADS_MAX = 256;
export const SEMAPHORES_AT: number = VIEWS_AT + REGIONS_MAX * 4;
const ROOTS_AT = SEMAPHORES_AT + 2 * THREADS_MAX * SEMAPHORE_BYTES;
export const CONTROL_BYTES: number = ROOTS_AT + THREADS_MAX * 4;
const REASON_AT = 256;
const REASON_BYTES = 2048;
const PATH_REASON_AT = 2560;
const PATH_REASON_BYTES = 512;

/** Words, by index of an Int32Array. */
const Word = {
  state: 0,
  thread: 1,
  doorbell: 2,
  claims: 3,
  freed: 4,
  waiting: 5,
  problem: 6,
  userModeOnly: 7,
  armed: 8,
  faultPath: 9,
  nativeLow: 10,
  nativeHigh: 11,
} as const;
/** A slot has words, then doubles, then text. The words by index; word 0 is the state. */
const SlotWord = { op: 1, region: 2, result: 3 } as const;
/** The low bits of a state word; the other bits are the id of the thread that claimed the slot, 0 if it is free. */
const SlotState = { free: 0, claimed: 1, posted: 2, done: 3 } as const;
const STATE_BITS = 2;
const stateOf = (word: number): number => word & (2 ** STATE_BITS - 1);
const ownerOf = (word: number): number => word >>> STATE_BITS;
const stateWord = (state: number, owner: number): number => state | (owner << STATE_BITS);
/** How long the process waits for armed threads at exit: interval between two checks, and maximum. */
const ARMED_POLL_MS = 5;
const ARMED_WAIT_MS_MAX = 1000;
/** A wait is divided into slices, so that the waiter can check whether the fault thread still runs. */
const WAIT_SLICE_MS = 200;
const SLOT_NUMBERS_AT = 16;
const SLOT_NUMBERS = 4;
const SLOT_TEXT_AT = 64;

/** Who serves faults: see native-faults.md. */
export const FaultPath = { javascript: 0, thread: 1, signal: 2, memfd: 3 } as const;
export type FaultPath = (typeof FaultPath)[keyof typeof FaultPath];
/** The name of a fault path. */
export const nameOf = (path: FaultPath): keyof typeof FaultPath =>
  (['javascript', 'thread', 'signal', 'memfd'] as const)[path];

export const EngineState = { starting: 0, running: 1, failed: 2, ended: 3 } as const;
export type EngineState = (typeof EngineState)[keyof typeof EngineState];

/** The calls of a program to the fault thread. */
export const CallOp = {
  map: 1,
  adopt: 2,
  evict: 3,
  prefetch: 4,
  pin: 5,
  unpin: 6,
  discard: 7,
  dispose: 8,
  /** A thread created a view of the region; its view was collected. */
  attach: 9,
  detach: 10,
  end: 11,
  /** Evict no page until `thaw`: a garbage collection may unmap paged memory. */
  freeze: 12,
  thaw: 13,
  /** The region's memory was collected: free its stored pages and do not access its addresses. */
  forget: 14,
  /** As adopt, for an ArrayBuffer that V8 allocated with malloc(3). */
  adoptBuffer: 15,
  /** A worker thread is about to adopt memory, and has its exit hooks; see engine-threads.ts. */
  enter: 16,
  arm: 17,
} as const;
export type CallOp = (typeof CallOp)[keyof typeof CallOp];

export const CallResult = { ok: 0, noSpace: 1, lost: 2, failed: 3 } as const;
export type CallResult = (typeof CallResult)[keyof typeof CallResult];

/** Indexes into the statistics of a region. Pages, or counts since the region started. */
export const RegionStat = {
  resident: 0,
  stored: 1,
  lost: 2,
  pinned: 3,
  faults: 4,
  pagesIn: 5,
  pagesPrefetched: 6,
  pagesOut: 7,
  pagesDropped: 8,
  writeFaults: 9,
} as const;

/** Indexes into the statistics of the swap. */
export const SwapStat = {
  usedBytes: 0,
  storedPages: 1,
  storedBytes: 2,
  samePages: 3,
  limitBytes: 4,
  devicePages: 5,
  overBudget: 6,
  refused: 7,
  /** Budget shared by regions, pages; 0 = none. Written once at the start. */
  sharedPages: 8,
  /** Resident pages now. The counters below also include regions that have ended. */
  resident: 9,
  faults: 10,
  pagesIn: 11,
  pagesOut: 12,
  pagesDropped: 13,
} as const;

export class ControlBlock {
  readonly shared: SharedArrayBuffer;
  readonly swapStats: Float64Array;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  /** Null: this object neither waits nor wakes other threads; they notice a change at the end of their slice. */
  readonly #futex: Futex | null;
  readonly #process: Process | null;
  readonly #owner: number;

  /** Create one object per thread. @param linux null: only state, roots and reason are used */
  constructor(
    linux: Linux | null,
    shared: SharedArrayBuffer = new SharedArrayBuffer(CONTROL_BYTES),
  ) {
    this.shared = shared;
    this.#futex = linux === null ? null : new Futex(linux, shared);
    this.#process = linux === null ? null : new Process(linux);
    this.#owner = this.#process?.threadId() ?? 0;
    this.#words = new Int32Array(shared);
    this.#bytes = new Uint8Array(shared);
    this.swapStats = new Float64Array(shared, SWAP_STATS_AT, SWAP_STATS);
  }

  regionStats(id: number): Float64Array {
    const at = REGION_STATS_AT + regionIndex(id) * REGION_STATS * 8;
    return new Float64Array(this.shared, at, REGION_STATS);
  }

  /**
   * Adds `change` to the number of views of the region and returns the new number. At 0 the index of the region can be reused.
   */
  countViews(id: number, change: 1 | -1 | 0): number {
    return Atomics.add(this.#words, (VIEWS_AT >>> 2) + regionIndex(id), change) + change;
  }

  /** Thread id of the fault thread, as in /proc/self/task. */
  get thread(): number {
    return this.#words[Word.thread]!;
  }

  set thread(id: number) {
    this.#words[Word.thread] = id;
  }

  get state(): EngineState {
    return Atomics.load(this.#words, Word.state) as EngineState;
  }

  set state(state: EngineState) {
    Atomics.store(this.#words, Word.state, state);
    this.#futex?.wake(Word.state);
  }

  /** Waits until the engine runs or has failed. False: neither happened within `milliseconds`. */
  waitForStart(milliseconds: number): boolean {
    for (let left = milliseconds; left > 0 && this.state === EngineState.starting; )
      if (this.#futex?.wait(Word.state, EngineState.starting, WAIT_SLICE_MS) !== true)
        left -= WAIT_SLICE_MS;
    return this.state !== EngineState.starting;
  }

  /** False once the fault thread has ended. */
  get isFaultThreadAlive(): boolean {
    if (this.state !== EngineState.running) return false;
    if (this.#process?.hasThread(this.thread) === true) return true;
    this.state = EngineState.ended; // it was terminated without a chance to set this
    return false;
  }

  /** True: the process is exiting, so the fault thread shortens its polls; set by thread-gate.ts. */
  get isExiting(): boolean {
    return Atomics.load(this.#words, (GATE_AT >>> 2) + EXITING) === 1;
  }

  /** Waits, after worker threads were terminated, until none has paged memory. False: one still has. */
  waitForThreads(): boolean {
    for (let left = ARMED_WAIT_MS_MAX; left > 0; left -= ARMED_POLL_MS) {
      const armed = Atomics.load(this.#words, Word.armed);
      if (armed === 0 || !this.isFaultThreadAlive) return true; // it released all threads when it ended
      this.#futex?.wait(Word.armed, armed, ARMED_POLL_MS);
    }
    return false;
  }

  /** Roots of the worker threads with adopted memory, one for each thread. Written by the engine. */
  get armedRoots(): readonly number[] {
    const count = Atomics.load(this.#words, Word.armed);
    return [...new Int32Array(this.shared, ROOTS_AT, count)];
  }

  set armedRoots(roots: readonly number[]) {
    new Int32Array(this.shared, ROOTS_AT, THREADS_MAX).set(roots);
    Atomics.store(this.#words, Word.armed, roots.length);
  }

  /** Problems to warn the program about: a mask of Problem (tiers-problem.ts). */
  get problem(): number {
    return Atomics.load(this.#words, Word.problem);
  }

  set problem(mask: number) {
    Atomics.store(this.#words, Word.problem, mask);
  }

  /** True: faults in system calls are not served; a call on a page that is not resident fails with EFAULT. */
  get isUserModeOnly(): boolean {
    return this.#words[Word.userModeOnly] === 1;
  }

  set isUserModeOnly(is: boolean) {
    this.#words[Word.userModeOnly] = is ? 1 : 0;
  }

  get faultPath(): FaultPath {
    return this.#words[Word.faultPath]! as FaultPath;
  }

  set faultPath(path: FaultPath) {
    this.#words[Word.faultPath] = path;
  }

  /** Why native code does not serve faults; empty if it does, or was not requested. */
  get faultPathReason(): string {
    return this.#textAt(PATH_REASON_AT);
  }

  set faultPathReason(text: string) {
    this.#setTextAt(PATH_REASON_AT, text, PATH_REASON_BYTES);
  }

  /** Address of the native control block (native/layout.ts); 0: there is none. */
  get nativeAt(): number {
    return (this.#words[Word.nativeLow]! >>> 0) + this.#words[Word.nativeHigh]! * 2 ** 32;
  }

  set nativeAt(address: number) {
    this.#words[Word.nativeHigh] = address / 2 ** 32;
    this.#words[Word.nativeLow] = address | 0;
  }

  get doorbell(): number {
    return this.#words[Word.doorbell]!;
  }

  set doorbell(fd: number) {
    this.#words[Word.doorbell] = fd;
  }

  get reason(): string {
    return this.#textAt(REASON_AT);
  }

  set reason(text: string) {
    this.#setTextAt(REASON_AT, text, REASON_BYTES);
  }

  /**
   * Posts a call to the fault thread and waits until it has completed. Returns the slot: read its result(), numbers()
   * or text(), then free() it.
   * @param args up to SLOT_NUMBERS; missing ones are 0
   * @param ring wakes the fault thread
   * @throws SwapError ERR_IO_ENDED
   */
  call(op: CallOp, region: number, args: readonly number[], ring: () => void): number {
    const slot = this.#claim(ring);
    const word = this.#wordOf(slot);
    this.#words[word + SlotWord.op] = op;
    this.#words[word + SlotWord.region] = region;
    this.numbers(slot).fill(0).set(args);
    const posted = stateWord(SlotState.posted, this.#owner);
    Atomics.store(this.#words, word, posted);
    ring();
    while (Atomics.load(this.#words, word) === posted) {
      this.#futex?.wait(word, posted, WAIT_SLICE_MS);
      if (Atomics.load(this.#words, word) === posted && !this.isFaultThreadAlive) break;
    }
    if (stateOf(Atomics.load(this.#words, word)) === SlotState.done) return slot;
    this.free(slot);
    throw this.#ended();
  }

  /** The numbers of a call: its arguments, and after the call its results. */
  numbers(slot: number): Float64Array {
    return new Float64Array(
      this.shared,
      CALLS_AT + slot * SLOT_BYTES + SLOT_NUMBERS_AT,
      SLOT_NUMBERS,
    );
  }

  result(slot: number): CallResult {
    return this.#words[this.#wordOf(slot) + SlotWord.result]! as CallResult;
  }

  text(slot: number): string {
    return this.#textAt(CALLS_AT + slot * SLOT_BYTES + SLOT_TEXT_AT);
  }

  free(slot: number): void {
    Atomics.store(this.#words, this.#wordOf(slot), SlotState.free);
    this.#signalFree();
  }

  // The fault thread's side.

  /** The next slot from `from` on that is posted, or -1. */
  nextPosted(from: number): number {
    for (let slot = from; slot < SLOTS; slot++)
      if (stateOf(Atomics.load(this.#words, this.#wordOf(slot))) === SlotState.posted) return slot;
    return -1;
  }

  op(slot: number): CallOp {
    return this.#words[this.#wordOf(slot) + SlotWord.op]! as CallOp;
  }

  region(slot: number): number {
    return this.#words[this.#wordOf(slot) + SlotWord.region]!;
  }

  finish(slot: number, result: CallResult, text: string = ''): void {
    const word = this.#wordOf(slot);
    this.#words[word + SlotWord.result] = result;
    if (text !== '')
      this.#setTextAt(CALLS_AT + slot * SLOT_BYTES + SLOT_TEXT_AT, text, SLOT_BYTES - SLOT_TEXT_AT);
    const posted = Atomics.load(this.#words, word);
    const done = stateWord(SlotState.done, ownerOf(posted));
    Atomics.compareExchange(this.#words, word, posted, done);
    this.#futex?.wake(word);
  }

  /**
   * Claims a slot; waits while none is free. Rings the doorbell, because a thread that posted a call may have ended before it
   * rang.
   */
  #claim(ring: () => void): number {
    for (;;) {
      const freed = Atomics.load(this.#words, Word.freed);
      const slot = this.#tryClaim();
      if (slot !== -1) return slot;
      if (this.#reclaimAbandoned()) continue;
      if (!this.isFaultThreadAlive) throw this.#ended();
      ring();
      Atomics.add(this.#words, Word.waiting, 1);
      this.#futex?.wait(Word.freed, freed, WAIT_SLICE_MS);
      Atomics.sub(this.#words, Word.waiting, 1);
    }
  }

  #tryClaim(): number {
    const claimed = stateWord(SlotState.claimed, this.#owner);
    const first = Atomics.add(this.#words, Word.claims, 1) >>> 0;
    for (let i = 0; i < SLOTS; i++) {
      const slot = (first + i) % SLOTS;
      const was = Atomics.compareExchange(this.#words, this.#wordOf(slot), SlotState.free, claimed);
      if (was === SlotState.free) return slot;
    }
    return -1;
  }

  /** Frees slots of threads that have ended, except posted ones: the fault thread still completes those. */
  #reclaimAbandoned(): boolean {
    let found = false;
    for (let slot = 0; slot < SLOTS; slot++) {
      const at = this.#wordOf(slot);
      const word = Atomics.load(this.#words, at);
      const state = stateOf(word);
      if (state === SlotState.free || state === SlotState.posted) continue;
      if (this.#process?.hasThread(ownerOf(word)) !== false) continue;
      if (Atomics.compareExchange(this.#words, at, word, SlotState.free) === word) found = true;
    }
    if (found) this.#signalFree();
    return found;
  }

  /** A thread that was terminated while it waited stays in the count of waiters, so some wakes find no waiter. */
  #signalFree(): void {
    Atomics.add(this.#words, Word.freed, 1);
    if (Atomics.load(this.#words, Word.waiting) > 0) this.#futex?.wake(Word.freed);
  }

  #ended(): SwapError {
    return new SwapError(
      'ERR_IO_ENDED',
      `the swap has ended: ${this.reason || 'it was disposed of'}`,
      {
        reason: 'ended',
      },
    );
  }

  #wordOf(slot: number): number {
    return (CALLS_AT + slot * SLOT_BYTES) >>> 2;
  }

  #textAt(at: number): string {
    const length = new DataView(this.shared).getUint32(at, true);
    return new TextDecoder().decode(this.#bytes.slice(at + 4, at + 4 + length));
  }

  #setTextAt(at: number, text: string, bytesMax: number): void {
    const bytes = new TextEncoder().encode(text).subarray(0, bytesMax - 4);
    new DataView(this.shared).setUint32(at, bytes.length, true);
    this.#bytes.set(bytes, at + 4);
  }
}
