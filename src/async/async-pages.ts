/**
 * Asynchronous, vectored page calls over the synchronous store: the interface that Avi Kivity asked for in the 2010
 * mailing list discussion of frontswap. It is an adapter; the store does not depend on it.
 *
 *   putMany(slots, pages) ──▶ queue ──▶ one batch per turn of the event loop ──▶ store.put, page by page ──▶ results
 *
 * The contract of AsyncPages and WorkerPages
 * - A call of k pages has the same effects and results, page by page, as k single calls in the same order.
 * - Pages are started in the order of the calls, so the operations on one slot run in that order, without awaits between.
 * - The caller's pages are borrowed, not copied: do not change them until the promise settles. A get that finds no
 *   page leaves the target unchanged.
 * - An aborted call resolves with NOT_STARTED for each page that was not started, and with the store's result for the
 *   others.
 * - A refusal is a result. A promise rejects with ERR_ARG_VALUE or ERR_ARG_UNKNOWN if an argument is invalid (then no
 *   page was started), and with ERR_IO_ENDED if the adapter is closed or has failed.
 * - Back-pressure: await each call, or ready() before it. Pages beyond queueMax wait outside the queue, in order.
 * - `await using`, or [Symbol.asyncDispose](): accepts no more calls and resolves when all calls are answered.
 *
 * Costs and delays, especially those of a flush: docs/design/async.md.
 */
import { checkOptions } from '../base/options.ts';
import { PageQueue, type QueueOptions, queueLimits, type Span } from './async-queue.ts';
import { PageOp, type PageStore, runPage } from './async-results.ts';
import { QueuedPages } from './queued-pages.ts';

const NO_PAGE: Uint8Array = new Uint8Array(0);

/** Vectored put, get and flush calls on a store in this thread; each returns a promise of one result per page. */
export class AsyncPages extends QueuedPages {
  /**
   * The caller keeps the store and may call it directly: such calls run before the pages in the queue.
   * @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN
   */
  constructor(store: PageStore, options: QueueOptions = {}) {
    checkOptions(options, 'new AsyncPages(store, options)', ['batchPages', 'queueMax']);
    const limits = queueLimits(options);
    const run = (batch: readonly Span[]): void => runBatch(store, batch);
    super(new PageQueue({ ...limits, slots: store.slots, batchesMax: 1, run }));
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
