/**
 * Pages the WebAssembly memories of an unmodified program:
 *
 *     FRONTSWAP_RESIDENT=256M node --import frontswap/register app.js
 *
 * Every memory that the main thread makes (`new WebAssembly.Memory`) or that one of its modules exports is adopted as
 * it appears; all share one budget. Memories of worker threads are left alone: they end with their thread.
 *
 *   FRONTSWAP_RESIDENT   what all of them may have in RAM together; without it nothing is paged, and a warning says so
 *   FRONTSWAP_LIMIT      ceiling of compressed pages; default: half of the memory
 *   FRONTSWAP_FILE       a swap file for what does not fit, and its size: /path/to/file:4G
 *   FRONTSWAP_SAME_CORE  1: the main thread and the fault thread share a processor (OpenSwapOptions.sameCore)
 *   FRONTSWAP_SHARED     1: shared memories are paged as well. A thread that waits in one (Atomics.wait) may then hang
 *   FRONTSWAP_STATS      1: a line at the end, on stderr, that says what was paged
 *
 * The fault thread starts with the first of these memories: a program that has none pays for this file alone.
 *
 * Left out: memories that a module neither imports nor exports; those of Node's own modules (undici's parser).
 */
import { writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';
import type { SwapError } from '../base/errors.ts';
import { formatSize, parseSize } from '../base/size.ts';
import type { MemorySwap } from './memory-swap.ts';
import type { OpenSwapOptions } from './open-swap.ts';
import { notPaged, type ProblemSource, Problems, type SwapProblem } from './problem.ts';
import type { SwapRegion } from './region.ts';
import type { DeviceOptions } from './swap-file.ts';
import { guardFiles, guardStreams } from './system-calls.ts';
import { WasiCalls } from './wasi-calls.ts';
import { type WasmMemory, wasmBuffer } from './wasm-reserve.ts';
import { canWatchMemories, watchMemories } from './wasm-watch.ts';

/** What the environment asks for; null where nothing can be paged, of which a warning says why. */
function optionsOfProcess(): OpenSwapOptions | null {
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
  const limit = process.env['FRONTSWAP_LIMIT'];
  const file = process.env['FRONTSWAP_FILE'];
  try {
    return {
      residentBytes: parseSize('FRONTSWAP_RESIDENT', resident),
      frontswap: limit === undefined ? {} : { limitBytes: parseSize('FRONTSWAP_LIMIT', limit) },
      devices: file === undefined ? [] : [fileOf(file)],
      sameCore: process.env['FRONTSWAP_SAME_CORE'] === '1',
    };
  } catch (error) {
    process.emitWarning(error as Error); // a program that runs without paging beats one that does not start
    return null;
  }
}

/**
 * Starts paging. Synchronous, because a memory is adopted before its program can use it; loaded here, because most
 * programs that are started with a variable set for all of them (NODE_OPTIONS) have no WebAssembly memory.
 */
function open(options: OpenSwapOptions): MemorySwap | null {
  try {
    const opened = loadOpenSwap().openSwap(options);
    if (opened.transparent) return opened;
    opened[Symbol.dispose](); // openSwap() has warned
  } catch (error) {
    process.emitWarning(error as Error);
  }
  return null;
}

function loadOpenSwap(): typeof import('./open-swap.ts') {
  return createRequire(import.meta.url)('../memory/open-swap.js');
}

/** Of a memory that is paged; asked only after one is. */
const regionOfNow = (memory: WasmMemory): SwapRegion | null => loadOpenSwap().regionOf(memory);

function fileOf(text: string): DeviceOptions {
  const colon = text.lastIndexOf(':');
  const path = colon === -1 ? text : text.slice(0, colon);
  return { kind: 'file', path, sizeBytes: parseSize('FRONTSWAP_FILE', text.slice(colon + 1)) };
}

/** Adopts memories as they appear, into the swap that `swapNow` gives. Answers how many so far. */
function pageMemories(swapNow: () => MemorySwap | null): () => number {
  let count = 0;
  const pagesShared = process.env['FRONTSWAP_SHARED'] === '1';
  const told = new Set<string>();
  const tell = (warning: Error & { readonly code?: string }): void => {
    const kind = warning.code ?? warning.message;
    if (!told.has(kind)) process.emitWarning(warning);
    told.add(kind);
  };
  watchMemories((memory) => {
    if (!pagesShared && wasmBuffer(memory) instanceof SharedArrayBuffer) {
      tellLater(notPaged(SHARED, 'shared'));
      return tell(warningOf(SHARED));
    }
    try {
      const now = swapNow();
      if (now === null) return tellLater(notPaged(NOTHING, 'unsupported'));
      now.adopt(memory);
      count++;
      guardLate(memory);
    } catch (error) {
      tellLater(notPaged((error as Error).message, reasonOf(error)));
      tell(error as Error);
    }
  }, new WasiCalls(regionOfNow));
  return () => count;
}

const isAway = (view: ArrayBufferView): boolean => swap?.needsPin(view) === true;

let isGuarded = false;

/** Where the faults of system calls are served nothing is wrapped. An empty memory does not tell. */
function guardLate(memory: WasmMemory): void {
  const bytes = new Uint8Array(wasmBuffer(memory));
  if (isGuarded || (bytes.length > 0 && !isAway(bytes.subarray(0, 1)))) return;
  isGuarded = true;
  guardStreams(isAway);
}

/** Why not: "Can a program deadlock?" in docs/design/memory.md. */
const SHARED =
  'shared WebAssembly memories are not paged: a thread in Atomics.wait() over one could hang; FRONTSWAP_SHARED=1 pages them';

const NOTHING = 'no memory of this process is paged: a warning at its start says why';

/** A fact of the error, or its code. */
function reasonOf(error: unknown): string {
  const { facts, code } = error as Partial<SwapError>;
  return String(facts?.['reason'] ?? code ?? 'error');
}

/** After the program has its memory. */
function tellLater(problem: SwapProblem): void {
  process.nextTick(() => all.tell(problem));
}

const warningOf = (message: string): Error =>
  Object.assign(new Error(message), { name: 'FrontswapWarning' });

function tellAtEnd(countNow: () => number): void {
  process.on('exit', () => {
    if (swap === null) return void writeSync(2, 'frontswap: 0 memories, nothing was paged\n');
    swap.regions[0]?.prefetch({ offset: 0, length: 0 }); // the fault thread publishes its figures after each call
    const { residentBytes, storedPages, usedBytes, pageIns, faults, ...out } = swap.stats();
    writeSync(
      2,
      `frontswap: ${countNow()} memories, ${formatSize(residentBytes)} resident, ${formatSize(storedPages * 4096)} stored in ${formatSize(usedBytes)}, ${pageIns} pages in, ${out.pageOuts + out.pagesDropped} out, ${faults} faults\n`,
    );
  });
}

const all = new Problems();
/**
 * The event `problem` of the process's engine (MemorySwap.on), and NOT_PAGED of each memory that is left alone, also
 * where there is no engine.
 */
export const problems: ProblemSource = all;

/** The engine of the process, for who wants to look at it; null before its first memory, and when nothing is paged. */
export let swap: MemorySwap | null = null;

const listeners: ((swap: MemorySwap) => void)[] = [];

/** Calls `listener` with the engine when it starts, or at once when it runs already; never when nothing is paged. */
export function whenPaging(listener: (swap: MemorySwap) => void): void {
  if (swap === null) listeners.push(listener);
  else listener(swap);
}

const options = optionsOfProcess();
if (options !== null) {
  guardFiles(isAway);
  let isTried = false;
  const countNow = pageMemories(() => {
    if (isTried) return swap;
    isTried = true;
    swap = open(options);
    swap?.on('problem', (problem) => all.tell(problem));
    if (swap !== null) for (const listener of listeners.splice(0)) listener(swap);
    return swap;
  });
  if (process.env['FRONTSWAP_STATS'] === '1') tellAtEnd(countNow);
}
