/**
 * Where an arena's tables and pages are in its memory, and the words of the tables: one descriptor per zspage and one row
 * per size class. arena.ts explains them; rebuild.ts rebuilds them.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { CHUNK_PAGES, pageRunsTableBytes } from './page-runs.ts';
import { OBJECT_BYTES_MAX, type SizeClasses, sizeClasses } from './size-classes.ts';

/** The size classes of every arena. */
export const classTable: SizeClasses = sizeClasses();

/** Bytes of the owner word before the payload. */
export const OBJECT_HEADER_BYTES = 4;
/** Longest payload in a compressed class, bytes; longer ones take a full page. */
export const COMPRESSED_BYTES_MAX: number = OBJECT_BYTES_MAX - OBJECT_HEADER_BYTES;

/** Words of a descriptor. */
export const ROW_SHIFT = 3;
export const ROW_BYTES = 32;
export const NEXT = 0;
export const PREV = 1;
export const PAGE = 2;
export const STATE = 3;
export const BITS = 4;
export const BIT_WORDS = 4;

export const INDEX_SHIFT = 7;
export const INDEX_MASK = 0x7f;
export const GROUPS = 4;

/** Words per class in the image: four list heads, zspages, used objects, tail (0 = none), index after its last object. */
export const CLASS_WORDS = 8;
export const ZSPAGES = 4;
export const USED_OBJECTS = 5;
export const TAIL = 6;
export const TAIL_END = 7;
/** After the classes: head of the list of free descriptors, number of descriptors ever used. */
export const FREE_HEAD: number = classTable.count * CLASS_WORDS;
export const DESCRIPTORS: number = FREE_HEAD + 1;
/** Number of zspages of all classes. */
export const ZSPAGES_ALL: number = FREE_HEAD + 2;
export const CLASS_TABLE_WORDS: number = FREE_HEAD + 3;

/** Where the tables and pages of an arena are in its memory. Bytes; the table offsets are multiples of 4096. */
export interface ArenaLayout {
  readonly classTable: number;
  readonly runTable: number;
  readonly zspageTable: number;
  readonly firstPage: number;
  readonly pages: number;
  /** First byte after the last page. */
  readonly end: number;
}

export const roundUp = (n: number, unit: number): number => Math.ceil(n / unit) * unit;

/** Layout of an arena of `pages` pages (a multiple of 32, below 2^20) that begins at byte `at` (a multiple of 4096). */
export function arenaLayout(at: number, pages: number): ArenaLayout {
  assert(at > 0 && at % PAGE_BYTES === 0, 'at is a multiple of 4096, above 0');
  assert(pages > 0 && pages % CHUNK_PAGES === 0, 'pages is a multiple of 32, above 0');
  const runTable = roundUp(at + CLASS_TABLE_WORDS * 4, PAGE_BYTES);
  const zspageTable = roundUp(runTable + pageRunsTableBytes(pages), PAGE_BYTES);
  const first = roundUp(zspageTable + (pages + 1) * ROW_BYTES, CHUNK_PAGES * PAGE_BYTES);
  return {
    classTable: at,
    runTable,
    zspageTable,
    firstPage: first / PAGE_BYTES,
    pages,
    end: first + pages * PAGE_BYTES,
  };
}
