/**
 * The file of a saved user of the tmem socket: what a host needs besides the stream of a Save to give the user its pools
 * again. 32-bit little-endian words.
 *
 *   head    magic "FSWTUSER", version, flags, user id, most pages of the stream, 0, checksum of the head        32 bytes
 *   stream  the pools and pages: src/tmem/stream.ts; it ends with a record of its own
 *   tail    magic "TAIL", pools, pages, damaged pages, pools left out, 16 × (pool, lease, uuid), checksum       408 bytes
 *
 * The names are behind the stream because the user may open and destroy pools until the stream ends. The last word is the
 * CRC-32 of everything before it; it detects every burst of up to 32 bits, and each page has a checksum of its own. Unused
 * entries and words are 0. Nothing in a file is trusted: see user-restore.ts.
 */
import { crc32 } from 'node:zlib';
import { POOLS_PER_CLIENT } from '../results.ts';

const MAGIC_LOW = 0x5457_5346; // "FSWT"
const MAGIC_HIGH = 0x5245_5355; // "USER"
const MAGIC_TAIL = 0x4c49_4154; // "TAIL"
const VERSION = 1;

const HeadAt = { version: 8, flags: 12, uid: 16, pages: 20, zero: 24, checksum: 28 } as const;
const HeadFlag = { ownSettings: 1, raw: 2 } as const;
const HEAD_FLAGS_ALL = 3;
/** Bytes of a head. */
export const HEAD_BYTES = 32;

const TailAt = { pools: 4, pages: 8, damaged: 12, left: 16, entries: 20 } as const;
const EntryAt = { pool: 0, lease: 4, uuid: 8, bytes: 24 } as const;
const TAIL_CHECKSUM_AT = TailAt.entries + POOLS_PER_CLIENT * EntryAt.bytes;
/** Bytes of a tail. */
export const TAIL_BYTES: number = TAIL_CHECKSUM_AT + 4;

/** User ids are below this; the last one means "no user" in system calls. */
const UID_END = 0xffff_ffff;

export interface FileHead {
  readonly uid: number;
  /** The stream has at most this many pages. */
  readonly pages: number;
  /** An operator has set the weight, the cap or the compression of the user. */
  readonly hasOwnSettings: boolean;
  readonly compress: boolean;
}

export interface FilePool {
  readonly pool: number;
  /** Seconds; never 0. */
  readonly lease: number;
  /** 32 hex digits. */
  readonly name: string;
}

export interface FileTail {
  readonly pools: readonly FilePool[];
  readonly pages: number;
  /** Pages that could not be read, and are not in the file. */
  readonly damagedPages: number;
  /** Pools without a name or a lease, which are not in the file. */
  readonly leftPools: number;
}

/** Why bytes are not a head or a tail. */
export interface Unusable {
  readonly why: string;
}

const viewOf = ({ buffer, byteOffset, length }: Uint8Array): DataView =>
  new DataView(buffer, byteOffset, length);

export function encodeHead({ uid, pages, hasOwnSettings, compress }: FileHead): Uint8Array {
  const bytes = new Uint8Array(HEAD_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC_LOW, true);
  view.setUint32(4, MAGIC_HIGH, true);
  view.setUint32(HeadAt.version, VERSION, true);
  const flags = (hasOwnSettings ? HeadFlag.ownSettings : 0) | (compress ? 0 : HeadFlag.raw);
  view.setUint32(HeadAt.flags, flags, true);
  view.setUint32(HeadAt.uid, uid, true);
  view.setUint32(HeadAt.pages, pages, true);
  view.setUint32(HeadAt.checksum, crc32(bytes.subarray(0, HeadAt.checksum)), true);
  return bytes;
}

/** @param bytes HEAD_BYTES */
export function decodeHead(bytes: Uint8Array): FileHead | Unusable {
  const view = viewOf(bytes);
  const word = (at: number): number => view.getUint32(at, true);
  if (word(0) !== MAGIC_LOW || word(4) !== MAGIC_HIGH)
    return { why: 'it is not a saved user of a tmem socket' };
  if (word(HeadAt.version) !== VERSION)
    return {
      why: `it has version ${word(HeadAt.version)}, and this host reads version ${VERSION}`,
    };
  if (word(HeadAt.checksum) !== crc32(bytes.subarray(0, HeadAt.checksum)))
    return { why: 'its head is damaged' };
  const flags = word(HeadAt.flags);
  if (flags > HEAD_FLAGS_ALL || word(HeadAt.zero) !== 0) return { why: 'it has unknown flags' };
  const uid = word(HeadAt.uid);
  if (uid >= UID_END) return { why: 'its user is not valid' };
  return {
    uid,
    pages: word(HeadAt.pages),
    hasOwnSettings: (flags & HeadFlag.ownSettings) !== 0,
    compress: (flags & HeadFlag.raw) === 0,
  };
}

/** @param checksum CRC-32 of the head and the stream */
export function encodeTail(tail: FileTail, checksum: number): Uint8Array {
  const bytes = new Uint8Array(TAIL_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC_TAIL, true);
  view.setUint32(TailAt.pools, tail.pools.length, true);
  view.setUint32(TailAt.pages, tail.pages, true);
  view.setUint32(TailAt.damaged, tail.damagedPages, true);
  view.setUint32(TailAt.left, tail.leftPools, true);
  for (const [i, { pool, lease, name }] of tail.pools.entries()) {
    const at = TailAt.entries + i * EntryAt.bytes;
    view.setUint32(at + EntryAt.pool, pool, true);
    view.setUint32(at + EntryAt.lease, lease, true);
    for (let word = 0; word < 4; word++)
      view.setUint32(
        at + EntryAt.uuid + 4 * word,
        Number.parseInt(name.slice(8 * word, 8 * word + 8), 16),
      );
  }
  const whole = crc32(bytes.subarray(0, TAIL_CHECKSUM_AT), checksum);
  view.setUint32(TAIL_CHECKSUM_AT, whole, true);
  return bytes;
}

/**
 * @param bytes TAIL_BYTES
 * @param checksum CRC-32 of the head and the stream; null: it is not known, and not checked
 */
export function decodeTail(bytes: Uint8Array, checksum: number | null): FileTail | Unusable {
  const view = viewOf(bytes);
  const word = (at: number): number => view.getUint32(at, true);
  if (word(0) !== MAGIC_TAIL) return { why: 'its end is missing' };
  if (
    checksum !== null &&
    word(TAIL_CHECKSUM_AT) !== crc32(bytes.subarray(0, TAIL_CHECKSUM_AT), checksum)
  )
    return { why: 'its checksum is wrong' };
  const count = word(TailAt.pools);
  if (count > POOLS_PER_CLIENT) return { why: `it has ${count} pools` };
  const pools: FilePool[] = [];
  for (let i = 0; i < count; i++) {
    const at = TailAt.entries + i * EntryAt.bytes;
    const [pool, lease] = [word(at + EntryAt.pool), word(at + EntryAt.lease)];
    let name = '';
    for (let k = 0; k < 4; k++)
      name += view
        .getUint32(at + EntryAt.uuid + 4 * k)
        .toString(16)
        .padStart(8, '0');
    if (pool >= POOLS_PER_CLIENT) return { why: `it has a pool ${pool}` };
    if (lease === 0) return { why: `pool ${pool} has no lease` };
    if (pools.some((other) => other.pool === pool)) return { why: `it has pool ${pool} twice` };
    if (pools.some((other) => other.name === name)) return { why: 'two pools have one name' };
    pools.push({ pool, lease, name });
  }
  for (let at = TailAt.entries + count * EntryAt.bytes; at < TAIL_CHECKSUM_AT; at += 4)
    if (word(at) !== 0) return { why: 'it has an entry for a pool beyond its last one' };
  const [pages, damagedPages, leftPools] = [
    word(TailAt.pages),
    word(TailAt.damaged),
    word(TailAt.left),
  ];
  return { pools, pages, damagedPages, leftPools };
}

/** Whether a pool of a user outlives its connections, so that a client could open it after a restore. */
export const isKept = ({
  isDoomed,
  name,
  lease,
}: {
  isDoomed: boolean;
  name: string;
  lease: number;
}): boolean => !isDoomed && name !== '' && lease > 0;
