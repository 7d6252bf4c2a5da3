/**
 * A region's pages: where each is, and in which order those in memory leave it.
 *
 *   state │ absent │ dirty │ clean │ stored │ lost │      a byte a page
 *   entry │   0    │   0   │   e   │   e    │  -   │      the slot that has the page's bytes
 *   stamp │        │ when it came  │ when it left │       of the pager's clock, which ticks with each page that leaves
 *
 *     absent ──touch──▶ dirty ◀──write── clean ──dropped, nothing written──▶ stored
 *       ▲                 │                ▲                                   │
 *       └──── discard ────┤                └───────────── read ────────────────┤
 *                         └────────── taken, swapped out ─────▶ stored ─write─▶ dirty
 *
 *   inactive:  newest ⇄ … ⇄ oldest ─▶ out         active:  newest ⇄ … ⇄ oldest ─▶ inactive
 *
 * A page comes in at the head of the inactive list, as used already when it left so recently that a memory with
 * room for the active pages as well would have kept it (kernel: mm/workingset.c, refault distance). What the pager
 * has seen being used since (a write to a clean page) gets a second chance at the tail.
 *
 * Invariants
 * - A page is in a list exactly when it is dirty or clean and not pinned.
 * - entry is 0 exactly when the state is absent, dirty or lost.
 * - resident = pages that are dirty or clean.
 *
 * Cost: 19 bytes a page, untouched ones taking no memory; every operation O(1), nothing allocated.
 */
import { assert } from '../base/assert.ts';
import { NO_ENTRY, type SwapEntry } from '../swap/entry.ts';
import type { PagedMemory } from './ops.ts';
import { Prefetch } from './prefetch.ts';
import type { ResidentSet } from './resident-set.ts';

/** Where a page is. A zeroed table is a region that nobody has touched. */
export const PageState = {
  /** Nowhere: it reads as zeros. */
  absent: 0,
  /** In memory only. */
  dirty: 1,
  /** In memory, write-protected, and equal to what its slot holds. */
  clean: 2,
  /** In its slot only. */
  stored: 3,
  /** Its slot could not give it back: whoever touches it is told so. */
  lost: 4,
} as const;
export type PageState = (typeof PageState)[keyof typeof PageState];

/** Seen being used since it came. */
const REFERENCED = 1;
const ACTIVE = 2;
const INCOMPRESSIBLE = 4;
/** Most pins a page can have. */
const PINS_MAX = 255;

/** What a region counts, by index of `counts`. */
export const RegionCount = {
  faults: 0,
  pagesIn: 1,
  pagesPrefetched: 2,
  pagesOut: 3,
  pagesDropped: 4,
  writeFaults: 5,
} as const;

/** Where a region's list begins: a sentinel behind its last page. */
export type ListAt = 0 | 1 | 2;
export const INACTIVE_LIST: ListAt = 0;
export const ACTIVE_LIST: ListAt = 1;
/** Pages that nobody took because they do not compress: they are not asked again for a while. */
const INCOMPRESSIBLE_LIST: ListAt = 2;
const LISTS = [INACTIVE_LIST, ACTIVE_LIST, INCOMPRESSIBLE_LIST] as const;

const WORD_TABLES = 4;
const BYTE_TABLES = 3;

/** What the tables of a region of so many pages take; memory only where a page has been used. */
export const tableBytes = (pages: number): number =>
  pages * (4 * WORD_TABLES + BYTE_TABLES) + 2 * 4 * LISTS.length;

export class Region {
  readonly pages: number;
  readonly memory: PagedMemory;
  readonly set: ResidentSet<Region>;
  readonly prefetch: Prefetch;
  /** PageState by page. */
  readonly state: Uint8Array;
  /** SwapEntry by page. */
  readonly entry: Int32Array;
  /** Clock by page: when it came, or left. */
  readonly stamp: Int32Array;
  /** Of this region alone; the pager's counters are the sum. */
  readonly counts: Float64Array = new Float64Array(6);
  /** Pages that are dirty or clean. */
  resident = 0;
  /** Pages in each list. */
  inactive = 0;
  active = 0;
  incompressible = 0;
  pinned = 0;
  /** Pages that are stored. */
  stored = 0;
  lost = 0;
  /**
   * 0 .. 256: how often a clean page is written before it leaves again. Above half, keeping the stored copy does not pay:
   * the fault of the write costs more than packing the page once more.
   */
  rewritten = 0;
  /** Counts installs while `rewritten` is high, to try a clean one now and then. */
  tries = 0;
  /** Where the next write to a clean page is expected, and how many pages it then makes writable at once. */
  writeAt = -1;
  writeWindow = 1;
  readonly #flags: Uint8Array;
  readonly #pins: Uint8Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;

  /** @param tables zeros, tableBytes() of them */
  constructor(memory: PagedMemory, set: ResidentSet<Region>, tables?: ArrayBuffer) {
    const { pages } = memory;
    assert(Number.isInteger(pages) && pages > 0 && pages < 2 ** 30, 'a region has 1 to 2^30 pages');
    this.pages = pages;
    this.memory = memory;
    this.set = set;
    this.prefetch = new Prefetch(pages);
    const buffer = tables ?? new ArrayBuffer(tableBytes(pages));
    const links = pages + LISTS.length;
    let at = 0;
    const words = (count: number): Int32Array => {
      const table = new Int32Array(buffer, at, count);
      at += count * 4;
      return table;
    };
    this.entry = words(pages);
    this.stamp = words(pages);
    this.#next = words(links);
    this.#previous = words(links);
    this.state = new Uint8Array(buffer, at, pages);
    this.#flags = new Uint8Array(buffer, at + pages, pages);
    this.#pins = new Uint8Array(buffer, at + 2 * pages, pages);
    for (const list of LISTS) {
      this.#next[pages + list] = pages + list;
      this.#previous[pages + list] = pages + list;
    }
  }

  /** The page has come, at `clock`; `isHot`: it left only lately. */
  addResident(
    page: number,
    state: PageState,
    entry: SwapEntry,
    clock: number,
    isHot: boolean,
  ): void {
    const before = this.state[page]!;
    assert(before !== PageState.dirty && before !== PageState.clean, 'a page comes from elsewhere');
    if (before === PageState.stored) this.stored--;
    if (before === PageState.lost) this.lost--;
    this.state[page] = state;
    this.entry[page] = entry;
    this.stamp[page] = clock;
    this.resident++;
    this.set.pages++;
    this.#flags[page] = 0;
    if (this.#pins[page] === 0) this.#link(page, isHot ? ACTIVE_LIST : INACTIVE_LIST);
  }

  /** The page has left for its slot, or for nowhere. */
  removeResident(page: number, state: PageState, entry: SwapEntry, clock: number): void {
    assert(this.isResident(page), 'a page that leaves was here');
    this.unlist(page);
    this.resident--;
    this.set.pages--;
    this.state[page] = state;
    this.entry[page] = entry;
    this.stamp[page] = clock;
    if (state === PageState.stored) this.stored++;
    if (state === PageState.lost) this.lost++;
  }

  /** A page that is not here is in another place than before: nowhere, or lost. */
  resetTo(page: number, state: PageState): void {
    assert(!this.isResident(page), 'only what is not here can be forgotten');
    if (this.state[page] === PageState.stored) this.stored--;
    if (this.state[page] === PageState.lost) this.lost--;
    if (state === PageState.lost) this.lost++;
    this.state[page] = state;
    this.entry[page] = NO_ENTRY;
  }

  isResident(page: number): boolean {
    const state = this.state[page]!;
    return state === PageState.dirty || state === PageState.clean;
  }

  /** In the inactive list, and not seen being used since it came. */
  isIdle(page: number): boolean {
    return this.#pins[page] === 0 && this.#next[page] !== 0 && this.#flags[page] === 0;
  }

  markReferenced(page: number): void {
    this.#flags[page]! |= REFERENCED;
  }

  /** Oldest page of a list, or -1. */
  oldest(list: ListAt): number {
    const page = this.#previous[this.pages + list]!;
    return page === this.pages + list ? -1 : page;
  }

  /** The next older-to-newer neighbour in its list, or -1. */
  newer(page: number, list: ListAt): number {
    const before = this.#previous[page]!;
    return before === this.pages + list ? -1 : before;
  }

  /**
   * Moves a page that was referenced to the head of the active list and clears its mark; false: it was not referenced,
   * and may be evicted.
   */
  activateIfReferenced(page: number): boolean {
    if ((this.#flags[page]! & REFERENCED) === 0) return false;
    this.#flags[page]! &= ~REFERENCED;
    this.unlist(page);
    this.#link(page, ACTIVE_LIST);
    return true;
  }

  /** The oldest active page becomes the newest inactive one. */
  deactivateOldest(): void {
    const page = this.oldest(ACTIVE_LIST);
    assert(page !== -1, 'there is an active page');
    this.unlist(page);
    this.#link(page, INACTIVE_LIST);
  }

  /** Takes a page out of its list, if it is in one: it is being evicted. */
  unlist(page: number): void {
    const next = this.#next[page]!;
    const previous = this.#previous[page]!;
    if (next === 0 && previous === 0) return; // in no list: page 0 is not on both sides of another
    this.#next[previous] = next;
    this.#previous[next] = previous;
    this.#next[page] = 0;
    this.#previous[page] = 0;
    const flags = this.#flags[page]!;
    if ((flags & INCOMPRESSIBLE) !== 0) {
      this.incompressible--;
      this.set.incompressible--;
    } else if ((flags & ACTIVE) === 0) this.inactive--;
    else this.active--;
    this.#flags[page] = flags & ~(ACTIVE | INCOMPRESSIBLE);
  }

  /** A page that was to be evicted stays: it is the newest again. */
  relist(page: number): void {
    assert(this.isResident(page), 'only what is here is in a list');
    if (this.#pins[page] === 0) this.#link(page, INACTIVE_LIST);
  }

  /** A page that was to be evicted stays, and is not asked again until retryIncompressible(). */
  listIncompressible(page: number): void {
    assert(this.isResident(page), 'only what is here is in a list');
    if (this.#pins[page] === 0) this.#link(page, INCOMPRESSIBLE_LIST);
  }

  /** Up to `most` pages, those set aside longest, are to be asked again: they are the newest now. */
  retryIncompressible(most: number): void {
    for (let left = most; left > 0 && this.incompressible > 0; left--) {
      const page = this.oldest(INCOMPRESSIBLE_LIST);
      this.unlist(page);
      this.#link(page, INACTIVE_LIST);
    }
  }

  /** A resident page stays until unpin(). False: it has all the pins it can have. */
  pin(page: number): boolean {
    assert(this.isResident(page), 'a pinned page is here');
    if (this.#pins[page] === PINS_MAX) return false;
    if (this.#pins[page] === 0) {
      this.unlist(page);
      this.pinned++;
      this.set.pinned++;
    }
    this.#pins[page]! += 1;
    return true;
  }

  unpin(page: number): void {
    assert(this.#pins[page]! > 0, 'what is unpinned was pinned');
    this.#pins[page]! -= 1;
    if (this.#pins[page] !== 0) return;
    this.pinned--;
    this.set.pinned--;
    if (this.isResident(page)) this.#link(page, INACTIVE_LIST);
  }

  isPinned(page: number): boolean {
    return this.#pins[page] !== 0;
  }

  /** Checks every invariant; throws InvariantError. Cost: all pages. */
  verify(): void {
    let resident = 0;
    let stored = 0;
    let lost = 0;
    let listed = 0;
    for (let page = 0; page < this.pages; page++) {
      const state = this.state[page]!;
      const hasEntry = this.entry[page] !== NO_ENTRY;
      const mayHave = state === PageState.clean || state === PageState.stored;
      assert(hasEntry === mayHave, 'a page has a slot exactly when its bytes are there');
      if (state === PageState.stored) stored++;
      if (state === PageState.lost) lost++;
      if (!this.isResident(page)) continue;
      resident++;
      if (this.#pins[page] === 0) listed++;
    }
    assert(this.resident === resident, 'resident pages are counted');
    assert(this.stored === stored, 'stored pages are counted');
    assert(this.lost === lost, 'lost pages are counted');
    assert(this.#count(INACTIVE_LIST) === this.inactive, 'inactive pages are counted');
    assert(this.#count(ACTIVE_LIST) === this.active, 'active pages are counted');
    assert(this.#count(INCOMPRESSIBLE_LIST) === this.incompressible, 'pages set aside are counted');
    assert(
      this.inactive + this.active + this.incompressible === listed,
      'what is here and not pinned is listed',
    );
  }

  #count(list: ListAt): number {
    let count = 0;
    for (let page = this.oldest(list); page !== -1; page = this.newer(page, list)) {
      assert(this.isResident(page), 'what is listed is here');
      const flags = this.#flags[page]!;
      const listOf =
        (flags & INCOMPRESSIBLE) !== 0
          ? INCOMPRESSIBLE_LIST
          : (flags & ACTIVE) !== 0
            ? ACTIVE_LIST
            : INACTIVE_LIST;
      assert(listOf === list, 'a page knows its list');
      count++;
    }
    return count;
  }

  #link(page: number, list: ListAt): void {
    const head = this.pages + list;
    const newest = this.#next[head]!;
    this.#next[page] = newest;
    this.#previous[page] = head;
    this.#next[head] = page;
    this.#previous[newest] = page;
    if (list === INACTIVE_LIST) this.inactive++;
    else if (list === INCOMPRESSIBLE_LIST) {
      this.incompressible++;
      this.set.incompressible++;
      this.#flags[page]! |= INCOMPRESSIBLE;
    } else {
      this.active++;
      this.#flags[page]! |= ACTIVE;
    }
  }
}
