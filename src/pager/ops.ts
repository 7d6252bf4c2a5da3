/**
 * What the pager needs from paged memory. memory/ implements this interface twice: with userfaultfd, and in plain
 * arrays for systems without it.
 *
 * Pages are numbered from 0. A resident page can be read and, unless it is protected, written without a fault. An
 * access to any other page waits until the pager has resolved its fault. Frames belong to the pager: each page is
 * copied through a frame when it is swapped in or out.
 *
 * Other threads access the memory while the pager runs. Each method is one atomic step for them. No method calls the
 * pager.
 */
import type { NativePage } from '../native/layout.ts';

/** Why the last call stopped before `count` pages. */
export const StopReason = {
  /** It did not stop early. */
  none: 0,
  /** The page is already resident. */
  resident: 1,
  /** The page is not resident, or no longer mapped: its owner dropped it without telling the pager. */
  gone: 2,
  /** Try again later: the system is moving or sharing the page, or no frame is free. */
  busy: 3,
} as const;
export type StopReason = (typeof StopReason)[keyof typeof StopReason];

export interface PagedMemory {
  readonly pages: number;
  /** Not null if native code also serves the faults of this memory and changes page states. */
  readonly shared: SharedPages | null;
  /** Why the last install(), installZeros() or take() stopped. */
  readonly stop: StopReason;
  /**
   * Copies frames `frame` .. to the pages `page` .. `page + count - 1` and wakes the threads that wait for them. Unless
   * `writable`, the next write to each page faults. Returns how many pages were installed before the first that could
   * not be.
   */
  install(page: number, frame: number, count: number, writable: boolean): number;
  /**
   * Installs writable pages of zeros. If `areWritten` is false, they may share the zero page until they are written.
   * Returns 0 and changes nothing if the first page is resident: the pager uses this to detect a page that its owner
   * has dropped.
   */
  installZeros(page: number, count: number, areWritten: boolean): number;
  /** From now on, writes to the resident pages of the range fault. */
  protect(page: number, count: number): void;
  /** Removes the protection and wakes the writers that wait. */
  makeWritable(page: number, count: number): void;
  /**
   * Copies protected pages to the frames from `frame` on; after flush() the pages are not resident. Returns how many
   * pages were taken before the first that could not be.
   */
  take(page: number, count: number, frame: number): number;
  /**
   * Discards pages; after flush() they are not resident. A page that is resident must be protected, unless the caller
   * no longer needs its bytes.
   */
  drop(page: number, count: number): void;
  /** Completes every take() and drop() so far. An implementation may batch them into one system call. */
  flush(): void;
  /** The pager no longer needs the frames that take() filled. */
  freeFrames(frame: number, count: number): void;
  /** Wakes the threads that wait for the pages; each retries its access. */
  wake(page: number, count: number): void;
  /** From now on, an access to the page gets SIGBUS. */
  poison(page: number): void;
}

/** The result of each page of a batch, in SharedPages.results. */
export const SharedResult = {
  /** evictBegin(): it is not dirty. evictCommit(): a write cancelled it. dropClean(): it is not clean. */
  refused: 0,
  done: 1,
  /** evictCommit(): it had no entry and stays in memory, or the system keeps it there. */
  putBack: 2,
} as const;

/**
 * Page states that native code also changes: it serves faults while the pager runs (docs/design/native-faults.md).
 * Each method is atomic per page: it claims the page, changes its memory and its state, and releases it.
 *
 * Region.state, the pager's view, is updated later: native code reports each page that it has changed, and the pager
 * compares.
 */
export interface SharedPages {
  /** SharedResult of each page of the last batch, by index. */
  readonly results: Uint8Array;
  /** The state of a page, once no native code holds it. */
  stateOf(page: number): NativePage;
  /** Records that the owner already had the page in memory: absent becomes dirty. False if it is no longer absent. */
  adopt(page: number): boolean;
  /** Brings in the stored pages of [from, to). Returns the first that only the pager can read, or `to`. */
  bring(from: number, to: number, isWritable: boolean): number;
  /** Makes a page that is not stored resident and writable. Returns false if it is lost. */
  makeDirty(page: number): boolean;
  /** Protects dirty pages, in ascending order. From now on, a write to one cancels its eviction. */
  evictBegin(pages: Int32Array, count: number, maySpan: boolean): void;
  /** Removes the pages from memory: they are in their slots. An entry NO_ENTRY means that the page was refused. */
  evictCommit(pages: Int32Array, entries: Int32Array, count: number): void;
  /** Removes clean pages, in ascending order, from memory. Returns how many. */
  dropClean(pages: Int32Array, count: number): number;
  /** Makes pages [from, to) absent before it returns. */
  discard(from: number, to: number): void;
  /**
   * Changes only the state; wakes waiting threads, or poisons a lost page. Returns false if the state is not `from`.
   */
  change(page: number, from: NativePage, to: NativePage): boolean;
  /** True if clean pages are brought in writable from now on. */
  set isWritable(is: boolean);
}

/** Reports the pages that native code has changed: Arrivals.drain(). `flags` of ArrivalFlag. */
export interface Arrivals {
  drain(arrived: (region: number, page: number, flags: number) => void): void;
}

/** The kind of an access, as bits of a userfaultfd message (UFFD_PAGEFAULT_FLAG_WRITE, UFFD_PAGEFAULT_FLAG_WP). */
export const Touch = { read: 0, write: 1, protected: 2 } as const;

/** How a call on a range of pages ended. */
export const RangeResult = {
  done: 0,
  /** The resident set is full, or the memory cannot take a page now. */
  noSpace: 1,
  /** A page cannot be read back. */
  lost: 2,
} as const;
export type RangeResult = (typeof RangeResult)[keyof typeof RangeResult];
