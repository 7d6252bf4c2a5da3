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
import type { WasmMemory } from './wasm-reserve.ts';

interface Api {
  Memory: new (descriptor: object) => WasmMemory;
  Instance: new (module: object, imports?: object) => { readonly exports: object };
  instantiate(source: unknown, imports?: object): Promise<unknown>;
  instantiateStreaming?(source: unknown, imports?: object): Promise<unknown>;
}

const api = (globalThis as unknown as { WebAssembly: Api }).WebAssembly;

function swapOfProcess(): MemorySwap | null {
  if (!isMainThread) return null;
  const resident = process.env['FRONTSWAP_RESIDENT'];
  if (resident === undefined) {
    process.emitWarning('FRONTSWAP_RESIDENT is not set: nothing is paged', 'FrontswapWarning');
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

function watch(swap: MemorySwap): readonly SwapRegion[] {
  const { Memory, Instance } = api;
  const known = new WeakSet<object>();
  const regions: SwapRegion[] = [];
  const adopt = (memory: WasmMemory): void => {
    if (known.has(memory)) return;
    known.add(memory);
    try {
      regions.push(swap.adopt(memory));
    } catch (error) {
      process.emitWarning(error as Error);
    }
  };
  const adoptExports = (instance: unknown): void => {
    const exports = (instance as { readonly exports?: object } | undefined)?.exports ?? {};
    for (const value of Object.values(exports)) if (value instanceof Memory) adopt(value);
  };
  const adoptResult = <Result>(result: Result): Result => {
    adoptExports((result as { instance?: unknown } | undefined)?.instance ?? result);
    return result;
  };
  api.Memory = new Proxy(Memory, {
    construct(target, args, newTarget) {
      const memory = Reflect.construct(target, args, newTarget) as WasmMemory;
      adopt(memory);
      return memory;
    },
  });
  api.Instance = new Proxy(Instance, {
    construct(target, args, newTarget) {
      const instance = Reflect.construct(target, args, newTarget) as object;
      adoptExports(instance);
      return instance;
    },
  });
  for (const name of ['instantiate', 'instantiateStreaming'] as const) {
    const original = api[name];
    if (original === undefined) continue;
    api[name] = (source, imports) => original.call(api, source, imports).then(adoptResult);
  }
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
  const regions = watch(swap);
  if (process.env['FRONTSWAP_STATS'] === '1') tellAtEnd(swap, regions);
}
