/**
 * Pages the WebAssembly memories of an unmodified program:
 *
 *     FRONTSWAP_RESIDENT=256M node --import frontswap/register app.js
 *
 * Adopts every memory that the main thread creates (`new WebAssembly.Memory`) or that one of its modules exports; all
 * memories share one budget. Memories of worker threads are not paged: they end with their thread.
 *
 *   FRONTSWAP_RESIDENT   resident budget of all memories together; if it is not set, nothing is paged and a warning says so
 *   FRONTSWAP_LIMIT      limit of compressed pages; default: half of the memory
 *   FRONTSWAP_FILE       a swap file for pages that do not fit, and its size: /path/to/file:4G
 *   FRONTSWAP_SAME_CORE  1: the main thread and the fault thread share a processor (OpenSwapOptions.sameCore)
 *   FRONTSWAP_SHARED     1: also pages shared memories. A thread that waits in one (Atomics.wait) may then hang
 *   FRONTSWAP_BUFFERS    also pages new ArrayBuffers and typed arrays of at least this size (watch-buffers.ts)
 *   FRONTSWAP_DISCARD    1: adds WebAssembly.Memory.prototype.discard() (memory-discard.ts)
 *   FRONTSWAP_STATS      1: prints a line of statistics on stderr at exit; a duration such as 1s: also a line per interval
 *   FRONTSWAP_REPORT     writes the memory, faults and stalls of the run at exit: FILE.html or FILE.json
 *
 * The fault thread starts with the first memory: a program without one only pays for this file.
 *
 * Left out: memories that a module neither imports nor exports; those of Node's own modules (undici's parser).
 */
import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';
import { SwapError } from '../base/errors.ts';
import { formatSize, parseSize } from '../base/size.ts';
import { BUFFER_BYTES_MIN } from './array-buffer.ts';
import { addDiscard } from './memory-discard.ts';
import type { MemorySwap } from './memory-swap.ts';
import type { OpenSwapOptions } from './open-swap.ts';
import { notPaged, type ProblemSource, Problems, type SwapProblem } from './problem.ts';
import type { SwapRegion } from './region.ts';
import type { DeviceOptions } from './swap-file.ts';
import { guardFiles, guardStreams } from './system-calls.ts';
import { WasiCalls } from './wasi-calls.ts';
import { type WasmMemory, wasmBuffer } from './wasm-reserve.ts';
import { canWatchMemories, watchMemories } from './wasm-watch.ts';
import { watchBuffers } from './watch-buffers.ts';
import { ProcessWatch } from './watch-process.ts';

interface ProcessOptions {
  readonly swap: OpenSwapOptions;
  /** Size of the smallest ArrayBuffer that is paged, bytes; null: ArrayBuffers are not paged. */
  readonly bufferBytesMin: number | null;
  readonly watch: ProcessWatch;
}

/** Options from the environment. Null: nothing can be paged; a warning says why. */
function optionsOfProcess(): ProcessOptions | null {
  if (!isMainThread) return null;
  const resident = process.env['FRONTSWAP_RESIDENT'];
  if (resident === undefined) {
    process.emitWarning('FRONTSWAP_RESIDENT is not set: nothing is paged', 'FrontswapWarning');
    return null;
  }
  if (!canWatchMemories) {
    process.emitWarning(
      'WebAssembly is frozen, so nothing is paged; run Node without --frozen-intrinsics',
      'FrontswapWarning',
    );
    return null;
  }
  const limit = process.env['FRONTSWAP_LIMIT'];
  const file = process.env['FRONTSWAP_FILE'];
  try {
    const swap = {
      residentBytes: parseSize('FRONTSWAP_RESIDENT', resident),
      frontswap: limit === undefined ? {} : { limitBytes: parseSize('FRONTSWAP_LIMIT', limit) },
      devices: file === undefined ? [] : [fileOf(file)],
      sameCore: process.env['FRONTSWAP_SAME_CORE'] === '1',
    };
    return {
      swap,
      bufferBytesMin: bufferBytes(process.env['FRONTSWAP_BUFFERS']),
      watch: new ProcessWatch(process.env),
    };
  } catch (error) {
    warnNotPaged(error as Error); // the program still starts
    return null;
  }
}

/**
 * Starts paging. Synchronous, because a memory must be adopted before the program can use it. Loads the engine only
 * now: most programs that inherit NODE_OPTIONS have no WebAssembly memory.
 */
function open({ swap, watch }: ProcessOptions): MemorySwap | null {
  try {
    const opened = loadOpenSwap().openWatched(swap, watch.options);
    if (opened.transparent) return opened;
    opened[Symbol.dispose](); // openSwap() has warned
  } catch (error) {
    warnNotPaged(error as Error);
  }
  return null;
}

function warnNotPaged({ message, code }: Error & { readonly code?: string }): void {
  const type = 'FrontswapWarning';
  process.emitWarning(
    `nothing is paged: ${message}`,
    code === undefined ? { type } : { type, code },
  );
}

function loadOpenSwap(): typeof import('./open-swap.ts') {
  return createRequire(import.meta.url)('../memory/open-swap.js');
}

/** Called only after a memory was adopted. */
const regionOfNow = (memory: WasmMemory): SwapRegion | null => loadOpenSwap().regionOf(memory);

function fileOf(text: string): DeviceOptions {
  const colon = text.lastIndexOf(':');
  const path = colon === -1 ? text : text.slice(0, colon);
  return { kind: 'file', path, sizeBytes: parseSize('FRONTSWAP_FILE', text.slice(colon + 1)) };
}

/** @throws SwapError ERR_ARG_VALUE */
function bufferBytes(text: string | undefined): number | null {
  if (text === undefined) return null;
  const bytes = parseSize('FRONTSWAP_BUFFERS', text);
  if (bytes >= BUFFER_BYTES_MIN) return bytes;
  throw new SwapError(
    'ERR_ARG_VALUE',
    `FRONTSWAP_BUFFERS is '${text}'; pass at least ${formatSize(BUFFER_BYTES_MIN)}`,
    { bytes },
  );
}

/**
 * Adopts each new memory, and each new buffer of at least `bufferBytesMin` bytes, into the swap that `swapNow` returns.
 * Returns a function that counts them.
 */
function pageMemories(
  swapNow: () => MemorySwap | null,
  bufferBytesMin: number | null,
): () => number {
  let count = 0;
  const pagesShared = process.env['FRONTSWAP_SHARED'] === '1';
  const warned = new Set<string>();
  const warnOnce = (warning: Error & { readonly code?: string }): void => {
    const kind = warning.code ?? warning.message;
    if (!warned.has(kind)) process.emitWarning(warning);
    warned.add(kind);
  };
  const adopt = (memory: WasmMemory | ArrayBuffer): void => {
    try {
      const now = swapNow();
      if (now === null) {
        reportLater(notPaged(NOTHING_PAGED, 'unsupported'));
        return;
      }
      now.adopt(memory as ArrayBuffer); // adopt() has one overload for each
      count++;
      guardOnFirst(memory instanceof ArrayBuffer ? memory : wasmBuffer(memory));
    } catch (error) {
      reportLater(notPaged((error as Error).message, reasonOf(error)));
      warnOnce(error as Error);
    }
  };
  watchMemories((memory) => {
    if (!pagesShared && wasmBuffer(memory) instanceof SharedArrayBuffer) {
      reportLater(notPaged(SHARED_NOT_PAGED, 'shared'));
      return warnOnce(warningOf(SHARED_NOT_PAGED));
    }
    adopt(memory);
  }, new WasiCalls(regionOfNow));
  if (bufferBytesMin !== null) watchBuffers(bufferBytesMin, adopt);
  return () => count;
}

const needsPin = (view: ArrayBufferView): boolean => swap?.needsPin(view) === true;

let isGuarded = false;

/**
 * Wraps streams with the first paged memory, unless faults in system calls are served. An empty memory does not show
 * that.
 */
function guardOnFirst(buffer: ArrayBufferLike): void {
  const bytes = new Uint8Array(buffer);
  if (isGuarded || (bytes.length > 0 && !needsPin(bytes.subarray(0, 1)))) return;
  isGuarded = true;
  guardStreams(needsPin);
}

/** See "Can a program deadlock?" in docs/design/memory.md. */
const SHARED_NOT_PAGED =
  'shared WebAssembly memories are not paged, because a thread in Atomics.wait() on one could hang; FRONTSWAP_SHARED=1 pages them';

const NOTHING_PAGED = 'no memory of this process is paged; an earlier warning says why';

/** The reason among the facts of the error, or its code. */
function reasonOf(error: unknown): string {
  const { facts, code } = error as Partial<SwapError>;
  return String(facts?.['reason'] ?? code ?? 'error');
}

/** Reports the problem after the program has received its memory. */
function reportLater(problem: SwapProblem): void {
  process.nextTick(() => processProblems.emit(problem));
}

const warningOf = (message: string): Error =>
  Object.assign(new Error(message), { name: 'FrontswapWarning' });

const processProblems = new Problems();
/**
 * The event `problem` of the process's swap (MemorySwap.on), and NOT_PAGED for each memory that is not paged, also
 * without a swap.
 */
export const problems: ProblemSource = processProblems;

/** The swap of the process; null before the first memory, and if nothing is paged. */
export let swap: MemorySwap | null = null;

const listeners: ((swap: MemorySwap) => void)[] = [];

/** Calls `listener` with the swap when it opens, or at once if it is open. Never calls it if nothing is paged. */
export function whenPaging(listener: (swap: MemorySwap) => void): void {
  if (swap === null) listeners.push(listener);
  else listener(swap);
}

const options = optionsOfProcess();
if (options !== null) {
  guardFiles(needsPin);
  if (process.env['FRONTSWAP_DISCARD'] === '1')
    addDiscard((memory) => (swap === null ? null : regionOfNow(memory)));
  let isTried = false;
  const countNow = pageMemories(() => {
    if (isTried) return swap;
    isTried = true;
    swap = open(options);
    swap?.on('problem', (problem) => processProblems.emit(problem));
    if (swap !== null) for (const listener of listeners.splice(0)) listener(swap);
    return swap;
  }, options.bufferBytesMin);
  options.watch.atExit(options.swap, () => swap, countNow);
}
