/**
 * What tmem answers. "No" is an answer and has a reason; none of these is thrown. Adapters turn them into what
 * their wire wants (Xen: 1 / -ENOSPC / -EFROZEN; frontswap: true or false).
 *
 * After any answer of put() but `stored`, nothing is stored under the key: an older page is gone as well.
 */

export const TmemPutResult = {
  stored: 0,
  /** The client is frozen. */
  frozen: 1,
  /** The client that pays for the pool is at its cap and has nothing ephemeral to give up. */
  capped: 2,
  /** The page store has no room, and evicting did not make any. */
  noSpace: 3,
  /** All page or object rows are taken by pages that may not be evicted. */
  noRows: 4,
  /** No such pool, or no such client. Nothing was looked at. */
  noPool: 5,
} as const;
export type TmemPutResult = (typeof TmemPutResult)[keyof typeof TmemPutResult];

export const TmemGetResult = {
  found: 0,
  absent: 1,
  /** Absent, and so is every other page of the pool: the caller may stop asking. */
  poolEmpty: 2,
  /** Stored bytes are damaged. Never comes with data; a damaged ephemeral page is dropped, so later gets miss. */
  corrupt: 3,
  noPool: 4,
} as const;
export type TmemGetResult = (typeof TmemGetResult)[keyof typeof TmemGetResult];

/** A flush of what is not there is a success: afterwards it is not there. */
export const TmemFlushResult = {
  done: 0,
  /** Done as well; the client is frozen. */
  doneFrozen: 1,
  noPool: 2,
} as const;
export type TmemFlushResult = (typeof TmemFlushResult)[keyof typeof TmemFlushResult];

/** newPool() answers a pool's number, 0 .. 15, or one of these. */
export const NewPoolError = {
  noClient: -1,
  /** The client has 16 pools. */
  tooMany: -2,
  /** Pages that one client may not lose cannot be another's to flush: shared pools are ephemeral. */
  sharedPersistent: -3,
  /** There are 16 shared pools on this host. */
  tooManyShared: -4,
} as const;

export const POOLS_PER_CLIENT = 16;
export const SHARED_POOLS_MAX = 16;
