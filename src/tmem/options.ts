/** Options of a tmem host, its clients and its pools, and their limits. */
import type { PageComparer, PageStore } from './ops.ts';
import type { Dedup } from './page-index.ts';

export const WEIGHT_MAX: number = 2 ** 20;
export const CAP_MAX: number = 2 ** 31 - 1;
export const CLIENTS_MAX = 1024;
/** The uuid with which a Xen guest requests a private pool. */
export const ALL_ONES: string = 'f'.repeat(32);

/** Options of a tmem host: its store, table sizes and policies. */
export interface TmemOptions {
  readonly store: PageStore;
  /** Maximum number of pages, 1 .. 2^31 - 1; default: the slots of the store. More are possible if pages are equal. */
  readonly pages?: number;
  /** Maximum number of objects, 1 .. 2^31 - 1; default: `pages`. */
  readonly objects?: number;
  /** Maximum number of clients, 1 .. 1024; default 16. */
  readonly clients?: number;
  /** Which equal pages share bytes; default 'client': a client cannot detect which pages others store. */
  readonly dedup?: Dedup;
  /** Hashes and compares pages; default: the WebAssembly kernels. */
  readonly comparer?: PageComparer;
  /** Which clients may join a shared pool; default 'authorised'. */
  readonly sharing?: 'authorised' | 'everyone';
  /** Effect of a frozen client's put on the page under its key: 'drop' it (default), or 'replace' it as Xen does. */
  readonly frozenPuts?: 'drop' | 'replace';
  /** Maximum number of ephemeral pages that one put evicts, 0 .. 2^31 - 1; default 256. */
  readonly evictionsPerPut?: number;
  /** Maximum number of shared pools, 1 .. clients * 16; default 16. */
  readonly sharedPools?: number;
  /** Seed of the key hashes: a 32-bit number that clients must not know. Default 0. */
  readonly seed?: number;
}

/** Memory share and limit of one tmem client. */
export interface ClientOptions {
  /** Share of ephemeral memory relative to other clients, 0 .. 2^20; default 1. */
  readonly weight?: number;
  /** Maximum number of pages charged to the client, 0 .. 2^31 - 1; default 0: no cap. */
  readonly cap?: number;
}

/** Kind of a new pool; the default is private and ephemeral. */
export interface PoolOptions {
  readonly persistent?: boolean;
  /** Joins the shared pool with this 128-bit uuid (hex, dashes optional). Unauthorised clients get a private pool. */
  readonly shared?: string;
  /** Persistent pools: a get removes the page, so the caller owns the only copy. */
  readonly exclusiveGets?: boolean;
}

export const TMEM_OPTIONS: readonly string[] = [
  'store',
  'pages',
  'objects',
  'clients',
  'dedup',
  'comparer',
  'sharing',
  'frozenPuts',
  'evictionsPerPut',
  'sharedPools',
  'seed',
];
