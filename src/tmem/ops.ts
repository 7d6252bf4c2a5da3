/**
 * The interfaces that tmem calls: a page store and a page comparer. Tables, policy and accounting belong to tmem; the
 * store decides where bytes are stored and how they are compressed.
 */
import type { Slot } from '../base/units.ts';
import type { GetResult, PutResult } from '../store/results.ts';

/** Stores a page under each slot. Synchronous; no method allocates. A page is 4096 bytes. */
export interface PageStore {
  /** Number of slots: they are 0 .. slots - 1. */
  readonly slots: number;
  /** Payload of all stored pages, in bytes. The change over one put() is the cost of that page. */
  readonly storedBytes: number;
  /** Memory that the store uses, in bytes, including tables. */
  readonly usedBytes: number;
  /**
   * Copies source[at .. at + 4096) to an empty slot. `refused` leaves the slot empty.
   * @param isRaw do not compress the page
   */
  put(slot: Slot, source: Uint8Array, at: number, isRaw: boolean): PutResult;
  /** Fills target[at .. at + 4096) only if the result is `found`. */
  get(slot: Slot, target: Uint8Array, at: number): GetResult;
  /** Frees the slot's bytes before it returns. Returns false if the slot was empty. */
  drop(slot: Slot): boolean;
  /** Maintenance after `changed` (at least 1) puts and drops. Returns false if there was nothing to do. */
  maintain(changed: number): boolean;
}

/** Compares the page of a put with stored pages. */
export interface PageComparer {
  /** The page of the put, 4096 bytes. load() fills it. */
  readonly page: Uint8Array;
  /** Buffer for a stored page, 4096 bytes. */
  readonly candidate: Uint8Array;
  /** Copies source[at .. at + 4096) to `page` and hashes it. */
  load(source: Uint8Array, at: number): void;
  /** 64-bit content hash of `page`: two signed 32-bit numbers. */
  readonly hashLow: number;
  readonly hashHigh: number;
  /** True if `page` and `candidate` have the same 4096 bytes. */
  isEqual(): boolean;
}
