/**
 * The swap core and the frontswap hook: areas with priorities, the swap map, the swap cache, read-ahead, discard,
 * swapoff and writeback. A page that is swapped out is first offered to a frontswap backend, and goes to the area's
 * disk only if the backend refuses it.
 *
 * Your program is the memory manager: it owns the page frames and knows which of its structures refer to a swap entry.
 */
export { Budget, type ParentBudget } from '../arena/budget.ts';
export { Bio, BioOp, BioStatus } from '../block/bio.ts';
export type { Disk } from '../block/ops.ts';
export { type Admission, admission } from '../frontswap/admission.ts';
export { type StoreBackend, storeBackend } from '../frontswap/backends/store-backend.ts';
export { Frontswap } from '../frontswap/frontswap.ts';
export { type FrontswapBackend, LoadResult } from '../frontswap/ops.ts';
export type { AreaOptions, DiscardMode } from '../swap/areas.ts';
export { entryOf, NO_ENTRY, offsetOf, type SwapEntry, typeOf } from '../swap/entry.ts';
export { readHeader, type SwapHeader, writeHeader } from '../swap/header.ts';
export type { FrontEnd, MemoryManager, SwapDisk } from '../swap/ops.ts';
export { Swap, SwapInResult, type SwapOptions, SwapOutResult } from '../swap/swap.ts';
export { offerShrink, SwapOffResult, swapOff, swapOn } from '../swap/swapon.ts';
export { Writeback, type WritebackOptions } from '../swap/writeback.ts';
