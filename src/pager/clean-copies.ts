/**
 * Stored copies of clean pages. A copy makes eviction free and costs its compressed bytes. It is freed before its page
 * is written, and when space is short.
 */
import { NativePage } from '../native/layout.ts';
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

  /**
   * Frees the slot of a clean page. The page becomes dirty and stays protected. Returns false and changes nothing if
   * native code has dropped or written the page in the meantime.
   */
  free(region: Region, page: number): boolean {
    const { shared } = region.memory;
    if (shared !== null && !shared.change(page, NativePage.clean, NativePage.dirty)) return false;
    this.#swap.freeAndCache(region.entry[page]! as SwapEntry);
    region.entry[page] = NO_ENTRY;
    region.state[page] = PageState.dirty;
    return true;
  }

  /** Frees the slot of a clean page and makes the page writable; with native code, the next write does that. */
  freeAndUnprotect(region: Region, page: number): boolean {
    const isFree = this.free(region, page);
    if (region.memory.shared === null) region.memory.makeWritable(page, 1);
    return isFree;
  }

  /** Frees the copies of up to `pagesMax` pages, oldest first in each list. Returns how many. */
  freeMany(regions: readonly Region[], pagesMax: number): number {
    let freed = 0;
    for (const region of regions)
      for (const list of [INACTIVE_LIST, ACTIVE_LIST])
        freed += this.#freeListed(region, list, pagesMax - freed);
    this.#counters.add('copiesDropped', freed);
    return freed;
  }

  #freeListed(region: Region, list: ListAt, pagesMax: number): number {
    let freed = 0;
    let page = region.oldest(list);
    for (; page !== -1 && freed < pagesMax; page = region.newer(page, list)) {
      if (region.state[page] !== PageState.clean) continue;
      if (this.freeAndUnprotect(region, page)) freed++;
    }
    return freed;
  }
}
