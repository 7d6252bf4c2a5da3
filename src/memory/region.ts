/**
 * A region as a program sees it: an ArrayBuffer whose cold pages are elsewhere. Everything about it that takes the
 * pager is a call to the fault thread, and synchronous; statistics are read from shared memory.
 *
 * Ranges are in bytes and need no alignment; pages are 4096 bytes. evict(), prefetch() and pin() take every page that
 * overlaps the range; discard() frees the pages that lie entirely inside it and writes zeros to the rest.
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

/** Bytes [offset, offset + length) of a region; the whole of it where nothing is said. */
export interface ByteRange {
  /** Default 0. */
  readonly offset?: number;
  /** Default: to the end. */
  readonly length?: number;
}

/**
 * What a range of `bytes` means.
 * @param what how messages name it: `discard(range)`
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
      `${what}: bytes ${offset} .. ${offset + length} are not inside the ${bytes} that there are`,
      { offset, length, bytes },
    );
  return { offset, end: offset + length };
}

/** What a worker thread needs to use a region; structured clone carries it. */
export interface RegionHandle {
  readonly control: SharedArrayBuffer;
  readonly id: number;
  readonly address: number;
  readonly bytes: number;
  /** The memory itself, where it is a SharedArrayBuffer. */
  readonly memory: SharedArrayBuffer | null;
}

/** Unmaps a region's address space when the last view of it, in any thread, has been collected. */
interface Held {
  readonly caller: Caller;
  readonly mapping: Mapping;
  readonly id: number;
  readonly address: number;
  readonly bytes: number;
}

const collected = new FinalizationRegistry<Held>((held) => {
  try {
    if (!detached(held) && held.caller.control.countViews(held.id, -1) === 0)
      held.mapping.unmap(held.address, held.bytes);
  } catch (error) {
    // An exception in here would end a program that has done nothing wrong. What is lost is address space.
    process.emitWarning(error as Error);
  }
});

/** The engine counts a view less, and unmaps after the last. False: there is none any more. */
function detached({ caller, id, address, bytes }: Held): boolean {
  if (!caller.isRunning) return false;
  try {
    caller.call(CallOp.detach, id, address, bytes);
    return true;
  } catch (error) {
    if (caller.isRunning) throw error;
    return false;
  }
}

/** What a SwapRegion consists of. */
interface RegionParts<RegionBuffer extends ArrayBufferLike> {
  readonly caller: Caller;
  readonly handle: RegionHandle;
  /** Returns the memory, for an adopted memory its current buffer. */
  readonly buffer: () => RegionBuffer;
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
   * The memory. After dispose it reads as zeros and is ordinary memory. For an adopted memory this is the memory's own
   * buffer, replaced by each grow().
   */
  get buffer(): RegionBuffer {
    return this.#buffer();
  }

  readonly #buffer: () => RegionBuffer;
  readonly #bytes: number;
  readonly #caller: Caller;
  readonly #handle: RegionHandle;
  readonly #stats: Float64Array;
  readonly #end: () => void;
  #isLive = true;

  private constructor(key: typeof INTERNAL, parts: RegionParts<RegionBuffer>) {
    checkInternal(key, 'SwapRegion', 'map() or adopt() of a swap, or attachRegion()');
    const { caller, handle, buffer, end } = parts;
    this.#buffer = buffer;
    this.#bytes = handle.bytes;
    this.#caller = caller;
    this.#handle = handle;
    this.#stats = caller.control.regionStats(handle.id);
    this.#end = end;
  }

  /** Size of the region. Of an adopted memory, the most that it can grow to. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * For a worker thread: post it, and attachRegion() it there. Adopted memories have none: those are shared, or not,
   * themselves.
   * @throws SwapError ERR_IO_UNSUPPORTED: the swap was opened in a worker, and would end while others still use it
   */
  get handle(): RegionHandle {
    if (!isMainThread)
      throw new SwapError(
        'ERR_IO_UNSUPPORTED',
        'only regions of the main thread can be attached: open the swap there',
        { reason: 'worker' },
      );
    return this.#handle;
  }

  stats(): RegionStats {
    return regionStatsOf(this.#stats, this.#bytes);
  }

  /** Has the range leave memory now; how many bytes did. Pinned pages stay. */
  evict(range: ByteRange = {}): number {
    const { from, to } = this.#outer(range, 'evict(range)');
    return this.#call(CallOp.evict, from, to) * PAGE_BYTES;
  }

  /** Brings the range in, as far as three quarters of the budget go; how many bytes came. */
  prefetch(range: ByteRange = {}): number {
    const { from, to } = this.#outer(range, 'prefetch(range)');
    return this.#call(CallOp.prefetch, from, to) * PAGE_BYTES;
  }

  /**
   * Swaps the range in and keeps it resident until the result is disposed of: for system calls (fs, net) where the process
   * may not serve the kernel's own faults, and for code that must never wait.
   * @throws SwapError ERR_IO_NO_ROOM: more than seven eighths of the budget would be pinned
   */
  pin(range: ByteRange = {}): Disposable {
    const { from, to } = this.#outer(range, 'pin(range)');
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
   * Drops the range's bytes: it reads as zeros, and what they took is free when this returns. The whole of an adopted
   * memory is what it has grown to.
   * @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN: the range is none of this memory's
   */
  discard(range: ByteRange = {}): void {
    this.#checkLive();
    const { buffer } = this;
    const { offset, end } = checkRange(range, 'discard(range)', buffer.byteLength);
    const from = Math.ceil(offset / PAGE_BYTES);
    const to = Math.floor(end / PAGE_BYTES);
    if (from >= to) {
      new Uint8Array(buffer, offset, end - offset).fill(0);
      return;
    }
    new Uint8Array(buffer, offset, from * PAGE_BYTES - offset).fill(0);
    new Uint8Array(buffer, to * PAGE_BYTES, end - to * PAGE_BYTES).fill(0);
    this.#call(CallOp.discard, from, to);
  }

  /**
   * Ends the region and frees everything it stored; its buffer then reads as zeros. The pages of an adopted memory are
   * swapped in first, and it continues as ordinary memory.
   * @throws SwapError ERR_IO_LOST: a page of an adopted memory could not be read; the region stays
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

  #outer(range: ByteRange, what: string): { from: number; to: number } {
    this.#checkLive();
    const { offset, end } = checkRange(range, what, this.#bytes);
    return { from: Math.floor(offset / PAGE_BYTES), to: Math.ceil(end / PAGE_BYTES) };
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

/** A view, in this thread, of memory that the engine mapped and counts this view of; see Op.attach. */
export function viewRegion(caller: Caller, mapping: Mapping, handle: RegionHandle): ArrayBuffer {
  const { id, address, bytes } = handle;
  const view = mapping.viewOf(address, bytes);
  follow(view, { caller, mapping, id, address, bytes });
  watchTransfers();
  return view;
}

/** What each buffer of a region shows. */
const shown = new WeakMap<object, Held>();

function follow(buffer: ArrayBuffer, held: Held): void {
  collected.register(buffer, held, buffer);
  shown.set(buffer, held);
}

let isWatching = false;

/**
 * ArrayBuffer.prototype.transfer() (Node 21) gives the same bytes to another buffer: the region lives as long as that
 * one then. postMessage() and structuredClone() refuse to transfer a region's buffer. A transfer to another length is a
 * copy.
 */
function watchTransfers(): void {
  if (isWatching) return;
  isWatching = true;
  for (const name of ['transfer', 'transferToFixedLength'] as const) {
    const native: unknown = Reflect.get(ArrayBuffer.prototype, name);
    if (typeof native !== 'function') continue;
    const wrapper = wrapFunction(native as Callable, (to, self, args) => {
      const result = Reflect.apply(to, self, args) as ArrayBuffer;
      const held = shown.get(self as object);
      if (held === undefined || held.mapping.addressOf(result) !== held.address) return result;
      collected.unregister(self as object);
      follow(result, held);
      return result;
    });
    replace(ArrayBuffer.prototype, name, wrapper);
  }
  hideWrappers(Function.prototype);
}
