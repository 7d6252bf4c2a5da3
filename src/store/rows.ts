/**
 * A slot's row, three words, and what walks along them: age, and the search for old pages. A zeroed row is an empty slot.
 *
 *   word 0  location of the object           | same-filled: low half of the repeated word
 *   word 1  checksum of the stored bytes     | same-filled: high half
 *   word 2  tried 18 | age 17..16 | format 15..13 | 12..0 stored bytes; same-filled: 13-bit check of the word
 *
 * Age says how often the walk of age() has passed a page since it was put or last got, 0 .. 3. A put writes the word
 * anyway and so costs nothing more; a get tests it, and writes it when the page was not of age 0.
 *
 * Invariants
 * - A put leaves age 0 and tried 0; a get leaves age 0 and does not change what is stored.
 * - `tried` is set only where the dense codec made nothing smaller of the very bytes that are stored.
 *
 * Cost: age() and findOld() read 4 of 12 bytes a slot in order, some ns each; groups of 1024 slots without a page
 * cost one look.
 */
import { PageFormat } from '../codec/codec.ts';

/** Words of a row. */
export const ROW = 3;
/** Slots of a group, whose rows are charged and given back together: 12 KiB, three pages. */
export const GROUP_SLOTS = 1024;
export const GROUP_SHIFT = 10;
/** In a group's word: its rows may be resident. Below it: the slots in use, 0..1024. */
export const GROUP_RESIDENT = 0x4000_0000;

export const FORMAT_SHIFT = 13;
export const LENGTH_MASK = 0x1fff;
const FORMAT_MASK = 7;
const AGE_SHIFT = 16;
export const AGE_MASK = 0x3_0000;
/** Nothing gets older than this. */
export const AGE_MAX = 3;
/** The dense codec was tried on these bytes, and they stay as they are. */
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

/** Seeds a checksum with what must not be mixed up: the slot, and how the bytes are to be read. */
export const checksumSeed = (slot: number, format: number): number =>
  slot ^ Math.imul(format, 0x9e37_79b1);

/** First slot of [from, to) whose group has pages, or `to`. */
export function skipEmpty(groups: Int32Array, from: number, to: number): number {
  let slot = from;
  while (slot < to && (groups[slot >>> GROUP_SHIFT]! & ~GROUP_RESIDENT) === 0)
    slot = (slot | (GROUP_SLOTS - 1)) + 1;
  return Math.min(slot, to);
}

/** The pages of [from, to) are a step older. */
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
 * First slot of [from, to) with a page of this age at least that is wanted, too (see below); or `to`. Same-filled pages are passed over: they cost their row and nothing else.
 */
export function findOld(
  rows: Int32Array,
  groups: Int32Array,
  from: number,
  to: number,
  age: number,
  isWanted: (state: number) => boolean,
): number {
  for (let slot = from; slot < to; slot++) {
    if ((slot & (GROUP_SLOTS - 1)) === 0) slot = skipEmpty(groups, slot, to);
    if (slot === to) return to;
    const state = rows[slot * ROW + 2]!;
    if (formatIn(state) > PageFormat.same && ageIn(state) >= age && isWanted(state)) return slot;
  }
  return to;
}

/** What findOld() may be asked for. */
export const isCompressed = (): boolean => true;
/** Pages that no codec made smaller. */
export const isRaw = (state: number): boolean => formatIn(state) === PageFormat.raw;
/** Pages that the dense codec has not seen. */
export const isUntried = (state: number): boolean =>
  (state & TRIED) === 0 && formatIn(state) !== PageFormat.zstd;
