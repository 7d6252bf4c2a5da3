/**
 * What a frontswap backend must be. The front end (frontswap.ts) owns this contract; tmem pools, the page store
 * and remote pools implement it; the swap core never learns who serves it (kernel: struct frontswap_ops, 3.5 on).
 *
 * Everything is synchronous: a page is in the backend, or refused, when the call returns. A backend may move what
 * it holds later, on its own, as long as load() finds it.
 *
 * `type` is the number of a swap area, 0 .. 31; `offset` a slot of it, 0 .. slots - 1. A page is 4096 bytes at
 * page[at .. at + 4096).
 */

/** How load() ended. "Not here" is an answer; damage is one too, and never comes with data. */
export const LoadResult = { loaded: 0, absent: 1, corrupt: 2 } as const;
export type LoadResult = (typeof LoadResult)[keyof typeof LoadResult];

export interface FrontswapBackend {
  readonly name: string;
  /** An area of `slots` slots has been switched on, or was on when the backend was registered. It holds nothing. */
  init(type: number, slots: number): void;
  /**
   * Takes a copy of the page, or refuses, answering false; any time, for any reason. The slot holds nothing when
   * this is called: the front end has invalidated it.
   */
  store(type: number, offset: number, page: Uint8Array, at: number): boolean;
  /** Fills the page and keeps its copy. What was accepted is found until it is invalidated. */
  load(type: number, offset: number, page: Uint8Array, at: number): LoadResult;
  /** Gives up the slot's page, now; of a slot that holds nothing it is no error. */
  invalidatePage(type: number, offset: number): void;
  /**
   * offsets[0 .. count) are about to be invalidated, one by one: a backend may read its tables for all of them first, so that cache
   * misses overlap. It changes nothing. The answer is some number that the reads went into.
   */
  warm?(type: number, offsets: Int32Array, count: number): number;
  /** Gives up all pages of the area; stores to it are refused until the next init(). */
  invalidateArea(type: number): void;
  /**
   * Which pages are cold, from a backend that knows: the first slot of [from, to) whose page is at least `age` steps old
   * (0 .. 3) and worth writing to the device, or -1. Changes nothing. `poor`: only pages that compression made no smaller.
   */
  coldest?(type: number, from: number, to: number, age: number, poor: boolean): number;
  /** The pages of [from, to) are a step older; a store or a load makes a page new (age 0). */
  age?(type: number, from: number, to: number): void;
}
