/**
 * Stored copies of pages that are in memory, too: they make leaving free, and cost the room that they take. A copy is given
 * up before its page is written, and when room is short.
 */
import { NO_ENTRY, type SwapEntry } from '../swap/entry.ts';
import type { Swap } from '../swap/swap.ts';
import type { PagerCounters } from './counters.ts';
import { ACTIVE_LIST, INACTIVE, type ListAt, PageState, type Region } from './region.ts';

export class Copies {
  readonly #swap: Swap;
  readonly #counters: PagerCounters;

  constructor(swap: Swap, counters: PagerCounters) {
    this.#swap = swap;
    this.#counters = counters;
  }

  /** The slot of a clean page is free, and the page dirty; it is still protected. */
  free(region: Region, page: number): void {
    this.#swap.freeAndCache(region.entry[page]! as SwapEntry);
    region.entry[page] = NO_ENTRY;
    region.state[page] = PageState.dirty;
  }

  /** The same, and it may be written. */
  giveUp(region: Region, page: number): void {
    this.free(region, page);
    region.memory.makeWritable(page, 1);
  }

  /** Those of up to `most` pages, the oldest first; how many there were. */
  giveUpMost(regions: readonly Region[], most: number): number {
    let given = 0;
    for (const region of regions)
      for (const list of [INACTIVE, ACTIVE_LIST])
        given += this.#giveUpListed(region, list, most - given);
    this.#counters.add('copiesGivenUp', given);
    return given;
  }

  #giveUpListed(region: Region, list: ListAt, most: number): number {
    let given = 0;
    let page = region.oldest(list);
    for (; page !== -1 && given < most; page = region.newer(page, list)) {
      if (region.state[page] !== PageState.clean) continue;
      this.giveUp(region, page);
      given++;
    }
    return given;
  }
}
