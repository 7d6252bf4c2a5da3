/**
 * The compressed page store: 4 KiB pages by slot, in RAM, under a hard byte ceiling that includes the store's own tables.
 *
 * ```ts
 * const store = new Store({ slots: 100_000, budget: new Budget(64 * 2 ** 20) });
 * if (store.put(slot(7), page, 0) === PutResult.refused) writeItElsewhere();
 * store.get(slot(7), page, 0);
 * store.drop(slot(7)); // the page's memory is free when this returns
 * ```
 */
export { Budget, type ParentBudget } from '../arena/budget.ts';
export { keepPages, type PageRelease, type PageReleaseFactory } from '../arena/ops.ts';
export { PAGE_BYTES, type Slot, slot } from '../base/units.ts';
export { type CodecFactory, type PageCodec, PageFormat } from '../codec/codec.ts';
export { lz4 } from '../codec/lz4.ts';
export { systemPageRelease } from '../os/linux/page-release.ts';
export { loadNativeLz4, loadNativeZstd, type NativeCodec } from '../os/native-codec.ts';
export { CounterAt, GetResult, PutResult, RecompressResult } from '../store/results.ts';
export { Store, type StoreOptions } from '../store/store.ts';
