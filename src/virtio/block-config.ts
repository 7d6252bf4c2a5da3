/**
 * What a block device tells its driver: feature bits and configuration space. (virtio 1.2, 5.2.3 and 5.2.4.)
 *
 * The logical block is 4096 bytes, the unit of the store, so that a file system or swap area never needs a read-modify-write; a
 * disk that is not a multiple of it has blocks of 512, or its end could not be used. Requests may have any sector of 512 either
 * way, as NBD requests may have any byte.
 * CONFIG_WCE is not offered: no disk here has a cache that can be switched. With FLUSH, and without CONFIG_WCE, a driver
 * takes the cache for write-back and flushes; this costs one bio, which a disk in RAM ends at once.
 */
import { assert } from '../base/assert.ts';
import type { Disk } from '../block/ops.ts';

export const SECTOR_BYTES = 512;
export const CONFIG_BYTES = 60;
/** Data segments of a request, and their length: a request has at most SEGMENTS_MAX x SEGMENT_BYTES_MAX bytes. */
const SEGMENTS_MAX = 126;
const SEGMENT_BYTES_MAX = 65536;
/** One request is served at once, so its work is bounded: about 4 ms of copies. */
export const REQUEST_BYTES_MAX: number = SEGMENTS_MAX * SEGMENT_BYTES_MAX;
/** Ranges of a discard or write-zeroes, and their length. A request frees at most 32,768 pages, about 20 ms. */
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
  view.setUint16(26, 2 ** physicalExponent, true); // least I/O, logical blocks
  view.setUint16(34, queueCount, true);
  if (!disk.readOnly) {
    view.setUint32(36, RANGE_SECTORS_MAX, true);
    view.setUint32(40, RANGES_MAX, true);
    view.setUint32(44, Math.ceil(limits.discardGranularityBytes / SECTOR_BYTES), true);
    view.setUint32(48, RANGE_SECTORS_MAX, true);
    view.setUint32(52, RANGES_MAX, true);
    view.setUint8(56, 1); // write-zeroes may free
  }
  return new Uint8Array(view.buffer);
}
