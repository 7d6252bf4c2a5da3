/**
 * The queue of the asynchronous page calls: calls come in, batches of pages go out, answers come back page by page.
 *
 *   calls ──▶ door ──▶ queue, at most queueMax pages ──▶ batches of batchPages, at most `depth` under way ──▶ run
 *              │         │                                                                                   │
 *              └─ abort ─┴──▶ NOT_STARTED                    every page of the call answered ──▶ its promise ◀─┘
 *
 * One list holds all calls with pages to begin in the order they came; a call is at the door as far as its pages have not entered. Pages
 * begin strictly in that order, so the order of each slot is kept, and batches run in the order they were started.
 *
 * Invariants: begun <= entered <= pages of a call; queuedPages is the sum of entered - begun and at most queueMax.
 * Cost: one object and one promise a call, one small object a batch and call; none a page but its answer.
 * Each batch starts in a turn of the event loop of its own, so what else the loop serves gets in between.
 */
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES, type Slot } from '../base/units.ts';
import { NOT_STARTED, PageOp } from './async-results.ts';

export interface QueueOptions {
  /** Most pages that are done in one go, 1 .. 4096; default 32. The event loop waits that long. */
  readonly batchPages?: number;
  /** Most pages in the queue, batchPages .. 2^20; default 1024. */
  readonly queueMax?: number;
}

export interface Call {
  readonly op: PageOp;
  readonly slots: readonly Slot[];
  /** A page for each slot; none for flushes. */
  readonly pages: readonly Uint8Array[];
  /** Index = place in `slots`. What the store answered. */
  readonly results: number[];
  /** Pages that came in from the door; of these, that are or were under way; of these, that are. */
  entered: number;
  begun: number;
  underWay: number;
  next: Call | null;
  readonly settle: (error: Error | null) => void;
}

/** The pages [from, to) of a call. */
export interface Span {
  readonly call: Call;
  readonly from: number;
  readonly to: number;
}

/** Does a batch and writes the answers into the calls' results; a rejection ends the queue. */
export type RunBatch = (batch: readonly Span[]) => Promise<void> | void;

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** The answer to whoever asks an adapter that is closed or broken. */
export const endedError = (reason: string, cause?: unknown): SwapError =>
  new SwapError(
    'ERR_IO_ENDED',
    `the pages cannot be reached any more: ${reason}; open a new adapter`,
    { reason },
    cause === undefined ? {} : { cause },
  );

/** A whole number of [from, to], or ERR_ARG_VALUE. */
export function checkPages(name: string, value: number, from: number, to: number): number {
  if (Number.isInteger(value) && value >= from && value <= to) return value;
  throw new SwapError('ERR_ARG_VALUE', `${name} is ${value}; it must be from ${from} to ${to}`, {
    name,
    value,
  });
}

export class PageQueue {
  readonly batchPages: number;
  readonly queueMax: number;
  readonly #slots: number;
  readonly #depth: number;
  readonly #run: RunBatch;
  /** First call that has pages to begin, last one of all, first one with pages at the door. */
  #head: Call | null = null;
  #tail: Call | null = null;
  #gate: Call | null = null;
  readonly #live = new Set<Call>();
  readonly #waiters: Waiter[] = [];
  readonly #drained: (() => void)[] = [];
  #queuedPages = 0;
  #batchesUnderWay = 0;
  #woken = false;
  #ended: SwapError | null = null;
  #broken = false;

  /**
   * @param slots of the store
   * @param depth batches that may be under way at once
   * @throws SwapError ERR_ARG_VALUE
   */
  constructor(
    slots: number,
    options: QueueOptions,
    depth: (q: PageQueue) => number,
    run: RunBatch,
  ) {
    this.batchPages = checkPages('batchPages', options.batchPages ?? 32, 1, 4096);
    const queueMax = options.queueMax ?? Math.max(1024, this.batchPages);
    this.queueMax = checkPages('queueMax', queueMax, this.batchPages, 2 ** 20);
    this.#slots = slots;
    this.#depth = depth(this);
    this.#run = run;
  }

  get queuedPages(): number {
    return this.#queuedPages;
  }

  /**
   * Queues a call. The pages stay the caller's, but untouched until the promise settles.
   * @returns an answer for each page; rejects with ERR_ARG_VALUE before anything is begun, or with ERR_IO_ENDED
   */
  add(
    op: PageOp,
    slots: readonly Slot[],
    pages: readonly Uint8Array[],
    signal: AbortSignal | undefined,
  ): Promise<number[]> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== null) throw this.#ended;
      this.#check(op, slots, pages);
      const results: number[] = new Array<number>(slots.length).fill(NOT_STARTED);
      if (slots.length === 0 || signal?.aborted === true) {
        resolve(results);
        return;
      }
      const onAbort = (): void => this.#abort(call);
      const call: Call = {
        op,
        slots: slots.slice(),
        pages: pages.slice(),
        results,
        entered: 0,
        begun: 0,
        underWay: 0,
        next: null,
        settle: (error) => {
          signal?.removeEventListener('abort', onAbort);
          if (error === null) resolve(results);
          else reject(error);
        },
      };
      signal?.addEventListener('abort', onAbort);
      this.#append(call);
    });
  }

  /** Resolves when a call would enter without waiting; rejects when the queue has ended. */
  ready(): Promise<void> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    if (this.#hasRoom()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
    });
  }

  /** Takes no more calls and resolves when all that are there are answered. */
  end(): Promise<void> {
    this.#ended ??= endedError('the adapter is closed');
    if (this.#live.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#drained.push(resolve);
    });
  }

  /** Ends the queue now: whatever is not answered rejects with `error`. */
  fail(error: SwapError): void {
    this.#ended ??= error;
    this.#broken = true;
    this.#head = null;
    this.#tail = null;
    this.#gate = null;
    this.#queuedPages = 0;
    for (const call of this.#live) call.settle(error);
    this.#live.clear();
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
    this.#tellDrained();
  }

  #check(op: PageOp, slots: readonly Slot[], pages: readonly Uint8Array[]): void {
    for (const slot of slots) checkPages('slot', slot, 0, this.#slots - 1);
    if (op === PageOp.flush) return;
    checkPages('number of pages', pages.length, slots.length, slots.length);
    for (const page of pages) checkPages('page length', page.length, PAGE_BYTES, PAGE_BYTES);
  }

  #hasRoom(): boolean {
    return this.#gate === null && this.#queuedPages < this.queueMax;
  }

  #append(call: Call): void {
    this.#live.add(call);
    if (this.#tail === null) this.#head = call;
    else this.#tail.next = call;
    this.#tail = call;
    this.#gate ??= call;
    this.#admit();
    this.#wake();
  }

  /** Lets pages in from the door while there is room, and then those who wait for room. */
  #admit(): void {
    while (this.#gate !== null && this.#queuedPages < this.queueMax) {
      const call: Call = this.#gate;
      const pages = Math.min(this.queueMax - this.#queuedPages, call.slots.length - call.entered);
      call.entered += pages;
      this.#queuedPages += pages;
      if (call.entered === call.slots.length) this.#gate = call.next;
    }
    assert(this.#queuedPages <= this.queueMax, 'the queue holds no more than it may');
    if (this.#hasRoom()) for (const waiter of this.#waiters.splice(0)) waiter.resolve();
  }

  #wake(): void {
    if (this.#woken || this.#queuedPages === 0 || this.#batchesUnderWay >= this.#depth) return;
    this.#woken = true;
    setImmediate(() => {
      this.#woken = false;
      this.#startBatch();
      this.#wake();
    });
  }

  #startBatch(): void {
    const batch = this.#takeBatch();
    if (batch.length === 0) return;
    this.#batchesUnderWay++;
    this.#finish(batch).catch((error: unknown) => {
      this.fail(endedError('a batch failed', error));
    });
  }

  async #finish(batch: readonly Span[]): Promise<void> {
    await this.#run(batch);
    this.#batchesUnderWay--;
    if (this.#broken) return;
    for (const { call, from, to } of batch) {
      call.underWay -= to - from;
      this.#settleIfDone(call);
    }
    this.#wake();
  }

  /** Takes up to batchPages pages from the front of the queue. */
  #takeBatch(): Span[] {
    const batch: Span[] = [];
    let left = this.batchPages;
    while (left > 0 && this.#head !== null) {
      const call: Call = this.#head;
      const from = call.begun;
      const to = Math.min(call.entered, from + left);
      if (to > from) batch.push({ call, from, to });
      call.begun = to;
      call.underWay += to - from;
      left -= to - from;
      this.#queuedPages -= to - from;
      if (to < call.slots.length) break; // the batch is full, or the rest is at the door
      this.#head = call.next;
      if (this.#head === null) this.#tail = null;
    }
    this.#admit();
    return batch;
  }

  /** Takes back what has not begun; the call stays in the list, as done, until its turn. */
  #abort(call: Call): void {
    this.#queuedPages -= call.entered - call.begun;
    call.entered = call.slots.length;
    call.begun = call.slots.length;
    if (this.#gate === call) this.#gate = call.next;
    this.#settleIfDone(call);
    this.#admit();
    if (this.#queuedPages === 0) {
      this.#head = null; // nothing but done calls: hold their pages no longer
      this.#tail = null;
    }
    this.#wake();
  }

  #settleIfDone(call: Call): void {
    if (call.begun < call.slots.length || call.underWay > 0) return;
    if (this.#live.delete(call)) call.settle(null);
    if (this.#live.size === 0) this.#tellDrained();
  }

  /** In a turn of its own: whoever awaits the last answers has them by then. */
  #tellDrained(): void {
    for (const drained of this.#drained.splice(0)) setImmediate(drained);
  }
}
