/**
 * The asynchronous page API: batches of puts, gets and flushes over a store, in this thread (`AsyncPages`) or in a worker
 * (`WorkerPages`). Calls take effect in call order.
 *
 * ```ts
 * await using pages = new AsyncPages(store);
 * const results = await pages.putMany([slot(1), slot(2)], [pageOne, pageTwo]);
 * ```
 */
export { AsyncPages } from '../async/async-pages.ts';
export type { QueueOptions } from '../async/async-queue.ts';
export {
  type AsyncFlushResult,
  type AsyncGetResult,
  type AsyncPutResult,
  type CallOptions,
  FlushResult,
  NOT_STARTED,
  type PageCalls,
} from '../async/async-results.ts';
export { WorkerPages, type WorkerPagesOptions } from '../async/worker-pages.ts';
