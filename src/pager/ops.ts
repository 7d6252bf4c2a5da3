/**
 * What the pager needs from paged memory. memory/ implements this interface twice: with userfaultfd, and in plain
 * arrays for systems without it.
 *
 * Pages are numbered from 0. A resident page can be read and, unless it is protected, written without a fault. An
 * access to any other page waits until the pager has resolved its fault. Frames are the pager's own pages: each page is
 * copied through a frame when it is swapped in or out.
 *
 * Other threads access the memory while the pager runs. Each method is one atomic step for them. No method calls the
 * pager.
 */

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
   * Copies protected pages to frames `frame` ..; after flush() the pages are not resident. Returns how many pages were
   * taken before the first that could not be.
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
