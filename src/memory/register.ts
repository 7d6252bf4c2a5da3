/**
 * Pages the WebAssembly memories of an unmodified program:
 *
 *     FRONTSWAP_RESIDENT=256M node --import frontswap/register app.js
 *
 * Adopts every memory that the main thread creates (`new WebAssembly.Memory`) or that one of its modules exports; all
 * memories share one budget. Memories of worker threads are not paged: they end with their thread.
 *
 * docs/reference/environment.md describes the FRONTSWAP_ variables; process-settings.ts parses them.
 *
 * The fault thread starts with the first memory: a program without one only pays for this file.
 *
 * Left out: memories that a module neither imports nor exports; those of Node's own modules (undici's parser).
 */
import { writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';
import { SwapError } from '../base/errors.ts';
import { addDiscard } from './memory-discard.ts';
import type { MemorySwap } from './memory-swap.ts';
import { notPaged, type ProblemSource, Problems, type SwapProblem } from './problem.ts';
import { isOn, misspelt, type ProcessSettings, settingsOf } from './process-settings.ts';
import type { SwapRegion } from './region.ts';
import { guardFiles, guardStreams } from './system-calls.ts';
import { WasiCalls } from './wasi-calls.ts';
import { type WasmMemory, wasmBuffer } from './wasm-reserve.ts';
import { canWatchMemories, watchMemories } from './wasm-watch.ts';
import { watchBuffers } from './watch-buffers.ts';
import { ProcessWatch } from './watch-process.ts';

interface ProcessOptions extends ProcessSettings {
  readonly watch: ProcessWatch;
}

/** Whether FRONTSWAP_STRICT is set; a wrong value counts as set. */
let isStrict = false;

/** Options from the environment. Null: nothing can be paged; a warning says why. */
function optionsOfProcess(): ProcessOptions | null {
  if (!isMainThread) return null;
  const { env } = process;
  for (const warning of misspelt(env))
    process.emitWarning(warning, { type: 'FrontswapWarning', code: 'ERR_ARG_UNKNOWN' });
  try {
    isStrict = true;
    isStrict = isOn(env, 'FRONTSWAP_STRICT');
    const resident = env['FRONTSWAP_RESIDENT'];
    if (resident === undefined)
      throw new Error('FRONTSWAP_RESIDENT is not set; set it to a size such as 256M');
    if (!canWatchMemories)
      throw new Error('WebAssembly is frozen; run Node without --frozen-intrinsics');
    const options = { ...settingsOf(env, resident), watch: new ProcessWatch(env) };
    const reason = isStrict ? loadOpenSwap().unsupportedReason() : '';
    if (reason !== '') throw unsupported(reason);
    return options;
  } catch (error) {
    endOrWarn(error as Error); // unless strict, the program still starts
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
    if (isStrict) throw unsupported(opened.reason);
  } catch (error) {
    endOrWarn(error as Error);
  }
  return null;
}

const unsupported = (reason: string): SwapError =>
  new SwapError(
    'ERR_IO_UNSUPPORTED',
    `memory cannot be paged here: ${reason}; \`frontswap doctor\` says what to change`,
    { reason },
  );

/** Reports that nothing is paged: ends a strict process, warns in others. */
function endOrWarn({ message, code }: Error & { readonly code?: string }): void {
  if (isStrict) {
    writeSync(2, `frontswap: nothing is paged, and FRONTSWAP_STRICT is set: ${message}\n`);
    process.exit(1);
  }
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

/**
 * Adopts each new memory, and each new buffer of at least `bufferBytesMin` bytes, into the swap that `swapNow` returns.
 * Returns a function that counts them.
 */
function pageMemories(
  { bufferBytesMin, pagesShared }: ProcessSettings,
  swapNow: () => MemorySwap | null,
): () => number {
  let count = 0;
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
  if (options.addsDiscard) addDiscard((memory) => (swap === null ? null : regionOfNow(memory)));
  let isTried = false;
  const countNow = pageMemories(options, () => {
    if (isTried) return swap;
    isTried = true;
    swap = open(options);
    swap?.on('problem', (problem) => processProblems.emit(problem));
    if (swap !== null) for (const listener of listeners.splice(0)) listener(swap);
    return swap;
  });
  options.watch.atExit(options.swap, () => swap, countNow);
}
