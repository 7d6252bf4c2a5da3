/**
 * Pages leave memory, in batches: as many as there are frames for.
 *
 *   oldest inactive ─▶ used since? ─▶ active
 *                  └▶ clean ─▶ dropped: the slot has it
 *                  └▶ dirty ─▶ taken into frames, run by run ─▶ swap out ─▶ stored
 *                                                          └ refused ─▶ put back, as the newest; or set aside: it does
 *                                                                         not compress
 *
 * Invariants
 * - A page that was taken is in its slot or back in memory when the batch ends: no page is in between outside a call.
 * - Nothing is allocated.
 *
 * Cost: two or three system calls for each run of neighbours, and the packing.
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

/** Frames 0 .. BATCH_PAGES - 1 are for pages that leave: as many dirty ones a batch has at the most. */
export const BATCH_PAGES = 128;
/** Clean ones need no frame. */
const VICTIMS_MAX = 512;
/** Pages that are looked at together, and leave together when they are alike: 2 MiB, a page of a page table. */
const CHUNK_SHIFT = 9;
const CHUNK_PAGES = 2 ** CHUNK_SHIFT;
/** A chunk's pages are protected in one step when they are so many runs, and at least one page in so many of the span. */
const SPAN_RUNS = 8;
const SPAN_PAGES = 32;
/** Looks at a list for each page that is wanted of it; then pages leave though they were used. */
const LOOKS = 4;
/** Putting a page back may be busy a few times: others change the address space. For ever would be a bug. */
const PUT_BACK_TRIES = 1000;

export class Evictor {
  /** Ticks with each page that leaves. */
  clock = 1;
  /** The last batch put pages back: nothing takes them. */
  isFull = false;
  /** The last refusal was of a page that does not compress: others may be taken. Set by `onRefusal`. */
  isIncompressible = false;
  /** No page leaves: memory may vanish under the one who copies it. */
  isFrozen = false;
  /** A batch is about to leave; `isAsked`: because the program wants these pages to leave. */
  onBatch: (isAsked: boolean) => void = () => {};
  /** A page that was refused once has been taken, or has not. */
  onRetried: () => void = () => {};
  readonly #swap: Swap;
  readonly #counters: PagerCounters;
  /** Pages of the batch, ascending, and how many of them are dirty. */
  readonly #victims: Int32Array = new Int32Array(VICTIMS_MAX);
  #count = 0;
  #dirty = 0;
  /** The page in each frame, -1: none. */
  readonly #pageIn: Int32Array = new Int32Array(BATCH_PAGES);
  /** How the bio of a page that is being written ended. */
  #written = true;

  constructor(swap: Swap, counters: PagerCounters) {
    this.#swap = swap;
    this.#counters = counters;
  }

  /** Makes `pages` pages leave a set, a batch at the most. Returns how many did. */
  reclaim(set: ResidentSet<Region>, pages: number): number {
    const wanted = Math.min(pages, VICTIMS_MAX);
    const region = this.isFrozen ? null : this.#oldestRegion(set);
    if (region === null) return 0;
    this.onBatch(false);
    this.#choose(region, wanted);
    return this.#evict(region);
  }

  /** The same, of pages whose slots have them still: for when nobody takes pages. The oldest of each list are looked at. */
  reclaimClean(set: ResidentSet<Region>, pages: number): number {
    if (this.isFrozen) return 0;
    for (let i = 0; i < set.regions.length; i++) {
      const region = set.regions[i]!;
      this.#begin();
      this.#chooseClean(region, INACTIVE_LIST, Math.min(pages, VICTIMS_MAX));
      this.#chooseClean(region, ACTIVE_LIST, Math.min(pages, VICTIMS_MAX));
      if (this.#count > 0) return this.#evict(region);
    }
    return 0;
  }

  /** Makes pages [from, to) of a region leave, from the first on: a batch at the most. Returns where to go on. */
  evictRange(region: Region, from: number, to: number): number {
    if (this.isFrozen) return to;
    this.#begin();
    this.onBatch(true);
    let page = from;
    for (; page < to && this.#hasRoom(VICTIMS_MAX); page++) {
      if (!region.isResident(page) || region.isPinned(page)) continue;
      region.unlist(page);
      this.#insert(region, page);
    }
    this.#evict(region);
    return page;
  }

  /** writeDone() of the memory manager. */
  writeDone(ok: boolean): void {
    this.#written = ok;
  }

  /** The region whose oldest page has been here longest. */
  #oldestRegion(set: ResidentSet<Region>): Region | null {
    let found: Region | null = null;
    let age = 0;
    for (let i = 0; i < set.regions.length; i++) {
      const region = set.regions[i]!;
      this.#balance(region);
      const page = region.oldest(INACTIVE_LIST);
      if (page === -1) continue;
      const pageAge = (this.clock - region.stamp[page]!) >>> 0; // stamps wrap
      if (found !== null && pageAge <= age) continue;
      found = region;
      age = pageAge;
    }
    return found;
  }

  /** At least a third of what is listed is inactive, so that hot pages, too, are tried again. */
  #balance(region: Region): void {
    for (let moves = VICTIMS_MAX; moves > 0 && region.active > region.inactive * 2; moves--)
      region.deactivateOldest();
  }

  #choose(region: Region, wanted: number): void {
    this.#begin();
    for (let looks = wanted * LOOKS; this.#hasRoom(wanted); looks--) {
      const page = region.oldest(INACTIVE_LIST);
      if (page === -1) return;
      if (looks > 0 && region.activateIfReferenced(page)) {
        this.#counters.add('secondChances', 1);
        if (region.active > region.inactive * 2) region.deactivateOldest();
        continue;
      }
      region.unlist(page);
      this.#insert(region, page);
      if (region.state[page] === PageState.dirty) this.#chooseAround(region, page, wanted);
    }
  }

  /**
   * With a dirty page others of its chunk leave that are inactive, dirty, not used, and not much younger: protecting
   * them takes one step for all, and each step costs more than a page's packing where others must be told of it.
   */
  #chooseAround(region: Region, page: number, wanted: number): void {
    const from = page & ~(CHUNK_PAGES - 1);
    const to = Math.min(from + CHUNK_PAGES, region.pages);
    const young = ((this.clock - region.stamp[page]!) >>> 0) >>> 2;
    for (let other = from; other < to && this.#hasRoom(wanted); other++) {
      if (region.state[other] !== PageState.dirty || !region.isIdle(other)) continue;
      if ((this.clock - region.stamp[other]!) >>> 0 < young) continue;
      region.unlist(other);
      this.#insert(region, other);
    }
  }

  #chooseClean(region: Region, list: ListAt, wanted: number): void {
    let page = region.oldest(list);
    for (let looks = VICTIMS_MAX * LOOKS; looks > 0 && page !== -1; looks--) {
      if (this.#count === wanted) return;
      const newer = region.newer(page, list);
      if (region.state[page] === PageState.clean) {
        region.unlist(page);
        this.#insert(region, page);
      }
      page = newer;
    }
  }

  #begin(): void {
    this.#count = 0;
    this.#dirty = 0;
  }

  /** The batch may have one page more: `most` in all, and no more dirty ones than there are frames. */
  #hasRoom(most: number): boolean {
    return this.#count < most && this.#dirty < BATCH_PAGES;
  }

  /** Keeps the batch in the order of pages: neighbours leave together. Nearly sorted as a rule. */
  #insert(region: Region, page: number): void {
    if (region.state[page] === PageState.dirty) this.#dirty++;
    let at = this.#count++;
    for (; at > 0 && this.#victims[at - 1]! > page; at--)
      this.#victims[at] = this.#victims[at - 1]!;
    this.#victims[at] = page;
  }

  /** The batch leaves: runs of clean pages are dropped, runs of dirty ones taken and swapped out. */
  #evict(region: Region): number {
    if (this.#count === 0) return 0;
    let gone = 0;
    let frames = 0;
    this.#protect(region);
    for (let at = 0; at < this.#count; ) {
      const end = this.#runEnd(region, at);
      if (region.state[this.#victims[at]!] === PageState.clean) {
        gone += this.#dropRun(region, at, end);
      } else {
        gone += this.#takeRun(region, at, end, frames);
        frames += end - at;
      }
      at = end;
    }
    region.memory.flush();
    if (frames === 0) return gone;
    gone += this.#swapOut(region, frames);
    region.memory.freeFrames(0, frames);
    return gone;
  }

  /** Writes to the dirty pages of the batch wait from now on: chunk by chunk in one step, or run by run. */
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
    // Pinned pages are never protected: a system call that writes to one must not fail.
    if (region.pinned === 0 && runs >= SPAN_RUNS && span <= dirty * SPAN_PAGES) {
      region.memory.protect(first, span);
      this.#liftOthers(region, at, end);
      return;
    }
    for (let i = at; i < end; ) {
      const runEnd = Math.min(this.#runEnd(region, i), end);
      const page = this.#victims[i]!;
      if (region.state[page] === PageState.dirty) region.memory.protect(page, runEnd - i);
      i = runEnd;
    }
  }

  /** Dirty pages between those of the batch were protected with them, and stay: they may be written again. */
  #liftOthers(region: Region, at: number, end: number): void {
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

  /** Where the run of neighbours in the same state that begins at `at` ends. */
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

  /** The run goes to frames from `frame` on. What cannot be taken stays, or is gone already. */
  #takeRun(region: Region, at: number, end: number, frame: number): number {
    let gone = 0;
    for (let i = at; i < end; ) {
      const taken = region.memory.take(this.#victims[i]!, end - i, frame + i - at);
      for (const last = i + taken; i < last; i++) this.#pageIn[frame + i - at] = this.#victims[i]!;
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
      }
      this.#pageIn[frame + i - at] = -1;
      i++;
    }
    return gone;
  }

  #swapOut(region: Region, frames: number): number {
    let out = 0;
    let back = 0;
    let incompressible = 0;
    let isRefused = false;
    for (let frame = 0; frame < frames; frame++) {
      const page = this.#pageIn[frame]!;
      if (page === -1) continue;
      const entry = isRefused ? NO_ENTRY : this.#store(frame);
      if (entry !== NO_ENTRY) {
        region.removeResident(page, PageState.stored, entry, this.clock++);
        out++;
        continue;
      }
      const isPoor = !isRefused && this.isIncompressible;
      if (!isPoor) isRefused = true;
      if (!this.#putBack(region, page, frame)) continue;
      back++;
      if (isPoor) {
        region.unlist(page);
        region.listIncompressible(page);
        incompressible++;
      }
    }
    this.isFull = isRefused;
    this.#counters.add('pagesOut', out);
    region.counts[RegionCount.pagesOut]! += out;
    this.#counters.add('pagesPutBack', back);
    this.#counters.add('pagesIncompressible', incompressible);
    return out;
  }

  /** A page that was taken is in memory again, as the newest; false: its memory is gone meanwhile, and so is the page. */
  #putBack(region: Region, page: number, frame: number): boolean {
    const { memory } = region;
    for (let tries = PUT_BACK_TRIES; tries > 0; tries--) {
      if (memory.install(page, frame, 1, true) === 1) {
        region.relist(page);
        return true;
      }
      if (memory.stop !== StopReason.busy) break;
    }
    assert(
      memory.stop === StopReason.gone,
      'a page that was taken can be put back while it has memory',
    );
    region.removeResident(page, PageState.absent, NO_ENTRY, this.clock++);
    this.#counters.add('pagesGone', 1);
    return false;
  }

  /** The frame's page to a slot of its own; NO_ENTRY when nobody takes it. */
  #store(frame: number): SwapEntry {
    this.isIncompressible = false;
    let entry = this.#tryStore(frame);
    if (entry !== NO_ENTRY) return entry;
    while (entry === NO_ENTRY && this.onRefusal()) entry = this.#tryStore(frame);
    this.onRetried();
    return entry;
  }

  #tryStore(frame: number): SwapEntry {
    const swap = this.#swap;
    const entry = swap.addToSwap(frame);
    if (entry === NO_ENTRY) return NO_ENTRY;
    swap.duplicate(entry);
    this.#written = true;
    let out = swap.swapOut(frame);
    while (out === SwapOutResult.pending) {
      swap.tick();
      out = swap.isBusy(frame)
        ? SwapOutResult.pending
        : this.#written
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

  /** The page's area refused it, or there is no slot. True: there is another way now; try again. */
  onRefusal: () => boolean = () => false;
}
