/** Adapts a Store to tmem's PageStore: the same calls, and storedBytes as a property. */
import { CounterAt } from '../store/results.ts';
import type { Store } from '../store/store.ts';
import type { PageStore } from './ops.ts';

/** Returns a PageStore for TmemOptions that stores its pages in `store`. */
export const tmemStore = (store: Store): PageStore => ({
  slots: store.slots,
  get storedBytes() {
    return store.counter(CounterAt.storedBytes);
  },
  get usedBytes() {
    return store.usedBytes;
  },
  put: (slot, source, at, isRaw) =>
    isRaw ? store.putRaw(slot, source, at) : store.put(slot, source, at),
  get: (slot, target, at) => store.get(slot, target, at),
  drop: (slot) => store.drop(slot),
  maintain: (changed) => store.maintain(changed),
});
