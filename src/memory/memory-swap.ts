/**
 * The class that openSwap() and joinSwap() return, with and without transparent paging, so that `instanceof` works. The SwapOps
 * behind it do the work (open-swap.ts, explicit-swap.ts).
 */
import { checkInternal, INTERNAL } from './internal-constructor.ts';
import type { ArrayOptions, PagedArray } from './paged-array.ts';
import type { ProblemListener, ProblemSource } from './problem.ts';
import type { SwapRegion } from './region.ts';
import type { SwapStats } from './stats.ts';
import type { WasmMemory } from './wasm-reserve.ts';

/** Options of `MemorySwap.map()`: size, resident budget and kind of buffer of a new region. */
export interface MapOptions {
  /** Size, bytes; up to 4 GiB on Node 20, more on 22 and later. Rounded up to a multiple of 4096. */
  readonly bytes: number;
  /** Maximum resident size, bytes; at least 128 KiB. Default: the swap's shared budget. */
  readonly residentBytes?: number;
  /** True: a SharedArrayBuffer, which can be posted to workers. Default false: an ArrayBuffer. */
  readonly shared?: boolean;
}

/** Options of `MemorySwap.adopt()`. */
export interface AdoptOptions {
  /** Maximum resident size, bytes; at least 128 KiB. Default: the swap's shared budget. */
  readonly residentBytes?: number;
}

/** Who serves the page faults of a swap; see OpenSwapOptions.faults. */
export type FaultsMode = 'thread' | 'signal' | 'javascript' | 'memfd';

/** How a swap pages: transparently in a fault thread, or by explicit calls on the caller's thread. */
export interface SwapOps {
  readonly transparent: boolean;
  readonly faults: FaultsMode | null;
  readonly reason: string;
  readonly control: SharedArrayBuffer | null;
  readonly regions: readonly SwapRegion[];
  /** @throws SwapError ERR_IO_UNSUPPORTED: another thread opened the swap and gets its events */
  readonly problems: ProblemSource;
  map(options: MapOptions): SwapRegion;
  adopt(memory: WasmMemory | ArrayBuffer, options: AdoptOptions): SwapRegion;
  array(options: ArrayOptions): PagedArray;
  needsPin(view: ArrayBufferView): boolean;
  stats(): SwapStats;
  dispose(): void;
}

let wrap: (ops: SwapOps) => MemorySwap;

/** A swap, opened by `openSwap()`: pages regions, WebAssembly memories and arrays to compressed RAM and devices. */
export class MemorySwap implements Disposable {
  static {
    wrap = (ops) => new MemorySwap(INTERNAL, ops);
  }

  /** True: memory is paged transparently. False: only array() works. */
  readonly transparent: boolean;
  /** Who serves page faults; null if paging is not transparent. */
  readonly faults: FaultsMode | null;
  /** Why paging is not transparent; empty if it is. */
  readonly reason: string;
  readonly #ops: SwapOps;

  private constructor(key: typeof INTERNAL, ops: SwapOps) {
    checkInternal(key, 'MemorySwap', 'openSwap(), or joinSwap() in another thread');
    this.#ops = ops;
    this.transparent = ops.transparent;
    this.faults = ops.faults;
    this.reason = ops.reason;
  }

  /**
   * Returns new memory, of which at most the budget is resident. `options.shared` decides the type of its buffer.
   * @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN, ERR_IO_SYSTEM; ERR_IO_UNSUPPORTED: no transparent paging here, or
   * a shared region outside the thread that opened the swap
   */
  map(options: MapOptions & { readonly shared: true }): SwapRegion<SharedArrayBuffer>;
  map(options: MapOptions & { readonly shared?: false }): SwapRegion<ArrayBuffer>;
  map(options: MapOptions): SwapRegion;
  map(options: MapOptions): SwapRegion {
    return this.#ops.map(options);
  }

  /**
   * Pages a WebAssembly memory. Its contents stay, pages added by grow() are paged, too, and the program that uses it needs no
   * change. Its RAM is freed some time after the program has dropped the memory and the region; a shared memory lives until the
   * region is disposed of.
   * @throws SwapError ERR_ARG_VALUE: already paged; ERR_IO_UNSUPPORTED: no transparent paging here, or this memory may move
   * when it grows
   */
  adopt<Memory extends WasmMemory>(
    memory: Memory,
    options?: AdoptOptions,
  ): SwapRegion<Memory['buffer']>;
  /**
   * Pages an ArrayBuffer in place, except its incomplete first and last pages. It stays the same object. Its RAM is freed some
   * time after the program has dropped the buffer and the region. After `transfer()`, the new buffer is paged. Before its bytes
   * move to another thread, the pages are swapped in and paging ends.
   * @throws SwapError ERR_ARG_VALUE: already paged, or no complete page; ERR_IO_UNSUPPORTED: no transparent paging here, or the
   * buffer is shared, resizable, or not allocated by V8
   */
  adopt(buffer: ArrayBuffer, options?: AdoptOptions): SwapRegion<ArrayBuffer>;
  adopt(memory: WasmMemory | ArrayBuffer, options: AdoptOptions = {}): SwapRegion {
    return this.#ops.adopt(memory, options);
  }

  /** An array of numbers of which at most the budget is resident; works on every system. */
  array(options: ArrayOptions): PagedArray {
    return this.#ops.array(options);
  }

  /** Regions that this object created and that are neither disposed of nor collected; empty if paging is not transparent. */
  get regions(): readonly SwapRegion[] {
    return this.#ops.regions;
  }

  /**
   * Whether a system call on these bytes may fail with EFAULT: then pin() them during the call, or pass a copy. False for
   * memory that is not paged, and if faults of system calls are served. `frontswap/register` handles Node's own functions. May
   * be true for memory close to a region, and knows only regions of this object: always pin regions of other threads.
   */
  needsPin(view: ArrayBufferView): boolean {
    return this.#ops.needsPin(view);
  }

  /** For joinSwap() in another thread; null if paging is not transparent. */
  get control(): SharedArrayBuffer | null {
    return this.#ops.control;
  }

  stats(): SwapStats {
    return this.#ops.stats();
  }

  /**
   * Calls the listener from the event loop when a problem starts: a budget is exceeded, compressed RAM is full, a page is lost,
   * or memory is not paged. docs/reference/errors.md has the codes and their facts. `once` and `off` work as in an
   * EventEmitter.
   * @throws SwapError ERR_IO_UNSUPPORTED: on a swap of joinSwap(); events go to the thread that opened it
   */
  on(event: 'problem', listener: ProblemListener): this {
    this.#ops.problems.on(event, listener);
    return this;
  }

  once(event: 'problem', listener: ProblemListener): this {
    this.#ops.problems.once(event, listener);
    return this;
  }

  off(event: 'problem', listener: ProblemListener): this {
    this.#ops.problems.off(event, listener);
    return this;
  }

  /**
   * Ends the regions, the fault thread and the tiers. Adopted memories are swapped in first; buffers of other regions then read
   * as zeros.
   */
  [Symbol.dispose](): void {
    this.#ops.dispose();
  }

  /** The same as `[Symbol.dispose]()`. */
  close(): void {
    this[Symbol.dispose]();
  }
}

export const memorySwap = (ops: SwapOps): MemorySwap => wrap(ops);
