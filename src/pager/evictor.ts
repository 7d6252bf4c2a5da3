/**
 * Evicts pages from memory in batches, limited by the number of free frames.
 *
 *   oldest inactive ─▶ referenced ─▶ active
 *                  └▶ clean ─▶ dropped: its stored copy is valid
 *                  └▶ dirty ─▶ taken into frames, run by run ─▶ swapped out ─▶ stored
 *                                                          └ refused ─▶ put back, as the newest page; an incompressible
 *                                                                      page goes to a separate list
 *
 * Invariants
 * - When a batch ends, each page that was taken is in its slot or back in memory: no page is only in a frame between
 *   calls.
 * - Nothing is allocated.
 *
 * Cost: two or three system calls per run of neighbouring pages, and the compression.
 */
import { assert } from '../base/assert.ts';
import { NO_ENTRY, type SwapEntry } from '../swap/entry.ts';
import { type Swap, SwapOutResult } from '../swap/swap.ts';
import type { PagerCounters } from './counters.ts';
import { StopReason } from './ops.ts';
import {
  ACTIVE_LIST,
  INACTIVE_LIST,
  type ListAt,
  PageState,
  type Region,
  RegionCount,
} from './region.ts';
import type { ResidentSet } from './resident-set.ts';
import { SharedEvictor } from './shared-evictor.ts';

/** Maximum number of dirty pages in a batch; frames 0 .. BATCH_PAGES - 1 hold them. */
export const BATCH_PAGES = 128;
/** Maximum number of pages in a batch. Clean ones need no frame. */
const VICTIMS_MAX = 512;
/** Dirty pages of one chunk are evicted together: 2 MiB, the range of one page of the page table. */
const CHUNK_SHIFT = 9;
const CHUNK_PAGES = 2 ** CHUNK_SHIFT;
/**
 * A chunk is protected in one call if its victims form this many runs and make up at least one page in SPAN_PAGES of
 * the span.
 */
const SPAN_RUNS = 8;
const SPAN_PAGES = 32;
/** Scan limit per requested page; once it is reached, referenced pages are evicted too. */
const SCANS_PER_PAGE = 4;
/** UFFDIO_COPY may return EAGAIN while the address space changes; retry at most this often. */
const PUT_BACK_TRIES = 1000;

/** What onRefusal() decides about a page that was refused. */
export const RefusalResult = {
  /** Space was freed, or another area now accepts pages: store the page again. */
  retry: 0,
  /** Every tier is full: end the batch. */
  full: 1,
  /** The page does not compress: keep it in memory, and continue with the others. */
  incompressible: 2,
} as const;
export type RefusalResult = (typeof RefusalResult)[keyof typeof RefusalResult];

export class Evictor {
  /** Advances by one for each page that is evicted. */
  clock = 1;
  /**
   * The last batch put pages back or evicted pages in exchange for clean copies: attempts become rarer (reclaimer.ts).
   */
  isFull = false;
  /** Pages that may still be evicted in exchange for dropped clean copies: no space was gained. Set by `onRefusal`. */
  exchange = 0;
  /** True: evict nothing, because memory may be unmapped while it is copied. */
  isFrozen = false;
  /** Called before a batch. `isAsked`: the program requested this eviction. */
  onBatch: (isAsked: boolean) => void = () => {};
  /** Called when a page's area refused it, or there was no slot. */
  onRefusal: () => RefusalResult = () => RefusalResult.full;
  /** Called after the last attempt to store a page that was refused. */
  onRetried: () => void = () => {};
  readonly #swap: Swap;
  readonly #counters: PagerCounters;
  /** Pages of the batch, ascending; how many; how many of them are dirty. */
  readonly #victims: Int32Array = new Int32Array(VICTIMS_MAX);
  #count = 0;
  #dirty = 0;
  /** The page in each frame; -1: none. */
  readonly #pageInFrame: Int32Array = new Int32Array(BATCH_PAGES);
  /** False if the write of the current page failed. */
  #isWritten = true;
  readonly #shared: SharedEvictor;

  constructor(swap: Swap, counters: PagerCounters) {
    this.#swap = swap;
    this.#counters = counters;
    this.#shared = new SharedEvictor(swap, counters, this);
  }

  /** Evicts up to `pages` pages of a set, in one batch, from the region with the oldest page. Returns how many. */
  reclaim(set: ResidentSet<Region>, pages: number): number {
    const region = this.isFrozen ? null : this.#oldestRegion(set);
    if (region === null) return 0;
    this.onBatch(false);
    this.#choose(region, Math.min(pages, VICTIMS_MAX));
    return this.#evict(region);
  }

  /**
   * Evicts clean pages only, for when every tier is full. Scans the oldest pages of each list; if those are dirty,
   * scans all pages in turn. Returns how many.
   */
  reclaimClean(set: ResidentSet<Region>, pages: number): number {
    if (this.isFrozen) return 0;
    for (let i = 0; i < set.regions.length; i++) {
      const region = set.regions[i]!;
      this.#begin();
      this.#chooseClean(region, INACTIVE_LIST, Math.min(pages, VICTIMS_MAX));
      this.#chooseClean(region, ACTIVE_LIST, Math.min(pages, VICTIMS_MAX));
      if (this.#count === 0) this.#chooseAnyClean(region, Math.min(pages, VICTIMS_MAX));
      if (this.#count > 0) return this.#evict(region);
    }
    return 0;
  }

  /** Evicts pages of [from, to), in one batch that starts at `from`. Returns where to continue. */
  evictRange(region: Region, from: number, to: number): number {
    if (this.isFrozen) return to;
    this.#begin();
    this.onBatch(true);
    let page = from;
    for (; page < to && this.#hasSpace(VICTIMS_MAX); page++) {
      if (!region.isResident(page) || region.isPinned(page)) continue;
      region.unlist(page);
      this.#insert(region, page);
    }
    this.#evict(region);
    return page;
  }

  /** Slots were freed: the tiers may accept pages again. */
  spaceFreed(): void {
    this.isFull = false;
    this.exchange = 0;
  }

  /** writeDone() of the memory manager. */
  writeDone(ok: boolean): void {
    this.#isWritten = ok;
  }

  /** Returns the region that holds the least recently used page, or null. */
  #oldestRegion(set: ResidentSet<Region>): Region | null {
    let found: Region | null = null;
    let oldestAge = 0;
    for (let i = 0; i < set.regions.length; i++) {
      const region = set.regions[i]!;
      this.#balance(region);
      const page = region.oldest(INACTIVE_LIST);
      if (page === -1) continue;
      const age = (this.clock - region.stamp[page]!) >>> 0; // stamps wrap
      if (found !== null && age <= oldestAge) continue;
      found = region;
      oldestAge = age;
    }
    return found;
  }

  /** Keeps at least a third of the listed pages inactive, so that active pages age too. */
  #balance(region: Region): void {
    for (let moves = VICTIMS_MAX; moves > 0 && region.active > region.inactive * 2; moves--)
      region.deactivateOldest();
  }

  #choose(region: Region, pagesMax: number): void {
    this.#begin();
    for (let scans = pagesMax * SCANS_PER_PAGE; this.#hasSpace(pagesMax); scans--) {
      const page = region.oldest(INACTIVE_LIST);
      if (page === -1) return;
      if (scans > 0 && region.activateIfReferenced(page)) {
        this.#counters.add('secondChances', 1);
        if (region.active > region.inactive * 2) region.deactivateOldest();
        continue;
      }
      region.unlist(page);
      this.#insert(region, page);
      if (region.state[page] === PageState.dirty) this.#chooseNeighbours(region, page, pagesMax);
    }
  }

  /**
   * Adds the dirty pages of the same chunk that are inactive, not referenced and not much younger, so that one call
   * protects them all. Where it needs a TLB shootdown, that call costs more than compressing a page.
   */
  #chooseNeighbours(region: Region, page: number, pagesMax: number): void {
    const from = page & ~(CHUNK_PAGES - 1);
    const to = Math.min(from + CHUNK_PAGES, region.pages);
    const ageMin = ((this.clock - region.stamp[page]!) >>> 0) >>> 2;
    for (let other = from; other < to && this.#hasSpace(pagesMax); other++) {
      if (region.state[other] !== PageState.dirty || !region.isIdle(other)) continue;
      if ((this.clock - region.stamp[other]!) >>> 0 < ageMin) continue;
      region.unlist(other);
      this.#insert(region, other);
    }
  }

  #chooseClean(region: Region, list: ListAt, pagesMax: number): void {
    let page = region.oldest(list);
    for (let scans = VICTIMS_MAX * SCANS_PER_PAGE; scans > 0 && page !== -1; scans--) {
      if (this.#count === pagesMax) return;
      const newer = region.newer(page, list);
      if (region.state[page] === PageState.clean) {
        region.unlist(page);
        this.#insert(region, page);
      }
      page = newer;
    }
  }

  /**
   * Chooses clean pages after those of the last call, except the newest: the thread that accessed it may still need it.
   */
  #chooseAnyClean(region: Region, pagesMax: number): void {
    const newest = region.newest(INACTIVE_LIST);
    const start = region.cleanScanAt;
    let page = region.state.indexOf(PageState.clean, start);
    for (let isWrapped = false; this.#count < pagesMax; ) {
      if (page === -1 && isWrapped) return;
      if (page === -1) isWrapped = true;
      else if (isWrapped && page >= start) return;
      else if (page !== newest && !region.isPinned(page)) {
        region.unlist(page);
        this.#insert(region, page);
      }
      region.cleanScanAt = page + 1;
      page = region.state.indexOf(PageState.clean, page + 1);
    }
  }

  #begin(): void {
    this.#count = 0;
    this.#dirty = 0;
  }

  /** True if the batch has space for a page: it has fewer than `pagesMax`, and a frame for each dirty one. */
  #hasSpace(pagesMax: number): boolean {
    return this.#count < pagesMax && this.#dirty < BATCH_PAGES;
  }

  /** Keeps the batch sorted by page, so that neighbours form runs. Usually the page goes to the end. */
  #insert(region: Region, page: number): void {
    if (region.state[page] === PageState.dirty) this.#dirty++;
    let at = this.#count++;
    for (; at > 0 && this.#victims[at - 1]! > page; at--)
      this.#victims[at] = this.#victims[at - 1]!;
    this.#victims[at] = page;
  }

  /** Drops the runs of clean pages; takes and swaps out the runs of dirty ones. Returns how many pages were evicted. */
  #evict(region: Region): number {
    if (this.#count === 0) return 0;
    const { shared } = region.memory;
    if (shared !== null) return this.#shared.evict(region, shared, this.#victims, this.#count);
    let evicted = 0;
    let frames = 0;
    this.#protect(region);
    for (let at = 0; at < this.#count; ) {
      const end = this.#runEnd(region, at);
      if (region.state[this.#victims[at]!] === PageState.clean) {
        evicted += this.#dropRun(region, at, end);
      } else {
        evicted += this.#takeRun(region, at, end, frames);
        frames += end - at;
      }
      at = end;
    }
    region.memory.flush();
    if (frames === 0) return evicted;
    evicted += this.#swapOut(region, frames);
    region.memory.freeFrames(0, frames);
    return evicted;
  }

  /** Protects the dirty pages of the batch, each chunk in one call or run by run; from now on, writers wait. */
  #protect(region: Region): void {
    for (let at = 0; at < this.#count; ) {
      const chunk = this.#victims[at]! >>> CHUNK_SHIFT;
      let end = at;
      while (end < this.#count && this.#victims[end]! >>> CHUNK_SHIFT === chunk) end++;
      this.#protectChunk(region, at, end);
      at = end;
    }
  }

  #protectChunk(region: Region, at: number, end: number): void {
    let runs = 0;
    let dirty = 0;
    for (let i = at; i < end; ) {
      const runEnd = Math.min(this.#runEnd(region, i), end);
      if (region.state[this.#victims[i]!] === PageState.dirty) {
        runs++;
        dirty += runEnd - i;
      }
      i = runEnd;
    }
    const first = this.#victims[at]!;
    const span = this.#victims[end - 1]! + 1 - first;
    // Never protect a pinned page: a system call that writes to it would fail with EFAULT.
    if (region.pinned === 0 && runs >= SPAN_RUNS && span <= dirty * SPAN_PAGES) {
      region.memory.protect(first, span);
      this.#unprotectGaps(region, at, end);
      return;
    }
    for (let i = at; i < end; ) {
      const runEnd = Math.min(this.#runEnd(region, i), end);
      const page = this.#victims[i]!;
      if (region.state[page] === PageState.dirty) region.memory.protect(page, runEnd - i);
      i = runEnd;
    }
  }

  /**
   * Makes the dirty pages between those of the batch writable again: they were protected in the same call, but stay.
   */
  #unprotectGaps(region: Region, at: number, end: number): void {
    for (let i = at; i + 1 < end; i++) {
      const gapEnd = this.#victims[i + 1]!;
      for (let page = this.#victims[i]! + 1; page < gapEnd; ) {
        let run = page;
        while (run < gapEnd && region.state[run] === PageState.dirty) run++;
        if (run > page) region.memory.makeWritable(page, run - page);
        page = run + 1;
      }
    }
  }

  /** Returns the end of the run of neighbouring pages in the same state that starts at `at`. */
  #runEnd(region: Region, at: number): number {
    const state = region.state[this.#victims[at]!]!;
    let end = at + 1;
    while (
      end < this.#count &&
      this.#victims[end] === this.#victims[end - 1]! + 1 &&
      region.state[this.#victims[end]!] === state
    )
      end++;
    return end;
  }

  #dropRun(region: Region, at: number, end: number): number {
    region.memory.drop(this.#victims[at]!, end - at);
    for (let i = at; i < end; i++) {
      const page = this.#victims[i]!;
      region.removeResident(page, PageState.stored, region.entry[page]! as SwapEntry, this.clock++);
      region.rewritten -= region.rewritten >>> 5;
    }
    this.#counters.add('pagesDropped', end - at);
    region.counts[RegionCount.pagesDropped]! += end - at;
    return end - at;
  }

  /**
   * Takes the run into the frames from `frame` on. A busy page stays. Returns the number of pages that were already
   * gone, because their owner dropped them.
   */
  #takeRun(region: Region, at: number, end: number, frame: number): number {
    let gone = 0;
    for (let i = at; i < end; ) {
      const taken = region.memory.take(this.#victims[i]!, end - i, frame + i - at);
      for (const last = i + taken; i < last; i++)
        this.#pageInFrame[frame + i - at] = this.#victims[i]!;
      if (i === end) break;
      const page = this.#victims[i]!;
      if (region.memory.stop === StopReason.gone) {
        region.removeResident(page, PageState.absent, NO_ENTRY, this.clock++);
        this.#counters.add('pagesGone', 1);
        gone++;
      } else {
        region.memory.makeWritable(page, 1);
        region.relist(page);
        this.#counters.add('pagesPutBack', 1);
        this.#counters.add('pagesBusy', 1);
      }
      this.#pageInFrame[frame + i - at] = -1;
      i++;
    }
    return gone;
  }

  /**
   * Swaps out the pages in frames 0 .. frames - 1; after a refusal puts the rest back. Returns how many were stored.
   */
  #swapOut(region: Region, frames: number): number {
    let out = 0;
    let back = 0;
    let incompressible = 0;
    this.isFull = false;
    for (let frame = 0; frame < frames; frame++) {
      const page = this.#pageInFrame[frame]!;
      if (page === -1) continue;
      const entry = this.isFull ? NO_ENTRY : this.store(frame);
      if (entry !== NO_ENTRY) {
        region.removeResident(page, PageState.stored, entry, this.clock++);
        out++;
        continue;
      }
      if (!this.#putBack(region, page, frame)) continue;
      back++;
      if (this.isFull) continue;
      region.unlist(page);
      region.listIncompressible(page);
      incompressible++;
    }
    if (this.exchange > 0) this.isFull = true;
    this.exchange = Math.max(0, this.exchange - out);
    this.#counters.add('pagesOut', out);
    region.counts[RegionCount.pagesOut]! += out;
    this.#counters.add('pagesPutBack', back);
    this.#counters.add('pagesIncompressible', incompressible);
    return out;
  }

  /**
   * Installs a taken page again, as the newest. Returns false if its memory was unmapped in the meantime: the page is
   * gone.
   */
  #putBack(region: Region, page: number, frame: number): boolean {
    const { memory } = region;
    for (let tries = PUT_BACK_TRIES; tries > 0; tries--) {
      if (memory.install(page, frame, 1, true) === 1) {
        region.relist(page);
        return true;
      }
      if (memory.stop !== StopReason.busy) break;
    }
    assert(memory.stop === StopReason.gone, 'the page is unmapped, or could be put back');
    region.removeResident(page, PageState.absent, NO_ENTRY, this.clock++);
    this.#counters.add('pagesGone', 1);
    return false;
  }

  /**
   * Stores the frame's page in a slot. Returns NO_ENTRY if it was refused; isFull then says whether every tier is full.
   */
  store(frame: number): SwapEntry {
    let entry = this.#tryStore(frame);
    if (entry !== NO_ENTRY) return entry;
    let result: RefusalResult = RefusalResult.retry;
    while (entry === NO_ENTRY && result === RefusalResult.retry) {
      result = this.onRefusal();
      if (result === RefusalResult.retry) entry = this.#tryStore(frame);
    }
    this.onRetried();
    this.isFull = result === RefusalResult.full;
    return entry;
  }

  #tryStore(frame: number): SwapEntry {
    const swap = this.#swap;
    const entry = swap.addToSwap(frame);
    if (entry === NO_ENTRY) return NO_ENTRY;
    swap.duplicate(entry);
    this.#isWritten = true;
    let out = swap.swapOut(frame);
    while (out === SwapOutResult.pending) {
      swap.tick();
      out = swap.isBusy(frame)
        ? SwapOutResult.pending
        : this.#isWritten
          ? SwapOutResult.done
          : SwapOutResult.ioError;
    }
    if (out === SwapOutResult.done) {
      swap.dropFromCache(frame);
      return entry;
    }
    swap.freeAndCache(entry);
    return NO_ENTRY;
  }
}
