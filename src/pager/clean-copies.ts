/**
 * Stored copies of pages that are in memory, too: they make leaving free, and cost the room that they take. A copy is given
 * up before its page is written, and when room is short.
 */
import { NO_ENTRY, type SwapEntry } from '../swap/entry.ts';
import type { Swap } from '../swap/swap.ts';
import type { PagerCounters } from './counters.ts';
import { ACTIVE_LIST, INACTIVE_LIST, type ListAt, PageState, type Region } from './region.ts';

export class CleanCopies {
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
  drop(region: Region, page: number): void {
    this.free(region, page);
    region.memory.makeWritable(page, 1);
  }

  /** Those of up to `most` pages, the oldest first; how many there were. */
  dropMost(regions: readonly Region[], most: number): number {
    let given = 0;
    for (const region of regions)
      for (const list of [INACTIVE_LIST, ACTIVE_LIST])
        given += this.#dropListed(region, list, most - given);
    this.#counters.add('copiesDropped', given);
    return given;
  }

  #dropListed(region: Region, list: ListAt, most: number): number {
    let given = 0;
    let page = region.oldest(list);
    for (; page !== -1 && given < most; page = region.newer(page, list)) {
      if (region.state[page] !== PageState.clean) continue;
      this.drop(region, page);
      given++;
    }
    return given;
  }
}
