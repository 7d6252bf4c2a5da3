/** One bit per slot. Cost: reads or writes one byte; 32 KiB of memory per GiB of swap. */
import { assert } from '../base/assert.ts';

export class BitMap {
  readonly bytes: Uint8Array;

  constructor(bits: number) {
    this.bytes = new Uint8Array(Math.ceil(bits / 8));
  }

  has(bit: number): boolean {
    return (this.bytes[bit >>> 3]! & (1 << (bit & 7))) !== 0;
  }

  set(bit: number): void {
    this.bytes[bit >>> 3]! |= 1 << (bit & 7);
  }

  clear(bit: number): void {
    this.bytes[bit >>> 3]! &= ~(1 << (bit & 7));
  }

  clearRange(start: number, length: number): void {
    for (let bit = start; bit < start + length; bit++) this.clear(bit);
  }

  /** True if any bit is set. Reads full bytes: `start` and `length` are multiples of 8. */
  hasAny(start: number, length: number): boolean {
    assert(start % 8 === 0 && length % 8 === 0, 'start and length are multiples of 8');
    const end = (start + length) >>> 3;
    for (let at = start >>> 3; at < end; at++) if (this.bytes[at]! !== 0) return true;
    return false;
  }
}
