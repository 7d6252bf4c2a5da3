/**
 * A bitmap with one bit per slot, and the number of set bits. A range operation costs one step per 32 slots; nothing is
 * allocated after the start.
 */
import { assert } from '../../../base/assert.ts';
import { popcount } from '../../../base/bits.ts';

/** Bits `from` .. `to` - 1 of one word; 0 <= from < to <= 32. */
const maskOf = (from: number, to: number): number => (-1 << from) & (-1 >>> (32 - to));

/** Size of a bitmap for `slots` slots, bytes. */
export const bitBytes = (slots: number): number => Math.ceil(slots / 32) * 4;

/** A bitmap of a fixed number of slots, 1 .. 2^31. */
export class SlotBits {
  readonly slots: number;
  readonly #words: Int32Array;
  #count = 0;

  /** @param words the bits, bitBytes(slots) long; default: all clear */
  constructor(slots: number, words: Int32Array = new Int32Array(bitBytes(slots) / 4)) {
    assert(slots > 0 && slots <= 2 ** 31, 'slots: 1 .. 2^31');
    assert(words.length === bitBytes(slots) / 4, 'a bit per slot');
    this.slots = slots;
    this.#words = words;
    for (const word of words) this.#count += popcount(word);
  }

  /** Whether a bit past the last slot is set, which only an image can have. */
  hasStray(): boolean {
    const used = this.slots & 31;
    return used !== 0 && this.#words.at(-1)! >>> used !== 0;
  }

  /** Number of set bits. */
  get count(): number {
    return this.#count;
  }

  has(slot: number): boolean {
    return (this.#words[slot >>> 5]! & (1 << (slot & 31))) !== 0;
  }

  setRange(from: number, to: number): void {
    this.#count += this.#change(from, to, true);
  }

  /** Returns the number of bits that were set. */
  clearRange(from: number, to: number): number {
    const cleared = this.#change(from, to, false);
    this.#count -= cleared;
    return cleared;
  }

  hasAny(from: number, to: number): boolean {
    return this.next(from, to) < to;
  }

  /** The first set bit of [from, to), or `to`. */
  next(from: number, to: number): number {
    for (let slot = from; slot < to; ) {
      const rest = this.#words[slot >>> 5]! >>> (slot & 31);
      if (rest !== 0) return Math.min(to, slot + 31 - Math.clz32(rest & -rest));
      slot = slot - (slot & 31) + 32;
    }
    return to;
  }

  /** The first clear bit of [from, to), or `to`. */
  nextClear(from: number, to: number): number {
    for (let slot = from; slot < to; ) {
      const rest = ~this.#words[slot >>> 5]! >>> (slot & 31);
      if (rest !== 0) return Math.min(to, slot + 31 - Math.clz32(rest & -rest));
      slot = slot - (slot & 31) + 32;
    }
    return to;
  }

  /** Returns the number of bits changed. */
  #change(from: number, to: number, isSet: boolean): number {
    assert(from >= 0 && to <= this.slots, '0 <= from and to <= slots');
    let changed = 0;
    for (let slot = from; slot < to; ) {
      const first = slot & 31;
      const end = Math.min(32, first + (to - slot));
      const at = slot >>> 5;
      const mask = maskOf(first, end);
      const word = this.#words[at]!;
      changed += popcount(mask & (isSet ? ~word : word));
      this.#words[at] = isSet ? word | mask : word & ~mask;
      slot += end - first;
    }
    return changed;
  }
}
