/**
 * Memory larger than RAM: openSwap() starts a fault thread, map() returns memory of which only a part is resident,
 * adopt() pages an existing WebAssembly memory or ArrayBuffer.
 *
 *     const swap = openSwap({ frontswap: { limitBytes: 512 * MiB } });
 *     const region = swap.map({ bytes: 4 * GiB, residentBytes: 256 * MiB });
 *     const numbers = new Float64Array(region.buffer);
 *
 * Needs Linux with userfaultfd. Without it map() and adopt() throw, and array() (paged-array.ts) pages by explicit
 * calls.
 */
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { SwapError } from '../base/errors.ts';
import { checkInteger, checkOptions } from '../base/options.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { Affinity } from '../os/linux/affinity.ts';
import { Mapping } from '../os/linux/mapping.ts';
import { type Linux, type LoadedLinux, loadLinux } from '../os/linux/system-call.ts';
import { usableMemory } from '../os/linux/usable-memory.ts';
import { AddressBlocks } from './address-blocks.ts';
import { bufferPages, isBuffer } from './array-buffer.ts';
import { type TransferListener, watchTransfers } from './buffer-transfers.ts';
import { Caller, parseError } from './caller.ts';
import { CollectedMemories } from './collected-memories.ts';
import { CallOp, ControlBlock, EngineState, RegionStat, SwapStat } from './control-block.ts';
import type { EngineOptions } from './engine.ts';
import type { WatchOptions } from './engine-watch.ts';
import type { FaultThreadData } from './fault-thread.ts';
import {
  type AdoptOptions,
  type MapOptions,
  type MemorySwap,
  memorySwap,
  type SwapOps,
} from './memory-swap.ts';
import { type ArrayOptions, type PagedArray, regionArray } from './paged-array.ts';

export { unsupportedReason } from './paging-support.ts';

import { forwardProblems, Problems } from './problem.ts';
import { type RegionHandle, type SwapRegion, swapRegion, viewRegion } from './region.ts';
import { type SwapStats, swapStatsOf } from './stats.ts';
import type { DeviceOptions } from './swap-file.ts';
import {
  checkControl,
  checkDevices,
  checkMemory,
  regionBytes,
  residentPages,
} from './swap-options.ts';
import { type WasmMemory, wasmBuffer, wasmReserve } from './wasm-reserve.ts';

/** Options of `openSwap()`: limit of compressed RAM, swap files and the shared resident budget. */
export interface OpenSwapOptions {
  readonly frontswap?: {
    /** Limit of compressed pages and their tables, bytes; 0: none. Default: half of the memory that this process may use. */
    readonly limitBytes?: number;
  };
  /** Swap files for pages that compressed RAM refuses. Default: none; such pages stay in memory. */
  readonly devices?: readonly DeviceOptions[];
  /** Resident budget, bytes, shared by all regions without a budget of their own. */
  readonly residentBytes?: number;
  /**
   * True: pins this thread and the fault thread to one processor, so that a fault wakes no other processor. In a
   * virtual machine a single fault then takes a third of the time, but compression no longer runs in parallel with the
   * program. Threads and child processes that are started later inherit the affinity. Default false.
   */
  readonly sameCore?: boolean;
  /** False: do not use userfaultfd; only array() works, on this thread. Default true. */
  readonly transparent?: boolean;
}

/** Longest wait for the fault thread to start. */
const START_MS_MAX = 30_000;

/** Regions of WebAssembly memories and ArrayBuffers of this thread, by object. */
const adopted = new WeakMap<object, SwapRegion>();

/** Makes another ArrayBuffer the owner of a paged buffer's bytes. */
const ownersOfBytes = new WeakMap<ArrayBuffer, (owner: ArrayBuffer) => void>();

const followTransfers: TransferListener = {
  moved: (from, to) => {
    adopted.delete(from);
    ownersOfBytes.get(from)?.(to);
    ownersOfBytes.delete(from);
  },
  release: (buffer) => adopted.get(buffer)?.[Symbol.dispose](),
};

/**
 * The region of a WebAssembly memory or an ArrayBuffer that adopt() or `frontswap/register` pages: use it to pin,
 * prefetch, evict or discard parts of the memory. Null if the memory is not paged.
 */
export function regionOf<Memory extends WasmMemory>(
  memory: Memory,
): SwapRegion<Memory['buffer']> | null;
export function regionOf(buffer: ArrayBuffer): SwapRegion<ArrayBuffer> | null;
export function regionOf(memory: object): SwapRegion | null {
  return adopted.get(memory) ?? null;
}

class TransparentSwap implements SwapOps {
  readonly transparent = true;
  readonly reason = '';
  readonly #linux: Linux;
  readonly #mapping: Mapping;
  readonly #caller: Caller;
  readonly #isOwner: boolean;
  /** Shared memories, by number of region: they must not be collected while they are paged. */
  readonly #sharedMemories = new Map<number, object>();
  readonly #adopted: CollectedMemories;
  readonly #regions = new Map<number, WeakRef<SwapRegion>>();
  readonly #blocks = new AddressBlocks();
  readonly #onExit: () => void;
  readonly #problems: Problems | null;
  #isEnded = false;

  /** @param problems of the engine that this thread started; null: another thread started the engine */
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
        this.#blocks.remove(id);
      },
    });
    if (isOwner) process.on('exit', this.#onExit);
  }

  /** For joinSwap() in other threads. */
  get control(): SharedArrayBuffer {
    return this.#caller.control.shared;
  }

  get regions(): readonly SwapRegion[] {
    const live: SwapRegion[] = [];
    for (const [id, reference] of this.#regions) {
      const region = reference.deref();
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
      isAdopted: false,
      end: () => this.#dispose(id, false),
    });
    if (memory !== null) this.#sharedMemories.set(id, memory);
    this.#blocks.add(id, address, bytes);
    this.#regions.set(id, new WeakRef(region));
    return region;
  }

  adopt(memory: WasmMemory | ArrayBuffer, options: AdoptOptions): SwapRegion {
    checkOptions(options, 'adopt(options)', ['residentBytes']);
    this.#checkOwner('an adopted memory');
    if (isBuffer(memory)) return this.#adoptBuffer(memory, options);
    const buffer = checkMemory(memory);
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
      isAdopted: true,
      end: () => {
        this.#dispose(id, true);
        adopted.delete(memory);
      },
    });
    this.#regions.set(id, new WeakRef(region));
    adopted.set(memory, region);
    this.#blocks.add(id, address, bytes);
    if (buffer instanceof SharedArrayBuffer) this.#sharedMemories.set(id, memory);
    else this.#adopted.reference(id, memory);
    return region;
  }

  #adoptBuffer(given: ArrayBufferLike, options: AdoptOptions): SwapRegion {
    const { address, bytes, headBytes } = bufferPages(given, this.#linux.addressOf(given));
    const pages = this.#budget(options.residentBytes);
    const { a: id } = this.#caller.call(CallOp.adoptBuffer, 0, bytes, pages, address, bytes);
    let owner = given as ArrayBuffer; // bufferPages() has checked it
    const region = swapRegion({
      caller: this.#caller,
      handle: { control: this.#caller.control.shared, id, address, bytes, memory: null },
      buffer: () => owner,
      isAdopted: true,
      bytes: owner.byteLength,
      headBytes,
      end: () => {
        this.#dispose(id, true);
        adopted.delete(owner);
        ownersOfBytes.delete(owner);
      },
    });
    this.#regions.set(id, new WeakRef(region));
    this.#blocks.add(id, address, bytes);
    const own = (buffer: ArrayBuffer): void => {
      owner = buffer;
      adopted.set(buffer, region);
      ownersOfBytes.set(buffer, own);
      this.#adopted.reference(id, buffer);
    };
    watchTransfers(followTransfers);
    own(owner);
    return region;
  }

  needsPin(view: ArrayBufferView): boolean {
    if (!this.#caller.control.isUserModeOnly || view.byteLength === 0) return false;
    return this.#blocks.has(this.#linux.addressOf(view));
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
    // The call completes a moment before the engine's state changes: do not send a second one.
    if (!this.#isOwner || this.#isEnded) return;
    if (this.#caller.control.state !== EngineState.running) return;
    this.#caller.call(CallOp.end, 0);
    this.#isEnded = true;
    this.#sharedMemories.clear();
    this.#adopted.clear();
    this.#blocks.clear();
    this.#regions.clear();
    process.off('exit', this.#onExit);
  }

  /** @param swapsIn true: the memory is used further, so its pages are swapped in first */
  #dispose(id: number, swapsIn: boolean): void {
    if (this.#caller.control.state === EngineState.running)
      this.#caller.call(CallOp.dispose, id, swapsIn ? 1 : 0);
    this.#sharedMemories.delete(id);
    this.#adopted.release(id);
    this.#regions.delete(id);
    this.#blocks.remove(id);
  }

  /** A thread's memory is freed with the thread, but paged memory must last as long as the fault thread. */
  #checkOwner(what: string): void {
    if (!this.#isOwner)
      throw new SwapError(
        'ERR_IO_UNSUPPORTED',
        `${what} is available only in the thread that called openSwap(); call it there`,
        { reason: 'thread' },
      );
  }

  /** The budget of a region, pages; 0: the shared one. */
  #budget(residentBytes: number | undefined): number {
    if (residentBytes !== undefined) return residentPages(residentBytes);
    if (this.#caller.control.swapStats[SwapStat.sharedPages] === 0)
      throw new SwapError(
        'ERR_ARG_VALUE',
        'residentBytes is missing: pass it to map() or adopt(), or pass openSwap() a budget that all regions share',
      );
    return 0;
  }
}

/**
 * Starts the fault thread and waits until it runs; needs no turn of the event loop. If memory cannot be paged
 * transparently, a warning says why, and only array() works.
 * @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN; for a device ERR_IO_SWAP_HEADER, ERR_IO_UNSAFE_PATH, ERR_IO_IN_USE,
 * ERR_IO_SYSTEM
 */
export function openSwap(options: OpenSwapOptions = {}): MemorySwap {
  return openWatched(options, null);
}

/** openSwap() for frontswap/register. @param watch null: the engine is not watched */
export function openWatched(options: OpenSwapOptions, watch: WatchOptions | null): MemorySwap {
  checkOptions(options, 'openSwap(options)', [
    'frontswap',
    'devices',
    'residentBytes',
    'sameCore',
    'transparent',
  ]);
  const { frontswap = {} } = options;
  checkOptions(frontswap, 'openSwap({ frontswap })', ['limitBytes']);
  const { limitBytes = Math.floor(usableMemory().bytes / 2) } = frontswap;
  checkInteger('openSwap({ frontswap })', 'limitBytes', limitBytes, { min: 0 });
  const tiers = {
    limitBytes,
    devices: checkDevices(options.devices ?? []),
  };
  const sharedPages =
    options.residentBytes === undefined ? 0 : residentPages(options.residentBytes);
  const { linux, reason } = options.transparent === false ? notRequested : loadLinux();
  const started =
    linux === null ? reason : startThread(linux, options, { ...tiers, sharedPages, watch });
  if (typeof started !== 'string') return memorySwap(started);
  const isRequested = options.transparent !== false;
  if (isRequested)
    process.emitWarning(
      `memory cannot be paged transparently: ${started}; \`frontswap doctor\` says what to change`,
      { type: 'FrontswapWarning', code: 'ERR_IO_UNSUPPORTED' },
    );
  return memorySwap(loadExplicit().explicitSwap(tiers, started, isRequested));
}

/**
 * Loads the engine for the caller's thread. Only programs without a fault thread need it here: it is most of this
 * project's code, 8 MB and 50 ms.
 */
function loadExplicit(): typeof import('./explicit-swap.ts') {
  return createRequire(import.meta.url)('../memory/explicit-swap.js');
}

const notRequested: LoadedLinux = { linux: null, reason: 'transparent is false' };

/** Returns a running swap, or the reason why memory cannot be paged here. */
function startThread(
  linux: Linux,
  options: OpenSwapOptions,
  engine: Omit<EngineOptions, 'processor'>,
): TransparentSwap | string {
  if (linux.pageBytes !== PAGE_BYTES)
    return `this kernel has pages of ${linux.pageBytes} bytes, not 4096`;
  const control = new ControlBlock(linux);
  control.swapStats[SwapStat.sharedPages] = engine.sharedPages;
  const processor = options.sameCore === true ? shareProcessor(linux) : null;
  const data: FaultThreadData = {
    shared: control.shared,
    options: { ...engine, processor },
  };
  const worker = new Worker(new URL('../memory/fault-thread.cjs', import.meta.url), {
    workerData: data,
    execArgv: [],
    name: 'frontswap faults',
  });
  const problems = new Problems();
  forwardProblems(worker, control, problems, () => swapStatsOf(control.swapStats));
  worker.unref();
  if (!control.waitForStart(START_MS_MAX)) {
    void worker.terminate();
    return `the fault thread did not start within ${START_MS_MAX / 1000} s`;
  }
  if (control.state !== EngineState.failed)
    return new TransparentSwap(linux, new Caller(linux, control), problems);
  const optionError = parseError(control.reason);
  if (optionError === null) return control.reason;
  throw optionError;
}

/** Pins this thread to the processor that it runs on; returns that processor. */
function shareProcessor(linux: Linux): number {
  const affinity = new Affinity(linux);
  const processor = affinity.current();
  affinity.pin([processor]);
  return processor;
}

/**
 * Joins the swap that another thread of this process opened, so that this thread can map regions in it.
 * @param shared `swap.control` of that thread's swap
 * @throws SwapError ERR_ARG_VALUE: not a control block; ERR_IO_ENDED: the swap or the process has ended;
 * ERR_IO_UNSUPPORTED
 */
export function joinSwap(shared: SharedArrayBuffer): MemorySwap {
  checkControl(shared, 'joinSwap(control)', 'control of a swap');
  return new ControlBlock(null, shared).join(() => {
    const { linux, reason } = loadLinux();
    if (linux === null) throw unsupported(reason);
    const caller = new Caller(linux, new ControlBlock(linux, shared));
    return memorySwap(new TransparentSwap(linux, caller, null));
  });
}

/**
 * Returns the region of a handle in this thread. Disposing of it here does nothing: the thread that mapped it owns it.
 * @throws SwapError ERR_ARG_VALUE: not a handle; ERR_IO_ENDED: the region or the process has ended; ERR_IO_UNSUPPORTED
 */
export function attachRegion(handle: RegionHandle): SwapRegion {
  checkControl(handle?.control, 'attachRegion(handle)', 'handle of a region');
  return new ControlBlock(null, handle.control).join(() => attach(handle));
}

function attach(handle: RegionHandle): SwapRegion {
  const { linux, reason } = loadLinux();
  if (linux === null) throw unsupported(reason);
  const caller = new Caller(linux, new ControlBlock(linux, handle.control));
  if (handle.memory === null) caller.call(CallOp.attach, handle.id);
  const buffer = handle.memory ?? viewRegion(caller, new Mapping(linux), handle);
  return swapRegion({ caller, handle, buffer: () => buffer, isAdopted: false, end: () => {} });
}

function unsupported(reason: string): SwapError {
  return new SwapError(
    'ERR_IO_UNSUPPORTED',
    `memory cannot be paged here: ${reason}; \`frontswap doctor\` says what to change; array() works without userfaultfd`,
    { reason },
  );
}

/** ES2024's growable SharedArrayBuffer: Node 20 has it, the types of es2023 do not. */
interface GrowableShared extends SharedArrayBuffer {
  grow(bytes: number): void;
}
const Growable = SharedArrayBuffer as unknown as new (
  bytes: number,
  options: { readonly maxByteLength: number },
) => GrowableShared;

/** A growable buffer is page-aligned, unlike one of fixed length, and uses memory only where it is accessed. */
function growShared(bytes: number): SharedArrayBuffer {
  const memory = new Growable(0, { maxByteLength: bytes });
  memory.grow(bytes);
  return memory;
}
