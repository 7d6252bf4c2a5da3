/**
 * What the swap core calls. It owns these contracts: the front end that is asked before the disk, the memory manager
 * that owns page frames and knows who refers to a slot, and what a disk may offer beyond block/ops.ts.
 */
import type { Disk } from '../block/ops.ts';
import type { LoadResult } from '../frontswap/ops.ts';
import type { SwapEntry } from './entry.ts';

/** A disk that wants to hear at once when a slot is dead (kernel: swap_slot_free_notify). */
export interface SwapDisk extends Disk {
  /** The page at slot x 4096 is given up, before this returns. Must not fail, wait, or call back. */
  slotFree?(slot: number): void;
}

/** The frontswap front end, as the swap core sees it; frontswap/frontswap.ts has this shape. */
export interface FrontEnd {
  /** False: no backend; then nothing else is called but init() and invalidateArea(). */
  readonly enabled: boolean;
  /** True: a successful load() gives the backend's copy up, unless `lastLoadExclusive` says otherwise. */
  readonly exclusiveGets: boolean;
  /** The last load() that ended well gave the backend's copy up: the caller has the only one. */
  readonly lastLoadExclusive: boolean;
  /** Partial swapoff: bring up to `pages` pages of the area back to memory, answer how many came. */
  onShrink: ((type: number, pages: number) => number) | null;
  init(type: number, slots: number): void;
  /** True: kept, nothing need be written. */
  store(type: number, offset: number, page: Uint8Array, at: number): boolean;
  load(type: number, offset: number, page: Uint8Array, at: number): LoadResult;
  /** As load(), and the backend's copy stays: for a reader past the swap cache, who owns nothing yet. */
  peek(type: number, offset: number, page: Uint8Array, at: number): LoadResult;
  invalidatePage(type: number, offset: number): void;
  /** offsets[0 .. count) are about to be freed: tables may be read ahead, nothing changes. Some number. */
  warm?(type: number, offsets: Int32Array, count: number): number;
  invalidateArea(type: number): void;
  has(type: number, offset: number): boolean;
  /** Writeback: the device has the page of the slot now, it is given up here. */
  completeWriteback(type: number, offset: number): void;
  /** Writeback: the first slot of [from, to) held here with a page of age `age` (0 .. 3) or more, or -1; see frontswap. */
  coldest(type: number, from: number, to: number, age: number, poor: boolean): number;
  /** Writeback: the pages of [from, to) are a step older. */
  age(type: number, from: number, to: number): void;
}

/**
 * Who owns page frames. Frame f is memory[f x 4096 .. (f + 1) x 4096). No method may call the swap core,
 * but bringHome(), which must call free() or, when it does not take the page, may call dropFromCache().
 */
export interface MemoryManager {
  /** All frames; at a multiple of 4 bytes in its buffer, of fixed size. */
  readonly memory: Uint8Array;
  /** A frame for a page that comes in, or -1. `ahead`: nobody waits for it; refuse sooner. */
  allocFrame(ahead: boolean): number;
  /** A frame from allocFrame() in which nothing came to be. */
  freeFrame(frame: number): void;
  /** The frame has left the swap cache because its slot is gone: if it is mapped it is dirty, otherwise nobody wants it. */
  removedFromCache(frame: number): void;
  /** A swapIn() that ended `pending` has ended. Not ok: the frame is not in the cache any more and has been freed. */
  readDone(entry: SwapEntry, frame: number, ok: boolean): void;
  /** A swapOut() that ended `pending` has ended. Not ok: the frame is dirty, and holds the only copy. */
  writeDone(entry: SwapEntry, frame: number, ok: boolean): void;
  /** Everyone who refers to the entry gets the frame instead; free(entry) for each of them. Who cannot keeps its reference. */
  unuse(entry: SwapEntry, frame: number): void;
}
