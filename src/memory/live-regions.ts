/**
 * The regions of an engine, by number and by address. A number holds a table index and a generation, so that a handle
 * of a region that has ended is not taken for the region that now has its index.
 *
 *   number:  │ generation 17 bits │ place 14 bits │     place 0 is never used
 */
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { Region } from '../pager/region.ts';
import { type ControlBlock, PLACE_BITS, positionOf, REGIONS_MAX } from './control-block.ts';
import type { UffdMemory } from './uffd-memory.ts';

const GENERATIONS = 2 ** (31 - PLACE_BITS);

export interface Live {
  readonly id: number;
  readonly region: Region;
  readonly memory: UffdMemory;
  readonly stats: Float64Array;
  /** Address of the region's tables. */
  readonly tables: number;
  /** Memory that the engine mapped, and maps afresh at the end. */
  readonly isOurs: boolean;
}

export class LiveRegions {
  readonly #control: ControlBlock;
  readonly #at: (Live | null)[] = new Array<Live | null>(REGIONS_MAX).fill(null);
  readonly #generations: Int32Array = new Int32Array(REGIONS_MAX);
  readonly #ordered: Live[] = [];
  #last: Live | null = null;
  #place = 0;

  constructor(control: ControlBlock) {
    this.#control = control;
  }

  /** In order of address. */
  get all(): readonly Live[] {
    return this.#ordered;
  }

  /** A number for a region; its place has no region, and no view of one that was there. */
  freeId(): number {
    for (let tries = 1; tries < REGIONS_MAX; tries++) {
      this.#place = (this.#place % (REGIONS_MAX - 1)) + 1;
      const place = this.#place;
      if (this.#at[place] !== null || this.#control.countViews(place, 0) !== 0) continue;
      const generation = (this.#generations[place]! + 1) % GENERATIONS;
      this.#generations[place] = generation;
      return (generation << PLACE_BITS) | place;
    }
    throw new SwapError('ERR_ARG_VALUE', `a swap has at most ${REGIONS_MAX - 1} regions`);
  }

  /** The region that shares an address with [address, address + bytes), or null. */
  overlapping(address: number, bytes: number): Live | null {
    const next = this.#ordered[this.#placeAfter(address)];
    if (next !== undefined && next.memory.address < address + bytes) return next;
    return this.#before(address);
  }

  add(live: Live): void {
    this.#at[positionOf(live.id)] = live;
    this.#ordered.splice(this.#placeAfter(live.memory.address), 0, live);
  }

  remove(live: Live): void {
    this.#at[positionOf(live.id)] = null;
    this.#ordered.splice(this.#ordered.indexOf(live), 1);
    if (this.#last === live) this.#last = null;
  }

  /** @throws SwapError ERR_IO_ENDED: it has ended */
  get(id: number): Live {
    const live = this.#at[positionOf(id)] ?? null;
    if (live === null || live.id !== id)
      throw new SwapError('ERR_IO_ENDED', 'the region has been disposed of');
    return live;
  }

  has(id: number): boolean {
    return this.#at[positionOf(id)]?.id === id;
  }

  /** The region that has the address. */
  atAddress(address: number): Live | null {
    if (this.#last !== null && contains(this.#last, address)) return this.#last;
    const found = this.#before(address);
    if (found !== null) this.#last = found;
    return found;
  }

  /** The region that begins at the address or before it, and has it. */
  #before(address: number): Live | null {
    const found = this.#ordered[this.#placeAfter(address) - 1];
    return found !== undefined && contains(found, address) ? found : null;
  }

  /** Index of the first region that begins behind the address. */
  #placeAfter(address: number): number {
    let low = 0;
    let high = this.#ordered.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ordered[middle]!.memory.address > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

const contains = ({ memory }: Live, address: number): boolean =>
  address >= memory.address && address < memory.address + memory.pages * PAGE_BYTES;
