/**
 * Transcendent memory: pools of pages by object and index. Pages of a persistent pool stay until they are flushed; pages
 * of an ephemeral pool may be evicted at any time. Clients have weights and caps; a client can be frozen, saved and restored.
 *
 * Sources: Xen's tmem (xen/common/tmem.c, public/tmem.h), Linux drivers/staging/zcache/tmem.c.
 */
export { Budget } from '../arena/budget.ts';
export { TmemCleancache } from '../cleancache/backends/tmem-cleancache.ts';
export { TmemFrontswap } from '../frontswap/backends/tmem-frontswap.ts';
export { Store, type StoreOptions } from '../store/store.ts';
export { KernelComparer } from '../tmem/kernel-comparer.ts';
export type { PageComparer, PageStore } from '../tmem/ops.ts';
export { Restore, RestoreState } from '../tmem/restore.ts';
export {
  NewPoolError,
  TmemFlushResult,
  TmemGetResult,
  TmemPutResult,
} from '../tmem/results.ts';
export { Save, type Sink } from '../tmem/save.ts';
export {
  type ClientOptions,
  KEY_WORDS,
  type PoolOptions,
  Tmem,
  type TmemOptions,
} from '../tmem/tmem.ts';
export { tmemStore } from '../tmem/tmem-store.ts';
