/**
 * Evicts a batch from memory whose faults native code serves. A page stays in memory until its copy is in a slot, so no
 * fault waits for compression:
 *
 *   clean ─▶ dropped by native code
 *   dirty ─▶ begin: protected ─▶ copied to a frame ─▶ stored in a slot ─▶ commit: leaves memory
 *               └▶ written meanwhile: the write continues immediately, commit reports it, and the slot is freed
 *
 * Invariant: when a batch ends, no page is between begin and commit.
 * Cost: two or three system calls per run, as in evictor.ts. Allocates nothing.
 */
import { NO_ENTRY, type SwapEntry } from '../swap/entry.ts';
import type { Swap } from '../swap/swap.ts';
import type { PagerCounters } from './counters.ts';
import { type SharedPages, SharedResult } from './ops.ts';
import { PageState, type Region, RegionCount } from './region.ts';

const PAGES_MAX = 512;

/** The evictor, which stores the pages in its frames. */
interface Storing {
  isFull: boolean;
  exchange: number;
  clock: number;
  store(frame: number): SwapEntry;
}

/** Why a page has no entry. */
const Kept = { busy: 0, full: 1, incompressible: 2 } as const;

export class SharedEvictor {
  readonly #swap: Swap;
  readonly #counters: PagerCounters;
  readonly #storing: Storing;
  /** Pages of the batch of one kind, ascending, and the entries of the dirty ones. */
  readonly #pages: Int32Array = new Int32Array(PAGES_MAX);
  readonly #entries: Int32Array = new Int32Array(PAGES_MAX);
  /** Why a page without an entry has none. */
  readonly #kept: Uint8Array = new Uint8Array(PAGES_MAX);

  constructor(swap: Swap, counters: PagerCounters, storing: Storing) {
    this.#swap = swap;
    this.#counters = counters;
    this.#storing = storing;
  }

  /** Evicts the victims, which are ascending and in no list. Returns how many were evicted. */
  evict(region: Region, shared: SharedPages, victims: Int32Array, count: number): number {
    const clean = this.#gather(region, victims, count, PageState.clean);
    const dropped = clean === 0 ? 0 : this.#drop(region, shared, clean);
    const dirty = this.#gather(region, victims, count, PageState.dirty);
    return dropped + (dirty === 0 ? 0 : this.#swapOut(region, shared, dirty));
  }

  #gather(region: Region, victims: Int32Array, count: number, state: PageState): number {
    let n = 0;
    for (let i = 0; i < count; i++)
      if (region.state[victims[i]!] === state) this.#pages[n++] = victims[i]!;
    return n;
  }

  /** A page that is no longer clean stays listed; its arrival reports its state. */
  #drop(region: Region, shared: SharedPages, count: number): number {
    const dropped = shared.dropClean(this.#pages, count);
    for (let i = 0; i < count; i++) {
      const page = this.#pages[i]!;
      if (shared.results[i] !== SharedResult.done) {
        region.relist(page);
        continue;
      }
      const entry = region.entry[page]! as SwapEntry;
      region.removeResident(page, PageState.stored, entry, this.#storing.clock++);
      region.rewritten -= region.rewritten >>> 5;
    }
    return dropped;
  }

  #swapOut(region: Region, shared: SharedPages, count: number): number {
    const storing = this.#storing;
    shared.evictBegin(this.#pages, count, region.pinned === 0);
    this.#copyOut(region, shared, count);
    storing.isFull = false;
    for (let i = 0; i < count; i++) {
      const isBusy = shared.results[i] !== SharedResult.done;
      this.#entries[i] = isBusy || storing.isFull ? NO_ENTRY : storing.store(i);
      this.#kept[i] = isBusy ? Kept.busy : storing.isFull ? Kept.full : Kept.incompressible;
    }
    shared.evictCommit(this.#pages, this.#entries, count);
    region.memory.freeFrames(0, count);
    const out = this.#settle(region, shared, count);
    if (storing.exchange > 0) storing.isFull = true;
    storing.exchange = Math.max(0, storing.exchange - out);
    return out;
  }

  /** Copies the pages that are being evicted to frames 0 .. count - 1, neighbours in one call. */
  #copyOut(region: Region, shared: SharedPages, count: number): void {
    const { results } = shared;
    for (let i = 0; i < count; ) {
      let end = i + 1;
      while (
        end < count &&
        this.#pages[end] === this.#pages[end - 1]! + 1 &&
        results[end] === results[i]
      )
        end++;
      if (results[i] === SharedResult.done) region.memory.take(this.#pages[i]!, end - i, i);
      i = end;
    }
  }

  /** Records the result of each page. Returns how many were stored. */
  #settle(region: Region, shared: SharedPages, count: number): number {
    let out = 0;
    let back = 0;
    let busy = 0;
    let incompressible = 0;
    for (let i = 0; i < count; i++) {
      const page = this.#pages[i]!;
      const entry = this.#entries[i]! as SwapEntry;
      if (shared.results[i] === SharedResult.done) {
        region.removeResident(page, PageState.stored, entry, this.#storing.clock++);
        out++;
        continue;
      }
      // An entry is useless if the program has written to the page, or the system keeps it in memory.
      if (entry !== NO_ENTRY) this.#swap.freeAndCache(entry);
      if (entry !== NO_ENTRY || this.#kept[i] === Kept.busy) busy++;
      back++;
      if (entry === NO_ENTRY && this.#kept[i] === Kept.incompressible) {
        region.listIncompressible(page);
        incompressible++;
        continue;
      }
      region.relist(page);
      if (shared.results[i] === SharedResult.refused) region.markReferenced(page);
    }
    this.#counters.add('pagesOut', out);
    region.counts[RegionCount.pagesOut]! += out;
    this.#counters.add('pagesPutBack', back);
    this.#counters.add('pagesBusy', busy);
    this.#counters.add('pagesIncompressible', incompressible);
    return out;
  }
}
