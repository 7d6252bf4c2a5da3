/**
 * What memory must be for the pager. pager/ owns this contract; memory/ implements it with userfaultfd, and in plain
 * arrays where there is none.
 *
 * Pages are numbered from 0; a page is resident (it can be read and, unless protected, written without anybody being
 * asked) or not (touching it asks the pager and waits for its answer). Frames are the pager's own pages, through which
 * everything passes that comes or goes.
 *
 * Other threads touch the memory while the pager works: each method is one step to them. None may call the pager.
 */

/** Why the last call stopped short of `count` pages. */
export const StopReason = {
  /** It did not. */
  none: 0,
  /** The page is resident already. */
  resident: 1,
  /** The page is not resident, or not memory any more: its owner has given it up behind the pager's back. */
  gone: 2,
  /** Not now: the system shares or moves the page. */
  busy: 3,
} as const;
export type StopReason = (typeof StopReason)[keyof typeof StopReason];

export interface PagedMemory {
  readonly pages: number;
  /** Of the last install(), installZeros() or take(). */
  readonly stop: StopReason;
  /**
   * Frames `frame` .. become the pages `page` .. `page + count - 1`, and who waits for those goes on. Not `writable`: the
   * next write asks the pager. Returns how many were installed before the first that could not be. `busy` passes by itself:
   * a page on its way back to memory is tried again at once.
   */
  install(page: number, frame: number, count: number, writable: boolean): number;
  /**
   * The same with zeros, writable; not `areWritten` soon, they need not take memory until they are. Of a page that is
   * resident it answers 0 and changes nothing: so the pager learns whether its owner has given a page up.
   */
  installZeros(page: number, count: number, areWritten: boolean): number;
  /** Writes to those of the pages that are resident ask the pager from now on. */
  protect(page: number, count: number): void;
  /** Writes to protected pages pass again, and those that wait go on. */
  makeWritable(page: number, count: number): void;
  /**
   * The bytes of protected pages are in frames `frame` ..; after flush() the pages are not resident. Returns how many.
   */
  take(page: number, count: number, frame: number): number;
  /** After flush() the pages are not resident and their bytes gone. Those that were are protected, or nobody wants them. */
  drop(page: number, count: number): void;
  /** What take() and drop() began is done when this returns: memory may do many of them in one step, and must by now. */
  flush(): void;
  /** The frames that take() filled are done with. */
  freeFrames(frame: number, count: number): void;
  /** Who waits for the pages tries again. */
  wake(page: number, count: number): void;
  /** Whoever touches the page dies of it instead of reading what is not true. */
  poison(page: number): void;
}

/** What a touch did; the bits of a userfaultfd message (UFFD_PAGEFAULT_FLAG_WRITE, _WP). */
export const Touch = { read: 0, write: 1, protected: 2 } as const;

/** How a call about a range ended. noSpace: the set is full, or the memory takes no page now; lost: a page cannot be read. */
export const RangeResult = { done: 0, noSpace: 1, lost: 2 } as const;
export type RangeResult = (typeof RangeResult)[keyof typeof RangeResult];
