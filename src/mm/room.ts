/**
 * Room in a resident set: made before a page comes, by as many batches as that takes, and in the background from a set's
 * high mark down to its low one.
 */
import type { PagerCounters } from './counters.ts';
import type { Evictor } from './evict.ts';
import type { Region } from './region.ts';
import type { ResidentSet } from './resident-set.ts';

/** Where the last batch was refused, one try in so many is made: packing pages for nothing is slow. */
const FULL_TRIES_MASK = 31;

export class Room {
  readonly #evictor: Evictor;
  readonly #counters: PagerCounters;
  #fullTries = 0;

  constructor(evictor: Evictor, counters: PagerCounters) {
    this.#evictor = evictor;
    this.#counters = counters;
  }

  /** Room for a page that must come, whatever the limit, and `wanted` ahead of it: how many of those fit. */
  ahead(region: Region, wanted: number): number {
    const room = this.for(region, 1 + wanted);
    if (room === 0) this.#counters.add('overBudget', 1);
    return Math.max(0, room - 1);
  }

  /** Pages leave until `count` more fit into the region's set, or nothing goes out any more. How many fit. */
  for({ set }: Region, count: number): number {
    while (set.pages + count > set.limit) if (this.#reclaim(set, set.batch) === 0) break;
    return Math.max(0, Math.min(count, set.limit - set.pages));
  }

  /** A batch leaves each set that is above its mark; true while there is more to do. */
  tidy(regions: readonly Region[]): boolean {
    let isMore = false;
    for (let i = 0; i < regions.length; i++) {
      const { set } = regions[i]!;
      if (set.regions[0] !== regions[i]) continue; // each set once
      if (set.pages <= (set.isReclaiming ? set.low : set.high)) {
        set.isReclaiming = false;
        continue;
      }
      set.isReclaiming = this.#reclaim(set, Math.min(set.batch, set.pages - set.low)) > 0;
      if (set.isReclaiming && set.pages > set.low) isMore = true;
    }
    return isMore;
  }

  /** Pages leave a set; how many. Where nobody takes any, those do that need no taking. */
  #reclaim(set: ResidentSet, pages: number): number {
    const out = this.#maySucceed() ? this.#evictor.reclaim(set, pages) : 0;
    return out > 0 ? out : this.#evictor.reclaimClean(set, pages);
  }

  #maySucceed(): boolean {
    if (!this.#evictor.isFull) return true;
    this.#fullTries = (this.#fullTries + 1) & FULL_TRIES_MASK;
    return this.#fullTries === 0;
  }
}
