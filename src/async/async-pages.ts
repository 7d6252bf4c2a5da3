/**
 * Asynchronous, vectored page calls over the synchronous store: what Avi Kivity asks of frontswap in the mail, as an
 * adapter that the store knows nothing of.
 *
 *   putMany(slots, pages) ──▶ queue ──▶ a batch a turn of the event loop ──▶ store.put, page by page ──▶ an answer each
 *
 * Terms, of this adapter and of WorkerPages alike
 * - A call of k pages does what k single calls in its order would, and answers as they would, page by page.
 * - Pages begin in the order of the calls; so does every slot's history. Two calls need no await between them.
 * - The caller's pages are borrowed, not copied: leave them alone until the promise settles. A get
 *   that finds nothing leaves its page alone.
 * - An aborted call resolves: NOT_STARTED for each page that had not begun, the store's answer for the others.
 * - No is an answer. A promise rejects with ERR_ARG_VALUE when a slot or page cannot be used (nothing has begun then),
 *   and with ERR_IO_ENDED when the adapter was closed or has broken.
 * - Back-pressure: await the call, or room() before the next one. Calls beyond queueMax wait at the door, in order.
 * - `await using`, or [Symbol.asyncDispose](): takes no more calls, resolves when all are answered.
 *
 * What it costs and delays, a flush above all: docs/design/async.md.
 */
import type { Slot } from '../base/units.ts';
import { PageQueue, type QueueOptions, type Span } from './async-queue.ts';
import {
  type AsyncFlushResult,
  type AsyncGetResult,
  type AsyncPutResult,
  type CallOptions,
  type PageCalls,
  PageOp,
  type PageStore,
  runPage,
} from './async-results.ts';

const NO_PAGE: Uint8Array = new Uint8Array(0);

export class AsyncPages implements PageCalls {
  readonly #queue: PageQueue;

  /**
   * The store stays the owner's: it may be used directly between batches, ahead of what is queued, and outlives this.
   * @throws SwapError ERR_ARG_VALUE
   */
  constructor(store: PageStore, options: QueueOptions = {}) {
    this.#queue = new PageQueue(
      store.slots,
      options,
      () => 1,
      (batch) => runBatch(store, batch),
    );
  }

  get queuedPages(): number {
    return this.#queue.queuedPages;
  }

  async putMany(
    slots: readonly Slot[],
    pages: readonly Uint8Array[],
    options: CallOptions = {},
  ): Promise<AsyncPutResult[]> {
    return (await this.#queue.add(PageOp.put, slots, pages, options.signal)) as AsyncPutResult[];
  }

  async getMany(
    slots: readonly Slot[],
    into: readonly Uint8Array[],
    options: CallOptions = {},
  ): Promise<AsyncGetResult[]> {
    return (await this.#queue.add(PageOp.get, slots, into, options.signal)) as AsyncGetResult[];
  }

  async flushMany(slots: readonly Slot[], options: CallOptions = {}): Promise<AsyncFlushResult[]> {
    return (await this.#queue.add(PageOp.flush, slots, [], options.signal)) as AsyncFlushResult[];
  }

  async put(slot: Slot, page: Uint8Array, options: CallOptions = {}): Promise<AsyncPutResult> {
    return (await this.putMany([slot], [page], options))[0]!;
  }

  async get(slot: Slot, into: Uint8Array, options: CallOptions = {}): Promise<AsyncGetResult> {
    return (await this.getMany([slot], [into], options))[0]!;
  }

  async flush(slot: Slot, options: CallOptions = {}): Promise<AsyncFlushResult> {
    return (await this.flushMany([slot], options))[0]!;
  }

  ready(): Promise<void> {
    return this.#queue.ready();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#queue.end();
  }
}

function runBatch(store: PageStore, batch: readonly Span[]): void {
  let changed = 0;
  for (const { call, from, to } of batch) {
    for (let i = from; i < to; i++)
      call.results[i] = runPage(store, call.op, call.slots[i]!, call.pages[i] ?? NO_PAGE, 0);
    if (call.op !== PageOp.get) changed += to - from;
  }
  if (changed > 0) store.maintain(changed);
}
