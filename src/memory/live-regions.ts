/**
 * The regions of an engine, by number and by address. A number consists of a table index and a generation, so that a stale
 * handle does not match the region that now has its index.
 *
 *   number:  │ generation 17 bits │ index 14 bits │     index 0 is never used
 */
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { Region } from '../pager/region.ts';
import { type ControlBlock, INDEX_BITS, REGIONS_MAX, regionIndex } from './control-block.ts';
import type { NativeMemory } from './native-memory.ts';
import type { UffdMemory } from './uffd-memory.ts';

const GENERATIONS = 2 ** (31 - INDEX_BITS);

/** Who allocated a region's memory; this decides what happens to the memory when the region ends. */
export const RegionOrigin = {
  /** The engine, which replaces it with zeroed memory at the end. */
  mapped: 0,
  /** V8, for a WebAssembly memory. V8 unmaps it when it is collected. */
  wasm: 1,
  /** malloc(3), for an ArrayBuffer. When the buffer is collected, its addresses may stay mapped and registered. */
  malloc: 2,
} as const;
export type RegionOrigin = (typeof RegionOrigin)[keyof typeof RegionOrigin];

export interface NewRegion {
  readonly id: number;
  readonly address: number;
  readonly bytes: number;
  /** Own resident budget, pages; 0: the shared one. */
  readonly setPages: number;
  readonly origin: RegionOrigin;
  readonly thread: number;
}

export interface LiveRegion {
  readonly id: number;
  readonly region: Region;
  readonly memory: UffdMemory | NativeMemory;
  readonly stats: Float64Array;
  /** Address of the region's tables. */
  readonly tables: number;
  readonly origin: RegionOrigin;
  /** Number of the thread that frees the memory when it ends; 0: the one that opened the swap. */
  readonly thread: number;
}

export class LiveRegions {
  readonly #control: ControlBlock;
  readonly #byIndex: (LiveRegion | null)[] = new Array<LiveRegion | null>(REGIONS_MAX).fill(null);
  readonly #generations: Int32Array = new Int32Array(REGIONS_MAX);
  readonly #byAddress: LiveRegion[] = [];
  #last: LiveRegion | null = null;
  #lastIndex = 0;

  constructor(control: ControlBlock) {
    this.#control = control;
  }

  /** Ascending by address. */
  get all(): readonly LiveRegion[] {
    return this.#byAddress;
  }

  /** Allocates a number. Its index has no region and no view of an earlier region. */
  freeId(): number {
    for (let tries = 1; tries < REGIONS_MAX; tries++) {
      this.#lastIndex = (this.#lastIndex % (REGIONS_MAX - 1)) + 1;
      const index = this.#lastIndex;
      if (this.#byIndex[index] !== null || this.#control.countViews(index, 0) !== 0) continue;
      const generation = (this.#generations[index]! + 1) % GENERATIONS;
      this.#generations[index] = generation;
      return (generation << INDEX_BITS) | index;
    }
    throw new SwapError(
      'ERR_ARG_VALUE',
      `a swap can have at most ${REGIONS_MAX - 1} regions at a time; dispose of some, or map larger ones`,
    );
  }

  /** Returns a region that overlaps [address, address + bytes), or null. */
  overlapping(address: number, bytes: number): LiveRegion | null {
    const next = this.#byAddress[this.#positionAfter(address)];
    if (next !== undefined && next.memory.address < address + bytes) return next;
    return this.#containing(address);
  }

  add(live: LiveRegion): void {
    this.#byIndex[regionIndex(live.id)] = live;
    this.#byAddress.splice(this.#positionAfter(live.memory.address), 0, live);
  }

  remove(live: LiveRegion): void {
    this.#byIndex[regionIndex(live.id)] = null;
    this.#byAddress.splice(this.#byAddress.indexOf(live), 1);
    if (this.#last === live) this.#last = null;
  }

  /** @throws SwapError ERR_IO_ENDED: the region has ended */
  get(id: number): LiveRegion {
    const live = this.#byIndex[regionIndex(id)] ?? null;
    if (live === null || live.id !== id)
      throw new SwapError('ERR_IO_ENDED', 'the region has been disposed of');
    return live;
  }

  has(id: number): boolean {
    return this.#byIndex[regionIndex(id)]?.id === id;
  }

  /** Returns the region that contains the address, or null. It is usually the region of the last call. */
  atAddress(address: number): LiveRegion | null {
    if (this.#last !== null && contains(this.#last, address)) return this.#last;
    const found = this.#containing(address);
    if (found !== null) this.#last = found;
    return found;
  }

  /** As atAddress(), by binary search. */
  #containing(address: number): LiveRegion | null {
    const found = this.#byAddress[this.#positionAfter(address) - 1];
    return found !== undefined && contains(found, address) ? found : null;
  }

  /** Position in #byAddress of the first region that starts after the address. */
  #positionAfter(address: number): number {
    let low = 0;
    let high = this.#byAddress.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#byAddress[middle]!.memory.address > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

const contains = ({ memory }: LiveRegion, address: number): boolean =>
  address >= memory.address && address < memory.address + memory.pages * PAGE_BYTES;
