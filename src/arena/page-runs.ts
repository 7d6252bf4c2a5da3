/**
 * Page runs: allocates runs of 1..12 contiguous pages of a memory and releases free pages to the system.
 *
 * The pages are grouped in chunks of 32, with one row per chunk:
 *
 *   word 0  used    bit i: page i of the chunk is allocated
 *   word 1  dirty   bit i: page i may be resident (allocated since it was last released)
 *   word 2  next    neighbours in the list of chunks whose longest free run has the same length,
 *   word 3  prev    as chunk number + 1; 0 = none
 *
 * There are 33 lists, by longest free run (0..32), and a bit for each list that is not empty: one count of trailing
 * zeros finds the best-fitting chunk. Empty chunks are used last, which keeps fragmentation low. Only address space
 * fragments, not memory: a free page costs nothing once it is released.
 *
 * Invariants
 * - used is a subset of dirty; the budget has 4096 bytes reserved for every dirty page, and the row of every touched
 *   chunk.
 * - A chunk is in exactly the list of its longest free run.
 * - dirtyFreePages = the set bits of dirty & ~used over all chunks; each such chunk has its bit in #releasable.
 *
 * Cost: alloc and free O(1) (a few dozen instructions); releaseFree one system call per run of free pages.
 */
import { assert } from '../base/assert.ts';
import { popcount } from '../base/bits.ts';
import { PAGE_BYTES, PAGE_SHIFT } from '../base/units.ts';
import type { Budget } from './budget.ts';
import type { PageRelease } from './ops.ts';

export const CHUNK_PAGES = 32;
const CHUNK_SHIFT = 5;
/** Words per chunk row. */
const ROW = 4;
const ROW_BYTES = ROW * 4;
const USED = 0;
const DIRTY = 1;
const NEXT = 2;
const PREV = 3;

/** Lists by longest free run, 0..32. */
const LISTS = CHUNK_PAGES + 1;

/** Words of the list table: the heads, then these three. */
const OCCUPIED = LISTS; // bit i: list i is not empty, i < 32
const TOUCHED = LISTS + 1; // chunks ever used; the ones behind are in no list and their rows are untouched
const DIRTY_FREE = LISTS + 2; // pages that are free and may be resident
const LIST_WORDS = LISTS + 3;

/** Bytes of the tables for `pages` pages in the memory image. */
export const pageRunsTableBytes = (pages: number): number =>
  ((pages >>> CHUNK_SHIFT) * ROW + LIST_WORDS + Math.ceil(pages / CHUNK_PAGES / 32)) * 4;

/**
 * Length of the longest run of set bits, 0..32, in about 20 instructions: wN has a bit set where N set bits begin,
 * so wN extends a run of `length` bits by N.
 */
export function longestRun(word: number): number {
  if (word === 0) return 0;
  if (word === -1) return 32;
  const w2 = word & (word >>> 1);
  const w4 = w2 & (w2 >>> 2);
  const w8 = w4 & (w4 >>> 4);
  const w16 = w8 & (w8 >>> 8);
  let length = 1;
  let runs = word;
  if (w16 !== 0) {
    length = 16;
    runs = w16;
  } else if (w8 !== 0) {
    length = 8;
    runs = w8;
  } else if (w4 !== 0) {
    length = 4;
    runs = w4;
  } else if (w2 !== 0) {
    length = 2;
    runs = w2;
  }
  for (let n = length >>> 1; n > 0; n >>>= 1) {
    const longer = runs & ((n === 8 ? w8 : n === 4 ? w4 : n === 2 ? w2 : word) >>> length);
    if (longer !== 0) {
      runs = longer;
      length += n;
    }
  }
  return length;
}

/** Position of the lowest run of `length` set bits, or -1. */
export function findRun(word: number, length: number): number {
  let w = word;
  let have = 1;
  while (have < length) {
    const step = Math.min(have, length - have);
    w &= w >>> step;
    have += step;
  }
  return w === 0 ? -1 : 31 - Math.clz32(w & -w);
}

const maskOf = (length: number): number => (length === 32 ? -1 : (1 << length) - 1);

export interface PageRunsOptions {
  readonly buffer: ArrayBuffer;
  /** Byte address of the tables: pageRunsTableBytes(pages) zeroed bytes, a multiple of 4. */
  readonly tables: number;
  /** Number of the first page to allocate (address / 4096), at least 1. */
  readonly firstPage: number;
  /** Number of pages, a multiple of 32. */
  readonly pages: number;
  readonly budget: Budget;
  readonly pageRelease: PageRelease;
}

export class PageRuns {
  readonly #firstPage: number;
  readonly #chunks: number;
  readonly #rows: Int32Array;
  /** Head of each list as chunk number + 1, then OCCUPIED, TOUCHED, DIRTY_FREE. */
  readonly #lists: Int32Array;
  /** One bit per chunk: set when the chunk has free pages that may be resident. */
  readonly #releasable: Int32Array;
  readonly #budget: Budget;
  readonly #pageRelease: PageRelease;
  #cursor = 0;

  constructor({ buffer, tables, firstPage, pages, budget, pageRelease }: PageRunsOptions) {
    assert(firstPage > 0, 'firstPage > 0');
    assert(pages % CHUNK_PAGES === 0, 'pages is a multiple of 32');
    this.#firstPage = firstPage;
    this.#chunks = pages >>> CHUNK_SHIFT;
    let at = tables;
    this.#rows = new Int32Array(buffer, at, this.#chunks * ROW);
    at += this.#rows.byteLength;
    this.#lists = new Int32Array(buffer, at, LIST_WORDS);
    at += this.#lists.byteLength;
    this.#releasable = new Int32Array(buffer, at, Math.ceil(this.#chunks / 32));
    this.#budget = budget;
    this.#pageRelease = pageRelease;
  }

  /** Pages that are free but may still be resident. */
  get dirtyFreePages(): number {
    return this.#lists[DIRTY_FREE]!;
  }

  /** Allocates `length` (1..12) contiguous pages. Returns the first page number, or 0 when budget or address space is short. */
  alloc(length: number): number {
    let chunk = this.#bestChunk(length);
    if (chunk < 0) return 0;
    let at = findRun(~this.#rows[chunk * ROW + USED]!, length);
    assert(at >= 0, 'the chunk has a free run of the requested length');
    if (!this.#reserveRun(chunk * ROW, maskOf(length) << at)) {
      chunk = this.#reservedChunk(length);
      if (chunk < 0) return 0;
      at = findRun(this.#dirtyFree(chunk), length);
    }
    const row = chunk * ROW;
    const run = maskOf(length) << at;
    const used = this.#rows[row + USED]!;
    const dirty = this.#rows[row + DIRTY]!;
    const fresh = popcount(run & ~dirty);
    this.#rows[row + USED] = used | run;
    this.#rows[row + DIRTY] = dirty | run;
    this.#lists[DIRTY_FREE]! -= length - fresh;
    if (((dirty | run) & ~(used | run)) === 0)
      this.#releasable[chunk >>> 5]! &= ~(1 << (chunk & 31));
    this.#relist(chunk, longestRun(~used), longestRun(~(used | run)));
    return this.#firstPage + (chunk << CHUNK_SHIFT) + at;
  }

  /** True when address space has a run of `length` free pages, regardless of the budget. */
  hasRun(length: number): boolean {
    return (
      (this.#lists[OCCUPIED]! & -(1 << length)) !== 0 ||
      this.#lists[CHUNK_PAGES] !== 0 ||
      this.#lists[TOUCHED]! < this.#chunks
    );
  }

  /** Frees the run of `length` pages that begins at `page`. */
  free(page: number, length: number): void {
    const index = page - this.#firstPage;
    const chunk = index >>> CHUNK_SHIFT;
    const run = maskOf(length) << (index & (CHUNK_PAGES - 1));
    const row = chunk * ROW;
    const used = this.#rows[row + USED]!;
    assert((used & run) === run, 'every page of the freed run is allocated');
    this.#rows[row + USED] = used & ~run;
    this.#lists[DIRTY_FREE]! += length;
    this.#releasable[chunk >>> 5]! |= 1 << (chunk & 31);
    this.#relist(chunk, longestRun(~used), longestRun(~(used & ~run)));
  }

  /**
   * Releases free pages to the system until at most `keepPages` of them may be resident. Releases all free pages of
   * a chunk, of at most `chunksMax` chunks. Returns the number of pages released.
   */
  releaseFree(keepPages: number, chunksMax: number): number {
    let released = 0;
    let left = chunksMax;
    const words = this.#releasable.length;
    const start = this.#cursor;
    for (let i = 0; i < words && this.dirtyFreePages > keepPages && left > 0; i++) {
      const at = (start + i) % words;
      for (let w = this.#releasable[at]!; w !== 0 && left > 0; w &= w - 1) {
        if (this.dirtyFreePages <= keepPages) break;
        const pages = this.#releaseChunk((at << 5) + 31 - Math.clz32(w & -w));
        if (pages < 0) return released;
        released += pages;
        left--;
      }
      if (this.#releasable[at] === 0) this.#cursor = (at + 1) % words;
    }
    return released;
  }

  /** Releases the free pages of one chunk. Returns their number, or -1 when the system refuses. */
  #releaseChunk(chunk: number): number {
    const row = chunk * ROW;
    const first = this.#firstPage + (chunk << CHUNK_SHIFT);
    let free = this.#dirtyFree(chunk);
    const pages = popcount(free);
    while (free !== 0) {
      const at = 31 - Math.clz32(free & -free);
      const rest = ~(free >>> at);
      const length = rest === 0 ? 32 : 31 - Math.clz32(rest & -rest);
      if (!this.#pageRelease.release((first + at) * PAGE_BYTES, length << PAGE_SHIFT)) return -1;
      free &= ~(maskOf(length) << at);
    }
    this.#rows[row + DIRTY] = this.#rows[row + USED]!;
    this.#releasable[chunk >>> 5]! &= ~(1 << (chunk & 31));
    this.#lists[DIRTY_FREE]! -= pages;
    this.#budget.release(pages * PAGE_BYTES);
    return pages;
  }

  /** Reserves `bytes`; when the budget is short, releases free pages first. */
  reserve(bytes: number): boolean {
    return this.#budget.reserve(bytes) || (this.#releaseSome() && this.#budget.reserve(bytes));
  }

  /** Reserves the pages of `run` that are not dirty; when the budget is short, releases free pages first. */
  #reserveRun(row: number, run: number): boolean {
    const fresh = popcount(run & ~this.#rows[row + DIRTY]!);
    if (fresh === 0 || this.#budget.reserve(fresh * PAGE_BYTES)) return true;
    if (!this.#releaseSome()) return false;
    // Count again: the released pages may include some of this run.
    return this.#budget.reserve(popcount(run & ~this.#rows[row + DIRTY]!) * PAGE_BYTES);
  }

  /** Releases up to 32 free pages, more than any reservation needs. Returns false when there are none. */
  #releaseSome(): boolean {
    return this.releaseFree(Math.max(0, this.dirtyFreePages - CHUNK_PAGES), CHUNK_PAGES) > 0;
  }

  /** The chunk whose longest free run is the shortest that fits; -1 when none is left. */
  #bestChunk(length: number): number {
    const fitting = this.#lists[OCCUPIED]! & -(1 << length);
    if (fitting !== 0) return this.#lists[31 - Math.clz32(fitting & -fitting)]! - 1;
    const empty = this.#lists[CHUNK_PAGES]!;
    if (empty !== 0) return empty - 1;
    const touched = this.#lists[TOUCHED]!;
    if (touched === this.#chunks || !this.reserve(ROW_BYTES)) return -1;
    this.#lists[TOUCHED] = touched + 1;
    this.#link(touched, CHUNK_PAGES);
    return touched;
  }

  /**
   * A chunk with a run of `length` free pages for which the budget is already reserved; -1 when there is none.
   * Needed when the budget is exhausted and the system cannot release pages. Cost: one row for each chunk with free
   * resident pages.
   */
  #reservedChunk(length: number): number {
    if (this.dirtyFreePages < length) return -1;
    for (let at = 0; at < this.#releasable.length; at++) {
      for (let w = this.#releasable[at]!; w !== 0; w &= w - 1) {
        const chunk = (at << 5) + 31 - Math.clz32(w & -w);
        if (findRun(this.#dirtyFree(chunk), length) >= 0) return chunk;
      }
    }
    return -1;
  }

  /** Bits of the pages in the chunk that are free and may be resident. */
  #dirtyFree(chunk: number): number {
    return this.#rows[chunk * ROW + DIRTY]! & ~this.#rows[chunk * ROW + USED]!;
  }

  #relist(chunk: number, from: number, to: number): void {
    if (from === to) return;
    this.#unlink(chunk, from);
    this.#link(chunk, to);
  }

  #link(chunk: number, list: number): void {
    const head = this.#lists[list]!;
    this.#rows[chunk * ROW + NEXT] = head;
    this.#rows[chunk * ROW + PREV] = 0;
    if (head !== 0) this.#rows[(head - 1) * ROW + PREV] = chunk + 1;
    this.#lists[list] = chunk + 1;
    if (list < CHUNK_PAGES) this.#lists[OCCUPIED]! |= 1 << list;
  }

  #unlink(chunk: number, list: number): void {
    const next = this.#rows[chunk * ROW + NEXT]!;
    const prev = this.#rows[chunk * ROW + PREV]!;
    if (prev === 0) this.#lists[list] = next;
    else this.#rows[(prev - 1) * ROW + NEXT] = next;
    if (next !== 0) this.#rows[(next - 1) * ROW + PREV] = prev;
    if (this.#lists[list] === 0 && list < CHUNK_PAGES) this.#lists[OCCUPIED]! &= ~(1 << list);
  }

  /** Checks every invariant; throws InvariantError. Cost: all rows. Returns the bytes reserved in the budget. */
  verify(): number {
    let dirtyPages = 0;
    let dirtyFree = 0;
    for (let chunk = 0; chunk < this.#lists[TOUCHED]!; chunk++) {
      const used = this.#rows[chunk * ROW + USED]!;
      const dirty = this.#rows[chunk * ROW + DIRTY]!;
      assert((used & ~dirty) === 0, 'every used page is dirty');
      dirtyPages += popcount(dirty);
      dirtyFree += popcount(dirty & ~used);
      const isReleasable = (this.#releasable[chunk >>> 5]! >>> (chunk & 31)) & 1;
      assert((isReleasable === 1) === ((dirty & ~used) !== 0), 'releasable bit set === dirty free');
    }
    assert(dirtyFree === this.dirtyFreePages, 'dirtyFreePages matches the rows');
    let listed = 0;
    for (let list = 0; list < LISTS; list++) {
      let prev = 0;
      for (let c = this.#lists[list]!; c !== 0; c = this.#rows[(c - 1) * ROW + NEXT]!) {
        assert(this.#rows[(c - 1) * ROW + PREV] === prev, 'prev matches the previous chunk');
        const used = this.#rows[(c - 1) * ROW + USED]!;
        assert(longestRun(~used) === list, 'list === longest free run');
        prev = c;
        listed++;
        assert(listed <= this.#lists[TOUCHED]!, 'listed chunks <= touched chunks');
      }
    }
    assert(listed === this.#lists[TOUCHED], 'every touched chunk is in a list');
    return dirtyPages * PAGE_BYTES + this.#lists[TOUCHED]! * ROW_BYTES;
  }
}
