/**
 * The kernel's adaptive read-ahead window: the number of slots to read around a fault. The window is aligned, a power of
 * two, and at most 2^pageCluster slots (3 by default: 8 slots, 32 KiB).
 *
 *   hits since last fault   0               1    2    3 .. 6     at most the maximum, at least half the last window
 *   window                  1, or 2 when    4    4    8
 *                           the slots are
 *                           adjacent
 *
 * Source: Linux mm/swap_state.c, swapin_nr_pages() and __swapin_nr_pages(), 5.10.
 */
export class ReadAhead {
  readonly #maxSlots: number;
  #hits = 0;
  #previousOffset = 0;
  #lastWindow = 0;

  /** @param pageCluster 0 .. 8; 0 = no read-ahead */
  constructor(pageCluster: number) {
    this.#maxSlots = 2 ** pageCluster;
  }

  /** Counts the first use of a page that was read ahead. */
  hit(): void {
    this.#hits++;
  }

  /** Returns the number of slots to read around `offset`, including it: a power of two. */
  window(offset: number): number {
    if (this.#maxSlots <= 1) return 1;
    const hits = this.#hits;
    this.#hits = 0;
    let slots = hits + 2;
    if (hits === 0) {
      const distance = offset - this.#previousOffset;
      if (distance !== 1 && distance !== -1) slots = 1;
      this.#previousOffset = offset;
    } else {
      let rounded = 4;
      while (rounded < slots) rounded *= 2;
      slots = rounded;
    }
    slots = Math.min(slots, this.#maxSlots);
    slots = Math.max(slots, this.#lastWindow >>> 1);
    this.#lastWindow = slots;
    return slots;
  }
}
