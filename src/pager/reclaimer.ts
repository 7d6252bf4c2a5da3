/**
 * Room in a resident set: made before a page comes, by as many batches as that takes, and in the background from a set's
 * high mark down to its low one.
 */
import type { PagerCounters } from './counters.ts';
import type { Evictor } from './evictor.ts';
import type { Region } from './region.ts';
import type { ResidentSet } from './resident-set.ts';

/**
 * Where the last batch was refused, one try in so many is made, twice as many after each that fails: packing pages for
 * nothing is slow. A try is of a few pages.
 */
const FULL_TRIES_MIN = 32;
const FULL_TRIES_MAX = 1024;
const FULL_BATCH = 8;
/** Looks for clean pages that are left out when there were none. */
const CLEAN_PAUSE = 31;
/** Steps after which some pages that did not compress are asked again. */
const ASIDE_MASK = 127;
const ASIDE_PAGES = 32;

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

  /** Room for a page that must come, whatever the limit, and `wanted` ahead of it: how many of those fit. */
  reclaimForWindow(region: Region, wanted: number): number {
    const room = this.reclaim(region, 1 + wanted);
    if (room === 0) this.#counters.add('overBudget', 1);
    return Math.max(0, room - 1);
  }

  /** Pages leave until `count` more fit into the region's set, or nothing goes out any more. How many fit. */
  reclaim({ set }: Region, count: number): number {
    while (set.pages + count > set.ceiling) if (this.#reclaimBatch(set, set.batch) === 0) break;
    return Math.max(0, Math.min(count, set.ceiling - set.pages));
  }

  /** A batch leaves each set that is above its mark; true while there is more to do. */
  background(regions: readonly Region[]): boolean {
    let isMore = false;
    if ((++this.#steps & ASIDE_MASK) === 0)
      for (let i = 0; i < regions.length; i++) regions[i]!.retryIncompressible(ASIDE_PAGES);
    for (let i = 0; i < regions.length; i++) {
      const { set } = regions[i]!;
      if (set.regions[0] !== regions[i]) continue; // each set once
      if (set.pages <= (set.isReclaiming ? set.low : set.high)) {
        set.isReclaiming = false;
        continue;
      }
      set.isReclaiming = this.#reclaimBatch(set, Math.min(set.batch, set.pages - set.low)) > 0;
      if (set.isReclaiming && set.pages > set.low) isMore = true;
    }
    return isMore;
  }

  /** Pages leave a set; how many. Where nobody takes any, those do that need no taking. */
  #reclaimBatch(set: ResidentSet<Region>, pages: number): number {
    const isFull = this.#evictor.isFull;
    const wanted = isFull ? Math.min(pages, FULL_BATCH) : pages;
    const out = this.#maySucceed() ? this.#evictor.reclaim(set, wanted) : 0;
    if (out > 0) return out;
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
