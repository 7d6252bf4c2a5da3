/**
 * The engine of the memory interface, which the fault thread runs: tiers, pager, userfaultfd and regions. Serves page
 * faults and the calls of the program's threads (control-block.ts). Only step() waits.
 *
 *   step():  poll(userfaultfd, doorbell) ─▶ faults ─▶ calls ─▶ one batch of the background pass ─▶ statistics
 *
 * Long calls (evict, prefetch, discard of a large range) serve faults between their batches.
 */
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { AdviceBatch } from '../os/linux/advice-batch.ts';
import { Affinity } from '../os/linux/affinity.ts';
import { type EventFd, openEventFd } from '../os/linux/eventfd.ts';
import { Mapping } from '../os/linux/mapping.ts';
import { Poller } from '../os/linux/poll.ts';
import { Process } from '../os/linux/process.ts';
import type { Linux } from '../os/linux/system-call.ts';
import { UffdEvent, UffdFeature } from '../os/linux/uffd-constants.ts';
import type { Userfaultfd } from '../os/linux/userfaultfd.ts';
import { RangeResult } from '../pager/ops.ts';
import type { Pager } from '../pager/pager.ts';
import { type Region, tableBytes } from '../pager/region.ts';
import { ResidentSet } from '../pager/resident-set.ts';
import { SwapInResult } from '../swap/swap.ts';
import {
  CallOp,
  CallResult,
  type ControlBlock,
  EngineState,
  regionIndex,
} from './control-block.ts';
import { EngineWatch, type WatchOptions } from './engine-watch.ts';
import { type LiveRegion, LiveRegions, RegionOrigin } from './live-regions.ts';
import { PresentPages } from './present-pages.ts';
import { writeRegionStats, writeSwapStats } from './stats.ts';
import { lossReason, type TierOptions, Tiers } from './tiers.ts';
import type { LostPage, ProblemReport } from './tiers-problem.ts';
import { UffdFrames, UffdMemory } from './uffd-memory.ts';

export const REQUIRED_FEATURES: number = UffdFeature.faultFlagWriteProtect;
export const OPTIONAL_FEATURES: number = UffdFeature.poison;

export interface EngineOptions extends TierOptions {
  /** Resident budget shared by the regions without their own, pages; 0: each region has its own. */
  readonly sharedPages: number;
  /** The processor that the fault thread runs on; null: any. */
  readonly processor: number | null;
  /** Null: neither samples nor lines on stderr. */
  readonly watch: WatchOptions | null;
}

/** Longest poll, and longest poll while the process exits: the fault thread stops within this time. */
const IDLE_MS = 250;
const EXITING_MS = 2;
/** Statistics are written once in this many steps, and when idle. */
const PUBLISH_MASK = 31;
/** Idle polls before compaction starts. */
const COMPACT_AFTER = 2;
/** Pages of a range that are processed between two checks for faults. */
const SLICE_PAGES = 128;

export class Engine {
  readonly pager: Pager;
  readonly #control: ControlBlock;
  readonly #uffd: Userfaultfd;
  readonly #mapping: Mapping;
  readonly #process: Process;
  readonly #frames: UffdFrames;
  readonly #drops: AdviceBatch;
  readonly #present: PresentPages;
  readonly #tiers: Tiers;
  readonly #shared: ResidentSet<Region> | null;
  readonly #doorbell: EventFd;
  readonly #poller: Poller;
  readonly #regions: LiveRegions;
  readonly #watch: EngineWatch | null;
  #idlePolls = 0;
  #steps = 0;
  #hasMoreWork = false;
  /** Problems in the last report to the program. */
  #problem = 0;
  #lost: LostPage[] = [];
  /** Called with problems that have not been reported yet. */
  onProblem: (report: ProblemReport) => void = () => {};
  #isEnded = false;

  constructor(linux: Linux, uffd: Userfaultfd, control: ControlBlock, options: EngineOptions) {
    this.#control = control;
    this.#regions = new LiveRegions(control);
    control.thread = new Process(linux).threadId();
    this.#uffd = uffd;
    this.#mapping = new Mapping(linux);
    this.#process = new Process(linux);
    this.#frames = new UffdFrames(this.#mapping);
    this.#drops = new AdviceBatch(linux, this.#mapping);
    this.#present = new PresentPages(linux, this.#mapping);
    const onLost = (region: Region, page: number, reason: SwapInResult): void =>
      this.#reportLost(region, page, reason);
    this.#tiers = new Tiers(options, { frames: this.#frames.bytes, onLost }, true);
    this.pager = this.#tiers.pager;
    this.#shared = options.sharedPages === 0 ? null : new ResidentSet<Region>(options.sharedPages);
    // A descriptor of the process, not of this worker: a caller that rings it must not hit another file.
    this.#doorbell = openEventFd(linux);
    if (options.processor !== null) new Affinity(linux).pin([options.processor]);
    this.#poller = new Poller(linux, [uffd.fd, this.#doorbell.fd]);
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
    if (ready > 0) {
      if (this.#poller.readiness(0) !== 0) this.#serveFaults();
      if (this.#poller.readiness(1) !== 0) this.#serveCalls();
    }
    this.#hasMoreWork = this.pager.background(isQuiet);
    this.#idlePolls = isQuiet ? this.#idlePolls + 1 : 0;
    if (this.#idlePolls === COMPACT_AFTER && this.#tiers.compactIdle())
      this.#idlePolls = COMPACT_AFTER - 1;
    if (isQuiet || (++this.#steps & PUBLISH_MASK) === 0) this.#publish();
    this.#recordSample();
  }

  #pollTimeout(): number {
    if (this.#hasMoreWork) return 0;
    if (this.#control.isExiting) return EXITING_MS;
    return this.#watch === null ? IDLE_MS : this.#watch.timeout(IDLE_MS);
  }

  #recordSample(): void {
    if (this.#watch === null || !this.#watch.isDue()) return;
    writeSwapStats(this.#control.swapStats, this.#tiers);
    this.#watch.record(this.#control.swapStats);
  }

  #serveFaults(): void {
    const count = this.#uffd.readMessages();
    this.#watch?.beginFaults();
    for (let i = 0; i < count; i++) {
      if (this.#uffd.event(i) !== UffdEvent.fault) continue;
      const address = this.#uffd.faultAddress(i);
      const live = this.#regions.atAddress(address);
      if (live === null) {
        this.#uffd.wake(address, PAGE_BYTES); // the region has ended since the fault
        continue;
      }
      const page = Math.floor((address - live.memory.address) / PAGE_BYTES);
      this.pager.fault(live.region, page, this.#uffd.faultFlags(i));
    }
    this.#watch?.endFaults();
    this.#tiers.maintain(count);
  }

  #serveCalls(): void {
    this.#doorbell.take();
    const control = this.#control;
    for (let slot = control.nextPosted(0); slot !== -1; slot = control.nextPosted(slot + 1)) {
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
    // A view may be collected after the engine has ended.
    if (this.#isEnded && op !== CallOp.end && op !== CallOp.detach)
      throw new SwapError('ERR_IO_ENDED', 'the swap has been disposed of');
    if (op === CallOp.end) return this.#end();
    if (op === CallOp.map) return this.#map(numbers);
    if (op === CallOp.adopt) return this.#adopt(numbers, RegionOrigin.wasm);
    if (op === CallOp.adoptBuffer) return this.#adopt(numbers, RegionOrigin.malloc);
    if (op === CallOp.freeze || op === CallOp.thaw) {
      this.pager.isFrozen = op === CallOp.freeze;
      return CallResult.ok;
    }
    if (op === CallOp.detach) return this.#detach(id, numbers);
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
    if (op === CallOp.pin) return callResultOf(this.pager.pin(region, from, to));
    if (op === CallOp.unpin) {
      this.pager.unpin(region, from, to);
      return CallResult.ok;
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
    // The kernel chose this address, so an older region there was unmapped, even if that is not reported yet.
    let dead = this.#regions.overlapping(address, bytes);
    for (; dead !== null; dead = this.#regions.overlapping(address, bytes))
      this.#forgetRegion(dead);
    this.#add(id, address, bytes, numbers[1]!, RegionOrigin.mapped);
    if (numbers[2] === 0) this.#control.countViews(id, 1); // the caller's view
    numbers[0] = id;
    numbers[1] = address;
    return CallResult.ok;
  }

  /**
   * Arguments: bytes; budget, pages, 0 = the shared one; address; bytes in use. Results: id, address.
   */
  #adopt(numbers: Float64Array, origin: RegionOrigin): CallResult {
    const bytes = numbers[0]!;
    const address = numbers[2]!;
    if (this.#regions.overlapping(address, bytes) !== null)
      throw new SwapError(
        'ERR_ARG_VALUE',
        'adopt(): this memory is paged already; regionOf() returns its region',
      );
    const id = this.#regions.freeId();
    const region = this.#add(id, address, bytes, numbers[1]!, origin);
    // Pages that the program has written so far are resident and count.
    try {
      this.#present.find(address, numbers[3]!, (page) => this.pager.adopt(region, page));
    } catch (error) {
      this.#dispose(this.#regions.get(id), false); // no page was evicted yet: it is ordinary memory again
      throw error;
    }
    numbers[0] = id;
    numbers[1] = address;
    return CallResult.ok;
  }

  #add(id: number, address: number, bytes: number, setPages: number, origin: RegionOrigin): Region {
    const set = setPages === 0 ? this.#shared : new ResidentSet<Region>(setPages);
    assert(set !== null, 'the region has its own or a shared budget');
    const memory = new UffdMemory({
      address,
      pages: bytes / PAGE_BYTES,
      uffd: this.#uffd,
      mapping: this.#mapping,
      frames: this.#frames,
      drops: this.#drops,
      abort: () => this.#process.abort(), // #reportLost() has printed the reason
    });
    const tables = this.#mapping.reserve(tableBytes(memory.pages));
    const view = this.#mapping.viewOf(tables, tableBytes(memory.pages));
    const region = this.pager.add(memory, set, view);
    const stats = this.#control.regionStats(id).fill(0);
    this.#regions.add({ id, region, memory, tables, origin, stats });
    return region;
  }

  /** A view of memory that the engine mapped was collected; the last one ends the region and unmaps it. */
  #detach(id: number, numbers: Float64Array): CallResult {
    if (this.#control.countViews(id, -1) > 0) return CallResult.ok;
    if (this.#regions.has(id)) this.#dispose(this.#regions.get(id), false);
    this.#mapping.unmap(numbers[0]!, numbers[1]!);
    return CallResult.ok;
  }

  /** Maps zeroed memory, at an address of the kernel's choice or over the caller's mapping. */
  #reserve(bytes: number, address: number): number {
    if (address === 0) return this.#mapping.reserve(bytes);
    this.#mapping.mapAnonymous(address, bytes);
    return address;
  }

  /** @param swapsIn true: the memory is used further, unpaged, so its pages are swapped in first */
  #dispose(live: LiveRegion, swapsIn: boolean): CallResult {
    if (swapsIn) {
      const result = this.pager.swapInAll(live.region);
      if (result !== RangeResult.done) return callResultOf(result);
    }
    const { memory } = live;
    this.#remove(live);
    // Threads that wait in a fault retry it without userfaultfd. Views of a mapped region read zeros from now on.
    memory.unregister();
    if (live.origin === RegionOrigin.mapped)
      this.#mapping.mapAnonymous(memory.address, memory.pages * PAGE_BYTES);
    return CallResult.ok;
  }

  /** V8 has freed the region's memory: its addresses may have a new owner and must not be accessed. */
  #forgetRegion(live: LiveRegion): CallResult {
    this.#remove(live);
    // free(3) may keep the pages for the next malloc(3), which must not fault here.
    if (live.origin === RegionOrigin.malloc) live.memory.unregisterFreed();
    return CallResult.ok;
  }

  /** Frees the region's stored pages and tables. Does not access its memory. */
  #remove(live: LiveRegion): void {
    this.pager.remove(live.region);
    this.#regions.remove(live);
    live.stats.fill(0);
    this.#mapping.unmap(live.tables, tableBytes(live.memory.pages));
  }

  #end(): CallResult {
    if (this.#isEnded) return CallResult.ok; // a second call, posted before the first completed
    for (const live of [...this.#regions.all]) {
      const result = this.#dispose(live, live.origin !== RegionOrigin.mapped);
      if (result !== CallResult.ok) return result;
    }
    this.#tiers[Symbol.dispose]();
    this.#drops.close();
    this.#present.close();
    this.#frames.unmap();
    this.#isEnded = true;
    return CallResult.ok;
  }

  #reportLost(region: Region, page: number, reason: SwapInResult): void {
    const live = this.#regions.all.find((other) => other.region === region);
    this.#lost.push({ region: live?.id ?? 0, page, reason: lossReason(reason) });
    const why =
      reason === SwapInResult.corrupt
        ? 'its stored bytes fail their checksum'
        : 'its device could not read it';
    const isPoisoned = (this.#uffd.features & UffdFeature.poison) !== 0;
    const then = isPoisoned
      ? 'accessing it raises SIGBUS'
      : 'this kernel cannot poison it: ending the process';
    this.#process.writeStderr(
      `frontswap: region ${regionIndex(live?.id ?? 0)}, page ${page} is lost: ${why}; ${then}\n`,
    );
  }

  #publish(): void {
    writeSwapStats(this.#control.swapStats, this.#tiers);
    this.#reportProblems();
    const live = this.#regions.all;
    for (let i = 0; i < live.length; i++) writeRegionStats(live[i]!.stats, live[i]!.region);
  }

  #reportProblems(): void {
    const now = this.#tiers.checkProblems();
    const fresh = now & ~this.#problem;
    this.#problem = now;
    if (fresh === 0 && this.#lost.length === 0) return;
    const lost = this.#lost;
    this.#lost = [];
    this.#control.problem |= fresh;
    this.onProblem({ fresh, now, lost });
  }

  /**
   * Closes the doorbell. Call it after the state says that the engine has ended: callers must not ring a reused number.
   */
  close(): void {
    this.#doorbell.close();
  }

  /** Publishes the first statistics and marks the engine as running. */
  announce(): void {
    this.#publish();
    this.#control.state = EngineState.running;
  }
}

/** True: the error is the result of the call, because nothing was changed. Other errors end the process. */
const isCallerError = (error: unknown, op: CallOp): error is SwapError =>
  error instanceof SwapError &&
  (op === CallOp.map ||
    op === CallOp.adopt ||
    op === CallOp.adoptBuffer ||
    error.code === 'ERR_IO_ENDED' ||
    error.code.startsWith('ERR_ARG_'));

const callResultOf = (range: RangeResult): CallResult =>
  range === RangeResult.done
    ? CallResult.ok
    : range === RangeResult.noSpace
      ? CallResult.noSpace
      : CallResult.lost;
