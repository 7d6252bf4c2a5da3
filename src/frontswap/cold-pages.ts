/**
 * The cold pages of an area, merged over the backends. Each page is in one backend, so the first cold slot is the
 * lowest of the slots that the backends return. If no backend of the area knows ages, every page counts as cold, in
 * slot order.
 *
 * Cost: that of the backends; without ages, one word of the bit map per 32 slots. No allocation.
 */
import type { ColdPages, FrontswapBackend } from './ops.ts';

export class AreaColdPages implements ColdPages {
  readonly #type: number;
  readonly #bits: Int32Array;
  readonly #backends: readonly FrontswapBackend[];

  /**
   * @param bits bit offset % 32 of word offset / 32: a backend has the slot's page
   * @param backends live list, newest first
   */
  constructor(type: number, bits: Int32Array, backends: readonly FrontswapBackend[]) {
    this.#type = type;
    this.#bits = bits;
    this.#backends = backends;
  }

  coldest(from: number, to: number, age: number, incompressibleOnly: boolean): number {
    let first = -1;
    let hasAges = false;
    for (let i = 0; i < this.#backends.length; i++) {
      const pages = this.#backends[i]!.coldPages?.(this.#type) ?? null;
      if (pages === null) continue;
      hasAges = true;
      const found = pages.coldest(from, first === -1 ? to : first, age, incompressibleOnly);
      if (found !== -1) first = found;
    }
    return hasAges || incompressibleOnly ? first : this.#firstSet(from, to);
  }

  age(from: number, to: number): void {
    for (let i = 0; i < this.#backends.length; i++)
      this.#backends[i]!.coldPages?.(this.#type)?.age(from, to);
  }

  #firstSet(from: number, to: number): number {
    for (let offset = from; offset < to; offset++) {
      const word = this.#bits[offset >>> 5]! >>> (offset & 31);
      if ((word & 1) !== 0) return offset;
      if (word === 0) offset |= 31;
    }
    return -1;
  }
}
