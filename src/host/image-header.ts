/**
 * The first page of a disk's image: what a host needs to serve the disk again.
 *
 *   0   magic "FSWPDISK"       32  generation, 8 ASCII digits     512  settings as text, as of --disk
 *   8   version                40  CRC-32 of the layout of shards
 *   12  CRC-32 of [16, 4096)   44  length of the settings
 *   16  size of the disk       48  boot id, 36 ASCII characters
 *   24  bytes per shard                128  identity of the backing, at most 64 ASCII characters; none: zeros
 *
 * Numbers are little-endian; sizes have 64 bits. The header is written as one page in one write, which a kill cannot interrupt
 * halfway.
 */
import { readFileSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { classTable } from '../arena/layout.ts';
import { printable } from '../base/printable.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { tablesBytes, tablesImageBytes } from '../block/disks/ramzswap/backing-tables.ts';
import { imageOf, VERSION as SHARD_VERSION } from '../store/image.ts';
import { SHARD_SLOTS_MAX } from '../store/shard-parts.ts';

export const HEADER_BYTES: number = PAGE_BYTES;
/** Offset of shard 0. */
export const SHARDS_AT = 65536;
const MAGIC = 'FSWPDISK';
const VERSION = 2;
const CHECKED_AT = 16;
const BACKING_AT = 128;
const BACKING_BYTES_MAX = 64;
const SETTINGS_AT = 512;
const SETTINGS_BYTES_MAX = HEADER_BYTES - SETTINGS_AT;

export interface ImageHeader {
  readonly sizeBytes: number;
  /** Eight hexadecimal digits; see disk-exports.ts. */
  readonly generation: string;
  /** `NAME=SIZE[,KEY=VALUE]`. */
  readonly settings: string;
  /** Identifies the file or device whose pages the tables of the backing name; '' if there is none. */
  readonly backing: string;
}

/** Whether the settings of a disk fit in a header. */
export const fitsHeader = (settings: string): boolean =>
  Buffer.byteLength(settings) <= SETTINGS_BYTES_MAX;

/** Bytes of shard 0; also the distance between shards. */
export const shardBytes = (sizeBytes: number): number =>
  imageOf(Math.min(sizeBytes / PAGE_BYTES, SHARD_SLOTS_MAX)).bytes;

/** Offset of the tables of the backing, which are in every file: without a backing they are a hole. */
export function tablesAt(sizeBytes: number): number {
  const slots = sizeBytes / PAGE_BYTES;
  const full = Math.floor(slots / SHARD_SLOTS_MAX);
  const rest = slots % SHARD_SLOTS_MAX;
  return SHARDS_AT + full * shardBytes(sizeBytes) + (rest > 0 ? imageOf(rest).bytes : 0);
}

/** Bytes of the file of a disk. */
export const fileBytes = (sizeBytes: number): number =>
  tablesAt(sizeBytes) + tablesImageBytes(sizeBytes / PAGE_BYTES);

/** Identifies this boot: an image is valid only until the machine restarts. */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim().slice(0, 36);
  } catch {
    return '';
  }
}

/** Changes if any offset or size class that an image depends on changes. */
function layoutSum(): number {
  const { objectBytes, zspagePages, objects } = classTable;
  let sum = crc32(
    JSON.stringify([SHARD_VERSION, imageOf(SHARD_SLOTS_MAX), tablesBytes(SHARD_SLOTS_MAX)]),
  );
  for (const table of [objectBytes, zspagePages, objects]) sum = crc32(table, sum);
  return sum;
}

export function encodeHeader({ sizeBytes, generation, settings, backing }: ImageHeader): Buffer {
  const page = Buffer.alloc(HEADER_BYTES);
  page.write(MAGIC, 0, 'latin1');
  page.writeUInt32LE(VERSION, 8);
  page.writeBigUInt64LE(BigInt(sizeBytes), 16);
  page.writeBigUInt64LE(BigInt(shardBytes(sizeBytes)), 24);
  page.write(generation, 32, 8, 'latin1');
  page.writeUInt32LE(layoutSum(), 40);
  page.writeUInt32LE(page.write(settings, SETTINGS_AT), 44);
  page.write(bootId(), 48, 36, 'latin1');
  page.write(backing, BACKING_AT, BACKING_BYTES_MAX, 'latin1');
  page.writeUInt32LE(crc32(page.subarray(CHECKED_AT)), 12);
  return page;
}

/** The header in the first page of a file of `fileSize` bytes, or why it is not usable. */
export function decodeHeader(page: Buffer, fileSize: number): ImageHeader | { why: string } {
  if (page.length < HEADER_BYTES) return { why: `the file is too short: ${fileSize} bytes` };
  if (page.toString('latin1', 0, 8) !== MAGIC)
    return { why: 'the file is not the image of a disk' };
  const version = page.readUInt32LE(8);
  if (version !== VERSION) return { why: `the header has version ${version}, not ${VERSION}` };
  if (page.readUInt32LE(12) !== crc32(page.subarray(CHECKED_AT)))
    return { why: 'the header does not match its checksum' };
  if (page.readUInt32LE(40) !== layoutSum())
    return { why: 'it was written by a version of frontswap with another layout' };
  const boot = page.toString('latin1', 48, 84).replace(/\0+$/, '');
  if (boot !== bootId()) return { why: 'it was written before the machine was started' };
  const sizeBytes = Number(page.readBigUInt64LE(16));
  const generation = page.toString('latin1', 32, 40);
  const length = page.readUInt32LE(44);
  const isSane = sizeBytes > 0 && sizeBytes % PAGE_BYTES === 0 && sizeBytes <= 2 ** 43;
  const isText = length <= SETTINGS_BYTES_MAX;
  const settings = isText ? page.toString('utf8', SETTINGS_AT, SETTINGS_AT + length) : '';
  // Settings are printed on terminals.
  const isSafe = isText && printable(settings) === settings;
  const end = BACKING_AT + BACKING_BYTES_MAX;
  const backing = page.toString('latin1', BACKING_AT, end).replace(/\0+$/, '');
  if (!isSane || !isSafe || !/^[a-z0-9: ]*$/.test(backing) || !/^[0-9a-f]{8}$/.test(generation))
    return { why: 'the header has impossible values' };
  if (fileSize !== fileBytes(sizeBytes))
    return { why: `the file has ${fileSize} bytes instead of ${fileBytes(sizeBytes)}` };
  return { sizeBytes, generation, settings, backing };
}
