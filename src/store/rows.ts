/**
 * A slot's row of three words, and the scans over rows for ageing and for old pages. The row of an empty slot is zero.
 *
 *   word 0  location of the object           | same-filled: low half of the repeated word
 *   word 1  checksum of the stored bytes     | same-filled: high half
 *   word 2  tried 18 | age 17..16 | format 15..13 | 12..0 stored bytes; same-filled: 13-bit check of the word
 *
 * Age is the number of age() passes since the page was put or last got, 0 .. 3. Ageing costs a put nothing, because it
 * writes the word anyway; a get tests the word and writes it only if the age is not 0.
 *
 * Invariants
 * - A put leaves age 0 and tried 0; a get leaves age 0 and does not change what is stored.
 * - `tried` is set only if the dense codec did not make the stored page smaller.
 *
 * Cost: age() and findOld() read 4 of the 12 bytes of each row in order, a few ns per slot; a group of 1024 slots
 * without a page costs one word.
 */
import { PageFormat } from '../codec/codec.ts';

/** Words per row. */
export const ROW = 3;
/** Slots per group; the rows of a group are charged and released together: 12 KiB, three pages. */
export const GROUP_SLOTS = 1024;
export const GROUP_SHIFT = 10;
export const GROUP_ROW_BYTES: number = GROUP_SLOTS * ROW * 4;
/** Flag in a group's word: its rows may be resident. The low bits count the slots in use, 0 .. 1024. */
export const GROUP_RESIDENT = 0x4000_0000;

export const FORMAT_SHIFT = 13;
export const LENGTH_MASK = 0x1fff;
const FORMAT_MASK = 7;
const AGE_SHIFT = 16;
export const AGE_MASK = 0x3_0000;
/** Highest age. */
export const AGE_MAX = 3;
/** Flag: the dense codec was tried on this page and did not make it smaller. */
export const TRIED = 0x4_0000;

export const formatIn = (state: number): PageFormat =>
  ((state >>> FORMAT_SHIFT) & FORMAT_MASK) as PageFormat;

const ageIn = (state: number): number => (state & AGE_MASK) >>> AGE_SHIFT;

/** 13-bit check of a same-filled page's word under its slot. */
export function wordCheck(low: number, high: number, slot: number): number {
  let h = Math.imul(low ^ Math.imul(slot, 0x9e37_79b1), 0x85eb_ca6b);
  h = Math.imul((h ^ (h >>> 15)) + high, 0xc2b2_ae35);
  return h >>> (32 - FORMAT_SHIFT); // the top bits: every bit of the word reaches them
}

/** Checksum seed of a slot and a format, so that bytes of another slot or format fail the check. */
export const checksumSeed = (slot: number, format: number): number =>
  slot ^ Math.imul(format, 0x9e37_79b1);

/** Returns the first slot of [from, to) whose group has pages, or `to`. */
export function skipEmpty(groups: Int32Array, from: number, to: number): number {
  let slot = from;
  while (slot < to && (groups[slot >>> GROUP_SHIFT]! & ~GROUP_RESIDENT) === 0)
    slot = (slot | (GROUP_SLOTS - 1)) + 1;
  return Math.min(slot, to);
}

/** Ages the pages of [from, to) by one, up to AGE_MAX. */
export function agePages(rows: Int32Array, groups: Int32Array, from: number, to: number): void {
  for (let slot = from; slot < to; slot++) {
    if ((slot & (GROUP_SLOTS - 1)) === 0) slot = skipEmpty(groups, slot, to);
    if (slot === to) return;
    const at = slot * ROW + 2;
    const state = rows[at]!;
    if (state !== 0 && (state & AGE_MASK) !== AGE_MASK) rows[at] = state + (1 << AGE_SHIFT);
  }
}

/**
 * Returns the first slot of [from, to) whose page has at least this age and satisfies `matches`, or `to`.
 * Skips same-filled pages: they use no memory besides their row.
 */
export function findOld(
  rows: Int32Array,
  groups: Int32Array,
  from: number,
  to: number,
  age: number,
  matches: (state: number) => boolean,
): number {
  for (let slot = from; slot < to; slot++) {
    if ((slot & (GROUP_SLOTS - 1)) === 0) slot = skipEmpty(groups, slot, to);
    if (slot === to) return to;
    const state = rows[slot * ROW + 2]!;
    if (formatIn(state) > PageFormat.same && ageIn(state) >= age && matches(state)) return slot;
  }
  return to;
}

/** Filters for findOld(): all pages with a payload. */
export const isCompressed = (): boolean => true;
/** Pages that no codec made smaller. */
export const isRaw = (state: number): boolean => formatIn(state) === PageFormat.raw;
/** Pages on which the dense codec has not been tried. */
export const isUntried = (state: number): boolean =>
  (state & TRIED) === 0 && formatIn(state) !== PageFormat.zstd;
