/**
 * Page runs: hands out runs of 1..12 neighbouring pages of a memory, takes them back, and gives what is
 * free back to the system.
 *
 * The pages are grouped in chunks of 32, one row a chunk:
 *
 *   word 0  used    bit i: page i of the chunk is handed out
 *   word 1  dirty   bit i: page i may be resident (was handed out since it was last given back)
 *   word 2  next    neighbours in the list of chunks whose longest free run has the same length,
 *   word 3  prev    as chunk number + 1; 0 = none
 *
 * 33 lists, by longest free run (0..32), and a bit for each list that is not empty: the best-fitting chunk
 * is found by one count of zeros. Whole-free chunks are the last resort, so use stays dense and address
 * space fragments little; what does fragment is address space, not memory: a free page costs nothing once
 * it was given back.
 *
 * Invariants
 * - used is a subset of dirty; the budget holds 4096 bytes for every dirty page, and the rows of every chunk in use.
 * - A chunk is in exactly the list of its longest free run.
 * - dirtyFreePages = the set bits of dirty & ~used over all chunks; each such chunk has its bit in #unclean.
 *
 * Cost: alloc and free O(1) (a few dozen instructions), giveBack one system call a run of free pages.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES, PAGE_SHIFT } from '../base/units.ts';
import type { Budget } from './budget.ts';
import type { PageRelease } from './ops.ts';

export const CHUNK_PAGES = 32;
const CHUNK_SHIFT = 5;
/** Words of a chunk's row. */
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
const VIRGIN = LISTS + 1; // chunks from here on were never used and are in no list: their rows stay untouched
const DIRTY_FREE = LISTS + 2; // pages that are free and may be resident
const LIST_WORDS = LISTS + 3;

/** Bytes of tables that `pages` pages need in the image. */
export const pageRunsTableBytes = (pages: number): number =>
  ((pages >>> CHUNK_SHIFT) * ROW + LIST_WORDS + Math.ceil(pages / CHUNK_PAGES / 32)) * 4;

/** Number of set bits. */
export function popcount(word: number): number {
  let w = word - ((word >>> 1) & 0x5555_5555);
  w = (w & 0x3333_3333) + ((w >>> 2) & 0x3333_3333);
  return Math.imul((w + (w >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}

/**
 * Length of the longest run of set bits, 0..32, in about 20 instructions: wN has a bit where N set bits begin,
 * so a run of `length` bits can be lengthened by N where wN continues it.
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

/** Lowest bit position at which `length` set bits begin, or -1. */
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

export class PageRuns {
  readonly #firstPage: number;
  readonly #chunks: number;
  readonly #rows: Int32Array;
  /** Head of each list as chunk number + 1, then OCCUPIED, VIRGIN, DIRTY_FREE. */
  readonly #lists: Int32Array;
  /** A bit a chunk: it has pages that are free and may be resident. */
  readonly #unclean: Int32Array;
  readonly #budget: Budget;
  readonly #return: PageRelease;
  #cursor = 0;

  /**
   * @param buffer the memory
   * @param tables byte address of pageRunsTableBytes(pages) zeroed bytes, a multiple of 4
   * @param firstPage number of the first page handed out (address / 4096), at least 1
   * @param pages how many, a multiple of 32
   */
  constructor(
    buffer: ArrayBuffer,
    tables: number,
    firstPage: number,
    pages: number,
    budget: Budget,
    pageReturn: PageRelease,
  ) {
    assert(firstPage > 0 && pages % CHUNK_PAGES === 0, 'runs begin at a page that is not 0');
    this.#firstPage = firstPage;
    this.#chunks = pages >>> CHUNK_SHIFT;
    let at = tables;
    this.#rows = new Int32Array(buffer, at, this.#chunks * ROW);
    at += this.#rows.byteLength;
    this.#lists = new Int32Array(buffer, at, LIST_WORDS);
    at += this.#lists.byteLength;
    this.#unclean = new Int32Array(buffer, at, Math.ceil(this.#chunks / 32));
    this.#budget = budget;
    this.#return = pageReturn;
  }

  /** Pages that are free but may still be resident. */
  get dirtyFreePages(): number {
    return this.#lists[DIRTY_FREE]!;
  }

  /** Hands out `length` (1..12) neighbouring pages: the first one's number, or 0 when budget or address space is short. */
  alloc(length: number): number {
    let chunk = this.#bestChunk(length);
    if (chunk < 0) return 0;
    let at = findRun(~this.#rows[chunk * ROW + USED]!, length);
    assert(at >= 0, 'a chunk has the run its list says');
    if (!this.#reserve(chunk * ROW, maskOf(length) << at)) {
      chunk = this.#heldChunk(length);
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
    if (((dirty | run) & ~(used | run)) === 0) this.#unclean[chunk >>> 5]! &= ~(1 << (chunk & 31));
    this.#relist(chunk, longestRun(~used), longestRun(~(used | run)));
    return this.#firstPage + (chunk << CHUNK_SHIFT) + at;
  }

  /** True when address space has a run of `length` free pages, whatever the budget says. */
  hasRun(length: number): boolean {
    return (
      (this.#lists[OCCUPIED]! & -(1 << length)) !== 0 ||
      this.#lists[CHUNK_PAGES] !== 0 ||
      this.#lists[VIRGIN]! < this.#chunks
    );
  }

  /** Takes back the run of `length` pages that begins at `page`. */
  free(page: number, length: number): void {
    const index = page - this.#firstPage;
    const chunk = index >>> CHUNK_SHIFT;
    const run = maskOf(length) << (index & (CHUNK_PAGES - 1));
    const row = chunk * ROW;
    const used = this.#rows[row + USED]!;
    assert((used & run) === run, 'a run is freed once, whole');
    this.#rows[row + USED] = used & ~run;
    this.#lists[DIRTY_FREE]! += length;
    this.#unclean[chunk >>> 5]! |= 1 << (chunk & 31);
    this.#relist(chunk, longestRun(~used), longestRun(~(used & ~run)));
  }

  /**
   * Gives free pages back to the system until at most `keepPages` of them may be resident; whole chunks'
   * worth of pages in one call each. Stops after `chunksMax` chunks. Returns the pages given back.
   */
  releaseFree(keepPages: number, chunksMax: number): number {
    let given = 0;
    let left = chunksMax;
    const words = this.#unclean.length;
    const start = this.#cursor;
    for (let i = 0; i < words && this.dirtyFreePages > keepPages && left > 0; i++) {
      const at = (start + i) % words;
      for (let w = this.#unclean[at]!; w !== 0 && left > 0; w &= w - 1) {
        if (this.dirtyFreePages <= keepPages) break;
        const cleaned = this.#clean((at << 5) + 31 - Math.clz32(w & -w));
        if (cleaned < 0) return given;
        given += cleaned;
        left--;
      }
      if (this.#unclean[at] === 0) this.#cursor = (at + 1) % words;
    }
    return given;
  }

  /** Gives back the free pages of one chunk; how many, or -1 when the system takes none. */
  #clean(chunk: number): number {
    const row = chunk * ROW;
    const first = this.#firstPage + (chunk << CHUNK_SHIFT);
    let free = this.#dirtyFree(chunk);
    const pages = popcount(free);
    while (free !== 0) {
      const at = 31 - Math.clz32(free & -free);
      const rest = ~(free >>> at);
      const length = rest === 0 ? 32 : 31 - Math.clz32(rest & -rest);
      if (!this.#return.release((first + at) * PAGE_BYTES, length << PAGE_SHIFT)) return -1;
      free &= ~(maskOf(length) << at);
    }
    this.#rows[row + DIRTY] = this.#rows[row + USED]!;
    this.#unclean[chunk >>> 5]! &= ~(1 << (chunk & 31));
    this.#lists[DIRTY_FREE]! -= pages;
    this.#budget.release(pages * PAGE_BYTES);
    return pages;
  }

  /** Reserves `bytes`, giving free pages back first when the budget is short. */
  hold(bytes: number): boolean {
    return this.#budget.reserve(bytes) || (this.#makeRoom() && this.#budget.reserve(bytes));
  }

  /** Reserves what of `run` is not held yet; when the budget is short, gives free pages back first. */
  #reserve(row: number, run: number): boolean {
    const fresh = popcount(run & ~this.#rows[row + DIRTY]!);
    if (fresh === 0 || this.#budget.reserve(fresh * PAGE_BYTES)) return true;
    if (!this.#makeRoom()) return false;
    // Counted anew: some of the pages given back may have been this run's own.
    return this.#budget.reserve(popcount(run & ~this.#rows[row + DIRTY]!) * PAGE_BYTES);
  }

  /** Gives a chunk's worth of free pages back: more than any reservation here asks for. False when there are none. */
  #makeRoom(): boolean {
    return this.releaseFree(Math.max(0, this.dirtyFreePages - CHUNK_PAGES), CHUNK_PAGES) > 0;
  }

  /** The chunk whose longest free run is the shortest that fits; -1 when none is left. */
  #bestChunk(length: number): number {
    const fitting = this.#lists[OCCUPIED]! & -(1 << length);
    if (fitting !== 0) return this.#lists[31 - Math.clz32(fitting & -fitting)]! - 1;
    const empty = this.#lists[CHUNK_PAGES]!;
    if (empty !== 0) return empty - 1;
    const virgin = this.#lists[VIRGIN]!;
    if (virgin === this.#chunks || !this.hold(ROW_BYTES)) return -1;
    this.#lists[VIRGIN] = virgin + 1;
    this.#link(virgin, CHUNK_PAGES);
    return virgin;
  }

  /**
   * A chunk with a run of `length` free pages that the budget holds already; -1 when there is none. For a budget
   * that is short where the system takes nothing back. Cost: one row for each chunk with free resident pages.
   */
  #heldChunk(length: number): number {
    if (this.dirtyFreePages < length) return -1;
    for (let at = 0; at < this.#unclean.length; at++) {
      for (let w = this.#unclean[at]!; w !== 0; w &= w - 1) {
        const chunk = (at << 5) + 31 - Math.clz32(w & -w);
        if (findRun(this.#dirtyFree(chunk), length) >= 0) return chunk;
      }
    }
    return -1;
  }

  /** Bits of the chunk's pages that are free and may be resident. */
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

  /** Checks every invariant; throws InvariantError. Cost: all rows. Returns the bytes that the budget holds for it. */
  verify(): number {
    let dirtyPages = 0;
    let dirtyFree = 0;
    for (let chunk = 0; chunk < this.#lists[VIRGIN]!; chunk++) {
      const used = this.#rows[chunk * ROW + USED]!;
      const dirty = this.#rows[chunk * ROW + DIRTY]!;
      assert((used & ~dirty) === 0, 'a used page counts as resident');
      dirtyPages += popcount(dirty);
      dirtyFree += popcount(dirty & ~used);
      const unclean = (this.#unclean[chunk >>> 5]! >>> (chunk & 31)) & 1;
      assert((unclean === 1) === ((dirty & ~used) !== 0), 'unclean chunks are marked');
    }
    assert(dirtyFree === this.dirtyFreePages, 'free resident pages are counted');
    let listed = 0;
    for (let list = 0; list < LISTS; list++) {
      let prev = 0;
      for (let c = this.#lists[list]!; c !== 0; c = this.#rows[(c - 1) * ROW + NEXT]!) {
        assert(this.#rows[(c - 1) * ROW + PREV] === prev, 'chunk lists are linked both ways');
        const used = this.#rows[(c - 1) * ROW + USED]!;
        assert(longestRun(~used) === list, 'a chunk is in the list of its longest free run');
        prev = c;
        listed++;
        assert(listed <= this.#lists[VIRGIN]!, 'chunk lists end');
      }
    }
    assert(listed === this.#lists[VIRGIN], 'every used chunk is in a list');
    return dirtyPages * PAGE_BYTES + this.#lists[VIRGIN]! * ROW_BYTES;
  }
}
