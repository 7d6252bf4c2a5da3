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
import { Budget } from '../arena/budget.ts';
import type { PageReturnFactory } from '../arena/ops.ts';
import { assert } from '../base/assert.ts';
import { slot as slotOf } from '../base/units.ts';
import { type CodecFactory, PageFormat } from '../codec/codec.ts';
import { type FrontswapBackend, Load } from '../frontswap/ops.ts';
import { Get, Put } from './results.ts';
import { Store } from './store.ts';

export interface StoreBackend extends FrontswapBackend {
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
  settle(): boolean;
  /** Recompresses up to `most` pages of this age at least, see Store.recompressIdle; how many were tried. */
  recompressIdle(most: number, age: number): number;
  /** Sum over the areas that are on of a counter of their stores, see CounterAt. */
  counter(at: number): number;
  /** Bytes of RAM in use by all areas, all metadata included. */
  usedBytes(): number;
  /** How the page is stored; `none` when it is not. For those who move pages on as they lie here. */
  formatOf(type: number, offset: number): PageFormat;
  /** See Store.packedBytes. */
  packedBytes(type: number, offset: number): number;
  /** See Store.readPacked. */
  readPacked(type: number, offset: number, target: Uint8Array, at: number): number;
  /** Keeps packed bytes of `format` at source[at .. at + length), or refuses, as store() does. */
  storePacked(
    type: number,
    offset: number,
    format: PageFormat,
    source: Uint8Array,
    at: number,
    length: number,
  ): boolean;
  /** Checks every invariant of every area; throws Bug. */
  verify(): void;
}

/** An area that is on. */
interface Area {
  readonly store: Store;
  readonly share: Budget;
  /** Where the hand that makes pages older goes on. */
  hand: number;
}

/** Age from which a page is idle, and how many of them one settle() recompresses: some milliseconds. */
const IDLE_AGE = 2;
const SETTLE_PAGES = 256;

const loadOf = (got: Get): Load =>
  got === Get.found ? Load.loaded : got === Get.absent ? Load.absent : Load.corrupt;

/** The hand goes on over up to `slots` slots, whose pages are a step older. */
function turn(area: Area, slots: number): void {
  const { store, hand } = area;
  const to = Math.min(hand + slots, store.slots);
  store.growOlder(slotOf(hand), to);
  area.hand = to === store.slots ? 0 : to;
}

/** Gives everything that an area has to whoever wants it; the area is not used afterwards. */
function end({ store, share }: Area): void {
  store.dropRange(slotOf(0), store.slots);
  store.giveBackAll();
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
  returns: PageReturnFactory,
  dense: CodecFactory | null = null,
): StoreBackend {
  /** By number of area. */
  const areas = new Map<number, Area>();
  const stores: (Store | null)[] = new Array<Store | null>(32).fill(null);

  /** Free memory that other areas hold becomes room. */
  const giveBackFor = (asking: Store): void => {
    for (let type = 0; type < stores.length; type++)
      if (stores[type] !== asking) stores[type]?.giveBackAll();
  };

  const backend: StoreBackend = {
    name: 'store',
    init(type, slots) {
      assert(!areas.has(type), 'an area is switched on once');
      const share = new Budget(0, budget);
      const store = new Store({ slots, budget: share, codec, returns, dense });
      areas.set(type, { store, share, hand: 0 });
      stores[type] = store;
    },
    store(type, offset, page, at) {
      const store = stores[type];
      if (!store) return false;
      if (store.put(slotOf(offset), page, at) !== Put.refused) return true;
      if (areas.size === 1) return false;
      giveBackFor(store);
      return store.put(slotOf(offset), page, at) !== Put.refused;
    },
    load(type, offset, page, at) {
      const store = stores[type];
      return store ? loadOf(store.get(slotOf(offset), page, at)) : Load.absent;
    },
    invalidatePage(type, offset) {
      stores[type]?.drop(slotOf(offset));
    },
    warm(type, offsets, count) {
      return stores[type]?.warm(offsets, count) ?? 0;
    },
    invalidateArea(type) {
      const area = areas.get(type);
      if (area === undefined) return;
      stores[type] = null;
      areas.delete(type);
      end(area);
    },
    coldest(type, from, to, age, poor) {
      return stores[type]?.coldest(slotOf(from), to, age, poor) ?? -1;
    },
    growOlder(type, from, to) {
      stores[type]?.growOlder(slotOf(from), to);
    },
    maintain(changed) {
      let isMore = false;
      for (const area of areas.values()) {
        turn(area, changed);
        if (area.store.maintain(changed)) isMore = true;
      }
      return isMore;
    },
    settle() {
      for (const { store } of areas.values())
        if (store.settle() || store.recompressIdle(SETTLE_PAGES, IDLE_AGE) > 0) return true;
      return false;
    },
    recompressIdle(most, age) {
      let tried = 0;
      for (const { store } of areas.values()) tried += store.recompressIdle(most - tried, age);
      return tried;
    },
    counter(at) {
      let sum = 0;
      for (const { store } of areas.values()) sum += store.counter(at);
      return sum;
    },
    usedBytes() {
      let sum = 0;
      for (const { store } of areas.values()) sum += store.usedBytes;
      return sum;
    },
    formatOf: (type, offset) => stores[type]?.formatOf(slotOf(offset)) ?? PageFormat.none,
    packedBytes: (type, offset) => stores[type]?.packedBytes(slotOf(offset)) ?? 0,
    readPacked: (type, offset, target, at) =>
      stores[type]?.readPacked(slotOf(offset), target, at) ?? 0,
    storePacked(type, offset, format, source, at, length) {
      const store = stores[type];
      if (!store) return false;
      const slot = slotOf(offset);
      if (store.putPacked(slot, format, source, at, length) !== Put.refused) return true;
      if (areas.size === 1) return false;
      giveBackFor(store);
      return store.putPacked(slot, format, source, at, length) !== Put.refused;
    },
    verify() {
      for (const { store } of areas.values()) store.verify();
      assert(
        budget.limitBytes === 0 || budget.usedBytes <= budget.limitBytes,
        'the limit holds for all areas together',
      );
    },
  };
  return backend;
}
