/**
 * Transcendent memory: pools of pages by object and index. Pages of a persistent pool stay until they are flushed; pages
 * of an ephemeral pool may be evicted at any time. Clients have weights and caps; a client can be frozen, saved and restored.
 *
 * A host lends pools over a Unix socket (`frontswap host --tmem PATH`). `TmemClient` uses them with promises;
 * `BlockingPool` uses them with blocking calls, and `TmemFrontswap` accepts it as its pool.
 *
 * Sources: Xen's tmem (xen/common/tmem.c, public/tmem.h), Linux drivers/staging/zcache/tmem.c.
 */
export { Budget, type ParentBudget } from '../arena/budget.ts';
export { TmemCleancache } from '../cleancache/backends/tmem-cleancache.ts';
export { type SwapPool, TmemFrontswap } from '../frontswap/backends/tmem-frontswap.ts';
export {
  type OpenStreamSocket,
  type StreamAddress,
  streamSockets,
} from '../os/linux/stream-socket.ts';
export type { OpenStream, Stream } from '../remote/ops.ts';
export { Store, type StoreOptions } from '../store/store.ts';
export { KernelComparer } from '../tmem/kernel-comparer.ts';
export type { PageComparer, PageStore } from '../tmem/ops.ts';
export type { ClientOptions, PoolOptions, TmemOptions } from '../tmem/options.ts';
export { BlockingPool, type BlockingPoolOptions } from '../tmem/protocol/blocking.ts';
export type { SocketPoolOptions } from '../tmem/protocol/requests.ts';
export { Restore, RestoreState, type RestoreTarget } from '../tmem/restore.ts';
export {
  NewPoolError,
  TmemFlushResult,
  TmemGetResult,
  TmemPutResult,
} from '../tmem/results.ts';
export { Save, type Sink } from '../tmem/save.ts';
export { TmemClient, type TmemClientOptions, type TmemClientPool } from '../tmem/server/client.ts';
export { KEY_WORDS, Tmem } from '../tmem/tmem.ts';
export { tmemStore } from '../tmem/tmem-store.ts';
