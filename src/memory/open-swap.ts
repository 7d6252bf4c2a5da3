/**
 * Memory larger than RAM: openSwap() starts a fault thread, map() returns memory that is only partly resident, and adopt()
 * pages an existing WebAssembly memory or ArrayBuffer.
 *
 *     const swap = openSwap({ frontswap: { limitBytes: 512 * MiB } });
 *     const region = swap.map({ bytes: 4 * GiB, residentBytes: 256 * MiB });
 *     const numbers = new Float64Array(region.buffer);
 *
 * Needs Linux, with userfaultfd or native code. Elsewhere map() and adopt() throw, and array() pages with explicit calls.
 */
import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';
import { SwapError } from '../base/errors.ts';
import { checkInteger, checkOptions } from '../base/options.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { Mapping } from '../os/linux/mapping.ts';
import { type Linux, type LoadedLinux, loadLinux } from '../os/linux/system-call.ts';
import { usableMemory } from '../os/linux/usable-memory.ts';
import { loadNativeFaults } from '../os/native-faults.ts';
import { AddressBlocks } from './address-blocks.ts';
import {
  addAdopted,
  addAdoptedBuffer,
  adoptedRegion,
  followTransfers,
  refuseAdopted,
  removeAdopted,
} from './adopted.ts';
import { bufferPages, isBuffer } from './array-buffer.ts';
import { runAtExit } from './at-exit.ts';
import { watchTransfers } from './buffer-transfers.ts';
import { Caller } from './caller.ts';
import { CollectedMemories } from './collected-memories.ts';
import {
  CallOp,
  ControlBlock,
  EngineState,
  nameOf,
  RegionStat,
  SwapStat,
} from './control-block.ts';
import type { WatchOptions } from './engine-watch.ts';
import {
  type AdoptOptions,
  type FaultsMode,
  type MapOptions,
  type MemorySwap,
  memorySwap,
  type SwapOps,
} from './memory-swap.ts';
import { bytesOfBuffer } from './native-getters.ts';
import { type ArrayOptions, type PagedArray, regionArray } from './paged-array.ts';
import type { Problems } from './problem.ts';
import { type RegionHandle, type SwapRegion, swapRegion, viewRegion } from './region.ts';
import { growShared } from './shared-buffer.ts';
import { startFaultThread } from './start-fault-thread.ts';
import { type SwapStats, swapStatsOf } from './stats.ts';
import type { DeviceOptions } from './swap-file.ts';
import {
  checkControl,
  checkDevices,
  checkMemory,
  faultsOf,
  regionBytes,
  residentPages,
  tmemOf,
} from './swap-options.ts';
import { enterThread } from './thread-entry.ts';
import { ThreadGate } from './thread-gate.ts';
import { type WasmMemory, wasmBuffer, wasmReserve } from './wasm-reserve.ts';

export { unsupportedReason } from './paging-support.ts';

/** Options of `openSwap()`. */
export interface OpenSwapOptions {
  readonly frontswap?: {
    /** Limit of compressed pages and their tables, bytes; 0: none. Default: half of the memory that this process may use. */
    readonly limitBytes?: number;
    /** Tmem socket of a host for pages beyond the limit; requires faults 'javascript'. Default: none. */
    readonly tmem?: string;
  };
  /** Swap files for pages that compressed RAM refuses. Default: none; such pages stay in memory. */
  readonly devices?: readonly DeviceOptions[];
  /** Resident budget, bytes, shared by all regions without their own budget. */
  readonly residentBytes?: number;
  /**
   * True: pins this thread and the thread that serves its faults to one processor. In a virtual machine a single fault then
   * takes a third to a half of the time. With `faults: 'javascript'` compression no longer runs in parallel with the program.
   * Threads and child processes started later inherit the setting. Default false.
   */
  readonly sameCore?: boolean;
  /**
   * Who serves page faults. `javascript`: the fault thread; no thread may wait for it while it holds a lock of V8, so do not
   * use it for memory that threads wait on (Atomics.wait). `thread`: native code on a separate thread. `signal`: native code on
   * the faulting thread (SIGBUS); a system call on evicted memory fails with EFAULT, so call pin() first. `memfd`: the same
   * without userfaultfd, used if there is none; it cannot page ArrayBuffers. If native code cannot be loaded, JavaScript serves
   * faults. Default: FRONTSWAP_FAULTS, else `javascript` (`frontswap/register`: else `thread`).
   */
  readonly faults?: FaultsMode;
  /** False: do not use userfaultfd; only array() works, on this thread. Default true. */
  readonly transparent?: boolean;
}

/**
 * The region of a memory or an ArrayBuffer that adopt() or register has paged, for pin, prefetch, evict and discard. Null: not
 * paged.
 */
export function regionOf<Memory extends WasmMemory>(
  memory: Memory,
): SwapRegion<Memory['buffer']> | null;
export function regionOf(buffer: ArrayBuffer): SwapRegion<ArrayBuffer> | null;
export function regionOf(memory: object): SwapRegion | null {
  return adoptedRegion(memory);
}

class TransparentSwap implements SwapOps {
  readonly transparent = true;
  readonly reason = '';
  readonly #linux: Linux;
  readonly #mapping: Mapping;
  readonly #caller: Caller;
  readonly #isOwner: boolean;
  /** Number of a worker thread that may adopt memory (engine-threads.ts); 0: the owner, or a thread that may not. */
  readonly #thread: number;
  /** Shared memories, by number of region: they must not be collected while they are paged. */
  readonly #sharedMemories = new Map<number, object>();
  readonly #adopted: CollectedMemories;
  readonly #regions = new Map<number, WeakRef<SwapRegion>>();
  readonly #blocks = new AddressBlocks();
  readonly #cancelExit: () => void;
  readonly #problems: Problems | null;
  #isEnded = false;

  /** @param problems problems of the engine that this thread started; null: another thread started it */
  constructor(linux: Linux, caller: Caller, problems: Problems | null, thread = 0) {
    const isOwner = problems !== null;
    this.#thread = thread;
    this.#problems = problems;
    this.#linux = linux;
    this.#mapping = new Mapping(linux);
    this.#caller = caller;
    this.#isOwner = isOwner;
    const onExit = (): void => {
      const gate = new ThreadGate(caller.control.shared);
      gate.setExiting();
      caller.ring();
      const { nativeAt } = caller.control;
      if (nativeAt !== 0) loadNativeFaults().native?.guard(nativeAt);
      gate.waitForJoins();
    };
    this.#adopted = new CollectedMemories({
      bytesOf: (id) => {
        const stats = caller.control.regionStats(id);
        return (stats[RegionStat.resident]! + stats[RegionStat.stored]!) * PAGE_BYTES;
      },
      freeze: () => void caller.call(CallOp.freeze, thread),
      thaw: () => void caller.call(CallOp.thaw, thread),
      forget: (id) => {
        caller.call(CallOp.forget, id);
        this.#regions.delete(id);
        this.#blocks.remove(id);
      },
    });
    if (thread !== 0) this.#adopted.prepare();
    this.#cancelExit = isOwner ? runAtExit(onExit) : () => {};
    if (!isOwner && thread === 0) return; // this thread adopts no buffers
    // Do this now instead of with the first buffer: the program may store the transfer functions in variables.
    watchTransfers(followTransfers);
  }

  /** For joinSwap() in other threads. */
  get control(): SharedArrayBuffer {
    return this.#caller.control.shared;
  }

  get faults(): FaultsMode {
    return nameOf(this.#caller.control.faultPath);
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
    if (this.#thread === 0) this.#checkOwner('an adopted memory');
    return this.#adopted.holding(memory, () =>
      isBuffer(memory) ? this.#adoptBuffer(memory, options) : this.#adoptMemory(memory, options),
    );
  }

  #adoptMemory(memory: WasmMemory, options: AdoptOptions): SwapRegion {
    const buffer = checkMemory(memory);
    // It may outlive this thread.
    if (buffer instanceof SharedArrayBuffer) this.#checkOwner('an adopted shared memory');
    const address = this.#linux.addressOf(new Uint8Array(buffer, 0, 0));
    refuseAdopted(memory);
    const bytes = wasmReserve(memory, address);
    const pages = this.#budget(options.residentBytes);
    const { a: id } = this.#caller.call(
      CallOp.adopt,
      this.#thread,
      bytes,
      pages,
      address,
      buffer.byteLength,
    );
    const handle = { control: this.#caller.control.shared, id, address, bytes, memory: null };
    const region: SwapRegion = swapRegion({
      caller: this.#caller,
      handle,
      buffer: () => wasmBuffer(memory),
      isAdopted: true,
      end: () => {
        this.#dispose(id, true);
        removeAdopted(memory, region);
      },
    });
    this.#regions.set(id, new WeakRef(region));
    addAdopted(memory, region);
    this.#blocks.add(id, address, bytes);
    if (buffer instanceof SharedArrayBuffer) this.#sharedMemories.set(id, memory);
    else this.#adopted.reference(id, memory);
    return region;
  }

  #adoptBuffer(given: ArrayBufferLike, options: AdoptOptions): SwapRegion {
    const at = this.#linux.addressOf(given);
    const { address, bytes, headBytes } = bufferPages(given, at, this.faults);
    const pages = this.#budget(options.residentBytes);
    const { a: id } = this.#caller.call(
      CallOp.adoptBuffer,
      this.#thread,
      bytes,
      pages,
      address,
      bytes,
    );
    let owner = given as ArrayBuffer; // bufferPages() has checked it
    const region: SwapRegion = swapRegion<ArrayBuffer>({
      caller: this.#caller,
      handle: { control: this.#caller.control.shared, id, address, bytes, memory: null },
      buffer: () => owner,
      isAdopted: true,
      bytes: bytesOfBuffer(owner),
      headBytes,
      end: () => {
        this.#dispose(id, true);
        removeAdopted(owner, region);
      },
    });
    this.#regions.set(id, new WeakRef(region));
    this.#blocks.add(id, address, bytes);
    const own = (buffer: ArrayBuffer): void => {
      owner = buffer;
      addAdoptedBuffer(buffer, region, own);
      this.#adopted.reference(id, buffer);
    };
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
    // The call completes shortly before the engine's state changes: do not send it twice.
    if (!this.#isOwner || this.#isEnded) return;
    if (this.#caller.control.state !== EngineState.running) return;
    const { regions } = this;
    this.#caller.call(CallOp.end, 0);
    this.#isEnded = true;
    for (const region of regions) region[Symbol.dispose]();
    this.#sharedMemories.clear();
    this.#adopted.clear();
    this.#blocks.clear();
    this.#regions.clear();
    this.#cancelExit();
  }

  /** @param swapsIn true: the memory stays in use, so its pages are swapped in first */
  #dispose(id: number, swapsIn: boolean): void {
    try {
      if (!this.#isEnded && this.#caller.control.state === EngineState.running)
        this.#caller.call(CallOp.dispose, id, swapsIn ? 1 : 0);
    } catch (error) {
      // Another thread has just closed the swap, which ended the region.
      if (!(error instanceof SwapError && error.code === 'ERR_IO_ENDED')) throw error;
    }
    this.#sharedMemories.delete(id);
    this.#adopted.release(id);
    this.#regions.delete(id);
    this.#blocks.remove(id);
  }

  /** A thread's memory is freed when the thread ends, but paged memory must last as long as the fault thread. */
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
 * Starts the fault thread and waits until it runs, without a turn of the event loop. If memory cannot be paged transparently, a
 * warning says why, and only array() works.
 * @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN; for a device ERR_IO_SWAP_HEADER, ERR_IO_UNSAFE_PATH, ERR_IO_IN_USE,
 * ERR_IO_SYSTEM
 */
export function openSwap(options: OpenSwapOptions = {}): MemorySwap {
  return open(options, null, 'javascript');
}

/** openSwap() for frontswap/register: native code serves faults if it loads. @param watch null: not watched */
export function openWatched(options: OpenSwapOptions, watch: WatchOptions | null): MemorySwap {
  return open(options, watch, 'thread');
}

function open(
  options: OpenSwapOptions,
  watch: WatchOptions | null,
  faultsByDefault: FaultsMode,
): MemorySwap {
  checkOptions(options, 'openSwap(options)', [
    'frontswap',
    'devices',
    'residentBytes',
    'sameCore',
    'faults',
    'transparent',
  ]);
  const { frontswap = {} } = options;
  const faults = faultsOf(options.faults, faultsByDefault, frontswap.tmem !== undefined);
  checkOptions(frontswap, 'openSwap({ frontswap })', ['limitBytes', 'tmem']);
  const { limitBytes = Math.floor(usableMemory().bytes / 2) } = frontswap;
  checkInteger('openSwap({ frontswap })', 'limitBytes', limitBytes, { min: 0 });
  const tiers = {
    limitBytes,
    devices: checkDevices(options.devices ?? []),
    ...tmemOf(frontswap.tmem),
  };
  const sharedPages =
    options.residentBytes === undefined ? 0 : residentPages(options.residentBytes);
  const { linux, reason } = options.transparent === false ? notRequested : loadLinux();
  const started =
    linux === null
      ? reason
      : startFaultThread(
          linux,
          { ...tiers, sharedPages, watch, ...faults, isOfMain: isMainThread },
          options.sameCore === true,
        );
  if (typeof started !== 'string')
    return memorySwap(new TransparentSwap(linux!, started.caller, started.problems));
  const isRequested = options.transparent !== false;
  if (isRequested)
    process.emitWarning(
      `memory cannot be paged transparently: ${started}; \`frontswap doctor\` says what to change`,
      { type: 'FrontswapWarning', code: 'ERR_IO_UNSUPPORTED' },
    );
  return memorySwap(loadExplicit().explicitSwap(tiers, started, isRequested));
}

/**
 * Loads the engine in the caller's thread. Only programs without a fault thread need that; the engine is most of this project's
 * code, and costs 8 MB and 50 ms.
 */
function loadExplicit(): typeof import('./explicit-swap.ts') {
  return createRequire(import.meta.url)('../memory/explicit-swap.js');
}

const notRequested: LoadedLinux = { linux: null, reason: 'transparent is false' };

/**
 * Joins the swap that another thread of this process opened, so that this thread can map regions in it.
 * @param shared `swap.control` of that thread's swap
 * @throws SwapError ERR_ARG_VALUE: not a control block; ERR_IO_ENDED: the swap or the process has ended;
 * ERR_IO_UNSUPPORTED
 */
export function joinSwap(shared: SharedArrayBuffer): MemorySwap {
  checkControl(shared, 'joinSwap(control)', 'control of a swap');
  return new ThreadGate(shared).join([], () => join(shared, () => 0));
}

/**
 * joinSwap() for frontswap/register in a worker thread; the thread can then adopt memory. Call it in ThreadGate.join().
 * @param root Node's id of the ancestor that the main thread started
 */
export function joinThread(shared: SharedArrayBuffer, root: number): MemorySwap {
  return join(shared, (linux, caller) => enterThread(linux, caller, root));
}

/** Ids of the workers that have paged memory, or started a thread that has. */
export const armedRoots = (shared: SharedArrayBuffer): ReadonlySet<number> =>
  new Set(new ControlBlock(null, shared).armedRoots);

/** Call after these workers were stopped: waits until none has paged memory. False: one still has. */
export const waitForThreads = (shared: SharedArrayBuffer): boolean =>
  new ControlBlock(loadLinux().linux, shared).waitForThreads();

/** Whether page faults of system calls are also served, because the process has the privilege. */
export const servesCalls = (shared: SharedArrayBuffer): boolean =>
  !new ControlBlock(null, shared).isUserModeOnly;

function join(
  shared: SharedArrayBuffer,
  enter: (linux: Linux, caller: Caller) => number,
): MemorySwap {
  const { linux, reason } = loadLinux();
  if (linux === null) throw unsupported(reason);
  const caller = new Caller(linux, new ControlBlock(linux, shared));
  return memorySwap(new TransparentSwap(linux, caller, null, enter(linux, caller)));
}

/**
 * Returns the region of a handle, for use in this thread. Disposing of it here does nothing: the thread that mapped it owns it.
 * @throws SwapError ERR_ARG_VALUE: not a handle; ERR_IO_ENDED: the region or the process has ended; ERR_IO_UNSUPPORTED
 */
export function attachRegion(handle: RegionHandle): SwapRegion {
  checkControl(handle?.control, 'attachRegion(handle)', 'handle of a region');
  return new ThreadGate(handle.control).join([], () => attach(handle));
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
