/**
 * Memory larger than RAM for a Node program: buffers, WebAssembly memories and arrays whose cold pages are compressed.
 *
 * ```ts
 * using swap = openSwap({ residentBytes: 64 * 2 ** 20 });
 * using region = swap.map({ bytes: 2 ** 30 });
 * const numbers = new Float64Array(region.buffer); // 1 GiB of numbers, 64 MiB of them resident
 * ```
 *
 * The parts of the engine have separate entry points: `frontswap/store`, `/async`, `/block`, `/swap`, `/tmem`,
 * `/cleancache`, `/remote`, `/file-cache`. `frontswap/register` pages an unmodified program's WebAssembly memories.
 */
export { InvariantError } from './base/assert.ts';
export { type ErrorCode, SwapError } from './base/errors.ts';
export { PAGE_BYTES } from './base/units.ts';
export {
  type AdoptOptions,
  type FaultsMode,
  type MapOptions,
  MemorySwap,
} from './memory/memory-swap.ts';
export {
  attachRegion,
  joinSwap,
  type OpenSwapOptions,
  openSwap,
  regionOf,
} from './memory/open-swap.ts';
export {
  type ArrayOptions,
  type ElementArray,
  type ElementType,
  PagedArray,
  type PinnedPage,
} from './memory/paged-array.ts';
export type { ProblemCode, ProblemListener, SwapProblem } from './memory/problem.ts';
export { type ByteRange, type RegionHandle, SwapRegion } from './memory/region.ts';
export type { RegionStats, SwapStats } from './memory/stats.ts';
export type { DeviceOptions } from './memory/swap-file.ts';
export type { WasmMemory } from './memory/wasm-reserve.ts';
