/**
 * The messages of the tmem socket: fixed little-endian headers. docs/design/tmem-socket.md has the tables.
 *
 *   client   hello   request request request ...
 *   server   hello             reply   reply ...        in the order of the requests
 *
 *   put    header, then for each page: object id, index, 4096 bytes
 *   get, flush    header, then for each page: object id, index
 */
import { PAGE_BYTES } from '../../base/units.ts';
import { POOLS_PER_CLIENT } from '../results.ts';

/** `FSWTMEM` and a zero byte, as two words. */
export const MAGIC_LOW = 0x5457_5346;
export const MAGIC_HIGH = 0x004d_454d;
export const VERSION = 1;

export const ClientHello = { magic: 0, version: 8, zero: 12, bytes: 16 } as const;
export const ServerHello = {
  magic: 0,
  version: 8,
  status: 12,
  pagesMax: 16,
  poolsMax: 20,
  zeros: 24,
  bytes: 32,
} as const;

export const HelloStatus = { accepted: 0, unknownVersion: 1 } as const;

/** Header of requests and replies. Requests have 0 in `value`, replies 0 in `pool`. */
export const Head = { length: 0, op: 4, pool: 5, count: 6, id: 8, value: 12, bytes: 16 } as const;

export const Op = {
  newPool: 1,
  destroyPool: 2,
  put: 3,
  get: 4,
  flushPage: 5,
  flushObject: 6,
} as const;
export type Op = (typeof Op)[keyof typeof Op];

/** Body of newPool. */
export const NewPool = { flags: 0, lease: 4, uuid: 8, bytes: 24 } as const;
export const PoolFlag = { persistent: 1, exclusiveGets: 2, named: 4 } as const;
export const POOL_FLAGS_ALL = 7;
/** A lease that never ends, seconds. */
export const LEASE_FOREVER = 0xffff_ffff;

/** Maximum number of pages in a request. */
export const PAGES_MAX = 32;
export const OID_BYTES = 24;
/** Object id and index. */
export const KEY_BYTES: number = OID_BYTES + 4;
export const PUT_ENTRY_BYTES: number = KEY_BYTES + PAGE_BYTES;
export const POOLS_MAX: number = POOLS_PER_CLIENT;

/** Bytes of `count` results, padded so that pages are aligned. */
export const resultBytes = (count: number): number => (count + 3) & ~3;

/** Longest part of a request that is processed as one: a page with its key, or all keys of a get. */
export const REQUEST_PART_BYTES_MAX: number = Math.max(
  PUT_ENTRY_BYTES,
  Head.bytes + PAGES_MAX * KEY_BYTES,
);
export const REPLY_BYTES_MAX: number = Head.bytes + resultBytes(PAGES_MAX) + PAGES_MAX * PAGE_BYTES;
export const REQUEST_BYTES_MAX: number = Head.bytes + PAGES_MAX * PUT_ENTRY_BYTES;

/** Length of a request's body; -1: the operation or the count is invalid. */
export function requestBytes(op: number, count: number): number {
  const isPages = op === Op.put || op === Op.get || op === Op.flushPage;
  if (isPages ? count < 1 || count > PAGES_MAX : count !== 0) return -1;
  switch (op) {
    case Op.newPool:
      return NewPool.bytes;
    case Op.destroyPool:
      return 0;
    case Op.put:
      return count * PUT_ENTRY_BYTES;
    case Op.get:
    case Op.flushPage:
      return count * KEY_BYTES;
    case Op.flushObject:
      return OID_BYTES;
    default:
      return -1;
  }
}

/** Whether `length` is a valid body length of a reply. A get has a page for each result `found`. */
export function isReplyBytes(op: number, count: number, value: number, length: number): boolean {
  if (op === Op.get)
    return (
      value >= 0 &&
      value <= count &&
      length === resultBytes(count) + Math.max(0, value) * PAGE_BYTES
    );
  return length === (op === Op.put || op === Op.flushPage ? resultBytes(count) : 0);
}
