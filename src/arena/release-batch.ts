/**
 * Free pages of some chunks, to be released to the system in one call. A batch is filled and released inside one call of
 * PageRuns, so between calls no page waits for its release, and a page that is used again is never in a batch.
 *
 * Cost: fixed memory, 6 KiB; no allocation.
 */
import { assert } from '../base/assert.ts';
import { popcount } from '../base/bits.ts';
import { PAGE_BYTES, PAGE_SHIFT } from '../base/units.ts';
import type { PageRelease } from './ops.ts';

/** Maximum ranges of a batch; the kernel accepts 1024 (UIO_MAXIOV). */
export const BATCH_RANGES = 512;
/** Maximum ranges of a chunk: every other one of its 32 pages. */
const CHUNK_RANGES = 16;

/** Chunks with free pages, and the ranges of these pages. */
export class ReleaseBatch {
  /** Number of chunks. */
  count = 0;
  /** Number of pages in all ranges. */
  pages = 0;
  readonly #pageRelease: PageRelease;
  /** Position and length of each range, bytes, in turns. */
  readonly #ranges = new Uint32Array(2 * BATCH_RANGES);
  readonly #chunks = new Uint16Array(BATCH_RANGES);
  #rangeCount = 0;

  constructor(pageRelease: PageRelease) {
    this.#pageRelease = pageRelease;
  }

  /** True if another chunk may not fit: release the batch first. */
  get isFull(): boolean {
    return this.#rangeCount > BATCH_RANGES - CHUNK_RANGES;
  }

  /** The chunk that was added as number `index`. */
  chunkAt(index: number): number {
    return this.#chunks[index]!;
  }

  /**
   * Adds the pages of a chunk.
   * @param firstPage number of the first page of the chunk
   * @param free bit i: page i of the chunk is released; not 0
   */
  add(chunk: number, firstPage: number, free: number): void {
    assert(!this.isFull, 'the batch is not full');
    this.#chunks[this.count++] = chunk;
    this.pages += popcount(free);
    let left = free;
    let page = firstPage;
    while (left !== 0) {
      const skipped = 31 - Math.clz32(left & -left);
      left = (left >>> skipped) | 0;
      page += skipped;
      const length = left === -1 ? 32 : 31 - Math.clz32(~left & -~left);
      this.#addRange(page, length);
      left = length === 32 ? 0 : left >>> length;
      page += length;
    }
  }

  /** Releases all ranges. Returns false if the system refuses: some of them may be released. */
  release(): boolean {
    const system = this.#pageRelease;
    const ranges = this.#ranges;
    if (this.#rangeCount > 1 && system.releaseRanges !== undefined)
      return system.releaseRanges(ranges, this.#rangeCount);
    for (let at = 0; at < 2 * this.#rangeCount; at += 2)
      if (!system.release(ranges[at]!, ranges[at + 1]!)) return false;
    return true;
  }

  /** Removes all chunks. */
  clear(): void {
    this.count = 0;
    this.pages = 0;
    this.#rangeCount = 0;
  }

  /** Adds `length` pages from `page`, merged with the previous range if adjacent. */
  #addRange(page: number, length: number): void {
    const at = 2 * this.#rangeCount;
    const from = page * PAGE_BYTES;
    if (at > 0 && this.#ranges[at - 2]! + this.#ranges[at - 1]! === from) {
      this.#ranges[at - 1]! += length << PAGE_SHIFT;
      return;
    }
    this.#ranges[at] = from;
    this.#ranges[at + 1] = length << PAGE_SHIFT;
    this.#rangeCount++;
  }
}
