/**
 * What is still to come of a window: a reader that goes through memory in order uses the first pages while the others are
 * unpacked. One window at a time: the last one that was begun.
 */
import type { Region } from './region.ts';

export class PendingWindow {
  /** Null: nothing is left. */
  region: Region | null = null;
  /** Pages [page, end) are left. */
  page = 0;
  end = 0;
  /** They are about to be written. */
  isWrite = false;

  /** Nothing is left when the range is empty. */
  set(region: Region, page: number, end: number, isWrite: boolean): void {
    this.region = page < end ? region : null;
    this.page = page;
    this.end = end;
    this.isWrite = isWrite;
  }

  /** The page is one of those: its reader has caught up. */
  has(region: Region, page: number): boolean {
    return this.region === region && page >= this.page && page < this.end;
  }

  /** The region ends. */
  forget(region: Region): void {
    if (this.region === region) this.region = null;
  }
}
