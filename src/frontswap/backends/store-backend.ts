/**
 * A frontswap backend over page stores: each area that is switched on gets a store of its own, with as many slots, and
 * slot n of the area is slot n of the store. All are under one budget, so the areas share its room.
 *
 *   area 0 ──▶ store ──▶ its share ──┐
 *   area 3 ──▶ store ──▶ its share ──┴──▶ budget
 *
 * Invariants
 * - A freed slot's bytes are reusable when invalidatePage() returns, and free memory of one area is room for another: a
 *   store that finds none gets it before it refuses.
 * - An area's end frees all its pages, gives the memory back and its whole share of the budget with it. (Where the system
 *   takes no memory back it is the garbage collector's from then on.)
 *
 * Cost: one array read on top of the store's work; a free is O(1). No garbage but in init() and invalidateArea().
 * Left out: dropping what a refused store was to replace. The front end has emptied the slot by then.
 */
import { Budget } from '../../arena/budget.ts';
import type { PageReleaseFactory } from '../../arena/ops.ts';
import { assert } from '../../base/assert.ts';
import { PAGE_BYTES, slot as slotOf } from '../../base/units.ts';
import { type CodecFactory, PageFormat } from '../../codec/codec.ts';
import { GetResult, PutResult } from '../../store/results.ts';
import { Store } from '../../store/store.ts';
import { type FrontswapBackend, LoadResult } from '../ops.ts';

export interface StoreBackend extends FrontswapBackend {
  /** store() refuses a page that would cost more bytes. Default: none. */
  payloadMax: number;
  /** The last page was refused because of that; otherwise there was no room. */
  readonly isIncompressible: boolean;
  /**
   * Housekeeping after a batch of `changed` (1 or more) stores and frees, see Store.maintain; true: there is more to do.
   * A hand goes as many slots further, and their pages are a step older: when as many pages have changed as there are
   * slots, every page that was not used meanwhile is.
   */
  maintain(changed: number): boolean;
  /**
   * Housekeeping for when nobody is waiting, see Store.settle: and with a dense codec, pages of age 2 are recompressed; true
   * while there is more to do.
   */
  compactIdle(): boolean;
  /** Recompresses up to `most` pages of this age at least, see Store.recompressIdle; how many were tried. */
  recompressIdle(most: number, age: number): number;
  /** Sum over the areas that are on of a counter of their stores, see CounterAt. */
  counter(at: number): number;
  /** Bytes of RAM in use by all areas, all metadata included. */
  usedBytes(): number;
  /** How the page is stored; `none` when it is not. For those who move pages on as they lie here. */
  formatOf(type: number, offset: number): PageFormat;
  /** See Store.compressedBytes. */
  compressedBytes(type: number, offset: number): number;
  /** See Store.readCompressed. */
  readCompressed(type: number, offset: number, target: Uint8Array, at: number): number;
  /** Keeps packed bytes of `format` at source[at .. at + length), or refuses, as store() does. The slot holds nothing. */
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
  /** Where the hand that makes pages older goes on. */
  clockHand: number;
}

/** Age from which a page is idle, and how many of them one settle() recompresses: some milliseconds. */
const IDLE_AGE = 2;
const SETTLE_PAGES = 256;

const loadOf = (got: GetResult): LoadResult =>
  got === GetResult.found
    ? LoadResult.loaded
    : got === GetResult.absent
      ? LoadResult.absent
      : LoadResult.corrupt;

/** The hand goes on over up to `slots` slots, whose pages are a step older. */
function turn(area: Area, slots: number): void {
  const { store, clockHand: hand } = area;
  const to = Math.min(hand + slots, store.slots);
  store.age(slotOf(hand), to);
  area.clockHand = to === store.slots ? 0 : to;
}

/** Gives everything that an area has to whoever wants it; the area is not used afterwards. */
function end({ store, share }: Area): void {
  store.dropRange(slotOf(0), store.slots);
  store.releaseAll();
  share.release(share.usedBytes);
}

/**
 * @param budget ceiling for all areas together
 * @param returns how freed memory goes back to the system
 * @param dense what idle pages are recompressed with; null: they are not
 */
export function storeBackend(
  budget: Budget,
  codec: CodecFactory,
  returns: PageReleaseFactory,
  dense: CodecFactory | null = null,
): StoreBackend {
  const makeStore = (slots: number, share: Budget): Store =>
    new Store({ slots, budget: share, codec, release: returns, dense });
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
  readonly #stores: (Store | null)[] = new Array<Store | null>(32).fill(null);

  constructor(budget: Budget, makeStore: (slots: number, share: Budget) => Store) {
    this.#budget = budget;
    this.#makeStore = makeStore;
  }

  init(type: number, slots: number): void {
    assert(!this.#areas.has(type), 'an area is switched on once');
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
    end(area);
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
    return store ? loadOf(store.get(slotOf(offset), page, at)) : LoadResult.absent;
  }

  invalidatePage(type: number, offset: number): void {
    this.#stores[type]?.drop(slotOf(offset));
  }

  warm(type: number, offsets: Int32Array, count: number): number {
    return this.#stores[type]?.warm(offsets, count) ?? 0;
  }

  coldest(type: number, from: number, to: number, age: number, poor: boolean): number {
    return this.#stores[type]?.coldest(slotOf(from), to, age, poor) ?? -1;
  }

  age(type: number, from: number, to: number): void {
    this.#stores[type]?.age(slotOf(from), to);
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
      turn(area, changed);
      if (area.store.maintain(changed)) isMore = true;
    }
    return isMore;
  }

  compactIdle(): boolean {
    for (const { store } of this.#areas.values())
      if (store.compactIdle() || store.recompressIdle(SETTLE_PAGES, IDLE_AGE) > 0) return true;
    return false;
  }

  recompressIdle(most: number, age: number): number {
    let tried = 0;
    for (const { store } of this.#areas.values()) tried += store.recompressIdle(most - tried, age);
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
      'the limit holds for all areas together',
    );
  }

  /** Free memory that other areas hold becomes room; false where there are none. */
  #releaseFor(asking: Store): boolean {
    if (this.#areas.size === 1) return false;
    for (const store of this.#stores) if (store !== asking) store?.releaseAll();
    return true;
  }
}
