/**
 * The record of a page on the remote machine: a header and the compressed bytes. The header identifies the page, so
 * that a damaged page or a record of another page is rejected.
 *
 *   0 version  1 format  2 bytes u16  4 generation u32  8 checksum u32  12 compressed bytes        little-endian
 *
 * The checksum covers the compressed bytes and is seeded with the page's identity: client and boot, epoch of the area,
 * slot, generation, format and length. It has no key: it detects damage, not forgery. The operator of the remote
 * machine, or a man in the middle, can read the pages and create valid records.
 *
 * Cost: one checksum over the compressed bytes, in place.
 */
import type { PageFormat } from '../codec/codec.ts';
import type { Kernels } from '../codec/kernels.ts';
import { COMPRESSED_BYTES_MAX } from '../store/compressor.ts';

export const Record = {
  version: 0,
  format: 1,
  length: 2,
  generation: 4,
  checksum: 8,
  header: 12,
} as const;
const VERSION = 1;
/** Longest record. A page that compresses to more is stored raw, and is not sent. */
export const RECORD_BYTES_MAX: number = Record.header + COMPRESSED_BYTES_MAX;

/** The identity of a page. One object is reused, so that a page allocates nothing. */
export interface PageName {
  /** Hash of the client and its boot. */
  owner: number;
  /** Epoch of the area: switching an area off and on starts a new one. */
  epoch: number;
  offset: number;
  /** How often the slot's page has been sent; a reused slot has another generation. */
  generation: number;
}

function seedOf(name: PageName, format: number, length: number): number {
  let seed = name.owner;
  seed = mixed(seed ^ name.epoch);
  seed = mixed(seed ^ name.offset);
  seed = mixed(seed ^ name.generation);
  return mixed(seed ^ ((format << 16) | length));
}

function mixed(n: number): number {
  const h = Math.imul(n ^ (n >>> 16), 0x7feb_352d);
  return Math.imul(h ^ (h >>> 15), 0x846c_a68b);
}

/** Writes the header in front of `length` compressed bytes at `at` + Record.header in the kernels' memory. */
export function sealRecord(
  view: DataView,
  kernels: Kernels,
  at: number,
  name: PageName,
  format: PageFormat,
  length: number,
): void {
  view.setUint8(at + Record.version, VERSION);
  view.setUint8(at + Record.format, format);
  view.setUint16(at + Record.length, length, true);
  view.setInt32(at + Record.generation, name.generation, true);
  const sum = kernels.checksum(at + Record.header, length, seedOf(name, format, length));
  view.setInt32(at + Record.checksum, sum, true);
}

/** Returns true if the `bytes` bytes at `at` are an undamaged record of the named page. */
export function isRecordOf(
  view: DataView,
  kernels: Kernels,
  at: number,
  bytes: number,
  name: PageName,
): boolean {
  if (bytes <= Record.header || bytes > RECORD_BYTES_MAX) return false;
  const length = bytes - Record.header;
  if (view.getUint8(at + Record.version) !== VERSION) return false;
  if (view.getUint16(at + Record.length, true) !== length) return false;
  if (view.getInt32(at + Record.generation, true) !== name.generation) return false;
  const format = view.getUint8(at + Record.format);
  const sum = kernels.checksum(at + Record.header, length, seedOf(name, format, length));
  return view.getInt32(at + Record.checksum, true) === sum;
}
