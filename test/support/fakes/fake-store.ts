/** A page store in a Map, with a byte limit. A page costs 16 to 112 bytes, by its first word. */
import type { Slot } from '../../../src/base/units.ts';
import { GetResult, PutResult } from '../../../src/store/results.ts';
import type { PageStore } from '../../../src/tmem/ops.ts';

export const payloadOf = (n: number): number => 16 * (1 + (n % 7));

/** The page with number n: equal for equal n, different in every word otherwise. */
export function pageOf(n: number): Uint8Array {
  const words = new Uint32Array(1024).fill(Math.imul(n, 0x9e37_79b1));
  words[0] = n;
  return new Uint8Array(words.buffer);
}

const numberOf = (page: Uint8Array): number =>
  new DataView(page.buffer, page.byteOffset, 4).getUint32(0, true);

export class FakeStore implements PageStore {
  readonly slots: number;
  limitBytes: number;
  storedBytes = 0;
  maintained = 0;
  readonly pages: Map<number, Uint8Array> = new Map();

  constructor(slots: number, limitBytes: number) {
    this.slots = slots;
    this.limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.storedBytes;
  }

  put(slot: Slot, source: Uint8Array, at: number): PutResult {
    if (this.pages.has(slot)) throw new Error('the slot is not empty');
    const page = new Uint8Array(source.subarray(at, at + 4096)); // slice() of a Buffer is a view
    const payload = payloadOf(numberOf(page));
    if (this.storedBytes + payload > this.limitBytes) return PutResult.refused;
    this.pages.set(slot, page);
    this.storedBytes += payload;
    return PutResult.stored;
  }

  get(slot: Slot, target: Uint8Array, at: number): GetResult {
    const page = this.pages.get(slot);
    if (page === undefined) return GetResult.absent;
    if (page.length !== 4096) return GetResult.corrupt; // a test replaced the page
    target.set(page, at);
    return GetResult.found;
  }

  drop(slot: Slot): boolean {
    const page = this.pages.get(slot);
    if (page === undefined) return false;
    this.storedBytes -= payloadOf(numberOf(page));
    return this.pages.delete(slot);
  }

  maintain(changed: number): boolean {
    this.maintained += changed;
    return false;
  }
}
