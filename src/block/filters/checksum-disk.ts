/**
 * Remembers a checksum of every block that is written whole, and fails the read that brings anything else: a sector gone
 * bad, a file cut short or written by somebody else, a page that went to, or came from, the wrong place. What it fails
 * ends with ioError; damaged bytes are never data.
 *
 *   write        sums[block] = sum(bytes)                not whole, or failed: forgotten, nobody knows what is there
 *   read         sums of what came = sums remembered when it was submitted?  no: ioError
 *   writeZeroes  the sum of zeros, block by block         discard, slotFree: forgotten
 *
 *   sums:    │ 0 = not known │ a 32-bit sum, never 0 │     by block of 4 KiB
 *   writers: │ number of the last bio that wrote it  │     whose failure, and no older one's, forgets the block
 *
 * Sums change at submission. Bios whose ranges overlap take effect in the order of submission, so what a read must find
 * is known when it is submitted, whatever is in flight; the expectation travels in the bio's frame. A read behind a write
 * that then fails finds what it should not, and fails with it.
 *
 * The sum: four lanes of xor, odd multiplication and rotation over the words, folded. Each step is one to one, so any
 * damage within one aligned word is seen for certain; what is worse passes once in 2^32. It is no defence against
 * somebody who wants to forge a page.
 *
 * Cost: 8 bytes a block, untouched ones taking no memory; about a microsecond a page, on its way down and up. Nothing is
 * allocated but a view when `data` is of another buffer than the bio's before.
 * Left out: reads of parts of blocks cannot be checked, and count as not known. Sums are gone with the process.
 */
import { assert } from '../../base/assert.ts';
import { type CounterSpec, Counters } from '../../base/counters.ts';
import { PAGE_BYTES } from '../../base/units.ts';
import { type Bio, BioOp, BioQueue, BioStatus, type Range } from '../bio.ts';
import type { Disk } from '../ops.ts';
import { passThrough } from './pass-through.ts';

export interface ChecksumOptions {
  /** A read of blocks whose sums are not all known: it ends with ioError, or passes unchecked. */
  readonly unknown: 'fail' | 'pass';
}

type ChecksumCounter = 'checked' | 'mismatches' | 'unknown';
const SPECS: Readonly<Record<ChecksumCounter, CounterSpec>> = {
  checked: { unit: 'bios', mustStayZero: false, help: 'reads that brought what was written' },
  mismatches: { unit: 'bios', mustStayZero: true, help: 'reads that brought something else' },
  unknown: {
    unit: 'bios',
    mustStayZero: false,
    help: 'reads of blocks not written whole, or of parts of blocks',
  },
};

export interface ChecksumDisk extends Disk {
  readonly counters: Counters<ChecksumCounter>;
}

export function checksumDisk(next: Disk, { unknown }: ChecksumOptions): ChecksumDisk {
  const counters = new Counters<ChecksumCounter>(SPECS);
  const { values, index } = counters;
  const sums = new BlockSums(next.sizeBytes);
  const failed = new BioQueue();
  const reader = {
    bioEnd(bio: Bio): void {
      const want = bio.leave();
      if (bio.status === BioStatus.ok) {
        const isSame = sums.found(bio) === want;
        values[isSame ? index.checked : index.mismatches]! += 1;
        if (!isSame) bio.status = BioStatus.ioError;
      }
      bio.owner.bioEnd(bio);
    },
  };
  const writer = {
    bioEnd(bio: Bio): void {
      const number = bio.leave();
      if (bio.status !== BioStatus.ok) sums.disown(bio, number);
      bio.owner.bioEnd(bio);
    },
  };
  const read = (bio: Bio): void => {
    const want = sums.expected(bio);
    if (want !== 0) bio.enter(reader, want);
    else values[index.unknown]! += 1;
    if (want !== 0 || unknown === 'pass') {
      next.submit(bio);
      return;
    }
    bio.status = BioStatus.ioError;
    failed.push(bio);
  };
  return {
    ...passThrough(next),
    counters,
    submit(bio) {
      const { op } = bio;
      if (op === BioOp.flush || !isInside(bio, next.sizeBytes)) next.submit(bio);
      else if (op === BioOp.read) read(bio);
      else {
        if (op === BioOp.discard) sums.forget(bio);
        else bio.enter(writer, sums.record(bio));
        next.submit(bio);
      }
    },
    tick: () => failed.endAll() + next.tick(),
    ...(next.slotFree === undefined
      ? {}
      : {
          slotFree(slot) {
            next.slotFree?.(slot);
            sums.forgetBlock(slot);
          },
        }),
  };
}

const isInside = ({ offset, length }: Range, sizeBytes: number): boolean =>
  offset >= 0 && length > 0 && offset + length <= sizeBytes;

const firstBlock = ({ offset }: Range): number => Math.floor(offset / PAGE_BYTES);
/** Behind the last that the range touches. */
const endBlock = ({ offset, length }: Range): number => Math.ceil((offset + length) / PAGE_BYTES);

/** The two tables, and the sums of the data of bios. */
class BlockSums {
  /** By block: the sum of its bytes, 0 = not known. */
  readonly #sums: Int32Array;
  /** By block: number of the bio that wrote it last. */
  readonly #writers: Int32Array;
  /** Counts bios that write; wraps. */
  #number = 0;
  /** The words of the buffer that bios carry, as a rule always the same one. */
  #buffer: ArrayBufferLike = new ArrayBuffer(0);
  #words: Int32Array = new Int32Array(this.#buffer);
  /** A block that does not begin at a word; zeros between two uses. */
  readonly #block: Uint8Array = new Uint8Array(PAGE_BYTES);
  readonly #blockWords: Int32Array = new Int32Array(this.#block.buffer);

  constructor(sizeBytes: number) {
    const blocks = Math.ceil(sizeBytes / PAGE_BYTES);
    assert(blocks < 2 ** 31, 'a block has a number below 2^31');
    this.#sums = new Int32Array(blocks);
    this.#writers = new Int32Array(blocks);
  }

  /** A bio that writes data or zeros has been submitted. Its number, for disown(). */
  record(bio: Bio): number {
    this.#number = (this.#number + 1) | 0;
    const end = endBlock(bio);
    for (let block = firstBlock(bio); block < end; block++) {
      const at = block * PAGE_BYTES - bio.offset;
      const isWhole = at >= 0 && at + PAGE_BYTES <= bio.length;
      this.#writers[block] = this.#number;
      this.#sums[block] = isWhole ? this.#sumOf(bio, at) : 0;
    }
    return this.#number;
  }

  /** The bio has failed: what it was the last to write is not known. */
  disown(bio: Bio, number: number): void {
    const end = endBlock(bio);
    for (let block = firstBlock(bio); block < end; block++)
      if (this.#writers[block] === number) this.#sums[block] = 0;
  }

  forget(bio: Bio): void {
    const end = endBlock(bio);
    for (let block = firstBlock(bio); block < end; block++) this.forgetBlock(block);
  }

  forgetBlock(block: number): void {
    // What was never written is not touched: the table takes memory as it is used.
    if (this.#sums[block] !== 0) this.#sums[block] = 0;
  }

  /** What the blocks of a read must fold to; 0: not all are whole and known. */
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

  /** What the blocks of a read that has been done fold to. */
  found(bio: Bio): number {
    const end = endBlock(bio);
    let all = 0;
    for (let block = firstBlock(bio); block < end; block++)
      all = mix(all, this.#sumOf(bio, block * PAGE_BYTES - bio.offset));
    return all === 0 ? 1 : all;
  }

  /** Of the block `at` bytes into what the bio moves. */
  #sumOf(bio: Bio, at: number): number {
    if (bio.op === BioOp.writeZeroes) return sumOf(this.#blockWords, 0);
    const { data } = bio;
    const place = bio.at + at;
    if ((data.byteOffset + place) % 4 !== 0) {
      for (let i = 0; i < PAGE_BYTES; i++) this.#block[i] = data[place + i]!;
      const sum = sumOf(this.#blockWords, 0);
      this.#block.fill(0);
      return sum;
    }
    if (data.buffer !== this.#buffer) {
      this.#buffer = data.buffer;
      this.#words = new Int32Array(data.buffer, 0, Math.floor(data.buffer.byteLength / 4));
    }
    return sumOf(this.#words, (data.byteOffset + place) / 4);
  }
}

/** One to one in each of its arguments. */
function mix(state: number, word: number): number {
  const product = Math.imul(state ^ word, 0x9e3779b1);
  return (product << 15) | (product >>> 17);
}

/** Of the 4 KiB from word `from` on; never 0. */
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
