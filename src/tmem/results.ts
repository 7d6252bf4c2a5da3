/**
 * Result codes of tmem. A refusal is a result with a reason, not an exception. Backends map them to their own interface
 * (Xen: 1 / -ENOSPC / -EFROZEN; frontswap: true or false).
 *
 * After any result of put() except `stored` the key is empty: the previous page is dropped too.
 */
import { SwapError } from '../base/errors.ts';

/** Result of a tmem put. */
export const TmemPutResult = {
  stored: 0,
  /** The client is frozen. */
  frozen: 1,
  /** The paying client is at its cap and has no ephemeral page to evict. */
  capped: 2,
  /** The page store has no space, and evicting freed too little. */
  noSpace: 3,
  /** All page or object rows are in use, and evicting freed none. */
  noRows: 4,
  /** The pool or the client does not exist. */
  noPool: 5,
  /** Only for clients of the tmem socket: no reply. The contents under the key are unknown; put or flush it again. */
  down: 6,
} as const;
export type TmemPutResult = (typeof TmemPutResult)[keyof typeof TmemPutResult];

/** Result of a tmem get. Only `found` writes the target. */
export const TmemGetResult = {
  found: 0,
  absent: 1,
  /** Absent, and the pool is empty. */
  poolEmpty: 2,
  /** The stored bytes are damaged; the target is unchanged. A damaged ephemeral page is dropped, so later gets miss. */
  corrupt: 3,
  noPool: 4,
  /** Only for clients of the tmem socket: no reply. The page may still be there; the target is unchanged. */
  down: 5,
} as const;
export type TmemGetResult = (typeof TmemGetResult)[keyof typeof TmemGetResult];

/** Flushing an absent page is a success. */
export const TmemFlushResult = {
  done: 0,
  /** Done; the client is frozen. */
  doneFrozen: 1,
  noPool: 2,
  /** For calls with a maximum number of pages: that many were dropped and some are left; call again. */
  more: 3,
  /** Only for clients of the tmem socket: no reply, so it is unknown whether the flush was done. */
  down: 4,
} as const;
export type TmemFlushResult = (typeof TmemFlushResult)[keyof typeof TmemFlushResult];

/** newPool() returns a pool's number, 0 .. 15, or one of these. */
export const NewPoolError = {
  noClient: -1,
  /** The client has 16 pools. */
  tooMany: -2,
  /** Shared pools are ephemeral: one client must not be able to flush another's persistent pages. */
  sharedPersistent: -3,
  /** The host has its maximum number of shared pools. */
  tooManyShared: -4,
  /** Only for the tmem socket: a pool with this name exists, with other options. */
  otherKind: -5,
} as const;

export const POOLS_PER_CLIENT = 16;
export const SHARED_POOLS_MAX = 16;

/** 32 hex digits in lower case. @throws SwapError ERR_ARG_VALUE */
export function uuidOf(text: string): string {
  const uuid = text.replaceAll('-', '').toLowerCase();
  if (/^[0-9a-f]{32}$/.test(uuid)) return uuid;
  throw new SwapError('ERR_ARG_VALUE', `uuid '${text}' is not valid; use 32 hex digits`, {
    uuid: text,
  });
}
