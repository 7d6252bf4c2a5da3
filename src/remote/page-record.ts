/**
 * A page as it lies on the other machine: a header and the packed bytes. It says which page it is, so that a page which was
 * damaged there or on the way, or mixed up with another, is not taken for it.
 *
 *   0 version  1 format  2 bytes u16  4 generation u32  8 checksum u32  12 packed bytes        little-endian
 *
 * The checksum is over the packed bytes, seeded with all that must not be mixed up: client and boot, epoch of the area,
 * slot, generation, format and length. It has no key: it tells damage, not malice. Whoever runs the other machine, or sits
 * on the way to it, reads the pages and can make a record that fits bytes of their own.
 *
 * Cost: one checksum of the packed bytes, where they lie.
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
/** Longest record: what is longer when packed is stored raw, and stays where it is. */
export const RECORD_BYTES_MAX: number = Record.header + COMPRESSED_BYTES_MAX;

/** Which page a record is of. One is reused for all: nothing is allocated for a page. */
export interface PageName {
  /** Of the client and its boot. */
  owner: number;
  /** Number of the area's life: an area that was off in between is another. */
  epoch: number;
  offset: number;
  /** How often the slot's page has been sent: a slot that is used again is another page. */
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

/** Writes the header in front of `length` packed bytes, which lie at `at` + Record.header in the kernels' memory. */
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

/** True when the `bytes` bytes at `at` are the record of that very page, undamaged. */
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
