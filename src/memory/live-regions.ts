/**
 * The regions of an engine: by number, and by address. A number is a place in a table and a generation, so that a handle
 * of a region that has ended is told from the region that has its place now.
 *
 *   number:  │ generation 21 bits │ place 10 bits │     place 0 is nobody's
 */
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { Region } from '../mm/region.ts';
import { type ControlBlock, PLACE_BITS, placeOf, REGIONS_MAX } from './control-block.ts';
import type { UffdMemory } from './uffd-memory.ts';

const GENERATIONS = 2 ** (31 - PLACE_BITS);

export interface Live {
  readonly id: number;
  readonly region: Region;
  readonly memory: UffdMemory;
  readonly stats: Float64Array;
  /** Memory that the engine mapped, and maps afresh at the end. */
  readonly isOurs: boolean;
}

export class LiveRegions {
  readonly #control: ControlBlock;
  readonly #at: (Live | null)[] = new Array<Live | null>(REGIONS_MAX).fill(null);
  readonly #generations: Int32Array = new Int32Array(REGIONS_MAX);
  #ordered: readonly Live[] = [];
  #last: Live | null = null;

  constructor(control: ControlBlock) {
    this.#control = control;
  }

  /** In order of address. */
  get all(): readonly Live[] {
    return this.#ordered;
  }

  /** A number for a region; its place has no region, and no view of one that was there. */
  freeId(): number {
    for (let place = 1; place < REGIONS_MAX; place++) {
      if (this.#at[place] !== null || this.#control.countViews(place, 0) !== 0) continue;
      const generation = (this.#generations[place]! + 1) % GENERATIONS;
      this.#generations[place] = generation;
      return (generation << PLACE_BITS) | place;
    }
    throw new SwapError('ERR_ARG_VALUE', `a swap has at most ${REGIONS_MAX - 1} regions`);
  }

  /** @throws SwapError ERR_ARG_VALUE: part of the range is paged already */
  checkFree(address: number, bytes: number): void {
    for (const { memory } of this.#ordered)
      if (address < memory.address + memory.pages * PAGE_BYTES && address + bytes > memory.address)
        throw new SwapError('ERR_ARG_VALUE', 'this memory is paged already');
  }

  add(live: Live): void {
    this.#at[placeOf(live.id)] = live;
    this.#order();
  }

  remove(live: Live): void {
    this.#at[placeOf(live.id)] = null;
    this.#order();
  }

  /** @throws SwapError ERR_ARG_VALUE: it has ended */
  get(id: number): Live {
    const live = this.#at[placeOf(id)] ?? null;
    if (live === null || live.id !== id)
      throw new SwapError('ERR_ARG_VALUE', 'no such region: it has been disposed of');
    return live;
  }

  has(id: number): boolean {
    return this.#at[placeOf(id)]?.id === id;
  }

  /** The region that has the address. */
  atAddress(address: number): Live | null {
    if (this.#last !== null && contains(this.#last, address)) return this.#last;
    for (let i = 0; i < this.#ordered.length; i++) {
      if (!contains(this.#ordered[i]!, address)) continue;
      this.#last = this.#ordered[i]!;
      return this.#last;
    }
    return null;
  }

  #order(): void {
    this.#last = null;
    this.#ordered = this.#at
      .filter((live) => live !== null)
      .sort((a, b) => a.memory.address - b.memory.address);
  }
}

const contains = ({ memory }: Live, address: number): boolean =>
  address >= memory.address && address < memory.address + memory.pages * PAGE_BYTES;
