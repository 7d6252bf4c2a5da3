/**
 * The pager's part for memory whose faults are served by native code (docs/design/native-faults.md). Native code
 * brings pages in and drops clean ones. This code follows: it compares the pager's view of a page with the shared
 * state, corrects the lists, frees the slots of written pages, and reads the pages that native code cannot.
 *
 *   pager's view   shared state                       what happened
 *   stored         clean, dirty                       swapped in; written (its slot is freed now)
 *   absent         dirty                              zero-filled
 *   clean          dirty                              written: its slot is freed now
 *   clean          stored                             dropped
 *   any            asked                              a thread waits for a page that only JavaScript can read
 *
 * Invariants
 * - The pager's view changes only here and in calls that have changed the shared state first, so after drain() the two
 *   differ only by what native code has done since.
 * - A slot is freed only while the shared state of its page is dirty, absent or lost: native code does not read it.
 */
import { ArrivalFlag, NativePage } from '../native/layout.ts';
import { NO_ENTRY, type SwapEntry } from '../swap/entry.ts';
import { type Swap, SwapInResult } from '../swap/swap.ts';
import type { PagerCounters } from './counters.ts';
import type { Evictor } from './evictor.ts';
import type { Loader } from './loader.ts';
import { type Arrivals, RangeResult, type SharedPages, StopReason } from './ops.ts';
import type { Reclaimer } from './reclaimer.ts';
import { PageState, type Region } from './region.ts';
import { REWRITTEN_MAX, REWRITTEN_RETRY } from './rewritten.ts';

/** Pages that one prefetch() step brings in before it makes space for the next. */
const STEP_PAGES = 64;
/** Maximum number of repetitions of makeDirty() when native code changes the page at the same time. */
const TRIES = 1000;
/** How often the kernel may refuse a page that is brought in for makeDirty(): it may be out of memory for a moment. */
const REFUSALS_MAX = 16;
/** Pages that are brought in writable before copies are measured again. */
const WRITABLE_PAGES = 2048;

export interface SharedPagerParts {
  readonly swap: Swap;
  readonly evictor: Evictor;
  readonly reclaimer: Reclaimer;
  readonly loader: Loader;
  readonly counters: PagerCounters;
  /** Reports a lost page before the waiting threads are told. */
  readonly onLost: (region: Region, page: number, reason: SwapInResult) => void;
}

export class SharedPager {
  /** Null while no native code serves faults. */
  arrivals: Arrivals | null = null;
  readonly #parts: SharedPagerParts;
  /** Regions whose faults are served by native code, by number. */
  readonly #regions = new Map<number, Region>();
  #arrived = 0;
  readonly #onArrival = (number: number, page: number, flags: number): void => {
    const region = this.#regions.get(number);
    this.#arrived++;
    if (region !== undefined) this.reconcile(region, page, (flags & ArrivalFlag.prefetched) !== 0);
  };

  constructor(parts: SharedPagerParts) {
    this.#parts = parts;
  }

  add(number: number, region: Region): void {
    this.#regions.set(number, region);
  }

  remove(region: Region): void {
    for (const [number, other] of this.#regions) if (other === region) this.#regions.delete(number);
  }

  /** Processes all reports of native code. Returns how many reports there were. */
  drain(): number {
    this.#arrived = 0;
    this.arrivals?.drain(this.#onArrival);
    if (this.#arrived > 0) this.#parts.reclaimer.served(this.#arrived);
    return this.#arrived;
  }

  /** Updates the whole region page by page, after reports were lost. */
  reconcileAll(region: Region): void {
    for (let page = 0; page < region.pages; page++) this.reconcile(region, page, true);
  }

  /**
   * Processes the reports of native code, and also updates pages [from, to): the kernel wakes a thread when its page
   * is there, before native code has set the state and reported it. So a page whose fault has ended is known.
   */
  follow(region: Region, from: number, to: number): void {
    this.drain();
    if (region.memory.shared === null) return;
    for (let page = from; page < to; page++) this.reconcile(region, page, true);
  }

  /** Updates the pager's view of a page to that of native code. `isAhead`: no thread waited for the page. */
  reconcile(region: Region, page: number, isAhead: boolean): void {
    const shared = region.memory.shared!;
    const now = shared.stateOf(page);
    const known = region.state[page]!;
    if (known === PageState.clean) {
      if (now === NativePage.dirty) this.#written(region, page, isAhead);
      else if (now !== NativePage.clean) this.#dropped(region, page);
    } else if (known === PageState.stored) {
      if (now === NativePage.clean || now === NativePage.dirty)
        this.#swappedIn(region, page, now, isAhead);
    } else if (known === PageState.absent && now === NativePage.dirty)
      region.addResident(page, PageState.dirty, NO_ENTRY, this.#parts.evictor.clock);
    if (now === NativePage.asked) this.#serve(region, page);
  }

  /** Pager.unuse(): a swapoff has read the page's slot into the frame. */
  unuse(region: Region, page: number, frame: number): void {
    const { counters, loader } = this.#parts;
    if (this.makeDirty(region, page) === RangeResult.done) counters.add('swapoffPages', 1);
    else loader.releaseFrame(frame); // the page stays in its slot
  }

  /** Pager.prefetch(). */
  prefetch(region: Region, from: number, to: number): number {
    const { reclaimer } = this.#parts;
    const shared = region.memory.shared!;
    const { set } = region;
    let left = Math.max(0, (set.limit >>> 2) * 3 - set.pinned);
    let prefetched = 0;
    this.drain();
    for (let page = from; page < to && left > 0; ) {
      if (region.state[page] !== PageState.stored) {
        if (region.isResident(page)) left--;
        page++;
        continue;
      }
      const fitting = reclaimer.reclaim(region, Math.min(left, STEP_PAGES));
      if (fitting === 0) break;
      const before = region.resident;
      const end = Math.min(page + fitting, to);
      const at = shared.bring(page, end, false);
      this.drain();
      if (at < end && region.state[at] === PageState.stored)
        if (this.#parts.loader.pageIn(region, at, 1, false).installed === 0) break;
      prefetched += Math.max(0, region.resident - before);
      left -= at < end ? at + 1 - page : end - page;
      page = at < end ? at + 1 : end;
    }
    this.#parts.counters.add('pagesPrefetched', prefetched);
    return prefetched;
  }

  /** Makes a page resident and dirty, so that native code does not change it until it is unpinned. */
  makeDirty(region: Region, page: number): RangeResult {
    if (!region.isResident(page)) this.#parts.reclaimer.reclaimForWindow(region, 0);
    return this.#makeDirty(region, page);
  }

  /** Native code may change the page between two steps; the steps are then repeated. */
  #makeDirty(region: Region, page: number): RangeResult {
    const shared = region.memory.shared!;
    let refusals = 0;
    for (let tries = 0; tries < TRIES; tries++) {
      this.reconcile(region, page, false);
      if (region.state[page] === PageState.stored) {
        const result = this.#fetch(region, page);
        if (result === RangeResult.noSpace && ++refusals < REFUSALS_MAX) continue;
        if (result !== RangeResult.done) return result;
      }
      if (!shared.makeDirty(page)) return RangeResult.lost;
      this.reconcile(region, page, false);
      if (region.state[page] === PageState.dirty) return RangeResult.done;
    }
    return RangeResult.noSpace;
  }

  /** Brings in a stored page, with native code or from its file. */
  #fetch(region: Region, page: number): RangeResult {
    const shared = region.memory.shared!;
    if (shared.bring(page, page + 1, true) > page) return RangeResult.done;
    const { installed, result } = this.#parts.loader.pageIn(region, page, 1, true);
    if (installed > 0) return RangeResult.done;
    if (result !== SwapInResult.done) return RangeResult.lost;
    return shared.stateOf(page) === NativePage.stored ? RangeResult.noSpace : RangeResult.done;
  }

  /** Swaps in every page: the region is about to become ordinary memory. */
  swapInAll(region: Region): RangeResult {
    const shared = region.memory.shared!;
    this.drain();
    for (let page = 0; page < region.pages; page++) {
      const state = region.state[page];
      if (state === PageState.absent || state === PageState.dirty) continue;
      const before = region.resident;
      if (state === PageState.stored)
        shared.bring(page, Math.min(page + STEP_PAGES, region.pages), true);
      const result = this.#makeDirty(region, page); // regardless of the ceiling
      if (result !== RangeResult.done) return result;
      this.#parts.counters.add('swapoffPages', Math.max(0, region.resident - before));
    }
    return RangeResult.done;
  }

  /** Makes pages absent, frees their slots and drops their memory. Returns how many were not absent before. */
  discard(region: Region, from: number, to: number): number {
    const { evictor, swap } = this.#parts;
    this.drain();
    region.memory.shared!.discard(from, to);
    let discarded = 0;
    for (let page = from; page < to; page++) {
      if (region.state[page] === PageState.absent) continue;
      const entry = region.entry[page]! as SwapEntry;
      discarded++;
      if (region.isResident(page))
        region.removeResident(page, PageState.absent, NO_ENTRY, evictor.clock);
      else region.resetTo(page, PageState.absent);
      if (entry !== NO_ENTRY) swap.freeAndCache(entry);
    }
    return discarded;
  }

  #swappedIn(region: Region, page: number, now: NativePage, isAhead: boolean): void {
    const { counters, evictor, swap } = this.#parts;
    const entry = region.entry[page]! as SwapEntry;
    const isHot = !isAhead && isRecent(region, page, evictor.clock);
    if (now === NativePage.clean) region.addResident(page, PageState.clean, entry, evictor.clock);
    else {
      region.addResident(page, PageState.dirty, NO_ENTRY, evictor.clock);
      swap.freeAndCache(entry);
      this.#measure(region);
    }
    if (!isHot) return;
    region.markReferenced(page);
    counters.add('pagesActivated', 1);
  }

  #written(region: Region, page: number, isAhead: boolean): void {
    this.#parts.swap.freeAndCache(region.entry[page]! as SwapEntry);
    region.entry[page] = NO_ENTRY;
    region.state[page] = PageState.dirty;
    if (isAhead) return;
    region.markReferenced(page);
    region.rewritten += (256 - region.rewritten) >>> 3;
    region.memory.shared!.isWritable = region.rewritten >= REWRITTEN_MAX;
  }

  /** While pages come in writable, nothing is learned about copies: they are tried again after some pages. */
  #measure(region: Region): void {
    if (region.rewritten < REWRITTEN_MAX) return;
    region.tries = (region.tries + 1) % WRITABLE_PAGES;
    if (region.tries !== 0) return;
    region.rewritten = REWRITTEN_RETRY;
    region.memory.shared!.isWritable = false;
  }

  #dropped(region: Region, page: number): void {
    const { evictor } = this.#parts;
    const entry = region.entry[page]! as SwapEntry;
    region.removeResident(page, PageState.stored, entry, evictor.clock++);
    region.rewritten -= region.rewritten >>> 5;
  }

  /** A thread waits for a page that is damaged or not in compressed RAM. */
  #serve(region: Region, page: number): void {
    const { counters, loader, onLost, reclaimer, swap } = this.#parts;
    const shared: SharedPages = region.memory.shared!;
    reclaimer.reclaimForWindow(region, 0);
    const { installed, result } = loader.pageIn(region, page, 1, false);
    if (installed > 0) {
      counters.add('swapInFaults', 1);
      return;
    }
    if (result !== SwapInResult.done) {
      counters.add('lostFaults', 1);
      counters.add('pagesLost', 1);
      onLost(region, page, result);
      swap.freeAndCache(region.entry[page]! as SwapEntry);
      region.resetTo(page, PageState.lost);
      shared.change(page, NativePage.asked, NativePage.lost);
      return;
    }
    counters.add('spuriousFaults', 1);
    const isGone = region.memory.stop === StopReason.gone;
    shared.change(page, NativePage.asked, isGone ? NativePage.absent : NativePage.stored);
  }
}

/** Swapped in again before half a budget of other pages was evicted. */
const isRecent = (region: Region, page: number, clock: number): boolean =>
  (clock - region.stamp[page]!) >>> 0 <= region.set.limit >>> 1;
