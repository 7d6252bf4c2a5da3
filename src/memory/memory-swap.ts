/** What openSwap() returns, with and without transparent paging: one interface, so that neither implementation imports the other. */
import type { ArrayOptions, PagedArray } from './paged-array.ts';
import type { ProblemListener } from './problem.ts';
import type { SwapRegion } from './region.ts';
import type { SwapStats } from './stats.ts';
import type { WasmMemory } from './wasm-reserve.ts';

export interface MapOptions {
  /** Size, bytes; up to 4 GiB on Node 20, more on 22 and later. Rounded up to whole pages. */
  readonly bytes: number;
  /** Most of it that is in memory at once, bytes; at least 128 KiB. Default: the swap's shared budget. */
  readonly residentBytes?: number;
  /** True: a SharedArrayBuffer, which can be posted to workers as it is. Default: only above 4 GiB. */
  readonly shared?: boolean;
}

export interface AdoptOptions {
  readonly residentBytes?: number;
}

export interface MemorySwap extends Disposable {
  /** Memory can be paged without the program's help; false: array() only. */
  readonly transparent: boolean;
  /** Why not; empty when it can. */
  readonly reason: string;
  /**
   * Memory of which a part is in RAM.
   * @throws RangeError more than this Node can hold; SwapError ERR_ARG_VALUE, ERR_IO_SYSTEM, ERR_IO_UNSUPPORTED
   */
  map(options: MapOptions): SwapRegion;
  /**
   * Pages a WebAssembly memory: what is in it stays, what it grows to is paged as well; nothing about the program that
   * uses it changes. What it takes is free some time after the program has dropped the memory and the region; a shared
   * memory lives until the region is disposed of.
   * @throws SwapError ERR_IO_UNSUPPORTED: no paging here, or this memory may move when it grows
   */
  adopt(memory: WasmMemory, options?: AdoptOptions): SwapRegion;
  /** An array of numbers of which a part is in RAM; works everywhere. */
  array(options: ArrayOptions): PagedArray;
  /** Regions that this object made and that are neither disposed of nor collected; empty where paging is not transparent. */
  readonly regions: readonly SwapRegion[];
  /**
   * Whether a system call that is given these bytes may fail with EFAULT: pin() them for its time, or pass a copy. False
   * for memory that is not paged, and everywhere where the faults of system calls are served, too. `frontswap/register`
   * sees to Node's own functions. It may be true of memory that lies close to a region, and knows only regions of this object: pin
   * those of other threads always.
   */
  needsPin(view: ArrayBufferView): boolean;
  /** For joinSwap() in another thread; null where paging is not transparent. */
  readonly control: SharedArrayBuffer | null;
  stats(): SwapStats;
  /**
   * Calls the listener from the event loop when a problem starts: a budget is exceeded, compressed RAM is full, a page is
   * lost, or memory is not paged. docs/reference/errors.md has the codes and their facts. `once` and `off` as in an
   * EventEmitter.
   * @throws SwapError ERR_IO_UNSUPPORTED: on a swap of joinSwap(); events go to the thread that opened it
   */
  on(event: 'problem', listener: ProblemListener): this;
  once(event: 'problem', listener: ProblemListener): this;
  off(event: 'problem', listener: ProblemListener): this;
  /** Ends the regions, the fault thread and the tiers. Adopted memories come home; buffers of regions read as zeros. */
  [Symbol.dispose](): void;
}
