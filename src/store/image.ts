/**
 * The layout of a shard's memory image, which depends only on the number of slots.
 *
 *   0        header: magic, version, slots, the log (row-log.ts), counters
 *   4 KiB    kernels' scratch
 *   32 KiB   staging: page in, compressed bytes, page out; 4 KiB each, and 4 KiB of slack each
 *   56 KiB   slot table: 12 bytes per slot
 *   then     group table: slots in use per 1024 slots, and whether their rows may be resident
 *   then     the arena's tables and pages (arena.ts)
 */
import { type ArenaLayout, arenaLayout } from '../arena/layout.ts';
import type { PageRelease } from '../arena/ops.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { KERNEL_SCRATCH_BYTES } from '../codec/kernels.ts';
import type { LinearMemory } from '../codec/linear-memory.ts';
import { GROUP_SLOTS, ROW } from './rows.ts';

/** The header's first two words: "FSWP", and the version of the image's layout. */
export const MAGIC = 0x5057_5346;
export const VERSION = 2;
/** The log of one row: row-log.ts. */
export const LOG_AT = 64;
export const COUNTERS_AT = 256;

export const PAGE_IN: number = KERNEL_SCRATCH_BYTES;
export const COMPRESSED: number = PAGE_IN + 2 * PAGE_BYTES;
export const PAGE_OUT: number = COMPRESSED + 2 * PAGE_BYTES;
export const SLOT_TABLE: number = PAGE_OUT + 2 * PAGE_BYTES;
/** Bytes charged once for a shard in use: everything below the slot table, and the small tables. */
export const OPEN_BYTES: number = SLOT_TABLE + 2 * PAGE_BYTES;
const WASM_PAGE_BYTES = 65536;

/** Address space for a quarter more pages than slots, for zspages that are not full. */
const arenaPages = (slots: number): number => Math.ceil((slots * 1.25 + 4096) / 32) * 32;

const alignPage = (n: number): number => Math.ceil(n / PAGE_BYTES) * PAGE_BYTES;

/** For readers that share no code with the shard: native code that serves page faults. Offsets in bytes. */
export interface ShardView {
  readonly buffer: ArrayBuffer;
  readonly slots: number;
  /** Offsets of the rows (rows.ts) and of the arena's descriptors (arena.ts), and the number of descriptors. */
  readonly rows: number;
  readonly zspages: number;
  readonly zspageCount: number;
}

/** Memories that outlive the process: files that are mapped over the memories of a store's shards. */
export interface ShardImages {
  /** True if another process has used shard `number`, so that its memory has an image to adopt. */
  has(number: number): boolean;
  /** The memory of a shard, of `bytes` bytes, zero if new. */
  open(number: number, bytes: number): { memory: LinearMemory; release: PageRelease };
}

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
