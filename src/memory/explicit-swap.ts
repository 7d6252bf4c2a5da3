/**
 * The memory interface for machines where memory cannot be paged transparently: the same pager and tiers, on the caller's
 * thread, behind PagedArray. map() and adopt() throw an error with the reason.
 */
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { FRAME_COUNT } from '../pager/loader.ts';
import { Touch } from '../pager/ops.ts';
import type { Pager } from '../pager/pager.ts';
import { PageState, type Region } from '../pager/region.ts';
import { ResidentSet } from '../pager/resident-set.ts';
import type { SwapInResult } from '../swap/swap.ts';
import { REGION_STATS, SWAP_STATS } from './control-block.ts';
import { FrameMemory } from './frame-memory.ts';
import type { SwapOps } from './memory-swap.ts';
import {
  type ArrayOps,
  type ArrayOptions,
  arrayEnded,
  checkArray,
  type ElementArray,
  elementTypes,
  type PinnedPage,
  pagedArray,
} from './paged-array.ts';
import { notPaged, Problems, type SwapProblem } from './problem.ts';
import { type ByteRange, checkRange } from './region.ts';
import {
  type RegionStats,
  regionStatsOf,
  type SwapStats,
  swapStatsOf,
  writeRegionStats,
  writeSwapStats,
} from './stats.ts';
import { residentPages } from './swap-options.ts';
import { lossReason, type TierOptions, Tiers } from './tiers.ts';
import { ProblemHistory, type ProblemReport } from './tiers-problem.ts';

/** Pages per swap-in window: the pager needs this many frames more than the budget. */
const SPARE_FRAMES = 64;

/** @param isRequested true: the program requested transparent paging, so the problem NOT_PAGED is reported */
export function explicitSwap(options: TierOptions, reason: string, isRequested: boolean): SwapOps {
  const frames = new Uint8Array(FRAME_COUNT * PAGE_BYTES);
  const reporter = new ProblemReporter(() => statsOf(tiers));
  const onLost = (region: Region, page: number, why: SwapInResult): void =>
    reporter.reportLost(region, page, why);
  const tiers = new Tiers(options, { frames, onLost }, false);
  if (isRequested)
    reporter.report(notPaged(`memory cannot be paged here: ${reason}; array() works`, reason));
  const unsupported = (call: string): SwapError =>
    new SwapError(
      'ERR_IO_UNSUPPORTED',
      `${call}: memory cannot be paged here: ${reason}; use array(), or see \`frontswap doctor\``,
      { reason },
    );
  return {
    transparent: false,
    faults: null,
    reason,
    control: null,
    regions: [],
    problems: reporter.problems,
    needsPin: () => false,
    map: () => {
      throw unsupported('map');
    },
    adopt: () => {
      throw unsupported('adopt');
    },
    array: (arrayOptions) =>
      pagedArray(arrayOptions, new FrameElements(tiers, frames, arrayOptions, reporter)),
    stats: () => statsOf(tiers),
    dispose: () => tiers[Symbol.dispose](),
  };
}

function statsOf(tiers: Tiers): SwapStats {
  const stats = new Float64Array(SWAP_STATS);
  writeSwapStats(stats, tiers);
  return swapStatsOf(stats);
}

/** Reports problems from the event loop, after the call that found them. */
class ProblemReporter {
  readonly problems: Problems = new Problems();
  readonly #statsNow: () => SwapStats;
  readonly #numbers = new WeakMap<Region, number>();
  #arrayCount = 0;
  readonly #history = new ProblemHistory();

  constructor(statsNow: () => SwapStats) {
    this.#statsNow = statsNow;
  }

  /** Numbers the region of an array: 1 for the first array of the swap. */
  number(region: Region): void {
    this.#numbers.set(region, ++this.#arrayCount);
  }

  reportLost(region: Region, page: number, reason: SwapInResult): void {
    const lost = { region: this.#numbers.get(region)!, page, reason: lossReason(reason) };
    this.#emitLater({ fresh: 0, now: 0, lost: [lost] });
  }

  check(tiers: Tiers): void {
    const now = tiers.checkProblems();
    const fresh = this.#history.update(now);
    if (fresh !== 0) this.#emitLater({ fresh, now, lost: [] });
  }

  report(problem: SwapProblem): void {
    process.nextTick(() => this.problems.emit(problem));
  }

  #emitLater(report: ProblemReport): void {
    process.nextTick(() => this.problems.emitReport(report, this.#statsNow()));
  }
}

class FrameElements implements ArrayOps {
  readonly #pager: Pager;
  readonly #memory: FrameMemory;
  readonly #region: Region;
  readonly #elements: ElementArray;
  readonly #pageElements: number;
  readonly #tiers: Tiers;
  readonly #reporter: ProblemReporter;
  #isLive = true;
  /** Page of the last access: consecutive accesses to one page mark it as referenced once. */
  #lastPage = -1;

  constructor(tiers: Tiers, frames: Uint8Array, options: ArrayOptions, reporter: ProblemReporter) {
    const { bytes, pageElements } = checkArray(options);
    const limit = residentPages(options.residentBytes);
    this.#tiers = tiers;
    this.#reporter = reporter;
    this.#pager = tiers.pager;
    this.#pageElements = pageElements;
    this.#memory = new FrameMemory(bytes / PAGE_BYTES, limit + SPARE_FRAMES, frames);
    this.#region = this.#pager.add(this.#memory, new ResidentSet(limit));
    reporter.number(this.#region);
    this.#elements = new elementTypes[options.type](this.#memory.buffer);
  }

  get(index: number): number {
    return this.#elements[this.#locate(index, false)]!;
  }

  set(index: number, value: number): void {
    this.#elements[this.#locate(index, true)] = value;
  }

  pin(index: number): PinnedPage {
    const inPage = this.#pageElements;
    const page = Math.floor(index / inPage);
    const place = Math.floor(this.#locate(index, true) / inPage) * inPage;
    if (!this.#region.pin(page))
      throw new SwapError(
        'ERR_IO_NO_ROOM',
        `pin(index): page ${page} has too many pins; dispose of some of them`,
      );
    let isPinned = true;
    return {
      array: this.#elements.subarray(place, place + inPage),
      first: page * inPage,
      [Symbol.dispose]: () => {
        if (isPinned && this.#isLive) this.#region.unpin(page);
        isPinned = false;
      },
    };
  }

  read(index: number, target: ElementArray, count: number): void {
    this.#eachRun(index, count, false, (place, run, at) => {
      target.set(this.#elements.subarray(place, place + run), at);
    });
  }

  write(index: number, source: ElementArray): void {
    this.#eachRun(index, source.length, true, (place, run, at) => {
      this.#elements.set(source.subarray(at, at + run), place);
    });
  }

  evict(range: ByteRange = {}): number {
    const { offset, end } = this.#check(range, 'evict(range)');
    const from = Math.floor(offset / PAGE_BYTES);
    const to = Math.ceil(end / PAGE_BYTES);
    const evicted = this.#pager.evict(this.#region, from, to);
    this.#tiers.maintain(1);
    return evicted * PAGE_BYTES;
  }

  discard(range: ByteRange = {}): void {
    const { offset, end } = this.#check(range, 'discard(range)');
    const from = Math.ceil(offset / PAGE_BYTES);
    const to = Math.floor(end / PAGE_BYTES);
    if (from > to) this.#zero(offset, end);
    else {
      this.#zero(offset, from * PAGE_BYTES);
      this.#zero(to * PAGE_BYTES, end);
      this.#pager.discard(this.#region, from, to);
    }
    this.#lastPage = -1;
  }

  /** Writes zeros to bytes [at, end), which are in one page. */
  #zero(at: number, end: number): void {
    if (at === end) return;
    const page = Math.floor(at / PAGE_BYTES);
    this.#locate(page * this.#pageElements, true);
    const inFrames = (this.#memory.frameOf[page]! - 1) * PAGE_BYTES + (at % PAGE_BYTES);
    new Uint8Array(this.#memory.buffer, inFrames, end - at).fill(0);
  }

  stats(): RegionStats {
    const stats = new Float64Array(REGION_STATS);
    writeRegionStats(stats, this.#region);
    return regionStatsOf(stats, this.#region.pages * PAGE_BYTES);
  }

  dispose(): void {
    if (!this.#isLive) return;
    this.#isLive = false;
    this.#pager.remove(this.#region);
    this.#memory.drop(0, this.#memory.pages); // so that later accesses call #touch()
  }

  /** Makes the element's page resident and returns the element's index in the frames. */
  #locate(index: number, isWrite: boolean): number {
    const page = Math.floor(index / this.#pageElements);
    const frame = this.#memory.frameOf[page]!;
    if (frame === 0 || (isWrite && this.#memory.writable[page] === 0)) this.#touch(page, isWrite);
    else if (page !== this.#lastPage) {
      this.#lastPage = page;
      this.#region.markReferenced(page);
    }
    return (this.#memory.frameOf[page]! - 1 - page) * this.#pageElements + index;
  }

  #touch(page: number, isWrite: boolean): void {
    if (!this.#isLive) throw arrayEnded();
    // Reclaim before the swap-in: after it this page would be the only unreferenced one, and would be evicted first.
    this.#pager.background();
    this.#tiers.maintain(1);
    const isResident = this.#memory.frameOf[page] !== 0;
    const touch = isResident ? Touch.write | Touch.protected : isWrite ? Touch.write : Touch.read;
    this.#pager.fault(this.#region, page, touch);
    this.#reporter.check(this.#tiers);
    if (this.#region.isResident(page)) return;
    if (this.#region.state[page] === PageState.lost)
      throw new SwapError(
        'ERR_IO_LOST',
        `page ${page} could not be read back; discard() makes it zeros`,
        { page },
      );
    throw new SwapError(
      'ERR_IO_NO_ROOM',
      `page ${page}: the resident budget is full and no page can be evicted; raise frontswap.limitBytes, or add a device`,
      { page },
    );
  }

  #eachRun(
    index: number,
    count: number,
    isWrite: boolean,
    body: (place: number, run: number, at: number) => void,
  ): void {
    const inPage = this.#pageElements;
    for (let at = 0; at < count; ) {
      const run = Math.min(count - at, inPage - ((index + at) % inPage));
      body(this.#locate(index + at, isWrite), run, at);
      at += run;
    }
  }

  #check(range: ByteRange, what: string): { readonly offset: number; readonly end: number } {
    if (!this.#isLive) throw arrayEnded();
    return checkRange(range, what, this.#region.pages * PAGE_BYTES);
  }
}
