/**
 * What openSwap() returns, with and without transparent paging: one interface, so that neither implementation imports
 * the other.
 */
import type { ArrayOptions, PagedArray } from './paged-array.ts';
import type { ProblemListener } from './problem.ts';
import type { SwapRegion } from './region.ts';
import type { SwapStats } from './stats.ts';
import type { WasmMemory } from './wasm-reserve.ts';

/** Options of `MemorySwap.map()`: size, resident budget and kind of buffer of a new region. */
export interface MapOptions {
  /** Size, bytes; up to 4 GiB on Node 20, more on 22 and later. Rounded up to a multiple of 4096. */
  readonly bytes: number;
  /** Maximum resident size, bytes; at least 128 KiB. Default: the swap's shared budget. */
  readonly residentBytes?: number;
  /** True: a SharedArrayBuffer, which can be posted to workers as it is. Default: only above 4 GiB. */
  readonly shared?: boolean;
}

/** Options of `MemorySwap.adopt()`. */
export interface AdoptOptions {
  /** Maximum resident size, bytes; at least 128 KiB. Default: the swap's shared budget. */
  readonly residentBytes?: number;
}

/** A swap, opened by `openSwap()`: pages regions, WebAssembly memories and arrays to compressed RAM and devices. */
export interface MemorySwap extends Disposable {
  /** True: memory is paged transparently. False: only array() works. */
  readonly transparent: boolean;
  /** Why paging is not transparent; empty if it is. */
  readonly reason: string;
  /**
   * Returns new memory of which at most the budget is resident.
   * @throws RangeError more than this Node can hold; SwapError ERR_ARG_VALUE, ERR_IO_SYSTEM, ERR_IO_UNSUPPORTED
   */
  map(options: MapOptions): SwapRegion;
  /**
   * Pages a WebAssembly memory. Its contents stay, pages that it grows by are paged too, and the program that uses it
   * needs no change. Its RAM is freed some time after the program has dropped the memory and the region; a shared
   * memory lives until the region is disposed of.
   * @throws SwapError ERR_IO_UNSUPPORTED: no paging here, or this memory may move when it grows
   */
  adopt(memory: WasmMemory, options?: AdoptOptions): SwapRegion;
  /** An array of numbers of which at most the budget is resident; works on every system. */
  array(options: ArrayOptions): PagedArray;
  /**
   * Regions that this object made and that are neither disposed of nor collected; empty where paging is not
   * transparent.
   */
  readonly regions: readonly SwapRegion[];
  /**
   * Whether a system call on these bytes may fail with EFAULT: pin() them during the call, or pass a copy. False for
   * memory that is not paged, and wherever the faults of system calls are served. `frontswap/register` handles Node's
   * own functions. May be true for memory close to a region, and knows only regions of this object: always pin those of
   * other threads.
   */
  needsPin(view: ArrayBufferView): boolean;
  /** For joinSwap() in another thread; null where paging is not transparent. */
  readonly control: SharedArrayBuffer | null;
  stats(): SwapStats;
  /**
   * Calls the listener from the event loop when a problem starts: a budget is exceeded, compressed RAM is full, a page
   * is lost, or memory is not paged. docs/reference/errors.md has the codes and their facts. `once` and `off` as in an
   * EventEmitter.
   * @throws SwapError ERR_IO_UNSUPPORTED: on a swap of joinSwap(); events go to the thread that opened it
   */
  on(event: 'problem', listener: ProblemListener): this;
  once(event: 'problem', listener: ProblemListener): this;
  off(event: 'problem', listener: ProblemListener): this;
  /**
   * Ends the regions, the fault thread and the tiers. Adopted memories are swapped in first; buffers of other regions
   * read as zeros.
   */
  [Symbol.dispose](): void;
  /** The same as `[Symbol.dispose]()`. */
  close(): void;
}
