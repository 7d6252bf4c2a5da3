/**
 * Page-in: reads stored pages from their slots into frames and installs them in memory.
 *
 *   frames:  │ 0 .. 127: pages being evicted │ 128 .. 191: a window being read │ 192: the page of a swapoff │
 *
 * A window is read within one call. A swapoff continues between calls, so it has a separate frame: otherwise the next
 * fault would overwrite a page that a bio is still filling, or that is not yet installed.
 *
 * Invariants
 * - Between calls no frame is in use except that of the swapoff.
 * - The pages of a window are in consecutive frames, so that one call installs them.
 */
import { assert } from '../base/assert.ts';
import { NativePage } from '../native/layout.ts';
import { NO_ENTRY, type SwapEntry } from '../swap/entry.ts';
import { type Swap, SwapInResult } from '../swap/swap.ts';
import type { PagerCounters } from './counters.ts';
import { BATCH_PAGES, type Evictor } from './evictor.ts';
import { type SharedPages, StopReason } from './ops.ts';
import { PageState, type Region, RegionCount } from './region.ts';
import { REWRITTEN_MAX, REWRITTEN_RETRY } from './rewritten.ts';

/** Maximum number of pages in one read: the page that faulted and 63 prefetched ones. */
export const WINDOW_PAGES = 64;
const SWAPOFF_FRAME = BATCH_PAGES + WINDOW_PAGES;
/** Frames that a pager needs. */
export const FRAME_COUNT: number = SWAPOFF_FRAME + 1;

/**
 * The outcome of one page-in. The record is reused, so that a fault allocates nothing: valid until the next page-in.
 */
export interface PageIn {
  /** `done`: `loaded` pages were read. Otherwise: why the first page could not be read. */
  result: SwapInResult;
  /** Frame of the first page; the others follow it. */
  frame: number;
  loaded: number;
  /** Of those, pages installed in memory. */
  installed: number;
}

/** While a region keeps no copies, one page-in per this many keeps its copies. A power of two. */
const RETRY_PAGE_INS = 32;

export class Loader {
  readonly #swap: Swap;
  readonly #evictor: Evictor;
  readonly #counters: PagerCounters;
  readonly #pageIn: PageIn = { result: SwapInResult.done, frame: 0, loaded: 0, installed: 0 };
  #isSwapoffFrameFree = true;
  /** Next frame of the window that is being read; -1 outside a read. */
  #next = -1;

  constructor(swap: Swap, evictor: Evictor, counters: PagerCounters) {
    this.#swap = swap;
    this.#evictor = evictor;
    this.#counters = counters;
  }

  /** False while a swapoff has a page in its frame. */
  get isSwapoffFrameFree(): boolean {
    return this.#isSwapoffFrameFree;
  }

  allocFrame(ahead: boolean): number {
    if (ahead) return -1; // the pager does its own read-ahead
    if (this.#next !== -1) return this.#next === SWAPOFF_FRAME ? -1 : this.#next++;
    if (!this.#isSwapoffFrameFree) return -1;
    this.#isSwapoffFrameFree = false;
    return SWAPOFF_FRAME;
  }

  freeFrame(frame: number): void {
    if (frame === SWAPOFF_FRAME) this.#isSwapoffFrameFree = true;
    else if (frame === this.#next - 1) this.#next--;
  }

  /**
   * Swaps in up to `count` neighbouring stored pages. They keep their copies and are protected, unless `isWrite`. If
   * `installed` is 0, the result is the reason; it is `done` if the page could be read but not installed.
   */
  pageIn(region: Region, first: number, count: number, isWrite: boolean): PageIn {
    const pageIn = this.#load(region, first, count);
    const { frame, loaded } = pageIn;
    if (loaded === 0) return pageIn;
    const isWritable = isWrite || !this.#keepsCopies(region);
    const installed = region.memory.install(first, frame, loaded, isWritable);
    pageIn.installed = installed;
    for (let i = 0; i < loaded; i++) {
      this.releaseFrame(frame + i);
      if (i < installed) this.#markInstalled(region, first + i, isWritable);
    }
    this.#counters.add('pagesIn', installed);
    region.counts[RegionCount.pagesIn]! += installed;
    if (installed < loaded) this.#installRefused(region, first + installed);
    return pageIn;
  }

  /** The frame's page has been installed, or is not needed. */
  releaseFrame(frame: number): void {
    if (this.#swap.cache.entryAt(frame) !== NO_ENTRY) this.#swap.dropFromCache(frame);
    this.freeFrame(frame);
  }

  /**
   * Reads up to `count` neighbouring stored pages into consecutive frames, up to the first that cannot be read. The
   * caller releases the frame of each page that was loaded.
   */
  #load(region: Region, first: number, count: number): PageIn {
    const into = this.#pageIn;
    into.result = SwapInResult.done;
    into.frame = BATCH_PAGES;
    into.loaded = 0;
    into.installed = 0;
    this.#next = BATCH_PAGES;
    while (into.loaded < count) {
      const result = this.#swapIn(region.entry[first + into.loaded]! as SwapEntry);
      if (result !== SwapInResult.done) {
        if (into.loaded === 0) into.result = result;
        break;
      }
      // A swapoff has read this page already. Its frame is not next to the others, so the window has only this page.
      const isInSwapoffFrame = this.#swap.frame === SWAPOFF_FRAME;
      if (isInSwapoffFrame && into.loaded > 0) break;
      into.loaded++;
      if (!isInSwapoffFrame) continue;
      into.frame = SWAPOFF_FRAME;
      break;
    }
    this.#next = -1;
    return into;
  }

  #markInstalled(region: Region, page: number, isWritable: boolean): void {
    const entry = region.entry[page]! as SwapEntry;
    const state = isWritable ? PageState.dirty : PageState.clean;
    region.addResident(page, state, isWritable ? NO_ENTRY : entry, this.#evictor.clock);
    if (isWritable) this.#swap.freeAndCache(entry);
  }

  /** A page could not be installed: its memory is busy, or its owner has unmapped it, which discards the page. */
  #installRefused(region: Region, page: number): void {
    assert(region.memory.stop !== StopReason.resident, 'a stored page is not resident');
    const { shared } = region.memory;
    if (region.memory.stop === StopReason.gone && isForgotten(shared, page)) {
      this.#swap.freeAndCache(region.entry[page]! as SwapEntry);
      region.resetTo(page, PageState.absent);
    }
    if (shared === null) region.memory.wake(page, 1);
  }

  /** False if most clean pages of this region are written anyway, so that copies are not worth their cost. */
  #keepsCopies(region: Region): boolean {
    if (region.rewritten < REWRITTEN_MAX) return true;
    region.tries = (region.tries + 1) & (RETRY_PAGE_INS - 1);
    if (region.tries !== 0) return false;
    region.rewritten = REWRITTEN_RETRY;
    return true;
  }

  /** Reads a page into a frame and waits for its disk. */
  #swapIn(entry: SwapEntry): SwapInResult {
    const swap = this.#swap;
    const result = swap.swapIn(entry);
    assert(
      result !== SwapInResult.busy && result !== SwapInResult.noFrame,
      'frames and bios suffice for a window',
    );
    if (result !== SwapInResult.pending) return result;
    const { frame } = swap;
    while (swap.isBusy(frame)) swap.tick();
    return swap.cache.entryAt(frame) === entry ? SwapInResult.done : SwapInResult.ioError;
  }
}

/** The page becomes absent, so that native code does not read its slot any more. */
const isForgotten = (shared: SharedPages | null, page: number): boolean =>
  shared === null ||
  shared.change(page, NativePage.asked, NativePage.absent) ||
  shared.change(page, NativePage.stored, NativePage.absent);
