/**
 * Keeps a checksum of every block written in full and fails reads that return other bytes: bad sectors, files truncated
 * or overwritten by others, misdirected reads and writes. A failed read ends with ioError; damaged bytes are never
 * returned as data.
 *
 *   write        sums[block] = sum(bytes)                 partial or failed write: the sum is dropped
 *   read         compares the sums of the bytes read with those known at submission; ioError on mismatch
 *   writeZeroes  sums[block] = sum(zeros)                 discard, slotFree: the sum is dropped
 *
 *   sums:    │ 0 = unknown │ a 32-bit sum, never 0 │      one per 4 KiB block
 *   writers: │ number of the last bio that wrote it │     only the failure of that bio drops the sum
 *
 * Sums change at submission. Bios with overlapping ranges take effect in the order of submission, so the expected sum
 * of a read is known when it is submitted, whatever is in flight; it is kept in the frame of the bio. A read that
 * follows a write which then fails does not match and fails too.
 *
 * The sum: four lanes of xor, multiplication by an odd number and rotation, folded into one word. Each step is
 * bijective, so damage within one aligned word is always detected; other damage is missed once in 2^32. It does not
 * protect against deliberate forgery.
 *
 * Cost: 8 bytes per block, resident once used; about 1 us per page for each write and each read. It allocates only a
 * view when the buffer of `data` differs from that of the previous bio.
 * Limits: partial reads of a block cannot be checked and count as unknown. Sums are lost when the process ends.
 */
import { assert } from '../../base/assert.ts';
import { type CounterSpec, Counters, counted, mustStayZero } from '../../base/counters.ts';
import { PAGE_BYTES } from '../../base/units.ts';
import { type Bio, BioOp, BioQueue, BioStatus, isInside, type Range } from '../bio.ts';
import type { Disk } from '../ops.ts';
import { passThrough, slotFreeWith } from './pass-through.ts';

/** Options of checksumDisk(). */
export interface ChecksumOptions {
  /** Whether a read of blocks with unknown sums ends with ioError or passes unchecked. */
  readonly unknown: 'fail' | 'pass';
}

type ChecksumCounter = 'checked' | 'mismatches' | 'unknown';
const SPECS: Readonly<Record<ChecksumCounter, CounterSpec>> = {
  checked: counted('bios', 'reads that matched'),
  mismatches: mustStayZero('bios', 'reads that did not match'),
  unknown: counted('bios', 'reads of blocks without a sum, and partial reads of blocks'),
};

/** A checksum filter, with its counters. */
export interface ChecksumDisk extends Disk {
  readonly counters: Counters<ChecksumCounter>;
}

const tables = new WeakMap<ChecksumDisk, Int32Array>();

/** By block: the sum of its bytes, 0 = unknown. For native code that bypasses the filter. */
export const sumsOf = (disk: ChecksumDisk): Int32Array => tables.get(disk)!;

/** Wraps `next` in a filter that fails reads whose bytes differ from those written through it. */
export function checksumDisk(next: Disk, { unknown }: ChecksumOptions): ChecksumDisk {
  const counters = new Counters<ChecksumCounter>(SPECS);
  const { values, index } = counters;
  const sums = new BlockSums(next.sizeBytes);
  const failed = new BioQueue();
  const reader = {
    bioEnd(bio: Bio): void {
      const expected = bio.leave();
      if (bio.status === BioStatus.ok) {
        const isSame = sums.actual(bio) === expected;
        values[isSame ? index.checked : index.mismatches]! += 1;
        if (!isSame) bio.status = BioStatus.ioError;
      }
      bio.owner.bioEnd(bio);
    },
  };
  const writer = {
    bioEnd(bio: Bio): void {
      const number = bio.leave();
      if (bio.status !== BioStatus.ok) sums.dropWritten(bio, number);
      bio.owner.bioEnd(bio);
    },
  };
  const read = (bio: Bio): void => {
    const expected = sums.expected(bio);
    if (expected !== 0) bio.enter(reader, expected);
    else values[index.unknown]! += 1;
    if (expected !== 0 || unknown === 'pass') {
      next.submit(bio);
      return;
    }
    bio.status = BioStatus.ioError;
    failed.push(bio);
  };
  const disk: ChecksumDisk = {
    ...passThrough(next),
    counters,
    submit(bio) {
      const { op } = bio;
      if (op === BioOp.flush || !isInside(bio, next)) next.submit(bio);
      else if (op === BioOp.read) read(bio);
      else {
        if (op === BioOp.discard) sums.drop(bio);
        else bio.enter(writer, sums.record(bio));
        next.submit(bio);
      }
    },
    tick: () => failed.endAll() + next.tick(),
    ...slotFreeWith(next, (slot) => {
      next.slotFree?.(slot);
      sums.dropBlock(slot);
    }),
  };
  tables.set(disk, sums.table);
  return disk;
}

const firstBlock = ({ offset }: Range): number => Math.floor(offset / PAGE_BYTES);
/** One past the last block that the range touches. */
const endBlock = ({ offset, length }: Range): number => Math.ceil((offset + length) / PAGE_BYTES);

/** The two tables, and the sums over the data of bios. */
class BlockSums {
  readonly #sums: Int32Array;
  /** By block: number of the last bio that wrote it. */
  readonly #writers: Int32Array;
  /** Number of the last bio that wrote; wraps. */
  #number = 0;
  /** A view of the buffer of the last bio; most bios share one buffer. */
  #buffer: ArrayBufferLike = new ArrayBuffer(0);
  #words: Int32Array = new Int32Array(this.#buffer);
  /** Aligned copy of an unaligned block; all zeros between uses. */
  readonly #block: Uint8Array = new Uint8Array(PAGE_BYTES);
  readonly #blockWords: Int32Array = new Int32Array(this.#block.buffer);

  constructor(sizeBytes: number) {
    const blocks = Math.ceil(sizeBytes / PAGE_BYTES);
    assert(blocks < 2 ** 31, 'blocks < 2^31');
    this.#sums = new Int32Array(blocks);
    this.#writers = new Int32Array(blocks);
  }

  get table(): Int32Array {
    return this.#sums;
  }

  /** Records a submitted bio that writes data or zeros. Returns its number for dropWritten(). */
  record(bio: Bio): number {
    this.#number = (this.#number + 1) | 0;
    const end = endBlock(bio);
    for (let block = firstBlock(bio); block < end; block++) {
      const at = block * PAGE_BYTES - bio.offset;
      const isFull = at >= 0 && at + PAGE_BYTES <= bio.length;
      this.#writers[block] = this.#number;
      this.#sums[block] = isFull ? this.#sumOf(bio, at) : 0;
    }
    return this.#number;
  }

  /** Drops the sums of the blocks whose last writer is this failed bio. */
  dropWritten(bio: Bio, number: number): void {
    const end = endBlock(bio);
    for (let block = firstBlock(bio); block < end; block++)
      if (this.#writers[block] === number) this.#sums[block] = 0;
  }

  drop(bio: Bio): void {
    const end = endBlock(bio);
    for (let block = firstBlock(bio); block < end; block++) this.dropBlock(block);
  }

  dropBlock(block: number): void {
    // Without the check, a discard of unused blocks would make their part of the table resident.
    if (this.#sums[block] !== 0) this.#sums[block] = 0;
  }

  /** The expected sum of all blocks of a read; 0 when one is partial or unknown. */
  expected(bio: Bio): number {
    if (bio.offset % PAGE_BYTES !== 0 || bio.length % PAGE_BYTES !== 0) return 0;
    const end = endBlock(bio);
    let all = 0;
    for (let block = firstBlock(bio); block < end; block++) {
      const sum = this.#sums[block]!;
      if (sum === 0) return 0;
      all = mix(all, sum);
    }
    return all === 0 ? 1 : all;
  }

  /** The sum of all blocks of a completed read. */
  actual(bio: Bio): number {
    const end = endBlock(bio);
    let all = 0;
    for (let block = firstBlock(bio); block < end; block++)
      all = mix(all, this.#sumOf(bio, block * PAGE_BYTES - bio.offset));
    return all === 0 ? 1 : all;
  }

  /** The sum of the block that starts `at` bytes into the data of the bio. */
  #sumOf(bio: Bio, at: number): number {
    if (bio.op === BioOp.writeZeroes) return sumOf(this.#blockWords, 0);
    const { data } = bio;
    const from = bio.at + at;
    if ((data.byteOffset + from) % 4 !== 0) {
      for (let i = 0; i < PAGE_BYTES; i++) this.#block[i] = data[from + i]!;
      const sum = sumOf(this.#blockWords, 0);
      this.#block.fill(0);
      return sum;
    }
    if (data.buffer !== this.#buffer) {
      this.#buffer = data.buffer;
      this.#words = new Int32Array(data.buffer, 0, Math.floor(data.buffer.byteLength / 4));
    }
    return sumOf(this.#words, (data.byteOffset + from) / 4);
  }
}

/** Bijective in each argument. */
function mix(state: number, word: number): number {
  const product = Math.imul(state ^ word, 0x9e3779b1);
  return (product << 15) | (product >>> 17);
}

/** The sum of 4 KiB from word `from` on; never 0. */
function sumOf(words: Int32Array, from: number): number {
  const end = from + PAGE_BYTES / 4;
  let a = 0x243f6a88;
  let b = 0x13198a2e;
  let c = 0x2b7e1516;
  let d = 0x3c6ef372;
  for (let at = from; at < end; at += 4) {
    a = mix(a, words[at]!);
    b = mix(b, words[at + 1]!);
    c = mix(c, words[at + 2]!);
    d = mix(d, words[at + 3]!);
  }
  const sum = mix(mix(mix(mix(0, a), b), c), d);
  return sum === 0 ? 1 : sum;
}
