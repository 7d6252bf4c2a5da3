/**
 * What tmem asks of others: a page store, and something that looks into a page. The tables, the policy and the
 * books are tmem's own; where bytes lie and how they are packed is not its business.
 */
import type { Slot } from '../base/units.ts';

/** Answers of PageStore.put() and get(), as numbers so that any store with the same codes fits. */
export const STORE_REFUSED = 2;
export const STORE_FOUND = 0;

/** Keeps a page under each slot. Synchronous; nothing here allocates. A page is 4096 bytes. */
export interface PageStore {
  /** Slots 0 .. slots - 1. */
  readonly slots: number;
  /** Payload of all stored pages, bytes: the change over one put() is what that page costs. */
  readonly storedBytes: number;
  /** All that the store holds of the machine's memory, bytes, tables included. */
  readonly usedBytes: number;
  /** Keeps a copy of source[at .. at + 4096); STORE_REFUSED leaves the slot empty. Only empty slots are put. */
  put(slot: Slot, source: Uint8Array, at: number): number;
  /** STORE_FOUND, or any other number (absent, damaged) with the target left alone. */
  get(slot: Slot, target: Uint8Array, at: number): number;
  /** Gives the slot's bytes up, now. False when there were none. */
  drop(slot: Slot): boolean;
  /** Housekeeping after `changed` (at least 1) puts and drops; false when there was none to do. */
  maintain(changed: number): boolean;
}

/** Holds two pages side by side: one being put, one that was stored and may be equal. */
export interface PageComparer {
  /** The page being looked at, 4096 bytes. load() fills it. */
  readonly page: Uint8Array;
  /** Room for a stored page, 4096 bytes. */
  readonly candidate: Uint8Array;
  /** Copies source[at .. at + 4096) to `page` and hashes it. */
  load(source: Uint8Array, at: number): void;
  /** 64-bit content hash of `page`: two signed 32-bit numbers. */
  readonly hashLow: number;
  readonly hashHigh: number;
  /** True when `page` and `candidate` hold the same 4096 bytes. */
  isEqual(): boolean;
}
