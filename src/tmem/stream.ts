/**
 * The format of a saved client: a header, then records with a fixed length per type. 32-bit little-endian words.
 *
 *   header    magic "TMEM", version, weight, cap                                            16 bytes
 *   pool      1, pool, flags, uuid (4 words)              creates a pool, destroying an older one with this number
 *   page      2, pool, object id (6), index, checksum, 4096 bytes        pages are numbered in order: 0, 1, 2, ...
 *   dropPool  3, pool                                     the pool was destroyed after its record
 *   valid     4, first, 512 bytes                         bit i: page number first + i is still stored under its key
 *   end       5, number of valid pages, client's flags
 *
 * Only persistent pages are sent; ephemeral pools are restored empty. Of the pages sent under one key, only the last
 * counts. `valid` records cover all page numbers in order, just before `end`: pages without a bit were flushed or replaced.
 */
import { PAGE_BYTES } from '../base/units.ts';

export const MAGIC = 0x4d45_4d54;
export const VERSION = 1;
export const HEADER_BYTES = 16;

export const RecordType = { pool: 1, page: 2, dropPool: 3, valid: 4, end: 5 } as const;

/** Pages per `valid` record. */
export const VALID_PAGES = 4096;
const VALID_BYTES = VALID_PAGES / 8;
/** Offset of the bits in a `valid` record. */
export const VALID_AT = 8;
/** Offsets in a page record. */
export const PageAt = { pool: 4, oid: 8, index: 32, checksum: 36, page: 40 } as const;
/** Bytes of a page record, the longest one. */
export const PAGE_RECORD_BYTES: number = PageAt.page + PAGE_BYTES;

/** Bytes of a record of that type; 0 for an unknown type. */
export function recordBytes(type: number): number {
  if (type === RecordType.pool) return 28;
  if (type === RecordType.page) return PAGE_RECORD_BYTES;
  if (type === RecordType.dropPool) return 8;
  if (type === RecordType.valid) return VALID_AT + VALID_BYTES;
  return type === RecordType.end ? 12 : 0;
}

export const PoolFlag = { persistent: 1, shared: 2, exclusiveGets: 4 } as const;
export const POOL_FLAGS_ALL = 7;

/** Checksum of a page record's key and page. It detects every single-bit error. */
export function pageChecksum(record: DataView): number {
  let sum = 0x811c_9dc5 | 0;
  for (let at: number = PageAt.pool; at < PAGE_RECORD_BYTES; at += 4) {
    if (at === PageAt.checksum) continue;
    sum = Math.imul(sum ^ record.getInt32(at, true), 0x0100_0193);
    sum ^= sum >>> 15;
  }
  return sum;
}
