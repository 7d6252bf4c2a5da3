/**
 * The swap map: who refers to a slot, in a byte a slot (kernel: swap_info_struct.swap_map).
 *
 *     7          6          5 .. 0
 *   ┌──────────┬──────────┬────────────────────────────┐   byte 0    = free
 *   │continued │ hasCache │ count 0 .. 0x3e, 0x3f = bad│   byte 0x3f = bad: never handed out
 *   └──────────┴──────────┴────────────────────────────┘
 *
 * A count above 62 goes on in continuation pages, a byte a slot, made when a duplicate needs them: the count is
 * low + 63 x (digit0 + 128 x (digit1 + ...)), as one adds with carry.
 *
 * Invariants
 * - `continued` is set exactly when one of the slot's continuation digits is not 0.
 * - A slot is free exactly when its byte is 0: no reference, not in the swap cache, not bad.
 *
 * Cost: one byte read and written; a carry past 62 touches one byte of a continuation page. Nothing is allocated
 * but by addContinuation(), which the caller runs where it may allocate (kernel: add_swap_count_continuation).
 *
 * Sources: Linux include/linux/swap.h and mm/swapfile.c, 2.6.35 and 5.10 (names and byte values).
 */
import { assert } from '../base/assert.ts';

export const MapByte = {
  free: 0,
  countMax: 0x3e,
  bad: 0x3f,
  countMask: 0x3f,
  hasCache: 0x40,
  continued: 0x80,
} as const;

/** How a duplicate() ended. */
export const DuplicateResult = {
  done: 0,
  /** Call addContinuation() for the slot, then again. The count is as it was. */
  needsContinuation: 1,
  /** Nobody refers to the slot: there is nothing to duplicate. */
  badEntry: 2,
} as const;
export type DuplicateResult = (typeof DuplicateResult)[keyof typeof DuplicateResult];

const BLOCK_SHIFT = 12;
const BLOCK_MASK = 0xfff;
const LOW_BASE = MapByte.countMax + 1;
const DIGIT_BASE = 128;

export class SwapMap {
  readonly slots: number;
  /** A MapByte combination a slot. Others read it; only this class and the allocator's holds write it. */
  readonly bytes: Uint8Array;
  /** [level][slot >> 12]: continuation pages, digits 0 .. 127. They stay until the area goes (as the kernel's do). */
  readonly #levels: (Uint8Array | undefined)[][] = [];

  /**
   * Those bad for good; not the allocator's holds. A large map need not be read to know them, and takes no memory before it
   * is used.
   */
  readonly badSlots: number[] = [];

  /** @param slots header included, 2 .. 2^26. Slot 0 is bad from the start. */
  constructor(slots: number) {
    this.slots = slots;
    this.bytes = new Uint8Array(slots);
    this.bytes[0] = MapByte.bad;
    this.badSlots.push(0);
  }

  isFree(slot: number): boolean {
    return this.bytes[slot]! === MapByte.free;
  }

  isBad(slot: number): boolean {
    return this.bytes[slot]! === MapByte.bad;
  }

  hasCache(slot: number): boolean {
    return (this.bytes[slot]! & MapByte.hasCache) !== 0;
  }

  /** True: somebody other than the swap cache refers to the slot. */
  isReferenced(slot: number): boolean {
    const byte = this.bytes[slot]! & ~MapByte.hasCache;
    return byte !== 0 && byte !== MapByte.bad;
  }

  /** References, the swap cache not counted. */
  count(slot: number): number {
    assert(!this.isBad(slot), 'a bad slot has no count');
    const byte = this.bytes[slot]!;
    let count = byte & MapByte.countMask;
    if ((byte & MapByte.continued) === 0) return count;
    let weight = LOW_BASE;
    for (let level = 0; level < this.#levels.length; level++) {
      count += weight * this.#digit(level, slot);
      weight *= DIGIT_BASE;
    }
    return count;
  }

  /** A new slot starts with the swap cache as its only user. */
  take(slot: number): void {
    assert(this.bytes[slot]! === MapByte.free, 'only a free slot is handed out');
    this.bytes[slot] = MapByte.hasCache;
  }

  /** The swap cache takes hold of a slot in use; false: it has it already, or nobody refers to the slot. */
  setCache(slot: number): boolean {
    if (this.hasCache(slot) || !this.isReferenced(slot)) return false;
    this.bytes[slot]! |= MapByte.hasCache;
    return true;
  }

  /** The swap cache lets go; true: the slot has no user left (its byte is 0 now). */
  clearCache(slot: number): boolean {
    assert(this.hasCache(slot), 'the swap cache holds the slot that it lets go');
    this.bytes[slot]! &= ~MapByte.hasCache;
    return this.bytes[slot]! === MapByte.free;
  }

  /** One more reference. */
  duplicate(slot: number): DuplicateResult {
    const byte = this.bytes[slot]!;
    if (byte === MapByte.free || byte === MapByte.bad) return DuplicateResult.badEntry;
    if ((byte & MapByte.countMask) < MapByte.countMax) {
      this.bytes[slot] = byte + 1;
      return DuplicateResult.done;
    }
    let level = 0;
    while (level < this.#levels.length && this.#digit(level, slot) === DIGIT_BASE - 1) level++;
    if (this.#page(level, slot) === undefined) return DuplicateResult.needsContinuation;
    for (let below = 0; below < level; below++) this.#page(below, slot)![slot & BLOCK_MASK] = 0;
    this.#page(level, slot)![slot & BLOCK_MASK]! += 1;
    this.bytes[slot] = (byte & MapByte.hasCache) | MapByte.continued;
    return DuplicateResult.done;
  }

  /** One reference less; true: the slot has no user left (its byte is 0 now). */
  drop(slot: number): boolean {
    const byte = this.bytes[slot]!;
    assert(this.isReferenced(slot), 'a reference that is dropped was held');
    if ((byte & MapByte.countMask) > 0) this.bytes[slot] = byte - 1;
    else this.#borrow(slot);
    return this.bytes[slot]! === MapByte.free;
  }

  /** Makes room for the next duplicate() of the slot. Allocates a page, or finds that one is there. */
  addContinuation(slot: number): void {
    let level = 0;
    while (this.#page(level, slot) !== undefined && this.#digit(level, slot) === DIGIT_BASE - 1)
      level++;
    if (this.#page(level, slot) !== undefined) return;
    this.#levels[level] ??= [];
    this.#levels[level]![slot >>> BLOCK_SHIFT] = new Uint8Array(1 << BLOCK_SHIFT);
  }

  /** For good: only before the map is used. */
  markBad(slot: number): void {
    assert(this.bytes[slot]! === MapByte.free, 'a slot in use is not declared bad');
    this.bytes[slot] = MapByte.bad;
    this.badSlots.push(slot);
  }

  #borrow(slot: number): void {
    const byte = this.bytes[slot]!;
    assert((byte & MapByte.continued) !== 0, 'a count goes on where it says so');
    let level = 0;
    while (this.#digit(level, slot) === 0) {
      this.#page(level, slot)![slot & BLOCK_MASK] = DIGIT_BASE - 1;
      level++;
    }
    this.#page(level, slot)![slot & BLOCK_MASK]! -= 1;
    const more = this.#hasDigits(slot) ? MapByte.continued : 0;
    this.bytes[slot] = (byte & MapByte.hasCache) | more | MapByte.countMax;
  }

  #hasDigits(slot: number): boolean {
    for (let level = 0; level < this.#levels.length; level++)
      if (this.#digit(level, slot) !== 0) return true;
    return false;
  }

  #page(level: number, slot: number): Uint8Array | undefined {
    return this.#levels[level]?.[slot >>> BLOCK_SHIFT];
  }

  #digit(level: number, slot: number): number {
    return this.#page(level, slot)?.[slot & BLOCK_MASK] ?? 0;
  }
}
