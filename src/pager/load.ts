/**
 * Pages come from their slots to frames, from where the pager installs them.
 *
 *   frames:  │ 0 .. 31: pages that leave │ 32 .. 95: a window that comes │ 96: a swapoff's page │
 *
 * A window is read inside one call. A swapoff goes on between calls, so its frame is no window's: the next fault would
 * read over a page that a bio still fills, or that is still to be brought home.
 *
 * Invariants
 * - Outside a call no frame is in use but the swapoff's.
 * - Pages of a window are in frames that follow, so that one call installs them.
 */
import { assert } from '../base/assert.ts';
import { NO_ENTRY, type SwapEntry } from '../swap/entry.ts';
import { type Swap, SwapInResult } from '../swap/swap.ts';
import { BATCH_PAGES } from './evict.ts';
import type { Region } from './region.ts';

/** Frames for pages that come: one touched, 63 ahead. */
export const WINDOW_PAGES = 64;
const SWAPOFF_FRAME = BATCH_PAGES + WINDOW_PAGES;
/** Frames that a pager needs. */
export const FRAME_COUNT: number = SWAPOFF_FRAME + 1;

export class Loader {
  /** First frame of the last load(). */
  frame: number = BATCH_PAGES;
  /** Why the last load() brought nothing; `ready`: it brought something. */
  end: SwapInResult = SwapInResult.done;
  /** No swapoff is on its way with a page. */
  isSwapoffFrameFree = true;
  /** Next frame of the window that is being read; -1 outside. */
  #next = -1;

  allocFrame(ahead: boolean): number {
    if (ahead) return -1; // what comes ahead is the pager's to decide, not the swap core's
    if (this.#next !== -1) return this.#next === SWAPOFF_FRAME ? -1 : this.#next++;
    if (!this.isSwapoffFrameFree) return -1;
    this.isSwapoffFrameFree = false;
    return SWAPOFF_FRAME;
  }

  freeFrame(frame: number): void {
    if (frame === SWAPOFF_FRAME) this.isSwapoffFrameFree = true;
    else if (frame === this.#next - 1) this.#next--;
  }

  /** Stored neighbours come to frames that follow, from `frame` on, until one does not. How many; 0: `end` says why. */
  load(swap: Swap, region: Region, first: number, count: number): number {
    this.#next = BATCH_PAGES;
    this.frame = BATCH_PAGES;
    this.end = SwapInResult.done;
    let loaded = 0;
    while (loaded < count) {
      const answer = this.#swapIn(swap, region.entry[first + loaded]! as SwapEntry);
      assert(
        answer !== SwapInResult.busy && answer !== SwapInResult.noFrame,
        'there are frames and bios for a window',
      );
      if (answer !== SwapInResult.done) {
        if (loaded === 0) this.end = answer;
        break;
      }
      const isHome = swap.frame === SWAPOFF_FRAME; // a swapoff has read it
      if (isHome && loaded > 0) break;
      loaded++;
      if (!isHome) continue;
      this.frame = SWAPOFF_FRAME;
      break;
    }
    this.#next = -1;
    return loaded;
  }

  /** The frame's page has been installed, or is not needed. */
  empty(swap: Swap, frame: number): void {
    if (swap.cache.entryAt(frame) !== NO_ENTRY) swap.dropFromCache(frame);
    this.freeFrame(frame);
  }

  /** Brings a page to a frame, however long its disk takes. */
  #swapIn(swap: Swap, entry: SwapEntry): SwapInResult {
    const answer = swap.swapIn(entry);
    if (answer !== SwapInResult.pending) return answer;
    const { frame } = swap;
    while (swap.isBusy(frame)) swap.tick();
    return swap.cache.entryAt(frame) === entry ? SwapInResult.done : SwapInResult.ioError;
  }
}
