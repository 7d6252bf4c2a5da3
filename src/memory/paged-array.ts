/**
 * An array of numbers of which a part is in memory: elements by index, pages by pin. It is what every platform can do;
 * where memory can be paged transparently it is a typed array over a region, with the same methods.
 *
 *     const array = swap.array({ type: 'float64', length: 100_000_000, residentBytes: 64 * MiB });
 *     array.set(7, 0.5);
 *     using page = array.pin(7);          // page.array holds the elements from page.first on, at full speed
 *
 * Cost of get() and set() without transparent paging: a table look-up, about 5 ns, while the page is there.
 */
import { SwapError } from '../base/errors.ts';
import { checkOptions } from '../base/options.ts';
import { PAGE_BYTES } from '../base/units.ts';
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
  /** Elements, 1 up. */
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

/** An array of numbers of which at most a budget is resident; accessed by index, it works on every system. */
export interface PagedArray extends Disposable {
  readonly type: ElementType;
  readonly length: number;
  /** @throws SwapError ERR_ARG_VALUE outside the array; ERR_IO_LOST; ERR_IO_NO_ROOM */
  get(index: number): number;
  set(index: number, value: number): void;
  /** The page that has the element. */
  pin(index: number): PinnedPage;
  /** Elements from `index` on to the target; returns how many, fewer at the end. */
  read(index: number, target: ElementArray): number;
  /** Elements of the source to the array from `index` on. */
  write(index: number, source: ElementArray): void;
  /** Bytes, as of SwapRegion. */
  evict(range?: ByteRange): number;
  discard(range?: ByteRange): void;
  stats(): RegionStats;
  /** The same as `[Symbol.dispose]()`. */
  close(): void;
}

/** What every call on an array that was disposed of throws. */
export const arrayEnded = (): SwapError =>
  new SwapError('ERR_IO_ENDED', 'the array has been disposed of', { reason: 'disposed' });

/** @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN */
export function checkArray(options: ArrayOptions): { bytes: number; shift: number } {
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
    shift: 12 - Math.log2(size),
  };
}

export function checkIndex(index: number, length: number): void {
  if (!Number.isInteger(index) || index < 0 || index >= length)
    throw new SwapError('ERR_ARG_VALUE', `element ${index} is not one of 0 .. ${length - 1}`, {
      index,
      length,
    });
}

function ended(): never {
  throw arrayEnded();
}

/** What regionArray() needs of a swap: map() of MemorySwap. */
interface RegionSource {
  map(options: { readonly bytes: number; readonly residentBytes: number }): SwapRegion;
}

/** Over a region: the processor does the work. */
export function regionArray(swap: RegionSource, options: ArrayOptions): PagedArray {
  const { bytes, shift } = checkArray(options);
  const { type, length, residentBytes } = options;
  const region: SwapRegion = swap.map({ bytes, residentBytes });
  const whole = new elementTypes[type](region.buffer as ArrayBuffer, 0, length);
  /** None after the end: an index that is one of the array's and has no element says so. */
  let elements: ElementArray = whole;
  const checkLive = (): void => {
    if (elements.length === 0) throw arrayEnded();
  };
  const dispose = (): void => {
    elements = whole.subarray(0, 0);
    region[Symbol.dispose]();
  };
  return {
    type,
    length,
    get: (index) => {
      checkIndex(index, length);
      return elements[index] ?? ended();
    },
    set: (index, value) => {
      checkIndex(index, length);
      checkLive();
      elements[index] = value;
    },
    pin: (index) => {
      checkIndex(index, length);
      checkLive();
      const page = Math.floor(index / 2 ** shift);
      const first = page * 2 ** shift;
      const pinned = region.pin({ offset: page * PAGE_BYTES, length: PAGE_BYTES });
      return {
        array: elements.subarray(first, first + 2 ** shift),
        first,
        [Symbol.dispose]: () => pinned[Symbol.dispose](),
      };
    },
    read: (index, target) => {
      checkIndex(index, length);
      checkLive();
      const part = elements.subarray(index, index + target.length);
      target.set(part);
      return part.length;
    },
    write: (index, source) => {
      if (source.length === 0) return;
      checkIndex(index, length);
      checkIndex(index + source.length - 1, length);
      checkLive();
      elements.set(source, index);
    },
    evict: (range) => {
      checkLive();
      return region.evict(range);
    },
    discard: (range) => {
      checkLive();
      region.discard(range);
    },
    stats: () => region.stats(),
    close: dispose,
    [Symbol.dispose]: dispose,
  };
}
