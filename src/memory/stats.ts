/**
 * Statistics: doubles by index (control-block.ts). The fault thread writes them to shared memory, and any thread can read them.
 * If there is no fault thread, stats() writes them first.
 *
 * Cost: a write stores about 10 doubles per region and allocates nothing.
 */
import { PAGE_BYTES } from '../base/units.ts';
import { type Region, RegionCount } from '../pager/region.ts';
import { CounterAt } from '../store/results.ts';
import { RegionStat, SwapStat } from './control-block.ts';
import type { Tiers } from './tiers.ts';

/** Statistics of one region. Sizes are bytes; counters start at 0 when the region does. */
export interface RegionStats {
  /** Size of the region. */
  readonly bytes: number;
  /** Resident now; at most the budget, unless the swap's `overBudget` has increased. */
  readonly residentBytes: number;
  /** Swapped out now: in compressed RAM or on a device. */
  readonly storedBytes: number;
  readonly pinnedBytes: number;
  /** Accesses that waited for the fault thread. */
  readonly faults: number;
  /** First writes to clean pages, which have a stored copy; part of `faults`. */
  readonly writeFaults: number;
  /** Pages swapped in, prefetched ones included. */
  readonly pageIns: number;
  readonly pagesPrefetched: number;
  /** Pages swapped out: compressed, or written to a device. */
  readonly pageOuts: number;
  /** Pages evicted without I/O, because their stored copy was still valid. */
  readonly pagesDropped: number;
  /** Pages that could not be read back. Accessing one of them ends the process. */
  readonly lostPages: number;
}

/** Statistics of a swap, all regions together. Sizes are bytes; counters start at 0 when it is opened. */
export interface SwapStats {
  /** RAM used by compressed pages and their tables. */
  readonly usedBytes: number;
  /** Limit of usedBytes; 0 = none. */
  readonly limitBytes: number;
  /** Pages in compressed RAM. */
  readonly storedPages: number;
  /** Their compressed size. */
  readonly compressedBytes: number;
  /** Same-filled pages among them; they take no space. */
  readonly samePages: number;
  /** Pages on devices. */
  readonly devicePages: number;
  /** Uncompressed size of the stored pages divided by usedBytes; 0 if none is stored. */
  readonly ratio: number;
  /** Pages swapped in over the budget because no page could be evicted: raise the limit, or add a device. */
  readonly overBudget: number;
  /** Evictions refused because no tier had space; evictions that failed for another reason are not counted. */
  readonly refused: number;
  /** Resident now, bytes, all regions together. */
  readonly residentBytes: number;
  /** Counters of RegionStats, summed over all regions, including those that have ended. */
  readonly faults: number;
  readonly pageIns: number;
  readonly pageOuts: number;
  readonly pagesDropped: number;
}

export function writeRegionStats(stats: Float64Array, region: Region): void {
  const { counts } = region;
  stats[RegionStat.resident] = region.resident;
  stats[RegionStat.stored] = region.stored;
  stats[RegionStat.lost] = region.lost;
  stats[RegionStat.pinned] = region.pinned;
  stats[RegionStat.faults] = counts[RegionCount.faults]!;
  stats[RegionStat.pagesIn] = counts[RegionCount.pagesIn]!;
  stats[RegionStat.pagesPrefetched] = counts[RegionCount.pagesPrefetched]!;
  stats[RegionStat.pagesOut] = counts[RegionCount.pagesOut]!;
  stats[RegionStat.pagesDropped] = counts[RegionCount.pagesDropped]!;
  stats[RegionStat.writeFaults] = counts[RegionCount.writeFaults]!;
}

/** @param bytes size of the region */
export const regionStatsOf = (stats: Float64Array, bytes: number): RegionStats => ({
  bytes,
  residentBytes: stats[RegionStat.resident]! * PAGE_BYTES,
  storedBytes: stats[RegionStat.stored]! * PAGE_BYTES,
  pinnedBytes: stats[RegionStat.pinned]! * PAGE_BYTES,
  faults: stats[RegionStat.faults]!,
  writeFaults: stats[RegionStat.writeFaults]!,
  pageIns: stats[RegionStat.pagesIn]!,
  pagesPrefetched: stats[RegionStat.pagesPrefetched]!,
  pageOuts: stats[RegionStat.pagesOut]!,
  pagesDropped: stats[RegionStat.pagesDropped]!,
  lostPages: stats[RegionStat.lost]!,
});

export function writeSwapStats(stats: Float64Array, tiers: Tiers): void {
  const { counters, regions } = tiers.pager;
  stats[SwapStat.limitBytes] = tiers.limitBytes;
  stats[SwapStat.usedBytes] = tiers.usedBytes;
  stats[SwapStat.storedPages] = tiers.counter(CounterAt.storedPages);
  stats[SwapStat.storedBytes] = tiers.counter(CounterAt.storedBytes);
  stats[SwapStat.samePages] = tiers.counter(CounterAt.samePages);
  stats[SwapStat.devicePages] = tiers.devicePages;
  stats[SwapStat.overBudget] = counters.get('overBudget');
  stats[SwapStat.refused] =
    counters.get('pagesPutBack') - counters.get('pagesIncompressible') - counters.get('pagesBusy');
  stats[SwapStat.faults] = counters.get('faults');
  stats[SwapStat.pagesIn] = counters.get('pagesIn');
  stats[SwapStat.pagesOut] = counters.get('pagesOut');
  stats[SwapStat.pagesDropped] = counters.get('pagesDropped');
  let resident = 0;
  for (let i = 0; i < regions.length; i++) resident += regions[i]!.resident;
  stats[SwapStat.resident] = resident;
}

export function swapStatsOf(stats: Float64Array): SwapStats {
  const storedPages = stats[SwapStat.storedPages]!;
  const usedBytes = stats[SwapStat.usedBytes]!;
  return {
    usedBytes,
    limitBytes: stats[SwapStat.limitBytes]!,
    storedPages,
    compressedBytes: stats[SwapStat.storedBytes]!,
    samePages: stats[SwapStat.samePages]!,
    devicePages: stats[SwapStat.devicePages]!,
    ratio: storedPages === 0 ? 0 : (storedPages * PAGE_BYTES) / usedBytes,
    overBudget: stats[SwapStat.overBudget]!,
    refused: stats[SwapStat.refused]!,
    residentBytes: stats[SwapStat.resident]! * PAGE_BYTES,
    faults: stats[SwapStat.faults]!,
    pageIns: stats[SwapStat.pagesIn]!,
    pageOuts: stats[SwapStat.pagesOut]!,
    pagesDropped: stats[SwapStat.pagesDropped]!,
  };
}
