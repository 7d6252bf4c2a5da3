/**
 * Properties of the zspages of a size class: how full a zspage with a number of objects is, how many pages its first
 * objects take, and how many holes the class may have before it is compacted.
 */
import { PAGE_BYTES, PAGE_SHIFT } from '../base/units.ts';
import { BIT_WORDS, classTable, GROUPS } from './layout.ts';

/** Fullness per used object, for each class, in 65536ths of a quarter: exact up to 511 objects. */
const quarterTable: Int32Array = Int32Array.from(classTable.objects, (n) =>
  Math.ceil((GROUPS * 65536) / n),
);

/** A class may have holes for one in 64 of its objects, or as many as one zspage has objects, if that is fewer. */
const HOLES_SHARE_SHIFT = 6;

/** Fullness group of a zspage with `used` objects: quarter 0..3; 4 = full. */
export const groupOf = (cls: number, used: number): number => (used * quarterTable[cls]!) >>> 16;

/** Pages of the first `objects` objects of a zspage. */
export const pagesOf = (cls: number, objects: number): number =>
  (objects * classTable.objectBytes[cls]! + PAGE_BYTES - 1) >>> PAGE_SHIFT;

/** Index after the last set bit of the BIT_WORDS words at `at`; 0 = none is set. */
export function endOf(words: Int32Array, at: number): number {
  let word = BIT_WORDS - 1;
  while (word > 0 && words[at + word] === 0) word--;
  return (word << 5) + 32 - Math.clz32(words[at + word]!);
}

/**
 * Number of holes at which a class of `used` objects is compacted, if its tail has objects up to `end`. At least the
 * number of objects that overlap the last page of the tail: with fewer, moving objects frees no page.
 */
export function holesMax(cls: number, used: number, end: number): number {
  const lastPage = pagesOf(cls, end) - 1;
  const first = Math.floor((lastPage * PAGE_BYTES) / classTable.objectBytes[cls]!);
  const share = used >>> HOLES_SHARE_SHIFT;
  return Math.min(Math.max(share, end - first), classTable.objects[cls]!);
}
