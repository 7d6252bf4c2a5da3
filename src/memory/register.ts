/**
 * Pages the WebAssembly memories of a program that nobody changes:
 *
 *     FRONTSWAP_RESIDENT=256M node --import frontswap/register app.js
 *
 * Every memory that the main thread makes (`new WebAssembly.Memory`) or that one of its modules exports is adopted as it
 * appears; all share one budget. Memories of worker threads are left alone: they end with their thread.
 *
 *   FRONTSWAP_RESIDENT   what all of them may have in RAM together; without it nothing is paged, and a warning says so
 *   FRONTSWAP_LIMIT      ceiling of compressed pages; default: half of the memory
 *   FRONTSWAP_FILE       a swap file for what does not fit, and its size: /path/to/file:4G
 *   FRONTSWAP_SAME_CORE  1: the main thread and the fault thread share a processor (OpenSwapOptions.sameCore)
 *   FRONTSWAP_STATS      1: a line at the end, on stderr, that says what was paged
 *
 * Left out: memories that a module neither imports nor exports. An adopted memory lives as long as the process.
 */
import { writeSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { formatSize, parseSize } from '../base/size.ts';
import { type MemorySwap, openSwap } from './open-swap.ts';
import type { SwapRegion } from './region.ts';
import type { DeviceOptions } from './swap-file.ts';
import { canWatchMemories, watchMemories } from './wasm-watch.ts';

function swapOfProcess(): MemorySwap | null {
  if (!isMainThread) return null;
  const resident = process.env['FRONTSWAP_RESIDENT'];
  if (resident === undefined) {
    process.emitWarning('FRONTSWAP_RESIDENT is not set: nothing is paged', 'FrontswapWarning');
    return null;
  }
  if (!canWatchMemories) {
    process.emitWarning(
      'WebAssembly is frozen (by --frozen-intrinsics?): its memories cannot be seen, and nothing is paged',
      'FrontswapWarning',
    );
    return null;
  }
  try {
    return pagingSwap(resident);
  } catch (error) {
    process.emitWarning(error as Error); // a program that runs without paging beats one that does not start
    return null;
  }
}

/** The swap that the environment describes; null where memory cannot be paged, of which openSwap() has warned. */
function pagingSwap(resident: string): MemorySwap | null {
  const limit = process.env['FRONTSWAP_LIMIT'];
  const file = process.env['FRONTSWAP_FILE'];
  const swap = openSwap({
    residentBytes: parseSize('FRONTSWAP_RESIDENT', resident),
    frontswap: limit === undefined ? {} : { limitBytes: parseSize('FRONTSWAP_LIMIT', limit) },
    devices: file === undefined ? [] : [fileOf(file)],
    sameCore: process.env['FRONTSWAP_SAME_CORE'] === '1',
  });
  if (!swap.transparent) {
    swap[Symbol.dispose]();
    return null;
  }
  return swap;
}

function fileOf(text: string): DeviceOptions {
  const colon = text.lastIndexOf(':');
  const path = colon === -1 ? text : text.slice(0, colon);
  return { kind: 'file', path, sizeBytes: parseSize('FRONTSWAP_FILE', text.slice(colon + 1)) };
}

/** Adopts memories as they appear; the regions so far. */
function pageMemories(swap: MemorySwap): readonly SwapRegion[] {
  const regions: SwapRegion[] = [];
  watchMemories((memory) => {
    try {
      regions.push(swap.adopt(memory));
    } catch (error) {
      process.emitWarning(error as Error);
    }
  });
  return regions;
}

function tellAtEnd(swap: MemorySwap, regions: readonly SwapRegion[]): void {
  process.on('exit', () => {
    const { residentBytes, storedPages, usedBytes, pageIns, faults, ...out } = swap.stats();
    writeSync(
      2,
      `frontswap: ${regions.length} memories, ${formatSize(residentBytes)} resident, ${formatSize(storedPages * 4096)} stored in ${formatSize(usedBytes)}, ${pageIns} pages in, ${out.pageOuts + out.pagesDropped} out, ${faults} faults\n`,
    );
  });
}

/** The engine of the process, for who wants to look at it; null when nothing is paged. */
export const swap: MemorySwap | null = swapOfProcess();
if (swap !== null) {
  const regions = pageMemories(swap);
  if (process.env['FRONTSWAP_STATS'] === '1') tellAtEnd(swap, regions);
}
