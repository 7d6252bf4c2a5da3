/**
 * The engine as a library: a page store with a hard byte ceiling. What the daemon is made of beyond it is
 * not public yet.
 */
export { Budget } from './arena/budget.ts';
export { keepPages, type PageReturn, type PageReturnFactory } from './arena/ops.ts';
export { Bug } from './base/assert.ts';
export { type Code, SwapError } from './base/errors.ts';
export { PAGE_BYTES, type Slot, slot } from './base/units.ts';
export { type CodecFactory, type PageCodec, PageFormat } from './codec/codec.ts';
export { lz4 } from './codec/lz4.ts';
export { systemPageReturn } from './os/page-return.ts';
export { CounterAt, Get, Put } from './store/results.ts';
export { Store, type StoreOptions } from './store/store.ts';
