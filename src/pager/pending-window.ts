/**
 * The rest of a prefetch window: a sequential reader uses the first pages while the background decompresses the
 * others. Only one window is pending, that of the last fault that started one.
 */
import type { Region } from './region.ts';

export class PendingWindow {
  /** Null: no pages are pending. */
  region: Region | null = null;
  /** Pages [page, end) are pending. */
  page = 0;
  end = 0;
  /** The fault was a write: install the pages writable. */
  isWrite = false;

  /** An empty range clears the window. */
  set(region: Region, page: number, end: number, isWrite: boolean): void {
    this.region = page < end ? region : null;
    this.page = page;
    this.end = end;
    this.isWrite = isWrite;
  }

  /** True when the page is pending: its reader has caught up. */
  has(region: Region, page: number): boolean {
    return this.region === region && page >= this.page && page < this.end;
  }

  /** Clears the window if it is in this region, which is about to end. */
  clearRegion(region: Region): void {
    if (this.region === region) this.region = null;
  }
}
