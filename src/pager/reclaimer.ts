/**
 * Reclaim: frees space in a resident set, in the foreground before a page is swapped in, and in the background from the
 * high mark down to the low one. One call evicts as many batches as it needs.
 */
import type { PagerCounters } from './counters.ts';
import type { Evictor } from './evictor.ts';
import type { Region } from './region.ts';
import type { ResidentSet } from './resident-set.ts';

/**
 * Back-off while every tier is full: one attempt per FULL_TRIES_MIN calls, then half as often after each failure. An
 * attempt has FULL_BATCH pages, because a refused page costs its compression.
 */
const FULL_TRIES_MIN = 32;
const FULL_TRIES_MAX = 1024;
const FULL_BATCH = 8;
/** Number of calls without a scan for clean pages, after a scan that found none. */
const CLEAN_PAUSE = 31;
/**
 * RETRY_PAGES incompressible pages of a region are retried after RETRY_STEPS_MIN background steps. The delay doubles
 * each time that none of them compresses; otherwise futile compression would cost a quarter of a page per fault. An
 * idle step counts as QUIET_STEPS, so that a program that has replaced such data and sleeps gets its memory back.
 */
const RETRY_PAGES = 32;
const RETRY_STEPS_MIN = 128;
const RETRY_STEPS_MAX = 65_536;
const QUIET_STEPS = 1024;

export class Reclaimer {
  readonly #evictor: Evictor;
  readonly #counters: PagerCounters;
  #fullTries = 0;
  #fullWait = FULL_TRIES_MIN;
  #cleanPause = 0;
  #steps = 0;

  constructor(evictor: Evictor, counters: PagerCounters) {
    this.#evictor = evictor;
    this.#counters = counters;
  }

  /**
   * Makes space for a faulting page, which is made resident regardless of the ceiling, and for up to `ahead` pages to
   * prefetch with it. Returns how many of these fit.
   */
  reclaimForWindow(region: Region, ahead: number): number {
    const fitting = this.reclaim(region, 1 + ahead);
    if (fitting === 0) this.#counters.add('overBudget', 1);
    return Math.max(0, fitting - 1);
  }

  /** Evicts until `count` more pages fit into the region's set or nothing more can be evicted. Returns how many fit. */
  reclaim({ set }: Region, count: number): number {
    while (set.pages + count > set.ceiling) if (this.#reclaimBatch(set, set.batch) === 0) break;
    return Math.max(0, Math.min(count, set.ceiling - set.pages));
  }

  /**
   * Evicts one batch from each set above its mark. Returns true while a set has more to evict.
   * @param isQuiet whether this is an idle step
   */
  background(regions: readonly Region[], isQuiet: boolean): boolean {
    let isMore = false;
    this.#steps += isQuiet ? QUIET_STEPS : 1;
    for (let i = 0; i < regions.length; i++) {
      const { set } = regions[i]!;
      if (regions[i]!.incompressible > 0) this.#retry(regions[i]!);
      if (set.regions[0] !== regions[i]) continue; // once per set
      if (set.pages <= (set.isReclaiming ? set.low : set.high)) {
        set.isReclaiming = false;
        continue;
      }
      const { incompressible } = set;
      const evicted = this.#reclaimBatch(set, Math.min(set.batch, set.pages - set.low));
      // Native code does not evict in a fault, so this pass continues to pages that do compress.
      const isTrying = regions[i]!.memory.shared !== null && set.incompressible > incompressible;
      set.isReclaiming = evicted > 0 || isTrying;
      if (set.isReclaiming && set.pages > set.low) isMore = true;
    }
    return isMore;
  }

  /** Native code has served faults: each counts as a call, which may have freed a slot. */
  served(faults: number): void {
    this.#fullTries += faults;
    this.#steps += faults;
    this.#cleanPause = Math.max(0, this.#cleanPause - faults);
  }

  /** Makes some incompressible pages evictable again when their retry is due. */
  #retry(region: Region): void {
    const isFirst = region.retryWait === 0;
    if (!isFirst && this.#steps < region.retryAt) return;
    region.retryWait =
      isFirst || region.compressedOnRetry > 0
        ? RETRY_STEPS_MIN
        : Math.min(region.retryWait * 2, RETRY_STEPS_MAX);
    region.retryAt = this.#steps + region.retryWait;
    region.compressedOnRetry = 0;
    if (!isFirst) region.retryIncompressible(RETRY_PAGES);
  }

  /** Evicts up to `pages` pages; clean ones only where every tier is full. Returns how many. */
  #reclaimBatch(set: ResidentSet<Region>, pages: number): number {
    const { isFull } = this.#evictor;
    const target = isFull ? Math.min(pages, FULL_BATCH) : pages;
    const evicted = this.#maySucceed() ? this.#evictor.reclaim(set, target) : 0;
    if (evicted > 0) return evicted;
    if (this.#cleanPause > 0) {
      this.#cleanPause--;
      return 0;
    }
    const clean = this.#evictor.reclaimClean(set, pages);
    if (clean === 0 && isFull) this.#cleanPause = CLEAN_PAUSE;
    return clean;
  }

  #maySucceed(): boolean {
    if (!this.#evictor.isFull) {
      this.#fullWait = FULL_TRIES_MIN;
      this.#fullTries = 0;
      return true;
    }
    if (++this.#fullTries < this.#fullWait) return false;
    this.#fullTries = 0;
    this.#fullWait = Math.min(this.#fullWait * 2, FULL_TRIES_MAX);
    return true;
  }
}
