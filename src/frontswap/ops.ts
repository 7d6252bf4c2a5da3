/**
 * The interface of a frontswap backend. The front end (frontswap.ts) owns it; the page store, tmem pools and
 * remote pages implement it, and the swap core does not know which one it uses (kernel: struct frontswap_ops, 3.5).
 *
 * Everything is synchronous: when a call returns, the page is stored or refused. A backend may move pages later as long
 * as load() finds them.
 *
 * `type` is the number of a swap area, 0 .. 31; `offset` is one of its slots, 0 .. slots - 1. The front end has
 * checked both and that the area is on. A page is 4096 bytes at page[at .. at + 4096).
 */

/** Result of a load. Only the loaded results fill the page. */
export const LoadResult = {
  /** The page is filled; the backend keeps its copy. */
  loaded: 0,
  /** The slot's page is not here. From the front end: read the device. */
  absent: 1,
  /** The page was accepted and is damaged or lost: an I/O error. The device's block is stale. */
  corrupt: 2,
  /** The page is filled and no copy is kept: the caller owns the only one. Only the front end returns this. */
  loadedExclusive: 3,
} as const;
export type LoadResult = (typeof LoadResult)[keyof typeof LoadResult];

/** The ages of one area's pages, for writeback. A page's age is 0 .. 3: age() passes since it was stored or loaded. */
export interface ColdPages {
  /**
   * First slot of [from, to) whose page has at least this age and is worth writing to the device; -1 if there is none.
   * @param incompressibleOnly only pages that are stored uncompressed
   */
  coldest(from: number, to: number, age: number, incompressibleOnly: boolean): number;
  /** Ages the pages of [from, to) by one. */
  age(from: number, to: number): void;
}

/** Stores the pages of swap areas, by area type and slot offset. */
export interface FrontswapBackend {
  readonly name: string;
  /** An area of `slots` slots was switched on, or was on when the backend was registered. It has no pages. */
  init(type: number, slots: number): void;
  /**
   * Copies the page, or returns false to refuse it for any reason. The slot is empty: the front end has invalidated it.
   */
  store(type: number, offset: number, page: Uint8Array, at: number): boolean;
  /** Fills the page and keeps the copy. An accepted page is found until it is invalidated. */
  load(type: number, offset: number, page: Uint8Array, at: number): LoadResult;
  /** Drops the slot's page before it returns. An empty slot is not an error. */
  invalidatePage(type: number, offset: number): void;
  /**
   * Announces that offsets[0 .. count) will be invalidated next, one by one. A backend may read its tables for all of
   * them now, so that cache misses overlap; nothing changes. Returns a checksum of the data read, so that no read is
   * optimised away.
   */
  warm?(type: number, offsets: Int32Array, count: number): number;
  /** Drops all pages of the area and refuses stores to it until the next init(). */
  invalidateArea(type: number): void;
  /** The ages of an area's pages; null if the area is off. Backends without ages omit this method. */
  coldPages?(type: number): ColdPages | null;
}
