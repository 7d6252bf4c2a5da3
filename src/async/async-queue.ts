/**
 * The queue of the asynchronous page calls: accepts calls, runs their pages in batches, and settles each call when all
 * of its pages are done.
 *
 *   calls ──▶ waiting ──▶ queue, at most queueMax pages ──▶ batches of batchPages, at most batchesMax in flight ──▶ run
 *                │           │                                                                                       │
 *                └─ abort ───┴──▶ NOT_STARTED                     all pages of the call done: settle its promise ◀───┘
 *
 * One list has all calls with pages to start, in call order. The pages of a call that the queue has not admitted wait
 * with the call. Pages are started strictly in list order, so the order per slot is kept; batches run in the order in
 * which they are started.
 *
 * Invariants: started <= admitted <= pages of a call; queuedPages = sum of admitted - started, at most queueMax.
 * Cost: an object and a promise per call, a small object per batch and call, nothing per page but its result.
 * Each batch starts in a separate turn of the event loop, so that the loop can serve other work in between.
 */
import { checkChoice, checkInteger } from '../base/arguments.ts';
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES, type Slot } from '../base/units.ts';
import { NOT_STARTED, PageOp } from './async-results.ts';

const BATCH_PAGES_MAX = 4096;
const QUEUE_PAGES_MAX = 2 ** 20;

/** Batch size and queue limit of AsyncPages and WorkerPages, in pages. */
export interface QueueOptions {
  /** Pages per batch, 1 .. 4096; default 32. Other work of the event loop waits for one batch. */
  readonly batchPages?: number;
  /** Maximum number of pages in the queue, batchPages .. 2^20; default 1024. */
  readonly queueMax?: number;
}

/** QueueOptions with their defaults. */
interface QueueLimits {
  readonly batchPages: number;
  readonly queueMax: number;
}

interface PageQueueOptions extends QueueLimits {
  /** Slots of the store. */
  readonly slots: number;
  /** Maximum number of batches in flight. */
  readonly batchesMax: number;
  readonly run: RunBatch;
}

export interface Call {
  readonly op: PageOp;
  readonly slots: readonly Slot[];
  /** One page per slot; empty for a flush. */
  readonly pages: readonly Uint8Array[];
  /** One result per slot. */
  readonly results: number[];
  /** Pages that the queue has admitted; pages of these that were started; pages of these still in flight. */
  admitted: number;
  started: number;
  inFlight: number;
  next: Call | null;
  readonly settle: (error: Error | null) => void;
}

/** The pages [from, to) of a call. */
export interface Span {
  readonly call: Call;
  readonly from: number;
  readonly to: number;
}

/** Runs a batch and writes the results into its calls. A rejection ends the queue. */
type RunBatch = (batch: readonly Span[]) => Promise<void> | void;

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** The error that every call gets once the adapter is closed or has failed. */
export const endedError = (reason: string, cause?: unknown): SwapError =>
  new SwapError(
    'ERR_IO_ENDED',
    `the pages are no longer accessible: ${reason}; open a new adapter`,
    { reason },
    cause === undefined ? {} : { cause },
  );

const pageError = (page: unknown): SwapError => {
  const what = page instanceof Uint8Array ? `${page.length} bytes` : `of type ${typeof page}`;
  return new SwapError(
    'ERR_ARG_VALUE',
    `a page is ${what}; use a Uint8Array of ${PAGE_BYTES} bytes`,
  );
};

/** @throws SwapError ERR_ARG_VALUE */
export function queueLimits(options: QueueOptions): QueueLimits {
  const { batchPages = 32, queueMax = Math.max(1024, batchPages) } = options;
  checkInteger('batchPages', batchPages, 1, BATCH_PAGES_MAX);
  checkInteger('queueMax', queueMax, batchPages, QUEUE_PAGES_MAX);
  return { batchPages, queueMax };
}

export class PageQueue {
  readonly #options: PageQueueOptions;
  /** First call with pages to start; last call; first call with pages that wait. */
  #head: Call | null = null;
  #tail: Call | null = null;
  #firstWaiting: Call | null = null;
  readonly #unsettled = new Set<Call>();
  readonly #waiters: Waiter[] = [];
  readonly #drained: (() => void)[] = [];
  #queuedPages = 0;
  #batchesInFlight = 0;
  #isScheduled = false;
  #ended: SwapError | null = null;
  #hasFailed = false;

  constructor(options: PageQueueOptions) {
    this.#options = options;
  }

  get queuedPages(): number {
    return this.#queuedPages;
  }

  /**
   * Queues a call. The queue borrows the pages until the promise settles.
   * @returns one result per page; rejects with ERR_ARG_VALUE before any page is started, or with ERR_IO_ENDED
   */
  add(
    op: PageOp,
    slots: readonly Slot[],
    pages: readonly Uint8Array[],
    signal: AbortSignal | undefined,
  ): Promise<number[]> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== null) throw this.#ended;
      this.#check(op, slots, pages, signal);
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
        admitted: 0,
        started: 0,
        inFlight: 0,
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

  /** Resolves when the queue has space and no call waits for it; rejects when the queue has ended. */
  ready(): Promise<void> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    if (this.#hasSpace()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
    });
  }

  /** Accepts no more calls; resolves when all calls are settled. */
  end(): Promise<void> {
    this.#ended ??= endedError('the adapter is closed');
    if (this.#unsettled.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#drained.push(resolve);
    });
  }

  /** Ends the queue immediately: every unsettled call rejects with `error`. */
  fail(error: SwapError): void {
    this.#ended ??= error;
    this.#hasFailed = true;
    this.#head = null;
    this.#tail = null;
    this.#firstWaiting = null;
    this.#queuedPages = 0;
    for (const call of this.#unsettled) call.settle(error);
    this.#unsettled.clear();
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
    this.#notifyDrained();
  }

  #check(
    op: PageOp,
    slots: readonly Slot[],
    pages: readonly Uint8Array[],
    signal: AbortSignal | undefined,
  ): void {
    for (const slot of slots) checkInteger('slot', slot, 0, this.#options.slots - 1);
    if (signal !== undefined && !(signal instanceof AbortSignal))
      throw new SwapError(
        'ERR_ARG_VALUE',
        `signal is of type ${typeof signal}; use an AbortSignal`,
      );
    if (op === PageOp.flush) return;
    checkChoice('number of pages', pages.length, [slots.length]);
    for (const page of pages)
      if (!(page instanceof Uint8Array) || page.length !== PAGE_BYTES) throw pageError(page);
  }

  #hasSpace(): boolean {
    return this.#firstWaiting === null && this.#queuedPages < this.#options.queueMax;
  }

  #append(call: Call): void {
    this.#unsettled.add(call);
    if (this.#tail === null) this.#head = call;
    else this.#tail.next = call;
    this.#tail = call;
    this.#firstWaiting ??= call;
    this.#admit();
    this.#schedule();
  }

  /** Admits waiting pages while the queue has space; if space is left, resolves the calls of ready(). */
  #admit(): void {
    const { queueMax } = this.#options;
    while (this.#firstWaiting !== null && this.#queuedPages < queueMax) {
      const call: Call = this.#firstWaiting;
      const pages = Math.min(queueMax - this.#queuedPages, call.slots.length - call.admitted);
      call.admitted += pages;
      this.#queuedPages += pages;
      if (call.admitted === call.slots.length) this.#firstWaiting = call.next;
    }
    assert(this.#queuedPages <= queueMax, 'queuedPages <= queueMax');
    if (this.#hasSpace()) for (const waiter of this.#waiters.splice(0)) waiter.resolve();
  }

  #schedule(): void {
    const isBusy = this.#batchesInFlight >= this.#options.batchesMax;
    if (this.#isScheduled || this.#queuedPages === 0 || isBusy) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#startBatch();
      this.#schedule();
    });
  }

  #startBatch(): void {
    const batch = this.#takeBatch();
    if (batch.length === 0) return;
    this.#batchesInFlight++;
    this.#runBatch(batch).catch((error: unknown) => {
      this.fail(endedError('a batch failed', error));
    });
  }

  async #runBatch(batch: readonly Span[]): Promise<void> {
    await this.#options.run(batch);
    this.#batchesInFlight--;
    if (this.#hasFailed) return;
    for (const { call, from, to } of batch) {
      call.inFlight -= to - from;
      this.#settleIfDone(call);
    }
    this.#schedule();
  }

  /** Takes up to batchPages pages from the front of the queue. */
  #takeBatch(): Span[] {
    const batch: Span[] = [];
    let left = this.#options.batchPages;
    while (left > 0 && this.#head !== null) {
      const call: Call = this.#head;
      const from = call.started;
      const to = Math.min(call.admitted, from + left);
      if (to > from) batch.push({ call, from, to });
      call.started = to;
      call.inFlight += to - from;
      left -= to - from;
      this.#queuedPages -= to - from;
      if (to < call.slots.length) break; // the batch is full, or the other pages wait
      this.#head = call.next;
      if (this.#head === null) this.#tail = null;
    }
    this.#admit();
    return batch;
  }

  /** Cancels the pages that have not been started. The call stays in the list until its turn, with nothing to start. */
  #abort(call: Call): void {
    this.#queuedPages -= call.admitted - call.started;
    call.admitted = call.slots.length;
    call.started = call.slots.length;
    if (this.#firstWaiting === call) this.#firstWaiting = call.next;
    this.#settleIfDone(call);
    this.#admit();
    if (this.#queuedPages === 0) {
      this.#head = null; // only cancelled calls are left: release their pages
      this.#tail = null;
    }
    this.#schedule();
  }

  #settleIfDone(call: Call): void {
    if (call.started < call.slots.length || call.inFlight > 0) return;
    if (this.#unsettled.delete(call)) call.settle(null);
    if (this.#unsettled.size === 0) this.#notifyDrained();
  }

  /** In a later turn of the event loop, when the callers have received the last results. */
  #notifyDrained(): void {
    for (const drained of this.#drained.splice(0)) setImmediate(drained);
  }
}
