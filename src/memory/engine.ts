/**
 * The engine of the memory interface: tiers, pager, userfaultfd and regions. The fault thread runs it. It serves page faults
 * and the calls of the program's threads (control-block.ts). Only step() waits.
 *
 *   step():  poll(userfaultfd, doorbell) ─▶ faults ─▶ calls ─▶ one batch of the background pass ─▶ statistics
 *
 * Long calls (evict, prefetch, discard of a large range) serve faults between their batches.
 */
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { Affinity } from '../os/linux/affinity.ts';
import { type EventFd, openEventFd } from '../os/linux/eventfd.ts';
import { Mapping } from '../os/linux/mapping.ts';
import { Poller, Ready } from '../os/linux/poll.ts';
import { Process } from '../os/linux/process.ts';
import { Semaphores } from '../os/linux/semaphore.ts';
import type { Linux } from '../os/linux/system-call.ts';
import { UffdEvent } from '../os/linux/uffd-constants.ts';
import type { Userfaultfd } from '../os/linux/userfaultfd.ts';
import type { NativeFaults } from '../os/native-faults.ts';
import { RangeResult } from '../pager/ops.ts';

import type { Pager } from '../pager/pager.ts';
import { type Region, tableBytes } from '../pager/region.ts';
import { ResidentSet } from '../pager/resident-set.ts';
import type { SwapInResult } from '../swap/swap.ts';
import { Backing } from './backing.ts';
import { callResultOf, isCallerError } from './call-results.ts';
import {
  CallOp,
  CallResult,
  type ControlBlock,
  EngineState,
  regionIndex,
  SEMAPHORES_AT,
  THREADS_MAX,
} from './control-block.ts';
import type { EngineOptions } from './engine-options.ts';
import { EngineProblems } from './engine-problems.ts';
import { EngineThreads } from './engine-threads.ts';
import { EngineWatch } from './engine-watch.ts';
import { FrozenThreads } from './frozen-threads.ts';
import { type LiveRegion, LiveRegions, type NewRegion, RegionOrigin } from './live-regions.ts';
import { fileBytes, NativeEngine, RangeOwner, statesBytes } from './native-engine.ts';
import { NativeMemory } from './native-memory.ts';
import { PresentPages } from './present-pages.ts';
import { writeRegionStats, writeSwapStats } from './stats.ts';
import { Tiers } from './tiers.ts';

/** Longest poll, and longest poll while the process exits: the fault thread stops within that time. */
const IDLE_MS = 250;
const EXITING_MS = 2;
/** Statistics are written every this many steps, and when idle. */
const PUBLISH_MASK = 31;
/** Statistics are also written after a step that processed this many reports of native code. */
const PUBLISH_SERVED = 1024;
/** Number of idle polls before compaction starts. */
const COMPACT_AFTER = 2;
/** Number of pages of a range processed between two checks for faults. */
const SLICE_PAGES = 128;

/** Position of the threads' pipes in the poller's table; number 0 has none. */
const THREADS_POLL_AT = 2;

export class Engine {
  readonly pager: Pager;
  readonly problems: EngineProblems;
  readonly #control: ControlBlock;
  /** Null: native code serves faults, and the regions are memory files. */
  readonly #uffd: Userfaultfd | null;
  readonly #mapping: Mapping;
  readonly #backing: Backing;
  readonly #present: PresentPages;
  readonly #tiers: Tiers;
  readonly #shared: ResidentSet<Region> | null;
  readonly #doorbell: EventFd;
  readonly #poller: Poller;
  readonly #regions: LiveRegions;
  /** Null: this thread serves faults. */
  readonly #native: NativeEngine | null;
  readonly #watch: EngineWatch | null;
  readonly #threads: EngineThreads;
  readonly #frozen = new FrozenThreads(() => this.#doorbell.signal());
  #idlePolls = 0;
  #steps = 0;
  #hasMoreWork = false;
  #isEnded = false;

  /** @param native serves faults; null: this thread does */
  constructor(
    linux: Linux,
    uffd: Userfaultfd | null,
    control: ControlBlock,
    options: EngineOptions,
    native: NativeFaults | null,
  ) {
    this.#control = control;
    this.#regions = new LiveRegions(control);
    control.thread = new Process(linux).threadId();
    this.#uffd = uffd;
    this.#mapping = new Mapping(linux);
    this.#backing = new Backing(linux, this.#mapping, uffd);
    this.#present = new PresentPages(linux, this.#mapping);
    const { canPoison, frames } = this.#backing;
    this.problems = new EngineProblems(control, new Process(linux), this.#regions, canPoison);
    const onLost = (region: Region, page: number, reason: SwapInResult): void =>
      this.problems.addLost(region, page, reason);
    this.#tiers = new Tiers(options, { frames: frames.bytes, onLost }, true, (number, view) =>
      this.#native?.control.addShard(number, view),
    );
    this.pager = this.#tiers.pager;
    this.#shared = options.sharedPages === 0 ? null : new ResidentSet<Region>(options.sharedPages);
    // A descriptor of the process, not of this worker: otherwise a caller could ring the descriptor of another file.
    this.#doorbell = openEventFd(linux);
    this.#native =
      native === null
        ? null
        : new NativeEngine(linux, this.#mapping, this.#backing, {
            native,
            path: control.faultPath,
            isGuarded: !options.isOfMain,
            followsFaults: options.processor !== null,
            zeroMap: this.#tiers.zeroMap,
            fileAreas: this.#tiers.fileAreas,
            isTimed: options.watch !== null,
          });
    control.nativeAt = this.#native?.control.at ?? 0;
    this.pager.shared.arrivals = this.#native?.control ?? null;
    if (options.processor !== null && native === null) new Affinity(linux).pin([options.processor]);
    this.#poller = new Poller(
      linux,
      [this.#native?.bell.fd ?? uffd!.fd, this.#doorbell.fd],
      Ready.readable,
      THREADS_POLL_AT + THREADS_MAX,
    );
    const semaphores = new Semaphores(linux, control.shared, SEMAPHORES_AT);
    this.#threads = new EngineThreads(linux, semaphores, this.#poller, THREADS_POLL_AT);
    control.doorbell = this.#doorbell.fd;
    this.#watch = options.watch === null ? null : new EngineWatch(linux, options.watch);
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Waits for faults and calls, and serves them. */
  step(): void {
    const ready = this.#poller.wait(this.#pollTimeout());
    const isQuiet = ready <= 0 && !this.#hasMoreWork;
    const isDue = isQuiet || (++this.#steps & PUBLISH_MASK) === 0;
    const served = ready > 0 && this.#poller.readiness(0) !== 0 ? this.#serveFaults() : 0;
    const haveEnded = this.#threads.hasEnded(isDue);
    // Serve the calls of a thread before its end.
    if (haveEnded || (ready > 0 && this.#poller.readiness(1) !== 0)) this.#serveCalls();
    if (haveEnded) this.#endThreads();
    this.#hasMoreWork = this.pager.background(isQuiet);
    this.#native?.follow(this.pager, this.#hasMoreWork);
    this.#idlePolls = isQuiet ? this.#idlePolls + 1 : 0;
    if (this.#idlePolls === COMPACT_AFTER && this.#tiers.compactIdle())
      this.#idlePolls = COMPACT_AFTER - 1;
    if (isDue || served > PUBLISH_SERVED) this.#publish();
    this.#recordSample();
  }

  #pollTimeout(): number {
    if (this.#hasMoreWork) return 0;
    if (this.#control.isExiting) return EXITING_MS;
    return this.#watch?.timeout(IDLE_MS, this.#native !== null) ?? IDLE_MS;
  }

  #recordSample(): void {
    if (this.#watch === null || !this.#watch.isDue()) return;
    this.#native?.syncAll(this.pager, this.#watch);
    writeSwapStats(this.#control.swapStats, this.#tiers);
    this.#watch.record(this.#control.swapStats);
  }

  /** Returns the number of faults, or of reports of native code. */
  #serveFaults(): number {
    if (this.#native !== null) {
      this.#native.bell.take();
      const arrived = this.pager.shared.drain();
      this.#tiers.maintain(arrived);
      return arrived;
    }
    const uffd = this.#uffd!;
    const count = uffd.readMessages();
    this.#watch?.beginFaults();
    for (let i = 0; i < count; i++) {
      if (uffd.event(i) !== UffdEvent.fault) continue;
      const address = uffd.faultAddress(i);
      const live = this.#regions.atAddress(address);
      if (live === null) {
        uffd.wake(address, PAGE_BYTES); // the region has ended since the fault
        continue;
      }
      const page = Math.floor((address - live.memory.address) / PAGE_BYTES);
      this.pager.fault(live.region, page, uffd.faultFlags(i));
    }
    this.#watch?.endFaults();
    this.#tiers.maintain(count);
    return count;
  }

  #serveCalls(): void {
    this.#doorbell.take();
    const control = this.#control;
    for (let slot = control.nextPosted(0); slot !== -1; slot = control.nextPosted(slot + 1)) {
      if (this.#frozen.isDeferred(control.op(slot))) continue;
      try {
        const result = this.#perform(slot);
        this.#publish();
        control.finish(slot, result);
      } catch (error) {
        if (!isCallerError(error, control.op(slot))) throw error;
        control.finish(slot, CallResult.failed, `${error.code}: ${error.message}`);
      }
    }
  }

  #perform(slot: number): CallResult {
    const op = this.#control.op(slot);
    const id = this.#control.region(slot);
    const numbers = this.#control.numbers(slot);
    // A view may be garbage-collected after the engine has ended.
    if (this.#isEnded && op !== CallOp.end && op !== CallOp.detach)
      throw new SwapError('ERR_IO_ENDED', 'the swap has been disposed of');
    if (op === CallOp.end) return this.#end();
    if (op === CallOp.map) return this.#map(numbers);
    if (op === CallOp.adopt) return this.#adopt(id, numbers, RegionOrigin.wasm);
    if (op === CallOp.adoptBuffer) return this.#adopt(id, numbers, RegionOrigin.malloc);
    if (op === CallOp.enter) return this.#enter(numbers);
    if (op === CallOp.arm) return this.#arm(id);
    if (op === CallOp.freeze || op === CallOp.thaw) return this.#freeze(id, op === CallOp.freeze);
    if (op === CallOp.detach) return this.#detach(id, numbers);
    if (op === CallOp.forget && !this.#regions.has(id)) return CallResult.ok; // #adopt() was first
    const live = this.#regions.get(id);
    if (op === CallOp.attach) {
      this.#control.countViews(id, 1);
      return CallResult.ok;
    }
    if (op === CallOp.dispose) return this.#dispose(live, numbers[0] === 1);
    if (op === CallOp.forget) return this.#forgetRegion(live);
    const from = numbers[0]!;
    const to = numbers[1]!;
    if (!(from >= 0 && from <= to && to <= live.region.pages))
      throw new SwapError('ERR_ARG_VALUE', 'the range is not inside the region');
    return this.#onRange(op, live.region, from, to, numbers);
  }

  #onRange(
    op: CallOp,
    region: Region,
    from: number,
    to: number,
    numbers: Float64Array,
  ): CallResult {
    if (op === CallOp.pin || op === CallOp.unpin) {
      let result: RangeResult = RangeResult.done;
      if (op === CallOp.pin) {
        this.#native?.pinning(region, from, to);
        result = this.pager.pin(region, from, to);
      } else this.pager.unpin(region, from, to);
      this.#native?.pinned(region, from, to);
      return callResultOf(result);
    }
    let done = 0;
    for (let at = from; at < to; ) {
      const end = Math.min(to, at + SLICE_PAGES);
      if (op === CallOp.evict) done += this.pager.evict(region, at, end);
      else if (op === CallOp.prefetch) done += this.pager.prefetch(region, at, end);
      else {
        assert(op === CallOp.discard, 'op is a CallOp');
        this.pager.discard(region, at, end);
      }
      at = end;
      this.#serveFaults();
      this.#recordSample();
    }
    this.#tiers.maintain(to - from);
    numbers[0] = done;
    return CallResult.ok;
  }

  /**
   * Arguments: bytes; budget, pages, 0 = the shared one; address, 0 = any. Results: id, address.
   */
  #map(numbers: Float64Array): CallResult {
    const bytes = numbers[0]!;
    const id = this.#regions.freeId();
    const address = this.#reserve(bytes, numbers[2]!);
    // The kernel chose this address, so any older region there was unmapped, even if that is not reported yet.
    let dead = this.#regions.overlapping(address, bytes);
    for (; dead !== null; dead = this.#regions.overlapping(address, bytes))
      this.#forgetRegion(dead);
    const origin = RegionOrigin.mapped;
    const region = this.#add({ id, address, bytes, setPages: numbers[1]!, origin, thread: 0 });
    this.#native?.mapFile(region, [], region.pages);
    if (numbers[2] === 0) this.#control.countViews(id, 1); // the caller's view
    numbers[0] = id;
    numbers[1] = address;
    return CallResult.ok;
  }

  /** Arguments: thread id, root. Results: the thread's number, its end of the pipe. */
  #enter(numbers: Float64Array): CallResult {
    const { thread, writeFd } = this.#threads.enter(numbers[0]!, numbers[1]!);
    numbers[0] = thread;
    numbers[1] = writeFd;
    return CallResult.ok;
  }

  #arm(thread: number): CallResult {
    this.#threads.arm(thread);
    this.#control.armedRoots = this.#threads.armedRoots;
    return CallResult.ok;
  }

  /** Several threads may collect garbage at the same time. */
  #freeze(thread: number, isFrozen: boolean): CallResult {
    this.#frozen.set(thread, isFrozen);
    this.pager.isFrozen = this.#frozen.isAny;
    if (this.#native !== null) this.#native.isFrozen = this.pager.isFrozen;
    return CallResult.ok;
  }

  /** Ends the regions of threads that the last hasEnded() found; the memory stays mapped until the thread is released. */
  #endThreads(): void {
    this.#threads.release((thread) => {
      // V8 will free the memory of each region, or has freed it: the thread may have ended while it collected garbage.
      for (const live of this.#regions.all.filter((other) => other.thread === thread))
        this.#forgetRegion(live);
      this.#freeze(thread, false);
    });
    this.#control.armedRoots = this.#threads.armedRoots;
    this.#publish();
  }

  /**
   * Arguments: bytes; budget, pages, 0 = the shared one; address; bytes in use. Results: id, address.
   */
  #adopt(thread: number, numbers: Float64Array, origin: RegionOrigin): CallResult {
    this.#threads.checkArmed(thread);
    const bytes = numbers[0]!;
    const address = numbers[2]!;
    let other = this.#regions.overlapping(address, bytes);
    // Another thread is collecting garbage and has not called `forget` yet.
    for (; other !== null && other.thread !== thread && this.#frozen.has(other.thread); ) {
      this.#forgetRegion(other);
      other = this.#regions.overlapping(address, bytes);
    }
    if (other !== null)
      throw new SwapError(
        'ERR_ARG_VALUE',
        'adopt(): this memory is already paged; regionOf() returns its region',
      );
    const id = this.#regions.freeId();
    const region = this.#add({ id, address, bytes, setPages: numbers[1]!, origin, thread });
    // Pages that the program has already written are resident and count.
    try {
      const present: number[] = [];
      this.#present.find(address, numbers[3]!, (page) => present.push(page));
      this.#native?.mapFile(region, present, numbers[3]! / PAGE_BYTES);
      for (const page of present) this.pager.adopt(region, page);
    } catch (error) {
      this.#dispose(this.#regions.get(id), false); // no page has been evicted, so it is ordinary memory again
      throw error;
    }
    numbers[0] = id;
    numbers[1] = address;
    return CallResult.ok;
  }

  #add({ id, address, bytes, setPages, origin, thread }: NewRegion): Region {
    const set = setPages === 0 ? this.#shared : new ResidentSet<Region>(setPages);
    assert(set !== null, 'the region has its own or a shared budget');
    const pages = bytes / PAGE_BYTES;
    const tables = this.#mapping.reserve(this.#tableBytes(pages));
    const view = this.#mapping.viewOf(tables, this.#tableBytes(pages));
    const number = regionIndex(id);
    const own = setPages === 0 ? 0 : number;
    const statesAt = tableBytes(pages);
    const states = { address: tables + statesAt, bytes: new Uint8Array(view, statesAt) };
    const parts = { number, address, pages, tables, states, set: own, marks: set };
    const memory = this.#native?.add(parts) ?? this.#backing.register(address, pages, this.#uffd!);
    const region = this.pager.add(memory, set, view);
    if (memory instanceof NativeMemory) {
      this.#native!.know(region, memory, own);
      this.pager.shared.add(number, region);
    }
    const stats = this.#control.regionStats(id).fill(0);
    this.#regions.add({ id, region, memory, tables, origin, thread, stats });
    return region;
  }

  /** A view of memory that the engine mapped was garbage-collected. The last view ends the region and unmaps it. */
  #detach(id: number, numbers: Float64Array): CallResult {
    if (this.#control.countViews(id, -1) > 0) return CallResult.ok;
    if (this.#regions.has(id)) this.#dispose(this.#regions.get(id), false);
    this.#mapping.unmap(numbers[0]!, numbers[1]!);
    return CallResult.ok;
  }

  /** Maps zeroed memory, at an address that the kernel chooses or over the caller's mapping. */
  #reserve(bytes: number, address: number): number {
    if (address === 0) return this.#mapping.reserve(bytes);
    this.#mapping.mapAnonymous(address, bytes);
    return address;
  }

  /** @param swapsIn true: the memory stays in use, unpaged, so its pages are swapped in first */
  #dispose(live: LiveRegion, swapsIn: boolean): CallResult {
    if (swapsIn) {
      const result = this.pager.swapInAll(live.region);
      if (result !== RangeResult.done) return callResultOf(result);
    }
    const { memory } = live;
    this.#remove(live, RangeOwner.region);
    // Threads that wait in a fault retry the access without userfaultfd. From now on views of a mapped region read zeros.
    if (this.#native === null) memory.unregister();
    if (live.origin === RegionOrigin.mapped)
      this.#mapping.mapAnonymous(memory.address, memory.pages * PAGE_BYTES);
    return CallResult.ok;
  }

  /** V8 frees the region's memory, or has freed it: its addresses may have a new owner and must not be accessed. */
  #forgetRegion(live: LiveRegion): CallResult {
    // free(3) may keep the pages for the next malloc(3), and accessing those must not fault here.
    const isMalloc = live.origin === RegionOrigin.malloc;
    this.#remove(live, isMalloc ? RangeOwner.allocator : RangeOwner.other);
    if (this.#native === null && isMalloc) live.memory.unregisterFreed();
    return CallResult.ok;
  }

  /** Frees the region's stored pages and tables. Does not access its memory. */
  #remove(live: LiveRegion, owner: RangeOwner): void {
    if (this.#native !== null) {
      this.#native.detach(live.region, owner);
      this.pager.shared.remove(live.region); // its last reports are not needed
      this.pager.shared.drain(); // before the number is used again
      this.#native.sync(live.region, this.pager.counters);
      this.#native.forget(live.region);
    }
    this.pager.remove(live.region);
    this.#regions.remove(live);
    live.stats.fill(0);
    this.#mapping.unmap(live.tables, this.#tableBytes(live.memory.pages));
  }

  /** Bytes of a region's tables, including the states that native code shares. */
  #tableBytes(pages: number): number {
    if (this.#native === null) return tableBytes(pages);
    return tableBytes(pages) + statesBytes(pages) + (this.#uffd === null ? fileBytes(pages) : 0);
  }

  #end(): CallResult {
    if (this.#isEnded) return CallResult.ok; // a second call, posted before the first completed
    for (const live of [...this.#regions.all]) {
      const result = this.#dispose(live, live.origin !== RegionOrigin.mapped);
      if (result !== CallResult.ok) return result;
    }
    this.#threads.close();
    this.#control.armedRoots = [];
    this.#native?.stop();
    this.#tiers[Symbol.dispose]();
    this.#present.close();
    this.#backing.close();
    this.#isEnded = true;
    return CallResult.ok;
  }

  #publish(): void {
    this.#native?.syncAll(this.pager, this.#watch);
    writeSwapStats(this.#control.swapStats, this.#tiers);
    // Faults that native code serves free slots ahead of eviction: until that has caught up, the store only seems to
    // have space.
    if (this.#native === null || !this.#hasMoreWork) this.problems.report(this.#tiers);
    const live = this.#regions.all;
    for (let i = 0; i < live.length; i++) writeRegionStats(live[i]!.stats, live[i]!.region);
  }

  /** Closes the doorbell. Call it only after the state is `ended`: callers must not ring a reused descriptor. */
  close(): void {
    this.#doorbell.close();
  }

  /** Publishes the first statistics and marks the engine as running. */
  announce(): void {
    this.#publish();
    this.#control.state = EngineState.running;
  }
}
