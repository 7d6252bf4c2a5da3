/**
 * The swap map: the references to each slot, one byte per slot (kernel: swap_info_struct.swap_map).
 *
 *     7          6          5 .. 0
 *   ┌──────────┬──────────┬────────────────────────────┐   byte 0    = free
 *   │continued │ hasCache │ count 0 .. 0x3e, 0x3f = bad│   byte 0x3f = bad or reserved: not allocated
 *   └──────────┴──────────┴────────────────────────────┘
 *
 * A count above 62 continues in continuation pages, one byte per slot, that addContinuation() allocates. The count is
 * low + 63 x (digit0 + 128 x (digit1 + ...)): a number with carry.
 *
 * Invariants
 * - `continued` is set if and only if a continuation digit of the slot is not 0.
 * - A slot is free if and only if its byte is 0: no reference, not in the swap cache, not bad.
 *
 * Cost: one byte read and written; a carry past 62 also touches one byte of a continuation page. Only addContinuation()
 * allocates; the caller calls it where it may allocate (kernel: add_swap_count_continuation).
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

/** Result of duplicate(). */
export const DuplicateResult = {
  done: 0,
  /** The count is unchanged. Call addContinuation() for the slot, then duplicate() again. */
  needsContinuation: 1,
  /** The slot is not in use. */
  badEntry: 2,
} as const;
export type DuplicateResult = (typeof DuplicateResult)[keyof typeof DuplicateResult];

const BLOCK_SHIFT = 12;
const BLOCK_MASK = 0xfff;
const LOW_BASE = MapByte.countMax + 1;
const DIGIT_BASE = 128;

export class SwapMap {
  readonly slots: number;
  /** MapByte bits by slot. Written by this class, and by the allocator to reserve slots. */
  readonly bytes: Uint8Array;
  /** [level][slot >> 12]: continuation pages, digits 0 .. 127. Kept until swapoff, as in the kernel. */
  readonly #levels: (Uint8Array | undefined)[][] = [];

  /** The header and the bad pages; not reserved slots. A list, so that readers need not scan the entire map. */
  readonly badSlots: number[] = [];

  /** @param slots 2 .. 2^26, including slot 0, which is the header and marked bad */
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

  /** True if the slot has a reference besides the swap cache. */
  isReferenced(slot: number): boolean {
    const byte = this.bytes[slot]! & ~MapByte.hasCache;
    return byte !== 0 && byte !== MapByte.bad;
  }

  /** The number of references, not counting the swap cache. */
  count(slot: number): number {
    assert(!this.isBad(slot), 'the slot is not bad');
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

  /** Marks a free slot as allocated: cached, without references. */
  take(slot: number): void {
    assert(this.bytes[slot]! === MapByte.free, 'an allocated slot was free');
    this.bytes[slot] = MapByte.hasCache;
  }

  /** Marks a referenced slot as cached. Returns false if it is already cached or not referenced. */
  setCache(slot: number): boolean {
    if (this.hasCache(slot) || !this.isReferenced(slot)) return false;
    this.bytes[slot]! |= MapByte.hasCache;
    return true;
  }

  /** Clears the cached mark. Returns true if the slot's byte is now 0. */
  clearCache(slot: number): boolean {
    assert(this.hasCache(slot), 'the slot is cached');
    this.bytes[slot]! &= ~MapByte.hasCache;
    return this.bytes[slot]! === MapByte.free;
  }

  /** Adds a reference. */
  duplicate(slot: number): DuplicateResult {
    if (slot >= this.slots) return DuplicateResult.badEntry;
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

  /** Drops a reference. Returns true if the slot's byte is now 0. */
  drop(slot: number): boolean {
    const byte = this.bytes[slot]!;
    assert(this.isReferenced(slot), 'the slot has a reference');
    if ((byte & MapByte.countMask) > 0) this.bytes[slot] = byte - 1;
    else this.#borrow(slot);
    return this.bytes[slot]! === MapByte.free;
  }

  /** Allocates a continuation page if there is none, so that the next duplicate() of the slot succeeds. */
  addContinuation(slot: number): void {
    let level = 0;
    while (this.#page(level, slot) !== undefined && this.#digit(level, slot) === DIGIT_BASE - 1)
      level++;
    if (this.#page(level, slot) !== undefined) return;
    this.#levels[level] ??= [];
    this.#levels[level]![slot >>> BLOCK_SHIFT] = new Uint8Array(1 << BLOCK_SHIFT);
  }

  /** Marks a bad page of the header, before any slot is allocated. */
  markBad(slot: number): void {
    assert(this.bytes[slot]! === MapByte.free, 'the slot is free');
    this.bytes[slot] = MapByte.bad;
    this.badSlots.push(slot);
  }

  #borrow(slot: number): void {
    const byte = this.bytes[slot]!;
    assert((byte & MapByte.continued) !== 0, 'a count of 0 with references is continued');
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
