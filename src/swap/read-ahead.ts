/**
 * How many slots around a fault to read: the adaptive window of the kernel. The block is aligned, a power of two, at
 * most 2^pageCluster slots (3 by default: 8 slots, 32 KiB).
 *
 *   last hits  0            1            2           3..6     each at most the maximum, and at least half the last window
 *   window     1, or 2 if   4            4           8
 *              next door
 *
 * Source: Linux mm/swap_state.c, swapin_nr_pages() and __swapin_nr_pages(), 5.10.
 */
export class ReadAhead {
  readonly #maxSlots: number;
  #hits = 0;
  #previousOffset = 0;
  #lastWindow = 0;

  /** @param pageCluster 0 .. 8; 0 = never ahead */
  constructor(pageCluster: number) {
    this.#maxSlots = 2 ** pageCluster;
  }

  /** A page that was read ahead has been asked for. */
  hit(): void {
    this.#hits++;
  }

  /** Slots to read around `offset`, itself included: a power of two. */
  window(offset: number): number {
    if (this.#maxSlots <= 1) return 1;
    const hits = this.#hits;
    this.#hits = 0;
    let slots = hits + 2;
    if (hits === 0) {
      const apart = offset - this.#previousOffset;
      if (apart !== 1 && apart !== -1) slots = 1;
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
