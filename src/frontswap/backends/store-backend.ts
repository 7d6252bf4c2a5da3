/**
 * A frontswap backend over page stores: each area has a store with as many slots, and slot n of the area is slot n of the
 * store. All stores are under one budget, so the areas share its space.
 *
 *   area 0 ──▶ store ──▶ its share ──┐
 *   area 3 ──▶ store ──▶ its share ──┴──▶ budget
 *
 * Invariants
 * - A freed slot's bytes are reusable when invalidatePage() returns. A store without space first makes the other areas
 *   release free memory, and refuses only if that is not enough.
 * - invalidateArea() frees all pages, and releases the memory to the system and the area's whole share of the budget.
 *   (If the system cannot take memory back, the garbage collector frees it.)
 *
 * Cost: one array read plus the store; invalidatePage() is O(1). Only init() and invalidateArea() allocate.
 */
import { Budget } from '../../arena/budget.ts';
import type { PageReleaseFactory } from '../../arena/ops.ts';
import { assert } from '../../base/assert.ts';
import { PAGE_BYTES, SWAP_AREAS_MAX, slot as slotOf } from '../../base/units.ts';
import { type CodecFactory, PageFormat } from '../../codec/codec.ts';
import { GetResult, PutResult } from '../../store/results.ts';
import type { OnShard } from '../../store/shard-parts.ts';
import { Store } from '../../store/store.ts';
import { type ColdPages, type FrontswapBackend, LoadResult } from '../ops.ts';

/**
 * A frontswap backend over compressed page stores, with the compressed page access that writeback and the remote tier
 * use.
 */
export interface StoreBackend extends FrontswapBackend {
  /** store() refuses a page that compresses to more bytes than this. Default 4096: refuses none. */
  payloadMax: number;
  /**
   * True if the last store() refused its page because of payloadMax. If it refused and this is false, space was short.
   */
  readonly isIncompressible: boolean;
  /**
   * Maintenance after `changed` (1 or more) stores and frees; see Store.maintain. Returns true while more is due. A
   * clock hand advances by as many slots and ages their pages: one round per area's worth of changes.
   */
  maintain(changed: number): boolean;
  /**
   * Maintenance while idle; see Store.compactIdle. With a dense codec, it also recompresses pages of age 2. Returns
   * true while more is due.
   */
  compactIdle(): boolean;
  /** Recompresses up to `pagesMax` pages of at least this age; see Store.recompressIdle. Returns how many it tried. */
  recompressIdle(pagesMax: number, age: number): number;
  /** A counter of the stores, summed over the areas that are on; see CounterAt. */
  counter(at: number): number;
  /** Bytes of RAM in use by all areas, including metadata. */
  usedBytes(): number;
  /** The format in which the page is stored; `none` if it is not stored. */
  formatOf(type: number, offset: number): PageFormat;
  /** See Store.compressedBytes. */
  compressedBytes(type: number, offset: number): number;
  /** See Store.readCompressed. */
  readCompressed(type: number, offset: number, target: Uint8Array, at: number): number;
  /** Like store(), for a page already compressed in `format`, at source[at .. at + length). */
  storeCompressed(
    type: number,
    offset: number,
    format: PageFormat,
    source: Uint8Array,
    at: number,
    length: number,
  ): boolean;
  /** Checks every invariant of every area; throws InvariantError. */
  verify(): void;
}

/** An area that is on. */
interface Area {
  readonly store: Store;
  readonly share: Budget;
  /** The next slot that maintain() ages. */
  clockHand: number;
}

/** Pages of this age are idle. compactIdle() recompresses this many per call, which takes a few milliseconds. */
const IDLE_AGE = 2;
const RECOMPRESS_PAGES_MAX = 256;

const loadResultOf = (got: GetResult): LoadResult =>
  got === GetResult.found
    ? LoadResult.loaded
    : got === GetResult.absent
      ? LoadResult.absent
      : LoadResult.corrupt;

/** Ages the next `slots` slots of the area. */
function advanceClockHand(area: Area, slots: number): void {
  const { store, clockHand: hand } = area;
  const to = Math.min(hand + slots, store.slots);
  store.age(slotOf(hand), to);
  area.clockHand = to === store.slots ? 0 : to;
}

/** Frees the area's pages and releases its memory and its share of the budget. */
function destroyArea({ store, share }: Area): void {
  store.dropRange(slotOf(0), store.slots);
  store.releaseAll();
  share.release(share.usedBytes);
}

/**
 * @param budget limit of all areas together
 * @param release how freed memory is released to the system
 * @param dense codec with which idle pages are recompressed, or null
 * @param startsEmpty, onShard see StoreOptions
 */
export function storeBackend(
  budget: Budget,
  codec: CodecFactory,
  release: PageReleaseFactory,
  dense: CodecFactory | null = null,
  startsEmpty: boolean = false,
  onShard?: OnShard,
): StoreBackend {
  const makeStore = (slots: number, share: Budget): Store =>
    new Store({ slots, budget: share, codec, release, dense, startsEmpty, onShard });
  return new PageStores(budget, makeStore);
}

class PageStores implements StoreBackend {
  readonly name = 'store';
  payloadMax: number = PAGE_BYTES;
  isIncompressible = false;
  readonly #budget: Budget;
  readonly #makeStore: (slots: number, share: Budget) => Store;
  /** By number of area. */
  readonly #areas = new Map<number, Area>();
  readonly #stores: (Store | null)[] = new Array<Store | null>(SWAP_AREAS_MAX).fill(null);

  constructor(budget: Budget, makeStore: (slots: number, share: Budget) => Store) {
    this.#budget = budget;
    this.#makeStore = makeStore;
  }

  init(type: number, slots: number): void {
    assert(!this.#areas.has(type), 'the area is off');
    const share = new Budget(0, this.#budget);
    const store = this.#makeStore(slots, share);
    this.#areas.set(type, { store, share, clockHand: 0 });
    this.#stores[type] = store;
  }

  invalidateArea(type: number): void {
    const area = this.#areas.get(type);
    if (area === undefined) return;
    this.#stores[type] = null;
    this.#areas.delete(type);
    destroyArea(area);
  }

  store(type: number, offset: number, page: Uint8Array, at: number): boolean {
    const store = this.#stores[type];
    if (!store) return false;
    let put = store.put(slotOf(offset), page, at, this.payloadMax);
    if (put === PutResult.refused && this.#releaseFor(store))
      put = store.put(slotOf(offset), page, at, this.payloadMax);
    this.isIncompressible = put === PutResult.incompressible;
    return put === PutResult.stored || put === PutResult.sameFilled;
  }

  storeCompressed(
    type: number,
    offset: number,
    format: PageFormat,
    source: Uint8Array,
    at: number,
    length: number,
  ): boolean {
    const store = this.#stores[type];
    if (!store) return false;
    const slot = slotOf(offset);
    if (store.putCompressed(slot, format, source, at, length) !== PutResult.refused) return true;
    if (!this.#releaseFor(store)) return false;
    return store.putCompressed(slot, format, source, at, length) !== PutResult.refused;
  }

  load(type: number, offset: number, page: Uint8Array, at: number): LoadResult {
    const store = this.#stores[type];
    return store ? loadResultOf(store.get(slotOf(offset), page, at)) : LoadResult.absent;
  }

  invalidatePage(type: number, offset: number): void {
    this.#stores[type]?.drop(slotOf(offset));
  }

  warm(type: number, offsets: Int32Array, count: number): number {
    return this.#stores[type]?.warm(offsets, count) ?? 0;
  }

  coldPages(type: number): ColdPages | null {
    return this.#stores[type] ?? null;
  }

  formatOf(type: number, offset: number): PageFormat {
    return this.#stores[type]?.formatOf(slotOf(offset)) ?? PageFormat.none;
  }

  compressedBytes(type: number, offset: number): number {
    return this.#stores[type]?.compressedBytes(slotOf(offset)) ?? 0;
  }

  readCompressed(type: number, offset: number, target: Uint8Array, at: number): number {
    return this.#stores[type]?.readCompressed(slotOf(offset), target, at) ?? 0;
  }

  maintain(changed: number): boolean {
    let isMore = false;
    for (const area of this.#areas.values()) {
      advanceClockHand(area, changed);
      if (area.store.maintain(changed)) isMore = true;
    }
    return isMore;
  }

  compactIdle(): boolean {
    for (const { store } of this.#areas.values())
      if (store.compactIdle() || store.recompressIdle(RECOMPRESS_PAGES_MAX, IDLE_AGE) > 0)
        return true;
    return false;
  }

  recompressIdle(pagesMax: number, age: number): number {
    let tried = 0;
    for (const { store } of this.#areas.values())
      tried += store.recompressIdle(pagesMax - tried, age);
    return tried;
  }

  counter(at: number): number {
    let sum = 0;
    for (const { store } of this.#areas.values()) sum += store.counter(at);
    return sum;
  }

  usedBytes(): number {
    let sum = 0;
    for (const { store } of this.#areas.values()) sum += store.usedBytes;
    return sum;
  }

  verify(): void {
    for (const { store } of this.#areas.values()) store.verify();
    assert(
      this.#budget.limitBytes === 0 || this.#budget.usedBytes <= this.#budget.limitBytes,
      'used bytes of all areas <= limit',
    );
  }

  /** Releases the free memory of the other areas. Returns false if there is no other area. */
  #releaseFor(asking: Store): boolean {
    if (this.#areas.size === 1) return false;
    for (const store of this.#stores) if (store !== asking) store?.releaseAll();
    return true;
  }
}
