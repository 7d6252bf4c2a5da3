/**
 * An array of numbers that is partly resident. Elements are accessed by index, and pages by pin. It works on every platform. If
 * memory can be paged transparently, it is a typed array over a region, with the same methods.
 *
 *     const array = swap.array({ type: 'float64', length: 100_000_000, residentBytes: 64 * MiB });
 *     array.set(7, 0.5);
 *     using page = array.pin(7);          // page.array holds the elements from page.first on, at full speed
 *
 * Cost of get() and set() without transparent paging: a table lookup, about 10 ns, while the page is resident.
 */
import { SwapError } from '../base/errors.ts';
import { checkOptions } from '../base/options.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { checkInternal, INTERNAL } from './internal-constructor.ts';
import type { ByteRange, SwapRegion } from './region.ts';
import type { RegionStats } from './stats.ts';

export interface ElementTypes {
  readonly int8: typeof Int8Array;
  readonly uint8: typeof Uint8Array;
  readonly int16: typeof Int16Array;
  readonly uint16: typeof Uint16Array;
  readonly int32: typeof Int32Array;
  readonly uint32: typeof Uint32Array;
  readonly float32: typeof Float32Array;
  readonly float64: typeof Float64Array;
}
/** Element types of a `PagedArray`: integers of 8 to 32 bits, `float32` and `float64`. */
export type ElementType = keyof ElementTypes;
/** The typed array that holds elements of any `ElementType`. */
export type ElementArray = InstanceType<ElementTypes[ElementType]>;

export const elementTypes: ElementTypes = {
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  float32: Float32Array,
  float64: Float64Array,
};

/** Options of `MemorySwap.array()`: element type, length and resident budget. */
export interface ArrayOptions {
  readonly type: ElementType;
  /** Number of elements, at least 1. */
  readonly length: number;
  /** Maximum resident size, bytes; at least 128 KiB. */
  readonly residentBytes: number;
}

/** The elements of one page, in memory until it is disposed of. */
export interface PinnedPage extends Disposable {
  readonly array: ElementArray;
  /** Index of its first element. */
  readonly first: number;
}

/** Access to the elements of a PagedArray, in a region or in frames. The caller has checked indexes, not byte ranges. */
export interface ArrayOps {
  get(index: number): number;
  set(index: number, value: number): void;
  pin(index: number): PinnedPage;
  /** Copies `count` elements from `index` on to the start of the target. */
  read(index: number, target: ElementArray, count: number): void;
  /** Copies the source, which is not empty, to the elements from `index` on. */
  write(index: number, source: ElementArray): void;
  evict(range?: ByteRange): number;
  discard(range?: ByteRange): void;
  stats(): RegionStats;
  dispose(): void;
}

let wrap: (options: ArrayOptions, ops: ArrayOps) => PagedArray;

/** An array of numbers, accessed by index, of which at most a budget is resident; works on every system. */
export class PagedArray implements Disposable {
  static {
    wrap = (options, ops) => new PagedArray(INTERNAL, options, ops);
  }

  readonly type: ElementType;
  readonly length: number;
  readonly #ops: ArrayOps;

  private constructor(key: typeof INTERNAL, options: ArrayOptions, ops: ArrayOps) {
    checkInternal(key, 'PagedArray', 'array() of the swap that openSwap() returns');
    this.type = options.type;
    this.length = options.length;
    this.#ops = ops;
  }

  /** @throws SwapError ERR_ARG_VALUE outside the array; ERR_IO_LOST; ERR_IO_NO_ROOM */
  get(index: number): number {
    checkIndex(index, this.length);
    return this.#ops.get(index);
  }

  set(index: number, value: number): void {
    checkIndex(index, this.length);
    this.#ops.set(index, value);
  }

  /** Keeps the page that has the element in memory until the result is disposed of. */
  pin(index: number): PinnedPage {
    checkIndex(index, this.length);
    return this.#ops.pin(index);
  }

  /**
   * Copies elements from `index` on to the target. Returns how many: fewer than the target's length if the array ends before.
   */
  read(index: number, target: ElementArray): number {
    checkIndex(index, this.length);
    const count = Math.min(target.length, this.length - index);
    this.#ops.read(index, target, count);
    return count;
  }

  /** Copies the elements of the source to the array from `index` on. */
  write(index: number, source: ElementArray): void {
    if (source.length === 0) return;
    checkIndex(index, this.length);
    checkIndex(index + source.length - 1, this.length);
    this.#ops.write(index, source);
  }

  /** Evicts the range now, like SwapRegion.evict(); returns the bytes evicted. */
  evict(range?: ByteRange): number {
    return this.#ops.evict(range);
  }

  /** Drops the bytes of the range, which then read as zeros, like SwapRegion.discard(). */
  discard(range?: ByteRange): void {
    this.#ops.discard(range);
  }

  stats(): RegionStats {
    return this.#ops.stats();
  }

  /** Ends the array and frees everything it stored. Later calls throw ERR_IO_ENDED. */
  [Symbol.dispose](): void {
    this.#ops.dispose();
  }

  /** The same as `[Symbol.dispose]()`. */
  close(): void {
    this[Symbol.dispose]();
  }
}

/** @param options checked by checkArray() */
export const pagedArray = (options: ArrayOptions, ops: ArrayOps): PagedArray => wrap(options, ops);

/** The error of every call on an array that was disposed of. */
export const arrayEnded = (): SwapError =>
  new SwapError('ERR_IO_ENDED', 'the array has been disposed of', { reason: 'disposed' });

/**
 * @returns the size, bytes, rounded up to pages, and the elements in a page
 * @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN
 */
export function checkArray(options: ArrayOptions): { bytes: number; pageElements: number } {
  checkOptions(options, 'array(options)', ['type', 'length', 'residentBytes']);
  const { type, length } = options;
  const Elements = elementTypes[type] as ElementTypes[ElementType] | undefined;
  if (Elements === undefined)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `type '${type}' is none of ${Object.keys(elementTypes).join(', ')}`,
    );
  if (!Number.isSafeInteger(length) || length < 1)
    throw new SwapError('ERR_ARG_VALUE', `length ${length} is not a number of elements`);
  const size = Elements.BYTES_PER_ELEMENT;
  return {
    bytes: Math.ceil((length * size) / PAGE_BYTES) * PAGE_BYTES,
    pageElements: PAGE_BYTES / size,
  };
}

function checkIndex(index: number, length: number): void {
  if (!Number.isInteger(index) || index < 0 || index >= length)
    throw new SwapError('ERR_ARG_VALUE', `element ${index} is not one of 0 .. ${length - 1}`, {
      index,
      length,
    });
}

function ended(): never {
  throw arrayEnded();
}

/** An array over a region: get() and set() access its memory, and the kernel reports a page that is not resident. */
export function regionArray(
  map: (options: {
    readonly bytes: number;
    readonly residentBytes: number;
  }) => SwapRegion<ArrayBuffer>,
  options: ArrayOptions,
): PagedArray {
  const { bytes, pageElements } = checkArray(options);
  const region = map({ bytes, residentBytes: options.residentBytes });
  return pagedArray(options, new RegionElements(region, options, pageElements));
}

class RegionElements implements ArrayOps {
  readonly #region: SwapRegion<ArrayBuffer>;
  readonly #pageElements: number;
  /** Empty after dispose: no index has an element then. */
  #elements: ElementArray;

  constructor(
    region: SwapRegion<ArrayBuffer>,
    { type, length }: ArrayOptions,
    pageElements: number,
  ) {
    this.#region = region;
    this.#pageElements = pageElements;
    this.#elements = new elementTypes[type](region.buffer, 0, length);
  }

  get(index: number): number {
    return this.#elements[index] ?? ended();
  }

  set(index: number, value: number): void {
    this.#checkLive();
    this.#elements[index] = value;
  }

  pin(index: number): PinnedPage {
    this.#checkLive();
    const page = Math.floor(index / this.#pageElements);
    const first = page * this.#pageElements;
    const pinned = this.#region.pin({ offset: page * PAGE_BYTES, length: PAGE_BYTES });
    return {
      array: this.#elements.subarray(first, first + this.#pageElements),
      first,
      [Symbol.dispose]: () => pinned[Symbol.dispose](),
    };
  }

  read(index: number, target: ElementArray, count: number): void {
    this.#checkLive();
    target.set(this.#elements.subarray(index, index + count));
  }

  write(index: number, source: ElementArray): void {
    this.#checkLive();
    this.#elements.set(source, index);
  }

  evict(range?: ByteRange): number {
    this.#checkLive();
    return this.#region.evict(range);
  }

  discard(range?: ByteRange): void {
    this.#checkLive();
    this.#region.discard(range);
  }

  stats(): RegionStats {
    return this.#region.stats();
  }

  dispose(): void {
    this.#elements = this.#elements.subarray(0, 0);
    this.#region[Symbol.dispose]();
  }

  #checkLive(): void {
    if (this.#elements.length === 0) throw arrayEnded();
  }
}
