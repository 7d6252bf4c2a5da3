/**
 * The layout of a shard's memory image, which depends only on the number of slots.
 *
 *   0        header: magic, version, slots, counters
 *   4 KiB    kernels' scratch
 *   64 KiB   staging: page in, compressed bytes, page out; 4 KiB each and as much slack
 *   88 KiB   slot table: 12 bytes per slot
 *   then     group table: slots in use per 1024 slots, and whether their rows may be resident
 *   then     the arena's tables and pages (arena.ts)
 */
import { type ArenaLayout, arenaLayout } from '../arena/arena.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { GROUP_SLOTS, ROW } from './rows.ts';

/** The header's first two words: "FSWP", and the version of the image's layout. */
export const MAGIC = 0x5057_5346;
export const VERSION = 1;
export const COUNTERS_AT = 256;

export const PAGE_IN = 65536;
export const COMPRESSED: number = PAGE_IN + 2 * PAGE_BYTES;
export const PAGE_OUT: number = COMPRESSED + 2 * PAGE_BYTES;
export const SLOT_TABLE: number = PAGE_OUT + 2 * PAGE_BYTES;
/** Charged once for a shard in use: everything below the slot table, and the small tables. */
export const OPEN_BYTES: number = SLOT_TABLE + 2 * PAGE_BYTES;
const WASM_PAGE_BYTES = 65536;

/** Address space for a quarter more pages than slots, for zspages that are not full. */
const arenaPages = (slots: number): number => Math.ceil((slots * 1.25 + 4096) / 32) * 32;

const alignPage = (n: number): number => Math.ceil(n / PAGE_BYTES) * PAGE_BYTES;

export interface Image {
  /** Groups of 1024 slots. */
  readonly groups: number;
  /** Address of the group table. */
  readonly groupTable: number;
  readonly arena: ArenaLayout;
  /** Size of the memory, a multiple of 64 KiB. */
  readonly bytes: number;
}

export function imageOf(slots: number): Image {
  const groups = Math.ceil(slots / GROUP_SLOTS);
  const groupTable = SLOT_TABLE + groups * GROUP_SLOTS * ROW * 4;
  const arena = arenaLayout(alignPage(groupTable + groups * 4), arenaPages(slots));
  // One more page: the kernels may read and write a few bytes past the last object.
  const bytes = Math.ceil((arena.end + PAGE_BYTES) / WASM_PAGE_BYTES) * WASM_PAGE_BYTES;
  return { groups, groupTable, arena, bytes };
}
