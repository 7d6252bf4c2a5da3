/**
 * The interfaces that the swap core calls and owns: the frontswap front end, which it calls before the disk; the
 * memory manager, which owns page frames and page tables; and the extension of block/ops.ts for swap disks.
 */
import type { Disk } from '../block/ops.ts';
import type { ColdPages, LoadResult } from '../frontswap/ops.ts';
import type { SwapEntry } from './entry.ts';

/** A disk that can be notified when a slot is freed (kernel: swap_slot_free_notify). */
export interface SwapDisk extends Disk {
  /** Drops the page at slot x 4096 before it returns. Must not fail, wait, or call back. */
  slotFree?(slot: number): void;
}

/** The part of frontswap that the swap core calls; frontswap/frontswap.ts implements it. */
export interface FrontEnd {
  /** False if there is no backend; the swap core then calls only init() and invalidateArea(). */
  readonly enabled: boolean;
  /** True if load() drops the backend's copy of the page that it returns. */
  readonly exclusiveGets: boolean;
  /** Partial swapoff: reads up to `pages` pages of the area back into memory; returns how many. */
  onShrink: ((type: number, pages: number) => number) | null;
  init(type: number, slots: number): void;
  /** True if the page is stored; no bio is needed. */
  store(type: number, offset: number, page: Uint8Array, at: number): boolean;
  /** After loadedExclusive the caller owns the only copy. */
  load(type: number, offset: number, page: Uint8Array, at: number): LoadResult;
  /** Like load(), but never exclusive: for a reader that bypasses the swap cache. */
  peek(type: number, offset: number, page: Uint8Array, at: number): LoadResult;
  invalidatePage(type: number, offset: number): void;
  /** Reads the data that invalidatePage() will read for offsets[0 .. count), so that cache misses overlap. */
  warm?(type: number, offsets: Int32Array, count: number): number;
  invalidateArea(type: number): void;
  has(type: number, offset: number): boolean;
  /** Writeback: the disk now has the slot's page; frontswap drops its copy. */
  completeWriteback(type: number, offset: number): void;
  /** Writeback: the ages of the area's pages in frontswap; null when it has none. */
  coldPages(type: number): ColdPages | null;
}

/**
 * The owner of page frames. Frame f is memory[f x 4096 .. (f + 1) x 4096). No method may call the swap core except
 * unuse(), which calls free() for each reference that it replaces, or dropFromCache() if it does not use the frame.
 */
export interface MemoryManager {
  /** All frames: of fixed size, aligned to 4 bytes in the buffer. */
  readonly memory: Uint8Array;
  /** Allocates a frame for a page to swap in; -1: none. With `isReadAhead`, no fault waits for it: refuse sooner. */
  allocFrame(isReadAhead: boolean): number;
  /** Frees a frame that allocFrame() returned but that contains no page. */
  freeFrame(frame: number): void;
  /**
   * The frame's slot was freed, so it is no longer in the swap cache. A mapped frame is dirty; free any other frame.
   */
  removedFromCache(frame: number): void;
  /** A swapIn() that returned `pending` has completed. If not ok, the frame has been freed. */
  readDone(entry: SwapEntry, frame: number, ok: boolean): void;
  /** A swapOut() that returned `pending` has completed. If not ok, the frame is dirty and has the only copy. */
  writeDone(entry: SwapEntry, frame: number, ok: boolean): void;
  /** Maps the frame for each user of the entry and calls free(entry) for it (kernel: try_to_unuse). May skip some. */
  unuse(entry: SwapEntry, frame: number): void;
}
