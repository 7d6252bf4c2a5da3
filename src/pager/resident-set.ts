/**
 * How many pages may be in memory at once, for a region or for several together.
 *
 *   0 ─────────────── low ──── high ── limit          above high the pager evicts in the background, down to low;
 *   pages ───────────────▶                            nothing comes in above the limit before something has gone
 */
import { assert } from '../base/assert.ts';

/** Free pages that the background pass makes: room for a few windows of prefetched pages, or a sixteenth. */
const FREE_PAGES_MAX = 512;
const BATCH_MIN = 8;
const BATCH_MAX = 512;
/** A set cannot be smaller: a fault, what is prefetched with it, and the pages of one batch. */
export const SET_PAGES_MIN = 32;

/** What a set counts of each of its regions. */
interface SetMember {
  readonly resident: number;
  readonly pinned: number;
  readonly incompressible: number;
}

export class ResidentSet<Member extends SetMember> {
  readonly limit: number;
  /** Pages that leave at once. A batch shares what the system charges for each change of translations. */
  readonly batch: number;
  readonly regions: Member[] = [];
  readonly #free: number;
  /** Pages of all its regions that nobody takes because they do not compress. */
  incompressible = 0;
  /** Resident pages of all its regions. */
  pages = 0;
  pinned = 0;
  /** The background pass is on its way from the high mark to the low one. */
  isReclaiming = false;

  /** @param limit pages, SET_PAGES_MIN up */
  constructor(limit: number) {
    assert(Number.isInteger(limit) && limit >= SET_PAGES_MIN, 'a resident set has some pages');
    this.limit = limit;
    this.#free = Math.min(FREE_PAGES_MAX, limit >>> 3);
    this.batch = Math.max(BATCH_MIN, Math.min(limit >>> 4, BATCH_MAX));
  }

  /** Nothing comes in above it: the limit, or more where pages that cannot leave would take most of that from the others. */
  get ceiling(): number {
    return Math.max(this.limit, this.incompressible + Math.max(SET_PAGES_MIN, this.limit >>> 2));
  }

  get high(): number {
    return this.ceiling - (this.#free >>> 1);
  }

  get low(): number {
    return this.ceiling - this.#free;
  }

  /** Most pages that may be pinned: the rest must be able to come and go. */
  get pinLimit(): number {
    return this.limit - Math.max(SET_PAGES_MIN >>> 1, this.limit >>> 3);
  }
  verify(): void {
    let pages = 0;
    let pinned = 0;
    for (const region of this.regions) {
      pages += region.resident;
      pinned += region.pinned;
    }
    assert(this.pages === pages, 'a set counts the pages of its regions');
    let incompressible = 0;
    for (const region of this.regions) incompressible += region.incompressible;
    assert(
      this.incompressible === incompressible,
      'a set counts the pages that its regions set aside',
    );
    assert(this.pinned === pinned, 'a set counts the pins of its regions');
  }
}
