/**
 * A region's pages: where each page is, and in which order resident pages are evicted.
 *
 *   state │ absent │ dirty │ clean │ stored │ lost │      one byte per page
 *   entry │   0    │   0   │   e   │   e    │  0   │      the slot that holds the page's bytes
 *   stamp │   -    │ swapped in at │ out at │  -   │      the pager's clock, which counts evicted pages
 *
 *     absent ──access──▶ dirty ◀──write── clean ───────── evicted ────────▶ stored
 *       ▲                 │                 ▲                                 │
 *       └──── discard ────┤                 └───────────── read ──────────────┤
 *                         └────────── taken, swapped out ────▶ stored ─write─▶ dirty
 *
 *   inactive:  newest ⇄ … ⇄ oldest ─▶ evicted      active:  newest ⇄ … ⇄ oldest ─▶ inactive
 *
 * A page enters at the head of the inactive list. A referenced page at the tail gets a second chance in the active
 * list. User space has no accessed bit: a page counts as referenced if it is written while clean, or if it is swapped
 * in again soon after it was evicted (kernel: mm/workingset.c, refault distance).
 *
 * Invariants
 * - A page is in a list exactly when it is resident (dirty or clean) and not pinned.
 * - A page has a slot exactly when it is clean or stored.
 * - `resident` = dirty pages + clean pages.
 *
 * Cost: 19 bytes per page, allocated when the page is first used; every operation is O(1) and allocates nothing.
 */
import { assert } from '../base/assert.ts';
import { NO_ENTRY, type SwapEntry } from '../swap/entry.ts';
import type { PagedMemory } from './ops.ts';
import { Prefetch } from './prefetch.ts';
import type { ResidentSet } from './resident-set.ts';

/** Where a page is. Zero is absent, so a zeroed table is a new region. */
export const PageState = {
  /** Nowhere; it reads as zeros. */
  absent: 0,
  /** In memory only. */
  dirty: 1,
  /** In memory, write-protected, and equal to the copy in its slot. */
  clean: 2,
  /** In its slot only. */
  stored: 3,
  /** Its slot could not be read: an access gets SIGBUS. */
  lost: 4,
} as const;
export type PageState = (typeof PageState)[keyof typeof PageState];

/** Page flags. REFERENCED: used since it was swapped in. ACTIVE, INCOMPRESSIBLE: the list it is in. */
const REFERENCED = 1;
const ACTIVE = 2;
const INCOMPRESSIBLE = 4;
/** Made evictable again after it was found incompressible; not yet compressed since. */
const RETRIED = 8;
/** Maximum number of pins of one page: a pin count is one byte. */
const PINS_MAX = 255;

/** Indexes into Region.counts. */
export const RegionCount = {
  faults: 0,
  pagesIn: 1,
  pagesPrefetched: 2,
  pagesOut: 3,
  pagesDropped: 4,
  writeFaults: 5,
} as const;

/** A list of pages; its head is a sentinel row after the last page. */
export type ListAt = 0 | 1 | 2;
export const INACTIVE_LIST: ListAt = 0;
export const ACTIVE_LIST: ListAt = 1;
/** Pages that every tier refused because they do not compress; the background retries them. */
const INCOMPRESSIBLE_LIST: ListAt = 2;
const LISTS = [INACTIVE_LIST, ACTIVE_LIST, INCOMPRESSIBLE_LIST] as const;

const WORD_TABLES = 4;
const BYTE_TABLES = 3;

/** Bytes of the tables of a region. */
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
  /** By page: the pager clock when it was swapped in, or out. */
  readonly stamp: Int32Array;
  /** By RegionCount; the pager's counters are the sums over all regions. */
  readonly counts: Float64Array = new Float64Array(Object.keys(RegionCount).length);
  /** Dirty and clean pages. */
  resident = 0;
  /** Pages in each list. */
  inactive = 0;
  active = 0;
  incompressible = 0;
  pinned = 0;
  /** Pages in the state `stored`. */
  stored = 0;
  lost = 0;
  /**
   * 0 .. 256: a moving average of how many clean pages are written before they are evicted. From 128 on, keeping the
   * stored copy is not worth it: the write fault costs more than compressing the page again.
   */
  rewritten = 0;
  /** Counts page-ins while `rewritten` is high: one in 32 keeps its copies, to measure again. */
  tries = 0;
  /** The page where the next fault of a sequential writer is expected, and how many pages that fault makes writable. */
  writeAt = -1;
  writeWindow = 1;
  /** Of the pages that retryIncompressible() chose, those evicted since, because they now compress. */
  compressedOnRetry = 0;
  /** Where the scan for clean pages continues (evictor.ts). */
  cleanScanAt = 0;
  /** When incompressible pages are retried: the step, and the steps between two retries (reclaimer.ts). */
  retryAt = 0;
  retryWait = 0;
  readonly #flags: Uint8Array;
  readonly #pins: Uint8Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;

  /** @param tables tableBytes() zeros; allocated if missing */
  constructor(memory: PagedMemory, set: ResidentSet<Region>, tables?: ArrayBuffer) {
    const { pages } = memory;
    assert(Number.isInteger(pages) && pages > 0 && pages < 2 ** 30, '1 <= pages < 2^30');
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

  /** Records that the page became resident, at `clock`. */
  addResident(page: number, state: PageState, entry: SwapEntry, clock: number): void {
    const before = this.state[page]!;
    assert(before !== PageState.dirty && before !== PageState.clean, 'the page is not resident');
    if (before === PageState.stored) this.stored--;
    if (before === PageState.lost) this.lost--;
    this.state[page] = state;
    this.entry[page] = entry;
    this.stamp[page] = clock;
    this.resident++;
    this.set.pages++;
    this.#flags[page] = 0;
    if (this.#pins[page] === 0) this.#link(page, INACTIVE_LIST);
  }

  /** Records that the page was evicted to its slot, or discarded, at `clock`. */
  removeResident(page: number, state: PageState, entry: SwapEntry, clock: number): void {
    assert(this.isResident(page), 'the page is resident');
    if ((this.#flags[page]! & RETRIED) !== 0) this.compressedOnRetry++;
    this.unlist(page);
    this.resident--;
    this.set.pages--;
    this.state[page] = state;
    this.entry[page] = entry;
    this.stamp[page] = clock;
    if (state === PageState.stored) this.stored++;
    if (state === PageState.lost) this.lost++;
  }

  /** Sets a page that is not resident to `absent` or `lost`; the caller frees its slot. */
  resetTo(page: number, state: typeof PageState.absent | typeof PageState.lost): void {
    assert(!this.isResident(page), 'the page is not resident');
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

  /** In the inactive list and not referenced. */
  isIdle(page: number): boolean {
    return (
      this.#pins[page] === 0 && this.#next[page] !== 0 && (this.#flags[page]! & ~RETRIED) === 0
    );
  }

  markReferenced(page: number): void {
    this.#flags[page]! |= REFERENCED;
  }

  /** Returns the oldest page of a list, or -1. */
  oldest(list: ListAt): number {
    const page = this.#previous[this.pages + list]!;
    return page === this.pages + list ? -1 : page;
  }

  /** Returns the newest page of a list, or -1. */
  newest(list: ListAt): number {
    const page = this.#next[this.pages + list]!;
    return page === this.pages + list ? -1 : page;
  }

  /** Returns the next newer page in its list, or -1. */
  newer(page: number, list: ListAt): number {
    const before = this.#previous[page]!;
    return before === this.pages + list ? -1 : before;
  }

  /**
   * Moves a referenced page to the head of the active list and clears its mark. Returns false if it was not referenced
   * and may be evicted.
   */
  activateIfReferenced(page: number): boolean {
    if ((this.#flags[page]! & REFERENCED) === 0) return false;
    this.#flags[page]! &= ~REFERENCED;
    this.unlist(page);
    this.#link(page, ACTIVE_LIST);
    return true;
  }

  /** Moves the oldest active page to the head of the inactive list. */
  deactivateOldest(): void {
    const page = this.oldest(ACTIVE_LIST);
    assert(page !== -1, 'the active list is not empty');
    this.unlist(page);
    this.#link(page, INACTIVE_LIST);
  }

  /** Removes a page from its list, if it is in one. */
  unlist(page: number): void {
    const next = this.#next[page]!;
    const previous = this.#previous[page]!;
    if (next === 0 && previous === 0) return; // not in a list: page 0 cannot be both neighbours
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

  /** Relists a page that was not evicted, as the newest inactive page. */
  relist(page: number): void {
    assert(this.isResident(page), 'the page is resident');
    if (this.#pins[page] === 0) this.#link(page, INACTIVE_LIST);
  }

  /** Keeps an incompressible page from eviction until retryIncompressible(). */
  listIncompressible(page: number): void {
    assert(this.isResident(page), 'the page is resident');
    this.#flags[page]! &= ~RETRIED;
    if (this.#pins[page] === 0) this.#link(page, INCOMPRESSIBLE_LIST);
  }

  /** Makes up to `pagesMax` incompressible pages evictable again, the oldest first. */
  retryIncompressible(pagesMax: number): void {
    for (let left = pagesMax; left > 0 && this.incompressible > 0; left--) {
      const page = this.oldest(INCOMPRESSIBLE_LIST);
      this.unlist(page);
      this.#link(page, INACTIVE_LIST);
      this.#flags[page]! |= RETRIED;
    }
  }

  /** Keeps a resident page in memory until unpin(). Returns false if it already has PINS_MAX pins. */
  pin(page: number): boolean {
    assert(this.isResident(page), 'the page is resident');
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
    assert(this.#pins[page]! > 0, 'the page is pinned');
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
      const isStored = state === PageState.clean || state === PageState.stored;
      assert(hasEntry === isStored, 'a page has a slot exactly when it is clean or stored');
      if (state === PageState.stored) stored++;
      if (state === PageState.lost) lost++;
      if (!this.isResident(page)) continue;
      resident++;
      if (this.#pins[page] === 0) listed++;
    }
    assert(this.resident === resident, 'resident = dirty + clean pages');
    assert(this.stored === stored, 'stored = pages in that state');
    assert(this.lost === lost, 'lost = pages in that state');
    assert(this.#count(INACTIVE_LIST) === this.inactive, 'inactive = length of its list');
    assert(this.#count(ACTIVE_LIST) === this.active, 'active = length of its list');
    assert(
      this.#count(INCOMPRESSIBLE_LIST) === this.incompressible,
      'incompressible = length of its list',
    );
    assert(
      this.inactive + this.active + this.incompressible === listed,
      'each resident page that is not pinned is in a list',
    );
  }

  #count(list: ListAt): number {
    let count = 0;
    for (let page = this.oldest(list); page !== -1; page = this.newer(page, list)) {
      assert(this.isResident(page), 'a listed page is resident');
      const flags = this.#flags[page]!;
      const listOf =
        (flags & INCOMPRESSIBLE) !== 0
          ? INCOMPRESSIBLE_LIST
          : (flags & ACTIVE) !== 0
            ? ACTIVE_LIST
            : INACTIVE_LIST;
      assert(listOf === list, 'the flags name the list');
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
