/**
 * The feature bits and configuration space that a block device shows its driver. (virtio 1.2, 5.2.3 and 5.2.4.)
 *
 * The logical block is 4096 bytes, the unit of the store, so that a file system or swap area never needs a read-modify-write. A
 * disk with a size that is not a multiple of 4096 has blocks of 512, because otherwise its end could not be used. In both cases
 * requests may start at any 512-byte sector, just as NBD requests may start at any byte. CONFIG_WCE is not offered, because no
 * disk here has a cache that can be switched on and off. With FLUSH and without CONFIG_WCE, a driver assumes a write-back cache
 * and flushes; this costs one bio, which a disk in RAM ends immediately.
 */
import { assert } from '../base/assert.ts';
import type { Disk } from '../block/ops.ts';

export const SECTOR_BYTES = 512;
export const CONFIG_BYTES = 60;
/**
 * Maximum number of data segments of a request, and their maximum length: a request has at most SEGMENTS_MAX x
 * SEGMENT_BYTES_MAX bytes.
 */
const SEGMENTS_MAX = 126;
const SEGMENT_BYTES_MAX = 65536;
/** A request is served without interruption, so its work is limited: about 4 ms of copies. */
export const REQUEST_BYTES_MAX: number = SEGMENTS_MAX * SEGMENT_BYTES_MAX;
/**
 * Maximum number of ranges of a discard or write-zeroes, and their maximum length. A request frees at most 32,768 pages, in
 * about 20 ms.
 */
export const RANGES_MAX = 8;
export const RANGE_SECTORS_MAX: number = (16 * 1024 * 1024) / SECTOR_BYTES;

const Feature = {
  sizeMax: 1,
  segMax: 2,
  readOnly: 5,
  blkSize: 6,
  flush: 9,
  topology: 10,
  mq: 12,
  discard: 13,
  writeZeroes: 14,
  indirect: 28,
  eventIndex: 29,
  version1: 32,
} as const;

const bit = (feature: number): bigint => 1n << BigInt(feature);
export const INDIRECT: bigint = bit(Feature.indirect);
export const EVENT_INDEX: bigint = bit(Feature.eventIndex);

export function featuresOf(disk: Disk): bigint {
  const { readOnly, discard, writeZeroes, ...always } = Feature;
  const some = disk.readOnly ? [readOnly] : [discard, writeZeroes];
  return [...Object.values(always), ...some].reduce((all, one) => all | bit(one), 0n);
}

/** struct virtio_blk_config. */
export function configOf(disk: Disk, queueCount: number): Uint8Array {
  const { sizeBytes, limits } = disk;
  const blockBytes = sizeBytes % 4096 === 0 ? 4096 : SECTOR_BYTES;
  const physicalExponent = Math.log2(Math.max(blockBytes, limits.physicalBlockBytes) / blockBytes);
  assert(Number.isInteger(physicalExponent), 'the physical block is a power of two');
  const view = new DataView(new ArrayBuffer(CONFIG_BYTES));
  view.setBigUint64(0, BigInt(Math.floor(sizeBytes / SECTOR_BYTES)), true);
  view.setUint32(8, SEGMENT_BYTES_MAX, true);
  view.setUint32(12, SEGMENTS_MAX, true);
  view.setUint32(20, blockBytes, true);
  view.setUint8(24, physicalExponent);
  view.setUint16(26, 2 ** physicalExponent, true); // minimum I/O size, logical blocks
  view.setUint16(34, queueCount, true);
  if (!disk.readOnly) {
    view.setUint32(36, RANGE_SECTORS_MAX, true);
    view.setUint32(40, RANGES_MAX, true);
    view.setUint32(44, Math.ceil(limits.discardGranularityBytes / SECTOR_BYTES), true);
    view.setUint32(48, RANGE_SECTORS_MAX, true);
    view.setUint32(52, RANGES_MAX, true);
    view.setUint8(56, 1); // write-zeroes may free pages
  }
  return new Uint8Array(view.buffer);
}
