/**
 * The limit on resident pages, shared by one or more regions.
 *
 *   0 ─────────────── low ──── high ── ceiling        above high the pager evicts in the background, down to low;
 *   pages ───────────────▶                            at the ceiling it evicts before it swaps a page in
 */
import { assert } from '../base/assert.ts';

/** Maximum number of pages between the low mark and the ceiling; an eighth of the limit in smaller sets. */
const FREE_PAGES_MAX = 512;
const BATCH_MIN = 8;
const BATCH_MAX = 512;
/** Smallest limit: one fault, the pages prefetched with it, and one batch. */
export const SET_PAGES_MIN = 32;

/** What a set counts of each of its regions. */
interface SetMember {
  readonly resident: number;
  readonly pinned: number;
  readonly incompressible: number;
}

export class ResidentSet<Member extends SetMember> {
  readonly limit: number;
  /** Pages evicted together. One flush of translations (TLB shootdown) serves the whole batch. */
  readonly batch: number;
  readonly regions: Member[] = [];
  readonly #free: number;
  /** Resident pages of all regions that every tier refused because they do not compress. */
  incompressible = 0;
  /** Resident pages of all regions. */
  pages = 0;
  pinned = 0;
  /** True from when the background pass finds the set above the high mark until it reaches the low one. */
  isReclaiming = false;

  /** @param limit pages, SET_PAGES_MIN or more */
  constructor(limit: number) {
    assert(Number.isInteger(limit) && limit >= SET_PAGES_MIN, 'limit >= SET_PAGES_MIN');
    this.limit = limit;
    this.#free = Math.min(FREE_PAGES_MAX, limit >>> 3);
    this.batch = Math.max(BATCH_MIN, Math.min(limit >>> 4, BATCH_MAX));
  }

  /**
   * Maximum number of resident pages: the limit, or more when incompressible pages fill most of it, because a quarter
   * of the limit is reserved for the others.
   */
  get ceiling(): number {
    return Math.max(this.limit, this.incompressible + Math.max(SET_PAGES_MIN, this.limit >>> 2));
  }

  get high(): number {
    return this.ceiling - (this.#free >>> 1);
  }

  get low(): number {
    return this.ceiling - this.#free;
  }

  /** Maximum number of pinned pages; the rest must stay evictable. */
  get pinLimit(): number {
    return this.limit - Math.max(SET_PAGES_MIN >>> 1, this.limit >>> 3);
  }

  /** Checks the counts; throws InvariantError. */
  verify(): void {
    let pages = 0;
    let pinned = 0;
    let incompressible = 0;
    for (const region of this.regions) {
      pages += region.resident;
      pinned += region.pinned;
      incompressible += region.incompressible;
    }
    assert(this.pages === pages, 'set.pages = resident pages of its regions');
    assert(this.incompressible === incompressible, 'set.incompressible = sum over its regions');
    assert(this.pinned === pinned, 'set.pinned = pinned pages of its regions');
  }
}
