/**
 * Page runs: allocates runs of 1..16 contiguous pages of a memory and releases free pages to the system. A run reserves
 * address space; its pages cost memory from use() to unuse(), so the unused end of a run costs nothing.
 *
 * The pages are grouped in chunks of 32, with one row per chunk:
 *
 *   word 0  run     bit i: page i of the chunk is part of an allocated run
 *   word 1  used    bit i: page i is used
 *   word 2  dirty   bit i: page i may be resident (used since it was last released)
 *   word 3  prev 31..16 | next 15..0   neighbours in the list of chunks whose longest run of pages outside runs has the
 *                                      same length, as chunk number + 1; 0 = none
 *
 * There are 33 lists, by longest unallocated run (0..32), and a bit for each list that is not empty: one count of trailing
 * zeros finds the best-fitting chunk. Empty chunks are used last, which keeps fragmentation low. Only address space
 * fragments, not memory: a free page costs nothing once it is released.
 *
 * Invariants
 * - used is a subset of run and of dirty; the budget has reserved 4096 bytes for every dirty page, and the row of every
 *   touched chunk.
 * - A chunk is in exactly the list of its longest unallocated run.
 * - dirtyFreePages = the set bits of dirty & ~used over all chunks; each such chunk has its bit in #releasable.
 *
 * If the system cannot release pages, the budget reserves a whole run when it is allocated: its unused pages could
 * not pay for another run later. So no run lacks pages to grow into while others have free ones.
 *
 * Cost: alloc, use, unuse and free O(1) (a few dozen instructions); releaseFree one system call per 512 runs of free pages.
 */
import { assert } from '../base/assert.ts';
import { popcount } from '../base/bits.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { Budget } from './budget.ts';
import { noRelease, type PageRelease } from './ops.ts';
import { ReleaseBatch } from './release-batch.ts';
import { zeroTail } from './zero-tail.ts';

export const CHUNK_PAGES = 32;
export const CHUNK_SHIFT = 5;
/** Words per chunk row. */
const ROW = 4;
const ROW_BYTES = ROW * 4;
const RUN = 0;
const USED = 1;
const DIRTY = 2;
const LINKS = 3;
const PREV_SHIFT = 16;
const NEXT_MASK = 0xffff;

/** Lists by longest free run, 0..32. */
const LISTS = CHUNK_PAGES + 1;

/** Words of the list table: the heads, then these three. */
const OCCUPIED = LISTS; // bit i: list i is not empty, i < 32
const TOUCHED = LISTS + 1; // chunks ever used; later chunks are in no list and their rows are untouched
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

/** The bits at which a run of `length` set bits begins. */
function runStarts(word: number, length: number): number {
  let w = word;
  let have = 1;
  while (have < length) {
    const step = Math.min(have, length - have);
    w &= w >>> step;
    have += step;
  }
  return w;
}

/** Position of the lowest set bit; -1 = none. */
const lowestBit = (word: number): number => 31 - Math.clz32(word & -word);

/** Position of the lowest run of `length` set bits, or -1. */
export const findRun = (word: number, length: number): number => lowestBit(runStarts(word, length));

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

/** The pages of an arena that are part of a run, and those that are used: a word for each chunk. */
export interface RunPages {
  readonly run: Int32Array;
  readonly used: Int32Array;
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
  readonly #batch: ReleaseBatch;
  /** The system releases pages. */
  #isReleasing: boolean;
  #cursor = 0;

  constructor({ buffer, tables, firstPage, pages, budget, pageRelease }: PageRunsOptions) {
    assert(firstPage > 0, 'firstPage > 0');
    assert(pages % CHUNK_PAGES === 0, 'pages is a multiple of 32');
    assert(pages >>> CHUNK_SHIFT < NEXT_MASK, 'a chunk number + 1 has 16 bits');
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
    this.#batch = new ReleaseBatch(pageRelease);
    this.#isReleasing = pageRelease !== noRelease;
  }

  /** Pages that are free but may still be resident. */
  get dirtyFreePages(): number {
    return this.#lists[DIRTY_FREE]!;
  }

  /**
   * Allocates a run of `length` (1..16) contiguous pages and uses its first `used`. Returns the first page number, or
   * 0 if the budget or the address space is exhausted.
   */
  alloc(length: number, used: number): number {
    let chunk = this.#bestChunk(length);
    if (chunk < 0) return 0;
    let at = findRun(~this.#rows[chunk * ROW + RUN]!, length);
    assert(at >= 0, 'the chunk has an unallocated run of the requested length');
    const reserved = this.#isReleasing ? used : length;
    if (!this.#reservePages(chunk * ROW, maskOf(reserved) << at)) {
      chunk = this.#reservedChunk(length, reserved);
      if (chunk < 0) return 0;
      at = lowestBit(this.#reservedStarts(chunk, length, reserved));
    }
    const row = chunk * ROW;
    const before = this.#rows[row + RUN]!;
    const after = before | (maskOf(length) << at);
    this.#rows[row + RUN] = after;
    this.#addPages(chunk, maskOf(used) << at, maskOf(reserved) << at);
    this.#relist(chunk, longestRun(~before), longestRun(~after));
    return this.#firstPage + (chunk << CHUNK_SHIFT) + at;
  }

  /** Uses `length` more pages of a run, from `page`. Returns false and changes nothing if the budget is exhausted. */
  use(page: number, length: number): boolean {
    const index = page - this.#firstPage;
    const chunk = index >>> CHUNK_SHIFT;
    const row = chunk * ROW;
    const pages = maskOf(length) << (index & (CHUNK_PAGES - 1));
    assert((pages & ~this.#rows[row + RUN]!) === 0, 'every page that is used is part of a run');
    if (!this.#reservePages(row, pages)) return false;
    this.#addPages(chunk, pages, pages);
    return true;
  }

  /** Stops using `length` pages of a run, from `page`: they may be released, but stay part of the run. */
  unuse(page: number, length: number): void {
    const index = page - this.#firstPage;
    const chunk = index >>> CHUNK_SHIFT;
    const pages = maskOf(length) << (index & (CHUNK_PAGES - 1));
    assert((pages & ~this.#rows[chunk * ROW + USED]!) === 0, 'every page was used');
    this.#removePages(chunk, pages, length);
  }

  /** True if the address space has a run of `length` free pages, regardless of the budget. */
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
    const before = this.#rows[row + RUN]!;
    assert((before & run) === run, 'every page of the freed run is allocated');
    this.#rows[row + RUN] = before & ~run;
    const used = this.#rows[row + USED]! & run;
    this.#removePages(chunk, used, used === run ? length : popcount(used));
    this.#relist(chunk, longestRun(~before), longestRun(~(before & ~run)));
  }

  /** The used pages of a run: bit i for its page i. */
  usedPages(page: number, length: number): number {
    const index = page - this.#firstPage;
    const used = this.#rows[(index >>> CHUNK_SHIFT) * ROW + USED]!;
    return (used >>> (index & (CHUNK_PAGES - 1))) & maskOf(length);
  }

  /**
   * Releases free pages to the system until at most `keepPages` of them may be resident. Releases all free pages of a
   * chunk, and at most `chunksMax` chunks. Returns the number of pages released.
   */
  releaseFree(keepPages: number, chunksMax: number): number {
    const batch = this.#batch;
    let released = 0;
    let left = chunksMax;
    const words = this.#releasable.length;
    const start = this.#cursor;
    for (let i = 0; i < words && left > 0; i++) {
      if (this.dirtyFreePages - batch.pages <= keepPages) break;
      const at = (start + i) % words;
      this.#cursor = at;
      for (let w = this.#releasable[at]!; w !== 0 && left > 0; w &= w - 1) {
        if (this.dirtyFreePages - batch.pages <= keepPages) break;
        this.#addToBatch((at << 5) + lowestBit(w));
        left--;
        if (!batch.isFull) continue;
        const pages = this.#releaseBatch();
        if (pages === 0) return released;
        released += pages;
      }
    }
    return released + this.#releaseBatch();
  }

  #addToBatch(chunk: number): void {
    const first = this.#firstPage + (chunk << CHUNK_SHIFT);
    this.#batch.add(chunk, first, this.#dirtyFree(chunk));
  }

  /** Releases the pages of the batch and their bytes. Returns their number; 0 if the system refuses. */
  #releaseBatch(): number {
    const pages = this.#punch();
    if (pages > 0) this.#budget.release(pages * PAGE_BYTES);
    return pages;
  }

  /**
   * Like #releaseBatch(), but does not change the budget. The rows change after the pages are released: if the process is
   * killed in between, `dirty` says too much, not too little.
   */
  #punch(): number {
    const batch = this.#batch;
    const { count } = batch;
    if (count === 0) return 0;
    let { pages } = batch;
    this.#isReleasing = batch.release();
    if (!this.#isReleasing) pages = 0;
    for (let i = 0; this.#isReleasing && i < count; i++) {
      const chunk = batch.chunkAt(i);
      this.#rows[chunk * ROW + DIRTY] = this.#rows[chunk * ROW + USED]!;
      this.#releasable[chunk >>> 5]! &= ~(1 << (chunk & 31));
    }
    this.#lists[DIRTY_FREE]! -= pages;
    batch.clear();
    return pages;
  }

  /** Reserves `bytes`; if the budget is exhausted, releases free pages first. */
  reserve(bytes: number): boolean {
    return this.#budget.reserve(bytes) || (this.#releaseSome() && this.#budget.reserve(bytes));
  }

  /** Reserves those of `pages` that are not dirty; if the budget is exhausted, releases free pages first. */
  #reservePages(row: number, pages: number): boolean {
    const fresh = popcount(pages & ~this.#rows[row + DIRTY]!);
    if (fresh === 0 || this.#budget.reserve(fresh * PAGE_BYTES)) return true;
    if (!this.#releaseSome()) return false;
    // Count again: the released pages may include some of these.
    return this.#budget.reserve(popcount(pages & ~this.#rows[row + DIRTY]!) * PAGE_BYTES);
  }

  /** Releases up to 32 free pages, more than any reservation needs. Returns false if there are none. */
  #releaseSome(): boolean {
    return this.releaseFree(Math.max(0, this.dirtyFreePages - CHUNK_PAGES), CHUNK_PAGES) > 0;
  }

  /** The chunk whose longest unallocated run is the shortest that fits; -1 if there is none. */
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
   * A chunk with an unallocated run of `length` pages, the first `reserved` of which the budget has already reserved;
   * -1 if there is none. Used when the budget is exhausted and the system cannot release pages. Cost: one row for each
   * chunk with free resident pages.
   */
  #reservedChunk(length: number, reserved: number): number {
    if (this.dirtyFreePages < reserved) return -1;
    for (let at = 0; at < this.#releasable.length; at++) {
      for (let w = this.#releasable[at]!; w !== 0; w &= w - 1) {
        const chunk = (at << 5) + lowestBit(w);
        if (this.#reservedStarts(chunk, length, reserved) !== 0) return chunk;
      }
    }
    return -1;
  }

  /** The pages of a chunk where such a run begins. */
  #reservedStarts(chunk: number, length: number, reserved: number): number {
    const free = ~this.#rows[chunk * ROW + RUN]!;
    const dirty = free & this.#rows[chunk * ROW + DIRTY]!;
    return runStarts(free, length) & runStarts(dirty, reserved);
  }

  /** Bits of the pages in the chunk that are not used and may be resident. */
  #dirtyFree(chunk: number): number {
    return this.#rows[chunk * ROW + DIRTY]! & ~this.#rows[chunk * ROW + USED]!;
  }

  /** Marks pages of a chunk as used, and as dirty; `used` are some of `dirty`. */
  #addPages(chunk: number, used: number, dirty: number): void {
    const row = chunk * ROW;
    const before = this.#dirtyFree(chunk);
    this.#rows[row + USED]! |= used;
    this.#rows[row + DIRTY]! |= dirty;
    const free = this.#dirtyFree(chunk);
    if (free === before) return;
    this.#lists[DIRTY_FREE]! += popcount(free) - popcount(before);
    const bit = 1 << (chunk & 31);
    if (free === 0) this.#releasable[chunk >>> 5]! &= ~bit;
    else this.#releasable[chunk >>> 5]! |= bit;
  }

  /** Marks `count` used pages of a chunk as unused. */
  #removePages(chunk: number, pages: number, count: number): void {
    if (count === 0) return;
    this.#rows[chunk * ROW + USED]! &= ~pages;
    this.#lists[DIRTY_FREE]! += count;
    this.#releasable[chunk >>> 5]! |= 1 << (chunk & 31);
  }

  #relist(chunk: number, from: number, to: number): void {
    if (from === to) return;
    this.#unlink(chunk, from);
    this.#link(chunk, to);
  }

  #link(chunk: number, list: number): void {
    const head = this.#lists[list]!;
    this.#rows[chunk * ROW + LINKS] = head;
    if (head !== 0) this.#setPrev(head, chunk + 1);
    this.#lists[list] = chunk + 1;
    if (list < CHUNK_PAGES) this.#lists[OCCUPIED]! |= 1 << list;
  }

  #unlink(chunk: number, list: number): void {
    const links = this.#rows[chunk * ROW + LINKS]!;
    const next = links & NEXT_MASK;
    const prev = links >>> PREV_SHIFT;
    if (prev === 0) this.#lists[list] = next;
    else {
      const at = (prev - 1) * ROW + LINKS;
      this.#rows[at] = (this.#rows[at]! & ~NEXT_MASK) | next;
    }
    if (next !== 0) this.#setPrev(next, prev);
    if (this.#lists[list] === 0 && list < CHUNK_PAGES) this.#lists[OCCUPIED]! &= ~(1 << list);
  }

  #setPrev(link: number, prev: number): void {
    const at = (link - 1) * ROW + LINKS;
    this.#rows[at] = (prev << PREV_SHIFT) | (this.#rows[at]! & NEXT_MASK);
  }

  /**
   * Rebuilds all tables. Releases the free pages that may be resident, and rows and pages of unused chunks. If killed
   * in the middle, TOUCHED and `dirty` keep their size.
   * @returns bytes to reserve in the budget
   */
  rebuild({ run, used }: RunPages): number {
    let touched = Math.min(this.#chunks, Math.max(0, this.#lists[TOUCHED]!));
    for (let chunk = touched; chunk < this.#chunks; chunk++)
      if (run[chunk] !== 0) touched = chunk + 1;
    this.#lists.fill(0, 0, TOUCHED);
    this.#lists[TOUCHED] = touched;
    this.#lists[DIRTY_FREE] = 0;
    this.#releasable.fill(0);
    for (let chunk = touched - 1; chunk >= 0; chunk--) {
      const row = chunk * ROW;
      this.#rows[row + RUN] = run[chunk]!;
      this.#rows[row + USED] = used[chunk]!;
      this.#rows[row + DIRTY]! |= used[chunk]!;
      this.#link(chunk, longestRun(~run[chunk]!));
      const free = popcount(this.#dirtyFree(chunk));
      this.#lists[DIRTY_FREE]! += free;
      if (free > 0) {
        this.#releasable[chunk >>> 5]! |= 1 << (chunk & 31);
        this.#addToBatch(chunk);
        if (this.#batch.isFull) this.#punch();
      }
    }
    this.#punch();
    let dirtyPages = 0;
    for (let chunk = 0; chunk < touched; chunk++)
      dirtyPages += popcount(this.#rows[chunk * ROW + DIRTY]!);
    const { buffer, byteOffset, byteLength } = this.#rows;
    const end = byteOffset + byteLength;
    zeroTail(buffer, byteOffset + touched * ROW_BYTES, end, this.#pageRelease);
    const pagesAt = (chunk: number): number => (this.#firstPage + chunk * CHUNK_PAGES) * PAGE_BYTES;
    zeroTail(buffer, pagesAt(touched), pagesAt(this.#chunks), this.#pageRelease);
    return dirtyPages * PAGE_BYTES + touched * ROW_BYTES;
  }

  /** Checks every invariant; throws InvariantError. Cost: all rows. Returns the bytes reserved in the budget. */
  verify(): number {
    let dirtyPages = 0;
    let dirtyFree = 0;
    for (let chunk = 0; chunk < this.#lists[TOUCHED]!; chunk++) {
      const used = this.#rows[chunk * ROW + USED]!;
      const dirty = this.#rows[chunk * ROW + DIRTY]!;
      assert((used & ~dirty) === 0, 'every used page is dirty');
      assert((used & ~this.#rows[chunk * ROW + RUN]!) === 0, 'every used page is part of a run');
      dirtyPages += popcount(dirty);
      dirtyFree += popcount(dirty & ~used);
      const isReleasable = (this.#releasable[chunk >>> 5]! >>> (chunk & 31)) & 1;
      assert((isReleasable === 1) === ((dirty & ~used) !== 0), 'releasable bit set === dirty free');
    }
    assert(dirtyFree === this.dirtyFreePages, 'dirtyFreePages matches the rows');
    let listed = 0;
    for (let list = 0; list < LISTS; list++) {
      let prev = 0;
      for (let c = this.#lists[list]!; c !== 0; ) {
        const row = (c - 1) * ROW;
        const links = this.#rows[row + LINKS]!;
        assert(links >>> PREV_SHIFT === prev, 'prev matches the previous chunk');
        assert(longestRun(~this.#rows[row + RUN]!) === list, 'list === longest unallocated run');
        prev = c;
        c = links & NEXT_MASK;
        listed++;
        assert(listed <= this.#lists[TOUCHED]!, 'listed chunks <= touched chunks');
      }
    }
    assert(listed === this.#lists[TOUCHED], 'every touched chunk is in a list');
    return dirtyPages * PAGE_BYTES + this.#lists[TOUCHED]! * ROW_BYTES;
  }
}
