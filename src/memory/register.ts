/**
 * Pages the WebAssembly memories of an unmodified program:
 *
 *     FRONTSWAP_RESIDENT=256M node --import frontswap/register app.js
 *
 * It adopts every memory that the main thread creates (`new WebAssembly.Memory`) or that one of its modules exports; all
 * memories share one budget. With FRONTSWAP_WORKERS, memories that worker threads create are paged in the same budget and end
 * with their thread. Shared memories are paged only if the main thread created them and native code serves faults, including
 * those of system calls.
 *
 * docs/reference/environment.md describes the FRONTSWAP_ variables; process-settings.ts parses them.
 *
 * The fault thread starts with the first memory, so a program without a memory pays only for this file.
 *
 * Left out: memories that a module neither imports nor exports; those of Node's own modules (undici's parser).
 */
import { writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';
import { SwapError } from '../base/errors.ts';
import { followTransfers } from './adopted.ts';
import { watchTransfers } from './buffer-transfers.ts';
import { addDiscard } from './memory-discard.ts';
import type { MemorySwap } from './memory-swap.ts';
import { notPaged, type ProblemSource, Problems, type SwapProblem } from './problem.ts';
import { isOn, misspelt, type ProcessSettings, settingsOf } from './process-settings.ts';
import { type JoinedProcess, joinedProcess, PublishedSwap } from './process-threads.ts';
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

/** Options from the environment. Null: nothing can be paged, and a warning says why. */
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
 * Starts paging. It is synchronous, because a memory must be adopted before the program can use it. It loads the engine only
 * now, because most programs that inherit NODE_OPTIONS have no WebAssembly memory.
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

interface PageOptions {
  /** Null: ArrayBuffers are not paged. */
  readonly bufferBytesMin: number | null;
  /**
   * What happens to shared memories. `ask`: they are paged if that is safe, see sharedRefusal(); `ignore`: the thread that
   * created them decides.
   */
  readonly shared: 'page' | 'ask' | 'off' | 'ignore';
  /** The swap, opened or joined by the first call; null: nothing can be paged. */
  readonly swapNow: () => MemorySwap | null;
  /** Counts an adopted memory. */
  readonly countOne: () => void;
}

/** Adopts each new memory, and each new buffer of at least `bufferBytesMin` bytes. */
function pageMemories({ bufferBytesMin, shared, swapNow, countOne }: PageOptions): void {
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
      countOne();
      guardOnFirst(memory instanceof ArrayBuffer ? memory : wasmBuffer(memory));
    } catch (error) {
      if (isEnding(error)) return;
      reportLater(notPaged((error as Error).message, reasonOf(error)));
      warnOnce(error as Error);
    }
  };
  let asked = 0;
  watchMemories((memory) => {
    if (!(wasmBuffer(memory) instanceof SharedArrayBuffer)) return adopt(memory);
    if (shared === 'ignore') return;
    if (shared === 'off') return reportLater(notPaged(SHARED_OFF, 'shared'));
    const refusal = shared === 'page' ? '' : sharedRefusal(swapNow(), asked);
    if (refusal === '') {
      asked++;
      return adopt(memory);
    }
    reportLater(notPaged(refusal, 'shared'));
    warnOnce(warningOf(refusal));
  }, new WasiCalls(regionOfNow));
  if (bufferBytesMin !== null) {
    watchTransfers(followTransfers); // before the program can store the functions in variables
    watchBuffers(bufferBytesMin, adopt);
  }
}

const needsPin = (view: ArrayBufferView): boolean => swap?.needsPin(view) === true;

let isGuarded = false;

/**
 * Wraps streams at the first paged memory, unless faults in system calls are served. An empty memory does not show whether they
 * are.
 */
function guardOnFirst(buffer: ArrayBufferLike): void {
  const bytes = new Uint8Array(buffer);
  if (isGuarded || (bytes.length > 0 && !needsPin(bytes.subarray(0, 1)))) return;
  isGuarded = true;
  guardStreams(needsPin);
}

/**
 * Limits how many are paged: a shared memory is not freed while it is paged, and a program that creates one after another must
 * not fill the swap.
 */
const SHARED_MAX = 16;

/** Why shared memories are not paged unless FRONTSWAP_SHARED asks for it. */
const SHARED_NOT_PAGED = 'shared WebAssembly memories are not paged';
const SHARED_DEADLOCK = `${SHARED_NOT_PAGED}, because JavaScript serves page faults and a thread in Atomics.wait() on one could hang; FRONTSWAP_FAULTS=thread pages them without that risk, FRONTSWAP_SHARED=1 with it`;
const SHARED_CALLS = `${SHARED_NOT_PAGED}, because page faults of system calls are not served here and those of worker threads would fail with EFAULT; give the process the privilege (\`frontswap doctor\` says how), or set FRONTSWAP_SHARED=1 if workers pass no shared memory to files and sockets`;
const SHARED_MANY = `only the first ${SHARED_MAX} shared WebAssembly memories are paged, because they are not freed while they are paged; FRONTSWAP_SHARED=1 pages all of them`;

/** Why one more shared memory is not paged by default; empty: it is paged, or nothing is. See docs/design/memory.md. */
function sharedRefusal(open: MemorySwap | null, count: number): string {
  if (open?.control == null) return '';
  if (open.faults === 'javascript') return SHARED_DEADLOCK;
  if (!loadOpenSwap().servesCalls(open.control)) return SHARED_CALLS;
  return count < SHARED_MAX ? '' : SHARED_MANY;
}

const SHARED_OFF = `${SHARED_NOT_PAGED}: FRONTSWAP_SHARED is 0`;

const NOTHING_PAGED = 'no memory of this process is paged; an earlier warning says why';

/** The `reason` fact of the error, or its code. */
function reasonOf(error: unknown): string {
  const { facts, code } = error as Partial<SwapError>;
  return String(facts?.['reason'] ?? code ?? 'error');
}

/** Whether the thread or the process is about to end: then it is no problem if a memory is not paged. */
const isEnding = (error: unknown): boolean => ['thread', 'exiting'].includes(reasonOf(error));

/** Reports the problem after the program has received its memory. */
function reportLater(problem: SwapProblem): void {
  process.nextTick(() => processProblems.emit(problem));
}

const warningOf = (message: string): Error =>
  Object.assign(new Error(message), { name: 'FrontswapWarning' });

const processProblems = new Problems();
/**
 * The `problem` event of the process's swap (MemorySwap.on), and NOT_PAGED for each memory that is not paged, even without a
 * swap.
 */
export const problems: ProblemSource = processProblems;

/** The swap of the process; null before the first memory, and if nothing is paged. */
export let swap: MemorySwap | null = null;

const listeners: ((swap: MemorySwap) => void)[] = [];

/** Calls `listener` with the swap when it opens, or immediately if it is open. Never calls it if nothing is paged. */
export function whenPaging(listener: (swap: MemorySwap) => void): void {
  if (swap === null) listeners.push(listener);
  else listener(swap);
}

/** Opens or joins the swap once. Null: that failed, or this is a recursive call before the swap is open. */
function once(opensOrJoins: () => MemorySwap | null): () => MemorySwap | null {
  let isTried = false;
  return () => {
    if (isTried) return swap;
    isTried = true;
    swap = opensOrJoins();
    if (swap !== null) for (const listener of listeners.splice(0)) listener(swap);
    return swap;
  };
}

function watchThread({ addsDiscard }: { readonly addsDiscard: boolean }): void {
  guardFiles(needsPin);
  if (addsDiscard) addDiscard((memory) => (swap === null ? null : regionOfNow(memory)));
}

const sharedOf = ({ pagesShared }: ProcessSettings): PageOptions['shared'] =>
  pagesShared === null ? 'ask' : pagesShared ? 'page' : 'off';

/** The main thread. */
function pageProcess(options: ProcessOptions): void {
  watchThread(options);
  let count = 0;
  const swapNow = once(() => {
    const opened = open(options);
    if (opened?.control == null) return null;
    opened.on('problem', (problem) => processProblems.emit(problem));
    const { armedRoots, waitForThreads } = loadOpenSwap();
    published?.publish(opened.control, armedRoots, waitForThreads);
    return opened;
  });
  const published = options.pagesWorkers
    ? new PublishedSwap(options.addsDiscard, () => void swapNow())
    : null;
  pageMemories({
    bufferBytesMin: options.bufferBytesMin,
    shared: sharedOf(options),
    swapNow,
    countOne: () => {
      if (published === null) count++;
      else published.countOne();
    },
  });
  options.watch.atExit(
    options.swap,
    () => swap,
    () => published?.count ?? count,
  );
}

/** Sets up a worker thread of a process with paged memory. Its ArrayBuffers are not paged. */
function pageWorker(joined: JoinedProcess): void {
  watchThread(joined);
  pageMemories({
    bufferBytesMin: null,
    shared: 'ignore',
    swapNow: once(() => joined.join((control, root) => loadOpenSwap().joinThread(control, root))),
    countOne: joined.countOne,
  });
}

const options = optionsOfProcess();
const joined = isMainThread ? null : joinedProcess();
if (options !== null) pageProcess(options);
else if (joined !== null) pageWorker(joined);
