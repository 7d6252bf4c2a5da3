/**
 * The pager: pages of regions in memory as far as their resident set goes, all others in their slots. It is the memory
 * manager of the swap core; its frames are where pages are while they come or go.
 *
 *   touch ─▶ fault() ─▶ in its slot?  make room ▶ swap in, and what follows ▶ install ▶ the toucher goes on
 *                   └▶ nowhere?      zeros
 *                   └▶ first write?  the stored copy is given up ▶ writable
 *   background() ─▶ above the high mark: batches leave (evict.ts)
 *
 * One thread calls it. It never touches a page that may not be resident.
 *
 * Invariants
 * - After each call every page is in one place: in memory, in a slot, in both and equal (clean), or nowhere.
 * - A page that cannot be brought back when it is touched is lost: whoever touches it dies of it, no other page is
 *   affected. Nobody else loses a page: what cannot be read ahead, pinned or brought home stays where it is.
 * - A set is above its limit only if nothing would go out.
 * - A slot is freed in the call in which its page becomes dirty, is discarded, or its region ends.
 *
 * Cost: a fault = one swap in and one system call, shared by a window where there is a pattern. No garbage.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { NO_ENTRY, type SwapEntry } from '../swap/entry.ts';
import type { FrontEnd, MemoryManager } from '../swap/ops.ts';
import { Swap, SwapInResult } from '../swap/swap.ts';
import { CleanCopies } from './clean-copies.ts';
import { type PagerCounters, pagerCounters } from './counters.ts';
import { Evictor } from './evict.ts';
import { FRAME_COUNT, Loader, WINDOW_PAGES } from './load.ts';
import { RangeResult, StopReason, Touch } from './ops.ts';
import { PendingWindow } from './pending-window.ts';
import { Reclaimer } from './reclaimer.ts';
import { PageState, Region, RegionCount } from './region.ts';
import type { ResidentSet } from './resident-set.ts';

export { FRAME_COUNT } from './load.ts';

export { RangeResult as Range, Touch } from './ops.ts';

export interface PagerOptions {
  /** FRAME_COUNT pages; see MemoryManager.memory. */
  readonly frames: Uint8Array;
  readonly front: FrontEnd;
  /** A page could not be brought back: `corrupt` or `ioError`. Called before whoever touches it is told. */
  readonly onLost?: (region: Region, page: number, reason: SwapInResult) => void;
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
  readonly #onLost: (region: Region, page: number, reason: SwapInResult) => void;
  readonly #loader = new Loader();

  constructor({ frames, front, onLost = () => {} }: PagerOptions) {
    assert(frames.length === FRAME_COUNT * PAGE_BYTES, 'a pager has its frames');
    assert(!front.exclusiveGets, 'what is read stays in its slot: pages are kept clean');
    this.memory = frames;
    this.swap = new Swap(front, this);
    this.evictor = new Evictor(this.swap, this.counters);
    this.#copies = new CleanCopies(this.swap, this.counters);
    this.#reclaimer = new Reclaimer(this.evictor, this.counters);
    this.#onLost = onLost;
  }

  /** True: no page leaves memory, and sets grow above their limits instead. Set by who knows that memory may vanish. */
  get isFrozen(): boolean {
    return this.evictor.isFrozen;
  }

  set isFrozen(isFrozen: boolean) {
    this.evictor.isFrozen = isFrozen;
  }

  /** @param tables see tableBytes(); the region has no use for them after remove() */
  add(memory: Region['memory'], set: ResidentSet, tables?: ArrayBuffer): Region {
    const region = new Region(memory, set, tables);
    set.regions.push(region);
    this.regions.push(region);
    return region;
  }

  /** A page of the region is in memory already, written by its owner: a memory that was adopted. */
  adopt(region: Region, page: number): void {
    region.enter(page, PageState.dirty, NO_ENTRY, this.evictor.clock, false);
  }

  /** Somebody touched a page and waits; `touch`: bits of Touch. */
  fault(region: Region, page: number, touch: number): void {
    assert(page >= 0 && page < region.pages, 'a page that is touched is inside its region');
    this.counters.add('faults', 1);
    region.counts[RegionCount.faults]! += 1;
    const state = region.state[page]!;
    if (state === PageState.stored) this.#swapIn(region, page, touch);
    else if (state === PageState.absent) this.#make(region, page, touch !== Touch.read);
    else if (state === PageState.clean && touch !== Touch.read) this.#makeDirty(region, page);
    else if (state === PageState.lost) {
      this.counters.add('lostFaults', 1);
      region.memory.poison(page);
    } else this.#touchAgain(region, page, touch);
  }

  /**
   * What nobody waits for, one step: the rest of a window, or a batch of pages that leave a set above its high mark. True
   * while there is more to do; in between somebody else's fault may be served.
   */
  background(): boolean {
    const isMore = this.#continueWindow();
    return this.#reclaimer.background(this.regions) || isMore;
  }

  /** Pages [from, to) leave memory, but for pinned ones and those that nobody takes. Returns how many left. */
  evict(region: Region, from: number, to: number): number {
    const before = region.resident;
    for (let page = from; page < to; ) page = this.evictor.evictRange(region, page, to);
    return before - region.resident;
  }

  /** Brings pages of [from, to) in, as long as three quarters of the set have room for them. Returns how many came. */
  prefetch(region: Region, from: number, to: number): number {
    let left = Math.max(0, (region.set.limit >>> 2) * 3 - region.set.pinned);
    let came = 0;
    for (let page = from; page < to && left > 0; page++) {
      if (region.isResident(page)) left--;
      if (region.state[page] !== PageState.stored) continue;
      const room = this.#reclaimer.reclaim(region, Math.min(left, WINDOW_PAGES));
      if (room === 0) break;
      const run = this.#runEnd(region, page, Math.min(to, page + room)) - page;
      const brought = this.#install(region, page, run, false);
      if (brought === 0) break;
      came += brought;
      left -= brought;
      page += brought - 1;
    }
    this.counters.add('pagesPrefetched', came);
    return came;
  }

  /**
   * Pages [from, to) are in memory, may be written, and stay so until unpin(): a system call that is given them must not
   * come to ask. Nothing is pinned unless all are.
   */
  pin(region: Region, from: number, to: number): RangeResult {
    const { set } = region;
    let fresh = 0;
    for (let page = from; page < to; page++) if (!region.isPinned(page)) fresh++;
    if (set.pinned + fresh > set.pinLimit) return RangeResult.noRoom;
    for (let page = from; page < to; page++) {
      const answer = this.#pinPage(region, page);
      if (answer === RangeResult.done) continue;
      this.unpin(region, from, page);
      return answer;
    }
    return RangeResult.done;
  }

  unpin(region: Region, from: number, to: number): void {
    for (let page = from; page < to; page++) region.unpin(page);
  }

  /** Gives pages [from, to) up, wherever they are: their bytes are free when this returns, and they read as zeros. */
  discard(region: Region, from: number, to: number): void {
    let run = from;
    for (let page = from; page < to; page++) {
      if (!region.isResident(page)) {
        if (page > run) region.memory.drop(run, page - run);
        run = page + 1;
        if (region.state[page] === PageState.lost) region.memory.drop(page, 1);
      }
      this.#forget(region, page);
    }
    if (to > run) region.memory.drop(run, to - run);
    region.memory.flush();
    this.evictor.isFull = false; // there is room again, perhaps
  }

  /** All pages of a region come home, whatever the set's limit: it is going to be ordinary memory again. */
  swapInAll(region: Region): RangeResult {
    for (let page = 0; page < region.pages; page++) {
      if (region.state[page] === PageState.clean) this.#copies.drop(region, page);
      if (region.state[page] === PageState.lost) return RangeResult.lost;
      if (region.state[page] !== PageState.stored) continue;
      const end = Math.min(region.pages, page + WINDOW_PAGES);
      const came = this.#install(region, page, this.#runEnd(region, page, end) - page, true);
      this.counters.add('pagesUnused', came);
      if (came > 0 || region.state[page] === PageState.absent) continue;
      return this.#loader.end === SwapInResult.done ? RangeResult.noRoom : RangeResult.lost;
    }
    return RangeResult.done;
  }

  /** The region ends: its slots are free. Its memory is left as it is. */
  remove(region: Region): void {
    for (let page = 0; page < region.pages; page++) {
      const entry = region.entry[page]!;
      if (entry !== NO_ENTRY) this.swap.freeAndCache(entry as SwapEntry);
      region.entry[page] = NO_ENTRY;
    }
    this.evictor.isFull = false;
    this.#pending.forget(region);
    region.set.pages -= region.resident;
    region.set.pinned -= region.pinned;
    region.set.aside -= region.aside;
    region.set.regions.splice(region.set.regions.indexOf(region), 1);
    this.regions.splice(this.regions.indexOf(region), 1);
  }

  /** Stored copies of up to `most` pages that are in memory, too, are given up; how many were. */
  dropCopies(most: number): number {
    return this.#copies.dropMost(this.regions, most);
  }

  /** Checks every invariant; throws InvariantError. Cost: all pages. */
  verify(): void {
    for (const region of this.regions) {
      region.verify();
      region.set.verify();
    }
    assert(
      this.swap.cache.count === (this.#loader.isSwapoffFrameFree ? 0 : 1),
      'no page is on its way',
    );
  }

  // MemoryManager: frames for the swap core.

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

  /** swapoff: the page that has the entry comes to memory. */
  unuse(entry: SwapEntry, frame: number): void {
    for (const region of this.regions) {
      const page = region.entry.indexOf(entry);
      if (page === -1) continue;
      if (region.state[page] === PageState.clean) {
        region.entry[page] = NO_ENTRY;
        region.state[page] = PageState.dirty;
        region.memory.makeWritable(page, 1);
      } else {
        this.#reclaimer.reclaimForWindow(region, 0);
        if (!this.#installUnused(region, page, frame)) return;
      }
      this.counters.add('pagesUnused', 1);
      this.swap.free(entry);
      return;
    }
  }

  /** False: not now; the page stays in its slot, and leaves the swap cache. */
  #installUnused(region: Region, page: number, frame: number): boolean {
    if (region.memory.install(page, frame, 1, true) === 1) {
      region.enter(page, PageState.dirty, NO_ENTRY, this.evictor.clock, false);
      this.counters.add('pagesIn', 1);
      return true;
    }
    assert(region.memory.stop !== StopReason.resident, 'what is stored is not in memory');
    if (region.memory.stop === StopReason.gone) {
      region.forget(page, PageState.absent);
      return true;
    }
    this.#loader.empty(this.swap, frame);
    return false;
  }

  /**
   * A touch of a page that is in memory by the books. It has come meanwhile, and who waits tries again; or its owner has
   * given it up behind the pager's back, and it comes as zeros: without that, who touches it would come again for ever.
   */
  #touchAgain(region: Region, page: number, touch: number): void {
    const { memory } = region;
    if ((touch & Touch.protected) !== 0) memory.makeWritable(page, 1);
    else if (memory.installZeros(page, 1, touch !== Touch.read) === 0) memory.wake(page, 1);
    else {
      this.counters.add('pagesGone', 1);
      this.counters.add('firstTouches', 1);
      if (region.state[page] === PageState.clean) this.#copies.free(region, page);
      return;
    }
    this.counters.add('spuriousFaults', 1);
  }

  /** A touched page that is stored comes, and with it what is likely to be touched next. */
  #swapIn(region: Region, page: number, touch: number): void {
    const { prefetch } = region;
    const isWrite = touch !== Touch.read;
    const isRest = this.#pending.has(region, page);
    if (!isRest) prefetch.predict(page);
    const { stride } = prefetch;
    const wanted = isRest ? this.#pending.end - page - 1 : prefetch.count;
    const most = Math.min(wanted, region.set.limit >>> 2);
    const isHot = (this.evictor.clock - region.stamp[page]!) >>> 0 <= region.set.limit >>> 1;
    const ahead = this.#reclaimer.reclaimForWindow(region, Math.min(most, WINDOW_PAGES - 1));
    const end = stride === 1 || isRest ? page + 1 + ahead : page + 1;
    const came = this.#install(region, page, this.#runEnd(region, page, end) - page, isWrite);
    if (came === 0) {
      if (this.#loader.end !== SwapInResult.done) this.#lose(region, page, this.#loader.end);
      this.counters.add(region.state[page] === PageState.lost ? 'lostFaults' : 'spuriousFaults', 1);
      return;
    }
    this.counters.add('faultsIn', 1);
    if (isHot) {
      region.markUsed(page);
      this.counters.add('activated', 1);
    }
    const last = isRest || stride === 1 ? 1 : stride;
    this.#countAhead(region, came - 1 + this.#swapInMore(region, page, came, ahead, last, isWrite));
    if (last === 1) this.#pending.set(region, page + 1 + ahead, page + 1 + most, isWrite);
    if (!isRest) prefetch.record(page, last === 1 ? most : ahead);
  }

  /** Pages of a window behind the `came` that have come already; how many of them came. */
  #swapInMore(
    region: Region,
    page: number,
    came: number,
    ahead: number,
    stride: number,
    isWrite: boolean,
  ): number {
    const end = page + 1 + ahead;
    let brought = 0;
    for (let i = came; i <= ahead; i++) {
      const next = page + i * stride;
      if (region.state[next] !== PageState.stored) continue;
      const run = stride === 1 ? this.#runEnd(region, next, end) - next : 1;
      const more = this.#install(region, next, run, isWrite);
      if (more === 0) break; // whoever touches it will hear of it
      brought += more;
      i += more - 1;
    }
    return brought;
  }

  /** Some more of a window whose first pages are being used already. */
  #continueWindow(): boolean {
    const rest = this.#pending;
    const { region } = rest;
    if (region === null) return false;
    const from = rest.page;
    const count = this.#reclaimer.reclaim(region, Math.min(rest.end - from, WINDOW_PAGES));
    const brought = count === 0 ? 0 : this.#swapInMore(region, from, 0, count - 1, 1, rest.isWrite);
    this.#countAhead(region, brought);
    rest.set(region, from + count, brought === 0 ? 0 : rest.end, rest.isWrite);
    return rest.region !== null;
  }

  #countAhead(region: Region, pages: number): void {
    this.counters.add('pagesPrefetched', pages);
    region.counts[RegionCount.pagesPrefetched]! += pages;
  }

  /** A touched page that is nowhere comes as zeros; where touches go in order, those that follow, too. */
  #make(region: Region, page: number, isWrite: boolean): void {
    const { prefetch } = region;
    this.counters.add('firstTouches', 1);
    prefetch.predict(page);
    const most = Math.min(prefetch.count, region.set.limit >>> 2, WINDOW_PAGES - 1);
    let wanted = 0;
    while (wanted < most && region.state[page + 1 + wanted] === PageState.absent) wanted++;
    if (prefetch.stride !== 1) wanted = 0;
    const ahead = this.#reclaimer.reclaimForWindow(region, wanted);
    const end = page + 1 + ahead;
    const made = region.memory.installZeros(page, end - page, isWrite);
    for (let i = page; i < page + made; i++)
      region.enter(i, PageState.dirty, NO_ENTRY, this.evictor.clock, false);
    if (made === 0) this.#wakeOrContinue(region, page);
    else this.counters.add('zerosPrefetched', made - 1);
    prefetch.record(page, ahead);
  }

  /** A page that is nowhere by the books could not come: there is one after all, and it counts from now on; or not now. */
  #wakeOrContinue(region: Region, page: number): void {
    if (region.memory.stop !== StopReason.resident) region.memory.wake(page, 1);
    else {
      this.adopt(region, page);
      region.memory.makeWritable(page, 1);
    }
  }

  /** The first write to a clean page; where such writes go in order, those that follow are let pass at once. */
  #makeDirty(region: Region, page: number): void {
    this.counters.add('writeFaults', 1);
    region.counts[RegionCount.writeFaults]! += 1;
    region.rewritten += (256 - region.rewritten) >>> 3;
    region.writeWindow =
      page === region.writeAt ? Math.min(region.writeWindow * 2, WINDOW_PAGES) : 1;
    const most = Math.min(region.pages, page + region.writeWindow);
    let end = page;
    for (; end < most && region.state[end] === PageState.clean; end++)
      this.#copies.free(region, end);
    region.memory.makeWritable(page, end - page);
    region.markUsed(page);
    region.writeAt = end;
  }

  /** End of the run of stored pages that begins at `page`, at most `end`. */
  #runEnd(region: Region, page: number, end: number): number {
    let at = page + 1;
    while (at < end && region.state[at] === PageState.stored) at++;
    return at;
  }

  /**
   * Stored neighbours come in, up to `count`; how many did. 0: the first could not, and Loader.end says why (`ready`: it
   * could be read). Their copies are kept, and they protected, unless they are about to be written.
   */
  #install(region: Region, first: number, count: number, isWrite: boolean): number {
    const loaded = this.#loader.load(this.swap, region, first, count);
    if (loaded === 0) return 0;
    const isWritable = isWrite || this.#isRewritten(region);
    const came = region.memory.install(first, this.#loader.frame, loaded, isWritable);
    for (let i = 0; i < loaded; i++) {
      this.#loader.empty(this.swap, this.#loader.frame + i);
      if (i < came) this.#arrive(region, first + i, isWritable);
    }
    this.counters.add('pagesIn', came);
    region.counts[RegionCount.pagesIn]! += came;
    if (came < loaded) this.#refuseInstall(region, first + came);
    return came;
  }

  #arrive(region: Region, page: number, isWritable: boolean): void {
    const entry = region.entry[page]! as SwapEntry;
    const state = isWritable ? PageState.dirty : PageState.clean;
    region.enter(page, state, isWritable ? NO_ENTRY : entry, this.evictor.clock, false);
    if (isWritable) this.swap.freeAndCache(entry);
  }

  /** A page could not be put where it belongs: not now, or its owner has given that memory up, and so the page. */
  #refuseInstall(region: Region, page: number): void {
    assert(region.memory.stop !== StopReason.resident, 'what is stored is not in memory');
    if (region.memory.stop === StopReason.gone) {
      this.swap.freeAndCache(region.entry[page]! as SwapEntry);
      region.forget(page, PageState.absent);
    }
    region.memory.wake(page, 1);
  }

  /** Keeping copies does not pay in this region. One install in 32 tries again. */
  #isRewritten(region: Region): boolean {
    if (region.rewritten < 128) return false;
    region.tries = (region.tries + 1) & 31;
    if (region.tries !== 0) return true;
    region.rewritten = 112;
    return false;
  }

  #lose(region: Region, page: number, reason: SwapInResult): void {
    this.counters.add('pagesLost', 1);
    this.#onLost(region, page, reason);
    this.swap.freeAndCache(region.entry[page]! as SwapEntry);
    region.forget(page, PageState.lost);
    region.memory.poison(page);
  }

  #pinPage(region: Region, page: number): RangeResult {
    const state = region.state[page]!;
    if (state === PageState.lost) return RangeResult.lost;
    if (state === PageState.clean) this.#copies.drop(region, page);
    if (!region.isResident(page)) this.#reclaimer.reclaimForWindow(region, 0);
    if (state === PageState.stored && this.#install(region, page, 1, true) === 0)
      return this.#loader.end === SwapInResult.done ? RangeResult.noRoom : RangeResult.lost;
    if (state === PageState.absent) {
      if (region.memory.installZeros(page, 1, true) === 0) return RangeResult.noRoom;
      region.enter(page, PageState.dirty, NO_ENTRY, this.evictor.clock, false);
    }
    return region.pin(page) ? RangeResult.done : RangeResult.noRoom;
  }

  /** The page is nowhere from now on, but for its memory. */
  #forget(region: Region, page: number): void {
    const entry = region.entry[page]! as SwapEntry;
    if (region.state[page] === PageState.absent) return;
    this.counters.add('discarded', 1);
    if (region.isResident(page)) region.leave(page, PageState.absent, NO_ENTRY, this.evictor.clock);
    else region.forget(page, PageState.absent);
    if (entry !== NO_ENTRY) this.swap.freeAndCache(entry);
  }
}
