/**
 * Memory bigger than RAM: openSwap() starts a fault thread, map() returns memory of which only a part is resident,
 * adopt() pages an existing WebAssembly memory.
 *
 *     const swap = openSwap({ frontswap: { limitBytes: 512 * MiB } });
 *     const region = swap.map({ bytes: 4 * GiB, residentBytes: 256 * MiB });
 *     const numbers = new Float64Array(region.buffer);
 *
 * Linux only, by userfaultfd. Without it map() and adopt() throw, and array() (paged-array.ts) pages by explicit calls.
 */
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { SwapError } from '../base/errors.ts';
import { checkOptions } from '../base/options.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { Affinity } from '../os/linux/affinity.ts';
import { Mapping } from '../os/linux/mapping.ts';
import { type Linux, type LoadedLinux, loadLinux } from '../os/linux/system-call.ts';
import { usableMemory } from '../os/linux/usable-memory.ts';
import { AddressBlocks } from './address-blocks.ts';
import { Caller } from './caller.ts';
import { CollectedMemories } from './collected-memories.ts';
import { CallOp, ControlBlock, EngineState, RegionStat, SwapStat } from './control-block.ts';
import type { FaultThreadData } from './fault-thread.ts';
import {
  type AdoptOptions,
  type MapOptions,
  type MemorySwap,
  memorySwap,
  type SwapOps,
} from './memory-swap.ts';
import { type ArrayOptions, type PagedArray, regionArray } from './paged-array.ts';
import { followProblem, Problems } from './problem.ts';
import { type RegionHandle, type SwapRegion, swapRegion, viewRegion } from './region.ts';
import { type SwapStats, swapStatsOf } from './stats.ts';
import type { DeviceOptions } from './swap-file.ts';
import { checkDevice, regionBytes, residentPages } from './swap-options.ts';
import type { TierOptions } from './tiers.ts';
import { type WasmMemory, wasmBuffer, wasmReserve } from './wasm-reserve.ts';

/** Options of `openSwap()`: limit of compressed RAM, swap files and the shared resident budget. */
export interface OpenSwapOptions {
  readonly frontswap?: {
    /** Ceiling of compressed pages, tables included, bytes; default: half of the memory that this process may use. */
    readonly limitBytes?: number;
  };
  /** Swap files for pages that compressed RAM refuses, by priority. Default: none; such pages stay in memory. */
  readonly devices?: readonly DeviceOptions[];
  /** Resident budget, bytes, shared by the regions that have none of their own. */
  readonly residentBytes?: number;
  /**
   * True: this thread and the fault thread share one processor from now on, so a fault wakes no other processor. In a
   * virtual machine a single fault then takes a third of the time, but compression no longer runs in parallel to the
   * program. Threads and child processes started later inherit the processor. Default false.
   */
  readonly sameCore?: boolean;
  /** False: only array(), on this thread, as without userfaultfd. Default true. */
  readonly transparent?: boolean;
}

const START_MS = 30_000;

/** Regions of WebAssembly memories of this thread, by memory. */
const adopted = new WeakMap<object, SwapRegion>();

/**
 * The region of a WebAssembly memory that adopt() or `frontswap/register` pages, to pin, prefetch, evict or discard
 * parts of it; null where it is not paged.
 */
export function regionOf<Memory extends WasmMemory>(
  memory: Memory,
): SwapRegion<Memory['buffer']> | null {
  return (adopted.get(memory) as SwapRegion<Memory['buffer']> | undefined) ?? null;
}

class TransparentSwap implements SwapOps {
  readonly transparent = true;
  readonly reason = '';
  readonly #linux: Linux;
  readonly #mapping: Mapping;
  readonly #caller: Caller;
  readonly #isOwner: boolean;
  /** This thread's handle for joinSwap() in others. */
  get control(): SharedArrayBuffer {
    return this.#caller.control.shared;
  }

  /** What must not be collected while it is paged, by number of region. */
  readonly #held = new Map<number, object>();
  readonly #adopted: CollectedMemories;
  readonly #regions = new Map<number, WeakRef<SwapRegion>>();
  readonly #places = new AddressBlocks();
  readonly #onExit: () => void;
  readonly #problems: Problems | null;
  #isEnded = false;

  /** @param problems of this thread's engine, which ends with this object; null: it is another thread's */
  constructor(linux: Linux, caller: Caller, problems: Problems | null) {
    const isOwner = problems !== null;
    this.#problems = problems;
    this.#linux = linux;
    this.#mapping = new Mapping(linux);
    this.#caller = caller;
    this.#isOwner = isOwner;
    this.#onExit = () => {
      caller.control.setExiting();
      caller.ring();
      caller.control.waitForJoins();
    };
    this.#adopted = new CollectedMemories({
      bytesOf: (id) => {
        const stats = caller.control.regionStats(id);
        return (stats[RegionStat.resident]! + stats[RegionStat.stored]!) * PAGE_BYTES;
      },
      freeze: () => void caller.call(CallOp.freeze, 0),
      thaw: () => void caller.call(CallOp.thaw, 0),
      forget: (id) => {
        caller.call(CallOp.forget, id);
        this.#regions.delete(id);
        this.#places.remove(id);
      },
    });
    if (isOwner) process.on('exit', this.#onExit);
  }

  get regions(): readonly SwapRegion[] {
    const live: SwapRegion[] = [];
    for (const [id, held] of this.#regions) {
      const region = held.deref();
      if (region === undefined) this.#regions.delete(id);
      else live.push(region);
    }
    return live;
  }

  map(options: MapOptions): SwapRegion {
    checkOptions(options, 'map(options)', ['bytes', 'residentBytes', 'shared']);
    const bytes = regionBytes(options.bytes, this.#mapping.viewLimitBytes);
    const isShared = options.shared === true;
    if (isShared) this.#checkOwner('a shared region');
    const pages = this.#budget(options.residentBytes);
    const memory = isShared ? growShared(bytes) : null;
    const at = memory === null ? 0 : this.#linux.addressOf(new Uint8Array(memory, 0, 1));
    const { a: id, b: address } = this.#caller.call(CallOp.map, 0, bytes, pages, at);
    const handle = { control: this.#caller.control.shared, id, address, bytes, memory };
    const buffer = memory ?? viewRegion(this.#caller, this.#mapping, handle);
    const region = swapRegion({
      caller: this.#caller,
      handle,
      buffer: () => buffer,
      end: () => this.#dispose(id, false),
    });
    if (memory !== null) this.#held.set(id, memory);
    this.#places.add(id, address, bytes);
    this.#regions.set(id, new WeakRef(region));
    return region;
  }

  adopt(memory: WasmMemory, options: AdoptOptions): SwapRegion {
    checkOptions(options, 'adopt(options)', ['residentBytes']);
    this.#checkOwner('an adopted memory');
    const buffer = wasmBuffer(memory);
    const address = this.#linux.addressOf(new Uint8Array(buffer, 0, 0));
    const bytes = wasmReserve(memory, address);
    const pages = this.#budget(options.residentBytes);
    const { a: id } = this.#caller.call(CallOp.adopt, 0, bytes, pages, address, buffer.byteLength);
    const handle = {
      control: this.#caller.control.shared,
      id,
      address,
      bytes,
      memory: null,
    };
    const region = swapRegion({
      caller: this.#caller,
      handle,
      buffer: () => wasmBuffer(memory),
      end: () => {
        this.#dispose(id, true);
        adopted.delete(memory);
      },
    });
    this.#regions.set(id, new WeakRef(region));
    adopted.set(memory, region);
    this.#places.add(id, address, bytes);
    if (buffer instanceof SharedArrayBuffer) this.#held.set(id, memory);
    else this.#adopted.hold(id, memory);
    return region;
  }

  needsPin(view: ArrayBufferView): boolean {
    if (!this.#caller.control.isUserModeOnly || view.byteLength === 0) return false;
    return this.#places.has(this.#linux.addressOf(view));
  }

  array(options: ArrayOptions): PagedArray {
    return regionArray((size) => this.map(size) as SwapRegion<ArrayBuffer>, options);
  }

  stats(): SwapStats {
    return swapStatsOf(this.#caller.control.swapStats);
  }

  get problems(): Problems {
    this.#checkOwner('the event problem');
    return this.#problems!;
  }

  dispose(): void {
    // The fault thread answers a moment before it is seen to have ended: do not send it a second call.
    if (!this.#isOwner || this.#isEnded) return;
    if (this.#caller.control.state !== EngineState.running) return;
    this.#caller.call(CallOp.end, 0);
    this.#isEnded = true;
    this.#held.clear();
    this.#adopted.clear();
    this.#places.clear();
    this.#regions.clear();
    process.off('exit', this.#onExit);
  }

  #dispose(id: number, comesHome: boolean): void {
    if (this.#caller.control.state === EngineState.running)
      this.#caller.call(CallOp.dispose, id, comesHome ? 1 : 0);
    this.#held.delete(id);
    this.#adopted.release(id);
    this.#regions.delete(id);
    this.#places.remove(id);
  }

  /** A thread's memory is freed with the thread, but paged memory must last as long as the fault thread. */
  #checkOwner(what: string): void {
    if (!this.#isOwner)
      throw new SwapError(
        'ERR_IO_UNSUPPORTED',
        `${what} belongs to the thread that opened the swap: ask for it there`,
        { reason: 'thread' },
      );
  }

  /** 0: the shared one. */
  #budget(residentBytes: number | undefined): number {
    if (residentBytes !== undefined) return residentPages(residentBytes);
    if (this.#caller.control.swapStats[SwapStat.sharedPages] === 0)
      throw new SwapError(
        'ERR_ARG_VALUE',
        'residentBytes is missing: give it to map(), or a budget for all to openSwap()',
      );
    return 0;
  }
}

/**
 * Starts the fault thread, which runs when this returns, even before the first turn of the event loop. If memory cannot
 * be paged transparently, a warning says why, and only array() works.
 * @throws SwapError ERR_ARG_VALUE, ERR_IO_SWAP_HEADER, ERR_IO_SYSTEM for invalid options
 */
export function openSwap(options: OpenSwapOptions = {}): MemorySwap {
  checkOptions(options, 'openSwap(options)', [
    'frontswap',
    'devices',
    'residentBytes',
    'sameCore',
    'transparent',
  ]);
  if (options.frontswap !== undefined)
    checkOptions(options.frontswap, 'openSwap({ frontswap })', ['limitBytes']);
  const tiers = {
    limitBytes: options.frontswap?.limitBytes ?? Math.floor(usableMemory().bytes / 2),
    devices: (options.devices ?? []).map(checkDevice),
  };
  const sharedPages =
    options.residentBytes === undefined ? 0 : residentPages(options.residentBytes);
  const { linux, reason } = options.transparent === false ? unwanted : loadLinux();
  const started = linux === null ? reason : startThread(linux, options, tiers, sharedPages);
  if (typeof started !== 'string') return memorySwap(started);
  const isWanted = options.transparent !== false;
  if (isWanted)
    process.emitWarning(
      `memory cannot be paged transparently: ${started}; \`frontswap doctor\` says what to change`,
      { type: 'FrontswapWarning', code: 'ERR_IO_UNSUPPORTED' },
    );
  return memorySwap(loadExplicit().explicitSwap(tiers, started, isWanted));
}

/**
 * The engine on the caller's thread, loaded only when used: it is most of this project's code and would cost a program
 * with a fault thread 8 MB and 50 ms.
 */
function loadExplicit(): typeof import('./explicit-swap.ts') {
  return createRequire(import.meta.url)('../memory/explicit-swap.js');
}

const unwanted: LoadedLinux = { linux: null, reason: 'transparent is false' };

/** A running swap, or why there can be none here. */
function startThread(
  linux: Linux,
  options: OpenSwapOptions,
  tiers: TierOptions,
  sharedPages: number,
): TransparentSwap | string {
  if (linux.pageBytes !== PAGE_BYTES)
    return `pages of this kernel have ${linux.pageBytes} bytes, not 4096`;
  const control = new ControlBlock(linux);
  control.swapStats[SwapStat.sharedPages] = sharedPages;
  const processor = options.sameCore === true ? shareProcessor(linux) : null;
  const data: FaultThreadData = {
    shared: control.shared,
    options: { ...tiers, sharedPages, processor },
  };
  const worker = new Worker(new URL('../memory/fault-thread.cjs', import.meta.url), {
    workerData: data,
    execArgv: [],
    name: 'frontswap faults',
  });
  const problems = new Problems();
  followProblem(worker, control, problems, () => swapStatsOf(control.swapStats));
  worker.unref();
  if (!control.waitForStart(START_MS)) {
    void worker.terminate();
    return 'the fault thread does not start';
  }
  if (control.state !== EngineState.failed)
    return new TransparentSwap(linux, new Caller(linux, control), problems);
  const [, code, text] = /^(ERR_[A-Z_]+): (.*)$/s.exec(control.reason) ?? [];
  if (code === undefined || text === undefined) return control.reason;
  throw new SwapError(code as SwapError['code'], text); // about the options, not about the system
}

/** Pins this thread to the processor that it runs on. */
function shareProcessor(linux: Linux): number {
  const affinity = new Affinity(linux);
  const processor = affinity.current();
  affinity.pin([processor]);
  return processor;
}

/**
 * The swap that another thread of this process opened, by its control block: this thread can also create regions in it.
 * @throws SwapError ERR_IO_ENDED: the process is ending
 */
export function joinSwap(shared: SharedArrayBuffer): MemorySwap {
  return new ControlBlock(null, shared).join(() => {
    const { linux, reason } = loadLinux();
    if (linux === null) throw unsupported(reason);
    const caller = new Caller(linux, new ControlBlock(linux, shared));
    return memorySwap(new TransparentSwap(linux, caller, null));
  });
}

/**
 * The region of a handle, in another thread. Disposing of it there does nothing: it belongs to the thread that mapped
 * it.
 * @throws SwapError ERR_IO_ENDED: the region or the process has ended
 */
export function attachRegion(handle: RegionHandle): SwapRegion {
  return new ControlBlock(null, handle.control).join(() => attach(handle));
}

function attach(handle: RegionHandle): SwapRegion {
  const { linux, reason } = loadLinux();
  if (linux === null) throw unsupported(reason);
  const caller = new Caller(linux, new ControlBlock(linux, handle.control));
  if (handle.memory === null) caller.call(CallOp.attach, handle.id);
  const buffer = handle.memory ?? viewRegion(caller, new Mapping(linux), handle);
  return swapRegion({ caller, handle, buffer: () => buffer, end: () => {} });
}

function unsupported(reason: string): SwapError {
  return new SwapError(
    'ERR_IO_UNSUPPORTED',
    `memory cannot be paged here: ${reason}; \`frontswap doctor\` says what to change, PagedArray works without`,
    { reason },
  );
}

/** ES2024's growable SharedArrayBuffer, which Node has since 20; the es2023 library does not know it. */
interface GrowableShared extends SharedArrayBuffer {
  grow(bytes: number): void;
}
const Growable = SharedArrayBuffer as unknown as new (
  bytes: number,
  options: { readonly maxByteLength: number },
) => GrowableShared;

/** Page-aligned, unlike one of fixed length; and memory is allocated only when accessed. */
function growShared(bytes: number): SharedArrayBuffer {
  const memory = new Growable(0, { maxByteLength: bytes });
  memory.grow(bytes);
  return memory;
}
