/**
 * The regions that programs use. A region is an ArrayBuffer; its cold pages are swapped out. Operations of the pager are
 * synchronous calls to the fault thread; statistics are read from shared memory.
 *
 * Ranges are in bytes and need no alignment; pages have 4096 bytes. evict(), prefetch() and pin() apply to every page that
 * overlaps the range; discard() frees the pages that are entirely inside the range and writes zeros to the rest.
 */
import { isMainThread } from 'node:worker_threads';
import { SwapError } from '../base/errors.ts';
import { checkOptions } from '../base/options.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { Mapping } from '../os/linux/mapping.ts';
import type { Caller } from './caller.ts';
import { CallOp } from './control-block.ts';
import { checkInternal, INTERNAL } from './internal-constructor.ts';
import { type Callable, hideWrappers, replace, wrapFunction } from './platform-wrapper.ts';
import { type RegionStats, regionStatsOf } from './stats.ts';

/** Bytes [offset, offset + length) of a region; default: the complete region. */
export interface ByteRange {
  /** Default 0. */
  readonly offset?: number;
  /** Default: to the end. */
  readonly length?: number;
}

/**
 * Checks a range and returns its ends.
 * @param what the name of the range in messages: `discard(range)`
 * @param bytes size of the region
 * @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN
 */
export function checkRange(
  range: ByteRange,
  what: string,
  bytes: number,
): { offset: number; end: number } {
  checkOptions(range, what, ['offset', 'length']);
  const { offset = 0, length = bytes - offset } = range;
  const isWhole = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
  if (!isWhole || offset < 0 || length < 0 || offset + length > bytes)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `${what}: bytes ${offset} .. ${offset + length} are outside the region; it has ${bytes} bytes`,
      { offset, length, bytes },
    );
  return { offset, end: offset + length };
}

/** Lets another thread use a region: post the handle, and call attachRegion() there. */
export interface RegionHandle {
  readonly control: SharedArrayBuffer;
  readonly id: number;
  readonly address: number;
  readonly bytes: number;
  /** The buffer of a shared region; null for other regions. */
  readonly memory: SharedArrayBuffer | null;
}

/** A view of a mapped region. When the last one in any thread is collected, the region's address space is unmapped. */
interface MappedView {
  readonly caller: Caller;
  readonly mapping: Mapping;
  readonly id: number;
  readonly address: number;
  readonly bytes: number;
}

const collectedViews = new FinalizationRegistry<MappedView>((view) => {
  try {
    if (!detach(view) && view.caller.control.countViews(view.id, -1) === 0)
      view.mapping.unmap(view.address, view.bytes);
  } catch (error) {
    // Throwing here would end the program; without it only address space leaks.
    process.emitWarning(error as Error);
  }
});

/** Tells the engine that a view is gone; the engine unmaps after the last. False: the engine has ended. */
function detach({ caller, id, address, bytes }: MappedView): boolean {
  if (!caller.isRunning) return false;
  try {
    caller.call(CallOp.detach, id, address, bytes);
    return true;
  } catch (error) {
    if (caller.isRunning) throw error;
    return false;
  }
}

/** The parts of a SwapRegion. */
interface RegionParts<RegionBuffer extends ArrayBufferLike> {
  readonly caller: Caller;
  readonly handle: RegionHandle;
  /** Returns the memory; for an adopted memory, its current buffer. */
  readonly buffer: () => RegionBuffer;
  /** True: the program's own memory, which other threads cannot attach. */
  readonly isAdopted: boolean;
  /** Size that ranges may cover, bytes. Default: the bytes of the handle. */
  readonly bytes?: number;
  /** Bytes of the buffer in front of its first paged page. Default 0. */
  readonly headBytes?: number;
  /** Ends the region in the engine. */
  readonly end: () => void;
}

let wrap: <RegionBuffer extends ArrayBufferLike>(
  parts: RegionParts<RegionBuffer>,
) => SwapRegion<RegionBuffer>;

/** A range of paged memory, made by `map()` or `adopt()`; its methods evict, prefetch, pin and discard byte ranges. */
export class SwapRegion<RegionBuffer extends ArrayBufferLike = ArrayBufferLike>
  implements Disposable
{
  static {
    wrap = (parts) => new SwapRegion(INTERNAL, parts);
  }

  /**
   * The memory. After dispose it reads as zeros and is ordinary memory. For an adopted memory this is the memory's
   * current buffer: each grow() replaces it.
   */
  get buffer(): RegionBuffer {
    return this.#buffer();
  }

  readonly #buffer: () => RegionBuffer;
  readonly #bytes: number;
  readonly #headBytes: number;
  readonly #isAdopted: boolean;
  readonly #caller: Caller;
  readonly #handle: RegionHandle;
  readonly #stats: Float64Array;
  readonly #end: () => void;
  #isLive = true;

  private constructor(key: typeof INTERNAL, parts: RegionParts<RegionBuffer>) {
    checkInternal(key, 'SwapRegion', 'map() or adopt() of a swap, or attachRegion()');
    const { caller, handle, buffer, end } = parts;
    this.#buffer = buffer;
    this.#bytes = parts.bytes ?? handle.bytes;
    this.#headBytes = parts.headBytes ?? 0;
    this.#isAdopted = parts.isAdopted;
    this.#caller = caller;
    this.#handle = handle;
    this.#stats = caller.control.regionStats(handle.id);
    this.#end = end;
  }

  /** Size of the region, bytes. For an adopted WebAssembly memory: the size that it can grow to. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * For attachRegion() in a worker thread.
   * @throws SwapError ERR_IO_UNSUPPORTED: this thread is a worker, and its swap could end while other threads use the region;
   * or the memory is adopted: if it is shared, post the memory itself
   */
  get handle(): RegionHandle {
    if (this.#isAdopted)
      throw new SwapError(
        'ERR_IO_UNSUPPORTED',
        'adopted memory has no handle, because it ends with its owner; post the memory itself if it is shared',
        { reason: 'adopted' },
      );
    if (!isMainThread)
      throw new SwapError(
        'ERR_IO_UNSUPPORTED',
        'only regions of the main thread have handles; open the swap there',
        { reason: 'worker' },
      );
    return this.#handle;
  }

  stats(): RegionStats {
    return regionStatsOf(this.#stats, this.#bytes);
  }

  /** Evicts the range now, except pinned pages. Returns the bytes evicted. */
  evict(range: ByteRange = {}): number {
    const { from, to } = this.#outerPages(range, 'evict(range)');
    return this.#call(CallOp.evict, from, to) * PAGE_BYTES;
  }

  /** Swaps in the range, up to three quarters of the budget. Returns the bytes swapped in. */
  prefetch(range: ByteRange = {}): number {
    const { from, to } = this.#outerPages(range, 'prefetch(range)');
    return this.#call(CallOp.prefetch, from, to) * PAGE_BYTES;
  }

  /**
   * Swaps in the range and keeps it resident until the result is disposed of. Use it for system calls (fs, net) if faults in
   * system calls are not served, and for code that must not wait.
   * @throws SwapError ERR_IO_NO_ROOM: more than seven eighths of the budget would be pinned
   */
  pin(range: ByteRange = {}): Disposable {
    const { from, to } = this.#outerPages(range, 'pin(range)');
    this.#call(CallOp.pin, from, to);
    let isPinned = true;
    return {
      [Symbol.dispose]: () => {
        if (isPinned && this.#isLive) this.#call(CallOp.unpin, from, to);
        isPinned = false;
      },
    };
  }

  /**
   * Discards the range: it then reads as zeros, and its memory is freed before this returns. The default range of an adopted
   * memory ends at its current size.
   * @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN: the range is not in the memory
   */
  discard(range: ByteRange = {}): void {
    this.#checkLive();
    const { buffer } = this;
    const { offset, end } = checkRange(range, 'discard(range)', buffer.byteLength);
    const head = this.#headBytes;
    const from = Math.max(0, Math.ceil((offset - head) / PAGE_BYTES));
    const to = Math.min(this.#pages, Math.floor((end - head) / PAGE_BYTES));
    if (from >= to) {
      new Uint8Array(buffer, offset, end - offset).fill(0);
      return;
    }
    const fromByte = head + from * PAGE_BYTES;
    const toByte = head + to * PAGE_BYTES;
    new Uint8Array(buffer, offset, fromByte - offset).fill(0);
    new Uint8Array(buffer, toByte, end - toByte).fill(0);
    this.#call(CallOp.discard, from, to);
  }

  /**
   * Ends the region and frees everything it stored; its buffer then reads as zeros. The pages of an adopted memory are
   * swapped in first, and it becomes ordinary memory.
   * @throws SwapError ERR_IO_LOST: a page of an adopted memory could not be read; the region stays paged
   */
  [Symbol.dispose](): void {
    if (!this.#isLive) return;
    this.#end();
    this.#isLive = false;
  }

  /** The same as `[Symbol.dispose]()`. */
  close(): void {
    this[Symbol.dispose]();
  }

  #outerPages(range: ByteRange, what: string): { from: number; to: number } {
    this.#checkLive();
    const { offset, end } = checkRange(range, what, this.#bytes);
    const head = this.#headBytes;
    const from = Math.max(0, Math.floor((offset - head) / PAGE_BYTES));
    const to = Math.min(this.#pages, Math.ceil((end - head) / PAGE_BYTES));
    return { from: Math.min(from, this.#pages), to: Math.max(from, to) };
  }

  get #pages(): number {
    return this.#handle.bytes / PAGE_BYTES;
  }

  #checkLive(): void {
    if (!this.#isLive)
      throw new SwapError('ERR_IO_ENDED', 'the region has been disposed of', {
        reason: 'disposed',
      });
  }

  #call(op: CallOp, from: number, to: number): number {
    this.#checkLive();
    return this.#caller.call(op, this.#handle.id, from, to).a;
  }
}

export const swapRegion = <RegionBuffer extends ArrayBufferLike>(
  parts: RegionParts<RegionBuffer>,
): SwapRegion<RegionBuffer> => wrap(parts);

/** Creates this thread's view of memory that the engine mapped. The engine has already counted it; see CallOp.attach. */
export function viewRegion(caller: Caller, mapping: Mapping, handle: RegionHandle): ArrayBuffer {
  const { id, address, bytes } = handle;
  const view = mapping.viewOf(address, bytes);
  track(view, { caller, mapping, id, address, bytes });
  wrapTransfers();
  return view;
}

/** The view of each buffer of a region. */
const viewOfBuffer = new WeakMap<object, MappedView>();

function track(buffer: ArrayBuffer, view: MappedView): void {
  collectedViews.register(buffer, view, buffer);
  viewOfBuffer.set(buffer, view);
}

let isTransferWrapped = false;

/**
 * ArrayBuffer.prototype.transfer() (Node 21) moves the bytes to a new buffer, which then keeps the region alive. postMessage()
 * and structuredClone() refuse to transfer a region's buffer. A transfer to another length is a copy.
 */
function wrapTransfers(): void {
  if (isTransferWrapped) return;
  isTransferWrapped = true;
  for (const name of ['transfer', 'transferToFixedLength'] as const) {
    const native: unknown = Reflect.get(ArrayBuffer.prototype, name);
    if (typeof native !== 'function') continue;
    const wrapper = wrapFunction(native as Callable, (to, self, args) => {
      const result = Reflect.apply(to, self, args) as ArrayBuffer;
      const view = viewOfBuffer.get(self as object);
      if (view === undefined || view.mapping.addressOf(result) !== view.address) return result;
      collectedViews.unregister(self as object);
      track(result, view);
      return result;
    });
    replace(ArrayBuffer.prototype, name, wrapper);
  }
  hideWrappers(Function.prototype);
}
