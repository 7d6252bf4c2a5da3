/**
 * What the threads of a program and the fault thread share: one SharedArrayBuffer, fixed offsets. No message queue and
 * no event loop is between them: a thread that waits for a page can neither post nor receive.
 *
 *   0        words: state, exiting, thread id, doorbell (an eventfd)
 *   256      why it did not start, or ended: text
 *   4 KiB    calls: 64 slots of 512 bytes     free ─claimed─▶ posted ─▶ done ─▶ free
 *   36 KiB   statistics of the swap: doubles
 *   40 KiB   statistics of regions: 16 doubles each, by number
 *   2088 KiB number of threads with a view of each region: the last one to drop its view unmaps the region
 *
 * A call: claim a slot, write it, post it, ring the doorbell, wait for `done`. If all slots are taken, the caller waits
 * for one. A slot's state word also names the thread that claimed it: if that thread was terminated before it freed the
 * slot, a caller that finds no free slot reclaims it.
 *
 * Invariant: no thread uses Atomics.wait() or notify() here: a thread that waits for a page may hold their lock.
 */
import { SwapError } from '../base/errors.ts';
import { Futex } from '../os/linux/futex.ts';
import { Process } from '../os/linux/process.ts';
import type { Linux } from '../os/linux/system-call.ts';

/** A region's number is a generation and a place in tables of so many; see live-regions.ts. */
export const PLACE_BITS = 14;
export const REGIONS_MAX: number = 2 ** PLACE_BITS;
export const positionOf = (id: number): number => id & (REGIONS_MAX - 1);
const SLOTS = 64;
const SLOT_BYTES = 512;
const CALLS_AT = 4096;
const SWAP_STATS_AT = CALLS_AT + SLOTS * SLOT_BYTES;
const REGION_STATS_AT = SWAP_STATS_AT + 4096;
/** Doubles of a region, and of the swap. */
export const REGION_STATS = 16;
export const SWAP_STATS = 32;
const VIEWS_AT = REGION_STATS_AT + REGIONS_MAX * REGION_STATS * 8;
const CONTROL_BYTES = VIEWS_AT + REGIONS_MAX * 4;
const REASON_AT = 256;
const REASON_BYTES = 2048;

/** Words, by index of an Int32Array. */
const At = {
  state: 0,
  exiting: 1,
  thread: 2,
  doorbell: 3,
  claims: 4,
  freed: 5,
  waiting: 6,
  problem: 7,
  userModeOnly: 8,
  joining: 9,
} as const;
/** Of a slot: words, then doubles, then text. */
const Slot = { op: 1, region: 2, answer: 3 } as const; // 0: its state
/** The state of a slot: one of these, and above it the thread that has claimed it; 0 in all when it is free. */
const SlotState = { free: 0, claimed: 1, posted: 2, done: 3 } as const;
const STATE_BITS = 2;
const stateOf = (word: number): number => word & (2 ** STATE_BITS - 1);
const ownerOf = (word: number): number => word >>> STATE_BITS;
const stateWord = (state: number, owner: number): number => state | (owner << STATE_BITS);
/** Looks whether threads that join are done, and how long an end of the process waits for them. */
const JOIN_LOOK_MS = 5;
const JOIN_MS = 1000;
/** Milliseconds between two looks whether the fault thread is still there. */
const LOOK_MS = 200;
const SLOT_NUMBERS_AT = 16;
const SLOT_TEXT_AT = 64;

export const EngineState = { starting: 0, running: 1, failed: 2, ended: 3 } as const;
export type EngineState = (typeof EngineState)[keyof typeof EngineState];

/** What a program asks of the fault thread. */
export const CallOp = {
  map: 1,
  adopt: 2,
  evict: 3,
  prefetch: 4,
  pin: 5,
  unpin: 6,
  discard: 7,
  dispose: 8,
  /** One view more, and one less. */
  attach: 9,
  detach: 10,
  end: 11,
  /** From now on no page leaves memory, until thaw: a garbage collector may unmap what is paged. */
  freeze: 12,
  thaw: 13,
  /** The region's memory was collected: nothing is left of it but what the engine stores. */
  forget: 14,
} as const;
export type CallOp = (typeof CallOp)[keyof typeof CallOp];

export const CallResult = { ok: 0, noRoom: 1, lost: 2, failed: 3 } as const;
export type CallResult = (typeof CallResult)[keyof typeof CallResult];

/** By index, of the doubles of a region. */
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

/** By index, of the doubles of the swap. */
export const SwapStat = {
  usedBytes: 0,
  storedPages: 1,
  storedBytes: 2,
  samePages: 3,
  limitBytes: 4,
  devicePages: 5,
  overBudget: 6,
  refused: 7,
  /** Pages of the budget that regions share; 0 = none. Written once, at the start. */
  sharedPages: 8,
  /** Of all regions, those that have ended included. */
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
  /** Null: this side neither waits nor wakes; threads on the other side poll instead. */
  readonly #futex: Futex | null;
  readonly #process: Process | null;
  readonly #owner: number;

  /** One object a thread. @param linux null: only to say why nothing can be started */
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
    const at = REGION_STATS_AT + positionOf(id) * REGION_STATS * 8;
    return new Float64Array(this.shared, at, REGION_STATS);
  }

  /** One view of the region more, or less; how many there are then. A region's place is free again at 0. */
  countViews(id: number, change: 1 | -1 | 0): number {
    return Atomics.add(this.#words, (VIEWS_AT >>> 2) + positionOf(id), change) + change;
  }

  /** The fault thread, by the number that /proc has it under. */
  get thread(): number {
    return this.#words[At.thread]!;
  }

  set thread(id: number) {
    this.#words[At.thread] = id;
  }

  get state(): EngineState {
    return Atomics.load(this.#words, At.state) as EngineState;
  }

  set state(state: EngineState) {
    Atomics.store(this.#words, At.state, state);
    this.#futex?.wake(At.state);
  }

  /** Waits until the engine runs or has failed; false after `milliseconds`. */
  waitForStart(milliseconds: number): boolean {
    for (let left = milliseconds; left > 0 && this.state === EngineState.starting; )
      if (this.#futex?.wait(At.state, EngineState.starting, LOOK_MS) !== true) left -= LOOK_MS;
    return this.state !== EngineState.starting;
  }

  /** The fault thread has not ended. */
  get isServed(): boolean {
    if (this.state !== EngineState.running) return false;
    if (this.#process?.hasThread(this.thread) === true) return true;
    this.state = EngineState.ended; // it was ended without a chance to say so
    return false;
  }

  get isExiting(): boolean {
    return Atomics.load(this.#words, At.exiting) === 1;
  }

  /** The process is about to exit: the fault thread polls for its stop more often, and no more threads can join. */
  setExiting(): void {
    Atomics.store(this.#words, At.exiting, 1);
  }

  /**
   * What a thread does to join the swap. The foreign function interface aborts the process when a thread is stopped
   * while it is loaded or a function is bound: the end of the process waits for those that have begun, and others may
   * not begin.
   * @throws SwapError ERR_IO_ENDED: the process ends
   */
  join<Result>(body: () => Result): Result {
    Atomics.add(this.#words, At.joining, 1);
    try {
      if (this.isExiting)
        throw new SwapError('ERR_IO_ENDED', 'the process is ending: no thread can join the swap', {
          reason: 'exiting',
        });
      return body();
    } finally {
      Atomics.sub(this.#words, At.joining, 1);
    }
  }

  /** After setExiting(): waits until no thread joins; false: one still does, or was terminated while it did. */
  waitForJoins(): boolean {
    for (let left = JOIN_MS; left > 0; left -= JOIN_LOOK_MS) {
      const joining = Atomics.load(this.#words, At.joining);
      if (joining === 0) return true;
      this.#futex?.wait(At.joining, joining, JOIN_LOOK_MS);
    }
    return false;
  }

  /** What the program should be told of: a mask of Problem (tiers-problem.ts). */
  get problem(): number {
    return Atomics.load(this.#words, At.problem);
  }

  set problem(mask: number) {
    Atomics.store(this.#words, At.problem, mask);
  }

  /** The faults of system calls are not served: a call on a page that is not resident fails with EFAULT. */
  get isUserModeOnly(): boolean {
    return this.#words[At.userModeOnly] === 1;
  }

  set isUserModeOnly(is: boolean) {
    this.#words[At.userModeOnly] = is ? 1 : 0;
  }

  get doorbell(): number {
    return this.#words[At.doorbell]!;
  }

  set doorbell(fd: number) {
    this.#words[At.doorbell] = fd;
  }

  get reason(): string {
    return this.#textAt(REASON_AT);
  }

  set reason(text: string) {
    this.#setTextAt(REASON_AT, text, REASON_BYTES);
  }

  /**
   * Asks the fault thread and waits. Returns the slot's number: read numbers() or text() of it, then free it.
   * @param ring wakes the fault thread
   * @throws SwapError ERR_IO_ENDED
   */
  call(
    op: CallOp,
    region: number,
    a: number,
    b: number,
    c: number,
    d: number,
    ring: () => void,
  ): number {
    const slot = this.#claim(ring);
    const word = this.#wordOf(slot);
    this.#words[word + Slot.op] = op;
    this.#words[word + Slot.region] = region;
    const numbers = this.numbers(slot);
    numbers[0] = a;
    numbers[1] = b;
    numbers[2] = c;
    numbers[3] = d;
    const posted = stateWord(SlotState.posted, this.#owner);
    Atomics.store(this.#words, word, posted);
    ring();
    while (Atomics.load(this.#words, word) === posted) {
      this.#futex?.wait(word, posted, LOOK_MS);
      if (Atomics.load(this.#words, word) === posted && !this.isServed) break;
    }
    if (stateOf(Atomics.load(this.#words, word)) === SlotState.done) return slot;
    this.free(slot);
    throw this.#ended();
  }

  /** Three doubles: arguments first, results then. */
  numbers(slot: number): Float64Array {
    return new Float64Array(this.shared, CALLS_AT + slot * SLOT_BYTES + SLOT_NUMBERS_AT, 4);
  }

  answer(slot: number): CallResult {
    return this.#words[this.#wordOf(slot) + Slot.answer]! as CallResult;
  }

  text(slot: number): string {
    return this.#textAt(CALLS_AT + slot * SLOT_BYTES + SLOT_TEXT_AT);
  }

  free(slot: number): void {
    Atomics.store(this.#words, this.#wordOf(slot), SlotState.free);
    this.#tellFree();
  }

  // The fault thread's side.

  /** The next slot from `from` on that is posted, or -1. */
  nextPosted(from: number): number {
    for (let slot = from; slot < SLOTS; slot++)
      if (stateOf(Atomics.load(this.#words, this.#wordOf(slot))) === SlotState.posted) return slot;
    return -1;
  }

  op(slot: number): CallOp {
    return this.#words[this.#wordOf(slot) + Slot.op]! as CallOp;
  }

  region(slot: number): number {
    return this.#words[this.#wordOf(slot) + Slot.region]!;
  }

  finish(slot: number, answer: CallResult, text: string = ''): void {
    const word = this.#wordOf(slot);
    this.#words[word + Slot.answer] = answer;
    if (text !== '')
      this.#setTextAt(CALLS_AT + slot * SLOT_BYTES + SLOT_TEXT_AT, text, SLOT_BYTES - SLOT_TEXT_AT);
    const posted = Atomics.load(this.#words, word);
    const done = stateWord(SlotState.done, ownerOf(posted));
    Atomics.compareExchange(this.#words, word, posted, done);
    this.#futex?.wake(word);
  }

  /** A slot for this thread; waits where all are taken. It rings: who posted may have ended before it could. */
  #claim(ring: () => void): number {
    for (;;) {
      const freed = Atomics.load(this.#words, At.freed);
      const slot = this.#tryClaim();
      if (slot !== -1) return slot;
      if (this.#freeAbandoned()) continue;
      if (!this.isServed) throw this.#ended();
      ring();
      Atomics.add(this.#words, At.waiting, 1);
      this.#futex?.wait(At.freed, freed, LOOK_MS);
      Atomics.sub(this.#words, At.waiting, 1);
    }
  }

  #tryClaim(): number {
    const claimed = stateWord(SlotState.claimed, this.#owner);
    const first = Atomics.add(this.#words, At.claims, 1) >>> 0;
    for (let i = 0; i < SLOTS; i++) {
      const slot = (first + i) % SLOTS;
      const was = Atomics.compareExchange(this.#words, this.#wordOf(slot), SlotState.free, claimed);
      if (was === SlotState.free) return slot;
    }
    return -1;
  }

  /** Slots of threads that are gone are free again, but for those that the fault thread is to answer still. */
  #freeAbandoned(): boolean {
    let found = false;
    for (let slot = 0; slot < SLOTS; slot++) {
      const at = this.#wordOf(slot);
      const word = Atomics.load(this.#words, at);
      const state = stateOf(word);
      if (state === SlotState.free || state === SlotState.posted) continue;
      if (this.#process?.hasThread(ownerOf(word)) !== false) continue;
      if (Atomics.compareExchange(this.#words, at, word, SlotState.free) === word) found = true;
    }
    if (found) this.#tellFree();
    return found;
  }

  /** A thread that was terminated while it waited stays counted, so some wakes find no waiter. */
  #tellFree(): void {
    Atomics.add(this.#words, At.freed, 1);
    if (Atomics.load(this.#words, At.waiting) > 0) this.#futex?.wake(At.freed);
  }

  #ended(): SwapError {
    return new SwapError('ERR_IO_ENDED', `the swap has ended: ${this.reason || 'it was closed'}`, {
      reason: 'ended',
    });
  }

  #wordOf(slot: number): number {
    return (CALLS_AT + slot * SLOT_BYTES) >>> 2;
  }

  #textAt(at: number): string {
    const length = new DataView(this.shared).getUint32(at, true);
    return new TextDecoder().decode(this.#bytes.slice(at + 4, at + 4 + length));
  }

  #setTextAt(at: number, text: string, room: number): void {
    const bytes = new TextEncoder().encode(text).subarray(0, room - 4);
    new DataView(this.shared).setUint32(at, bytes.length, true);
    this.#bytes.set(bytes, at + 4);
  }
}
