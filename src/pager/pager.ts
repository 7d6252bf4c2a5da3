/**
 * The pager: keeps pages of regions in memory up to the ceiling of their resident set, and all others in swap slots. It
 * is the memory manager of the swap core; its frames hold pages while they are swapped in or out.
 *
 *   access ─▶ fault() ─▶ stored?       make space ▶ swap in, with the pages predicted next ▶ install ▶ wake
 *                    └▶ absent?        install zeros
 *                    └▶ first write?   free the stored copy ▶ make writable
 *   background() ─▶ above the high mark: evict batches (evictor.ts)
 *
 * One thread calls the pager. It never accesses a page that may not be resident.
 *
 * Invariants
 * - After each call every page is in memory, in a slot, in both and equal (clean), or nowhere.
 * - A page that cannot be read when it is accessed is lost: the access gets SIGBUS, no other page is affected. A page
 *   that cannot be prefetched, pinned or swapped in by another call stays stored.
 * - A set exceeds its ceiling only if nothing can be evicted.
 * - A slot is freed in the call in which its page becomes dirty or is discarded, or its region ends.
 *
 * Cost: a fault takes one swap-in and one system call; with an access pattern, a window of pages shares them. It
 * allocates nothing.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { NO_ENTRY, type SwapEntry } from '../swap/entry.ts';
import type { FrontEnd, MemoryManager } from '../swap/ops.ts';
import { Swap, SwapInResult } from '../swap/swap.ts';
import { CleanCopies } from './clean-copies.ts';
import { type PagerCounters, pagerCounters } from './counters.ts';
import { Evictor } from './evictor.ts';
import { FRAME_COUNT, Loader, type PageIn, WINDOW_PAGES } from './loader.ts';
import { RangeResult, StopReason, Touch } from './ops.ts';
import { PendingWindow } from './pending-window.ts';
import { Reclaimer } from './reclaimer.ts';
import { PageState, Region, RegionCount } from './region.ts';
import type { ResidentSet } from './resident-set.ts';
import { SharedPager } from './shared-pager.ts';

/** Called before the waiting threads learn of it. `reason`: why the slot could not be read. */
type OnLost = (region: Region, page: number, reason: SwapInResult) => void;

export interface PagerOptions {
  /** FRAME_COUNT pages; see MemoryManager.memory. */
  readonly frames: Uint8Array;
  readonly front: FrontEnd;
  readonly onLost?: OnLost;
}

export class Pager implements MemoryManager {
  readonly memory: Uint8Array;
  readonly swap: Swap;
  readonly counters: PagerCounters = pagerCounters();
  readonly regions: Region[] = [];
  readonly evictor: Evictor;
  readonly #reclaimer: Reclaimer;
  readonly #copies: CleanCopies;
  readonly #pending: PendingWindow = new PendingWindow();
  readonly #loader: Loader;
  /** Handles memory whose faults are served by native code. */
  readonly shared: SharedPager;
  readonly #onLost: OnLost;

  constructor({ frames, front, onLost = () => {} }: PagerOptions) {
    assert(frames.length === FRAME_COUNT * PAGE_BYTES, 'frames.length = FRAME_COUNT pages');
    assert(!front.exclusiveGets, 'gets are not exclusive: clean pages keep their copies');
    this.memory = frames;
    this.swap = new Swap(front, this);
    this.evictor = new Evictor(this.swap, this.counters);
    this.#copies = new CleanCopies(this.swap, this.counters);
    this.#reclaimer = new Reclaimer(this.evictor, this.counters);
    this.#loader = new Loader(this.swap, this.evictor, this.counters);
    this.#onLost = onLost;
    this.shared = new SharedPager({
      swap: this.swap,
      evictor: this.evictor,
      reclaimer: this.#reclaimer,
      loader: this.#loader,
      counters: this.counters,
      onLost,
    });
  }

  /** True: evicts nothing, and sets may exceed their ceilings. Set while memory may be unmapped at any moment. */
  get isFrozen(): boolean {
    return this.evictor.isFrozen;
  }

  set isFrozen(isFrozen: boolean) {
    this.evictor.isFrozen = isFrozen;
  }

  /** @param tables see Region; the caller may reuse them after remove() */
  add(memory: Region['memory'], set: ResidentSet<Region>, tables?: ArrayBuffer): Region {
    const region = new Region(memory, set, tables);
    set.regions.push(region);
    this.regions.push(region);
    return region;
  }

  /** Records a page of an adopted memory that is already resident and that its owner has written. */
  adopt(region: Region, page: number): void {
    const { shared } = region.memory;
    if (shared !== null && !shared.adopt(page)) return; // a fault came first and is reported
    region.addResident(page, PageState.dirty, NO_ENTRY, this.evictor.clock);
  }

  /** Resolves the fault of a thread that waits. @param touch bits of Touch */
  fault(region: Region, page: number, touch: number): void {
    assert(page >= 0 && page < region.pages, '0 <= page < region.pages');
    this.counters.add('faults', 1);
    region.counts[RegionCount.faults]! += 1;
    const state = region.state[page]!;
    if (state === PageState.stored) this.#swapInFault(region, page, touch !== Touch.read);
    else if (state === PageState.absent) this.#zeroFillFault(region, page, touch !== Touch.read);
    else if (state === PageState.clean && touch !== Touch.read) this.#writeFault(region, page);
    else if (state === PageState.lost) {
      this.counters.add('lostFaults', 1);
      region.memory.poison(page);
    } else this.#residentFault(region, page, touch);
  }

  /**
   * One step of background work: a part of the pending window, and a batch from each set above its high mark. Returns
   * true while there is more; the caller serves faults between steps. `isQuiet`: no fault or call has come for a while.
   */
  background(isQuiet: boolean = false): boolean {
    this.shared.drain();
    const isMore = this.#continueWindow();
    return this.#reclaimer.background(this.regions, isQuiet) || isMore;
  }

  /** Evicts pages [from, to) except those that are pinned or refused. Returns how many were evicted. */
  evict(region: Region, from: number, to: number): number {
    this.shared.follow(region, from, to);
    const before = region.resident;
    for (let page = from; page < to; ) page = this.evictor.evictRange(region, page, to);
    return before - region.resident;
  }

  /** Swaps in stored pages of [from, to), up to three quarters of the set's limit. Returns how many. */
  prefetch(region: Region, from: number, to: number): number {
    if (region.memory.shared !== null) return this.shared.prefetch(region, from, to);
    let left = Math.max(0, (region.set.limit >>> 2) * 3 - region.set.pinned);
    let prefetched = 0;
    for (let page = from; page < to && left > 0; page++) {
      if (region.isResident(page)) left--;
      if (region.state[page] !== PageState.stored) continue;
      const fitting = this.#reclaimer.reclaim(region, Math.min(left, WINDOW_PAGES));
      if (fitting === 0) break;
      const run = this.#runEnd(region, page, Math.min(to, page + fitting)) - page;
      const { installed } = this.#loader.pageIn(region, page, run, false);
      if (installed === 0) break;
      prefetched += installed;
      left -= installed;
      page += installed - 1;
    }
    this.counters.add('pagesPrefetched', prefetched);
    return prefetched;
  }

  /**
   * Makes pages [from, to) resident and writable until unpin(), so that a system call on them does not fault. Pins all
   * pages or none.
   */
  pin(region: Region, from: number, to: number): RangeResult {
    const { set } = region;
    let fresh = 0;
    for (let page = from; page < to; page++) if (!region.isPinned(page)) fresh++;
    if (set.pinned + fresh > set.pinLimit) return RangeResult.noSpace;
    for (let page = from; page < to; page++) {
      const result = this.#pinPage(region, page);
      if (result === RangeResult.done) continue;
      this.unpin(region, from, page);
      return result;
    }
    return RangeResult.done;
  }

  unpin(region: Region, from: number, to: number): void {
    for (let page = from; page < to; page++) region.unpin(page);
  }

  /** Discards pages [from, to), wherever they are. When it returns, their slots are free and they read as zeros. */
  discard(region: Region, from: number, to: number): void {
    if (region.memory.shared !== null) {
      this.counters.add('pagesDiscarded', this.shared.discard(region, from, to));
      this.evictor.spaceFreed();
      return;
    }
    let run = from;
    for (let page = from; page < to; page++) {
      if (!region.isResident(page)) {
        if (page > run) region.memory.drop(run, page - run);
        run = page + 1;
        if (region.state[page] === PageState.lost) region.memory.drop(page, 1);
      }
      this.#discardPage(region, page);
    }
    if (to > run) region.memory.drop(run, to - run);
    region.memory.flush();
    this.evictor.spaceFreed();
  }

  /**
   * Swaps in all pages of a region, regardless of the set's ceiling: it is about to become ordinary memory again.
   */
  swapInAll(region: Region): RangeResult {
    if (region.memory.shared !== null) return this.shared.swapInAll(region);
    for (let page = 0; page < region.pages; page++) {
      if (region.state[page] === PageState.clean) this.#copies.freeAndUnprotect(region, page);
      if (region.state[page] === PageState.lost) return RangeResult.lost;
      if (region.state[page] !== PageState.stored) continue;
      const end = Math.min(region.pages, page + WINDOW_PAGES);
      const pageIn = this.#loader.pageIn(
        region,
        page,
        this.#runEnd(region, page, end) - page,
        true,
      );
      this.counters.add('swapoffPages', pageIn.installed);
      if (pageIn.installed > 0 || region.state[page] === PageState.absent) continue;
      return failureOf(pageIn);
    }
    return RangeResult.done;
  }

  /** Ends the region and frees its slots. Its memory is unchanged. */
  remove(region: Region): void {
    for (let page = 0; page < region.pages; page++) {
      const entry = region.entry[page]!;
      if (entry === NO_ENTRY) continue; // skipping the write keeps unused table pages unallocated
      this.swap.freeAndCache(entry as SwapEntry);
      region.entry[page] = NO_ENTRY;
    }
    this.evictor.spaceFreed();
    this.#pending.clearRegion(region);
    this.shared.remove(region);
    region.set.pages -= region.resident;
    region.set.pinned -= region.pinned;
    region.set.incompressible -= region.incompressible;
    region.set.regions.splice(region.set.regions.indexOf(region), 1);
    this.regions.splice(this.regions.indexOf(region), 1);
  }

  /** Frees the stored copies of up to `pagesMax` resident pages. Returns how many. */
  dropCopies(pagesMax: number): number {
    return this.#copies.freeMany(this.regions, pagesMax);
  }

  /** Checks every invariant; throws InvariantError. Cost: all pages. */
  verify(): void {
    for (const region of this.regions) {
      region.verify();
      region.set.verify();
    }
    const swapoffPages = this.#loader.isSwapoffFrameFree ? 0 : 1;
    assert(this.swap.cache.count === swapoffPages, 'no frame but that of a swapoff is in use');
  }

  // MemoryManager, called by the swap core.

  allocFrame(ahead: boolean): number {
    return this.#loader.allocFrame(ahead);
  }

  freeFrame(frame: number): void {
    this.#loader.freeFrame(frame);
  }

  removedFromCache(frame: number): void {
    this.freeFrame(frame);
  }

  readDone(): void {}

  writeDone(_entry: SwapEntry, _frame: number, ok: boolean): void {
    this.evictor.writeDone(ok);
  }

  /** A swapoff has read the entry into the frame: moves the page to memory and frees the entry. */
  unuse(entry: SwapEntry, frame: number): void {
    for (const region of this.regions) {
      const page = region.entry.indexOf(entry);
      if (page === -1) continue;
      if (region.memory.shared !== null) {
        this.shared.unuse(region, page, frame);
        return;
      }
      if (region.state[page] === PageState.clean) {
        region.entry[page] = NO_ENTRY;
        region.state[page] = PageState.dirty;
        region.memory.makeWritable(page, 1);
      } else {
        this.#reclaimer.reclaimForWindow(region, 0);
        if (!this.#installUnused(region, page, frame)) return;
      }
      this.counters.add('swapoffPages', 1);
      this.swap.free(entry);
      return;
    }
  }

  /** Returns false if the memory is busy; the page then stays in its slot and is removed from the swap cache. */
  #installUnused(region: Region, page: number, frame: number): boolean {
    const { memory } = region;
    if (memory.install(page, frame, 1, true) === 1) {
      region.addResident(page, PageState.dirty, NO_ENTRY, this.evictor.clock);
      this.counters.add('pagesIn', 1);
      return true;
    }
    assert(memory.stop !== StopReason.resident, 'a stored page is not resident');
    if (memory.stop === StopReason.gone) {
      region.resetTo(page, PageState.absent);
      return true;
    }
    this.#loader.releaseFrame(frame);
    return false;
  }

  /**
   * A fault on a page that is resident by its state. If it was installed after the access, the thread retries. If its
   * owner has dropped it without telling the pager, it is zero-filled; otherwise the thread would fault forever.
   */
  #residentFault(region: Region, page: number, touch: number): void {
    const { memory } = region;
    if ((touch & Touch.protected) !== 0) memory.makeWritable(page, 1);
    else if (memory.installZeros(page, 1, touch !== Touch.read) === 0) memory.wake(page, 1);
    else {
      this.counters.add('pagesGone', 1);
      this.counters.add('zeroFillFaults', 1);
      if (region.state[page] === PageState.clean) this.#copies.free(region, page);
      return;
    }
    this.counters.add('spuriousFaults', 1);
  }

  /** Swaps in a stored page with the pages that are likely to be accessed next. */
  #swapInFault(region: Region, page: number, isWrite: boolean): void {
    const { prefetch, set } = region;
    const isPending = this.#pending.has(region, page);
    const prediction = isPending ? null : prefetch.predict(page);
    const stride = prediction?.stride ?? 1;
    const predicted = prediction?.count ?? this.#pending.end - page - 1;
    const window = Math.min(predicted, set.limit >>> 2);
    const isHot = (this.evictor.clock - region.stamp[page]!) >>> 0 <= set.limit >>> 1;
    const ahead = this.#reclaimer.reclaimForWindow(region, Math.min(window, WINDOW_PAGES - 1));
    const end = stride === 1 ? page + 1 + ahead : page + 1;
    const run = this.#runEnd(region, page, end) - page;
    const { installed, result } = this.#loader.pageIn(region, page, run, isWrite);
    if (installed === 0) {
      if (result !== SwapInResult.done) this.#markLost(region, page, result);
      this.counters.add(region.state[page] === PageState.lost ? 'lostFaults' : 'spuriousFaults', 1);
      return;
    }
    this.counters.add('swapInFaults', 1);
    if (isHot) {
      region.markReferenced(page);
      this.counters.add('pagesActivated', 1);
    }
    const more = this.#swapInStrided(region, page, installed, ahead, stride, isWrite);
    this.#countPrefetched(region, installed - 1 + more);
    if (stride === 1) this.#pending.set(region, page + 1 + ahead, page + 1 + window, isWrite);
    if (!isPending) prefetch.record(page, stride === 1 ? window : ahead);
  }

  /** Swaps in pages `from` .. `ahead` of a window, counted from `page` in steps of `stride`. Returns how many. */
  #swapInStrided(
    region: Region,
    page: number,
    from: number,
    ahead: number,
    stride: number,
    isWrite: boolean,
  ): number {
    const end = page + 1 + ahead;
    let prefetched = 0;
    for (let i = from; i <= ahead; i++) {
      const next = page + i * stride;
      if (region.state[next] !== PageState.stored) continue;
      const run = stride === 1 ? this.#runEnd(region, next, end) - next : 1;
      const { installed } = this.#loader.pageIn(region, next, run, isWrite);
      if (installed === 0) break; // an access to it faults, and reports why
      prefetched += installed;
      i += installed - 1;
    }
    return prefetched;
  }

  /** Swaps in the next part of the pending window. Returns true while pages are pending. */
  #continueWindow(): boolean {
    const pending = this.#pending;
    const { region, page, end, isWrite } = pending;
    if (region === null) return false;
    const count = this.#reclaimer.reclaim(region, Math.min(end - page, WINDOW_PAGES));
    const prefetched =
      count === 0 ? 0 : this.#swapInStrided(region, page, 0, count - 1, 1, isWrite);
    this.#countPrefetched(region, prefetched);
    pending.set(region, page + count, prefetched === 0 ? 0 : end, isWrite);
    return pending.region !== null;
  }

  #countPrefetched(region: Region, pages: number): void {
    this.counters.add('pagesPrefetched', pages);
    region.counts[RegionCount.pagesPrefetched]! += pages;
  }

  /** Zero-fills an absent page, and in a sequential stream the absent pages after it. */
  #zeroFillFault(region: Region, page: number, isWrite: boolean): void {
    const { prefetch } = region;
    this.counters.add('zeroFillFaults', 1);
    const { count, stride } = prefetch.predict(page);
    const window = Math.min(count, region.set.limit >>> 2, WINDOW_PAGES - 1);
    let absent = 0;
    if (stride === 1)
      while (absent < window && region.state[page + 1 + absent] === PageState.absent) absent++;
    const ahead = this.#reclaimer.reclaimForWindow(region, absent);
    const filled = region.memory.installZeros(page, 1 + ahead, isWrite);
    for (let i = page; i < page + filled; i++)
      region.addResident(i, PageState.dirty, NO_ENTRY, this.evictor.clock);
    if (filled === 0) this.#adoptOrWake(region, page);
    else this.counters.add('zerosPrefetched', filled - 1);
    prefetch.record(page, ahead);
  }

  /** An absent page could not be zero-filled: it is already resident and counts from now on, or the thread retries. */
  #adoptOrWake(region: Region, page: number): void {
    if (region.memory.stop !== StopReason.resident) region.memory.wake(page, 1);
    else {
      this.adopt(region, page);
      region.memory.makeWritable(page, 1);
    }
  }

  /** The first write to a clean page. For a sequential writer, also makes the clean pages after it writable. */
  #writeFault(region: Region, page: number): void {
    this.counters.add('writeFaults', 1);
    region.counts[RegionCount.writeFaults]! += 1;
    region.rewritten += (256 - region.rewritten) >>> 3;
    region.writeWindow =
      page === region.writeAt ? Math.min(region.writeWindow * 2, WINDOW_PAGES) : 1;
    const limit = Math.min(region.pages, page + region.writeWindow);
    let end = page;
    for (; end < limit && region.state[end] === PageState.clean; end++)
      this.#copies.free(region, end);
    region.memory.makeWritable(page, end - page);
    region.markReferenced(page);
    region.writeAt = end;
  }

  /** Returns the end of the run of stored pages that starts at `page`, at most `end`. */
  #runEnd(region: Region, page: number, end: number): number {
    let at = page + 1;
    while (at < end && region.state[at] === PageState.stored) at++;
    return at;
  }

  #markLost(region: Region, page: number, reason: SwapInResult): void {
    this.counters.add('pagesLost', 1);
    this.#onLost(region, page, reason);
    this.swap.freeAndCache(region.entry[page]! as SwapEntry);
    region.resetTo(page, PageState.lost);
    region.memory.poison(page);
  }

  #pinPage(region: Region, page: number): RangeResult {
    const state = region.state[page]!;
    if (region.memory.shared !== null) {
      const result = region.isPinned(page) ? RangeResult.done : this.shared.makeDirty(region, page);
      if (result !== RangeResult.done) return result;
      return region.pin(page) ? RangeResult.done : RangeResult.noSpace;
    }
    if (state === PageState.lost) return RangeResult.lost;
    if (state === PageState.clean) this.#copies.freeAndUnprotect(region, page);
    if (!region.isResident(page)) this.#reclaimer.reclaimForWindow(region, 0);
    if (state === PageState.stored) {
      const pageIn = this.#loader.pageIn(region, page, 1, true);
      if (pageIn.installed === 0) return failureOf(pageIn);
    }
    if (state === PageState.absent) {
      if (region.memory.installZeros(page, 1, true) === 0) return RangeResult.noSpace;
      region.addResident(page, PageState.dirty, NO_ENTRY, this.evictor.clock);
    }
    return region.pin(page) ? RangeResult.done : RangeResult.noSpace;
  }

  /** Makes the page absent and frees its slot; the caller drops its memory. */
  #discardPage(region: Region, page: number): void {
    const entry = region.entry[page]! as SwapEntry;
    if (region.state[page] === PageState.absent) return;
    this.counters.add('pagesDiscarded', 1);
    if (region.isResident(page))
      region.removeResident(page, PageState.absent, NO_ENTRY, this.evictor.clock);
    else region.resetTo(page, PageState.absent);
    if (entry !== NO_ENTRY) this.swap.freeAndCache(entry);
  }
}

/** Why a page-in installed nothing. */
const failureOf = ({ result }: PageIn): RangeResult =>
  result === SwapInResult.done ? RangeResult.noSpace : RangeResult.lost;
