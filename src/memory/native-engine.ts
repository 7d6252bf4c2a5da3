/**
 * The native fault path, as the engine uses it: the data shared with native code, the native thread or the signal handler, and
 * the memory of regions.
 *
 *   start  control block ▶ thread or handler        add  tables, index, then the registration
 *   stop   no region is left ▶ thread joined ▶ userfaultfd closed
 */
import { readFileSync } from 'node:fs';
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { NativeConst, NativePlacement } from '../native/layout.ts';
import { type EventFd, openEventFd } from '../os/linux/eventfd.ts';
import type { Mapping } from '../os/linux/mapping.ts';
import type { Linux } from '../os/linux/system-call.ts';
import type { NativeFaults } from '../os/native-faults.ts';
import type { PagerCounters } from '../pager/counters.ts';
import type { Pager } from '../pager/pager.ts';
import type { Region } from '../pager/region.ts';
import type { ResidentSet } from '../pager/resident-set.ts';
import type { Backing } from './backing.ts';
import { FaultPath } from './control-block.ts';
import type { EngineWatch } from './engine-watch.ts';
import { MemfdMemory } from './memfd-memory.ts';
import { NativeControl } from './native-control.ts';
import { NativeCounts } from './native-counts.ts';
import { NativeBatch, NativeMemory } from './native-memory.ts';
import { type FileArea, RAM_SLOTS } from './tiers.ts';

/** DEFAULT_MAX_MAP_COUNT of Linux. */
const MAPS_BY_DEFAULT = 65530;

/** The owner of a region's addresses when the region ends. */
export const RangeOwner = {
  region: 0,
  /** free(3): the addresses may be mapped or not; mapped ones are registered. */
  allocator: 1,
  /** Unknown: the addresses are not accessed. */
  other: 2,
} as const;
export type RangeOwner = (typeof RangeOwner)[keyof typeof RangeOwner];

export interface NativeEngineOptions {
  readonly native: NativeFaults;
  readonly path: FaultPath;
  /** True: the store's memory may end before the process, so it is read by system calls that can fail. */
  readonly isGuarded: boolean;
  /** True: the native thread follows the faulting thread to its processor. */
  readonly followsFaults: boolean;
  readonly zeroMap: Uint8Array;
  /** Swap files, which native code reads. */
  readonly fileAreas: readonly FileArea[];
  /** Whether to measure the time that threads wait for pages. */
  readonly isTimed: boolean;
}

export interface NewRegion {
  readonly number: number;
  readonly address: number;
  readonly pages: number;
  /** Address of the region's tables, the entries first. */
  readonly tables: number;
  /** One byte per page, initially zero, and its address. */
  readonly states: { readonly address: number; readonly bytes: Uint8Array };
  /** Number of the region's set: its own, or 0 for the shared one. */
  readonly set: number;
  readonly marks: ResidentSet<Region>;
}

interface Known {
  readonly memory: NativeMemory;
  readonly counts: NativeCounts;
  readonly set: number;
}

export class NativeEngine {
  readonly control: NativeControl;
  /** Rung by native code. */
  readonly bell: EventFd;
  readonly #exit: EventFd;
  readonly #linux: Linux;
  readonly #backing: Backing;
  readonly #native: NativeFaults;
  readonly #path: FaultPath;
  readonly #batch: NativeBatch;
  readonly #known = new Map<Region, Known>();

  constructor(linux: Linux, mapping: Mapping, backing: Backing, options: NativeEngineOptions) {
    this.#linux = linux;
    this.#backing = backing;
    this.#native = options.native;
    this.#path = options.path;
    this.bell = openEventFd(linux);
    this.#exit = openEventFd(linux);
    this.#batch = new NativeBatch(mapping);
    this.control = new NativeControl(linux, mapping, options.native, {
      uffd: backing.uffd?.fd ?? -1,
      engineFd: this.bell.fd,
      exitFd: this.#exit.fd,
      hasPoison: backing.canPoison,
      slots: RAM_SLOTS,
      zeroMap: options.zeroMap,
      isTimed: options.isTimed,
      mapsMax: Math.floor(maxMapCount() / 2),
    });
    for (const area of options.fileAreas) this.control.addArea(area);
    this.control.set('isGuarded', options.isGuarded ? 1 : 0);
    const { follows, measured } = NativePlacement;
    this.control.set('placement', options.followsFaults ? follows : measured);
    if (this.#path === FaultPath.thread) this.control.startThread();
    else if (this.#native.signalOn(this.control.at) !== 0)
      throw new Error(
        'too many swaps of this process serve faults with a signal handler; use another mode',
      );
  }

  /** Once this is set, no native code drops pages or starts to. */
  set isFrozen(is: boolean) {
    this.control.set('isFrozen', is ? 1 : 0);
    if (is) this.#native.synchronize(this.control.at);
  }

  /** Creates the memory of a region. From now on native code serves its faults; a memory file must still be mapped. */
  add(parts: NewRegion): NativeMemory {
    const { number, address, pages, tables, states, set, marks } = parts;
    assert(number > 0 && number < NativeConst.REGIONS_MAX, '0 < number < REGIONS_MAX');
    const { control } = this;
    if (set !== 0) control.clearSet(set);
    this.#mark(set, marks);
    control.addRegion({ number, address, pages, state: states.address, entry: tables, set });
    try {
      const range = this.#backing.make(address, pages);
      if (range instanceof MemfdMemory) {
        const marksAt = states.address + statesBytes(pages);
        control.setFile(number, range.fd, marksAt, marksAt + bitsBytes(pages));
      }
      return new NativeMemory(
        number,
        set,
        range,
        control,
        this.#batch,
        this.#backing.frames,
        states.bytes,
        statesBytes(pages) + bitsBytes(pages),
      );
    } catch (error) {
      control.removeRegion(number);
      throw error;
    }
  }

  /** Called when the pager knows the region. */
  know(region: Region, memory: NativeMemory, set: number): void {
    const counts = new NativeCounts(this.control, memory.number);
    this.#known.set(region, { memory, counts, set });
  }

  /** Tells native code at which mark eviction begins, and at which mark faulting threads must evict, too. */
  setMarks(region: Region): void {
    const { set } = region;
    const number = this.#known.get(region)!.set;
    this.#mark(number, set);
    const isStuck = set.pages > set.high && !set.isReclaiming;
    Atomics.store(this.control.words, this.control.setWord(number, 'isStuck'), isStuck ? 1 : 0);
  }

  #mark(set: number, marks: ResidentSet<Region>): void {
    Atomics.store(this.control.words, this.control.setWord(set, 'high'), marks.high);
    Atomics.store(this.control.words, this.control.setWord(set, 'ceiling'), marks.ceiling);
  }

  /** Catches up after lost reports, and updates the marks of sets, which depend on their contents. */
  follow({ counters, regions, shared }: Pager, hasMoreWork: boolean): void {
    for (let i = 0; i < regions.length; i++) {
      const region = regions[i]!;
      if (this.#takeRescan(region)) shared.reconcileAll(region);
      this.setMarks(region);
      const { set } = region;
      if (set.regions[0] === region && set.pages > set.limit && !hasMoreWork)
        counters.add('overBudget', 1);
    }
  }

  /** Processes the reports of native code, and adds what it has counted and measured since the last call. */
  syncAll({ counters, regions, shared }: Pager, watch: EngineWatch | null): void {
    shared.drain();
    watch?.setStalled(this.control.waitedMs);
    for (let i = 0; i < regions.length; i++) this.sync(regions[i]!, counters);
  }

  sync(region: Region, counters: PagerCounters): void {
    this.#known.get(region)?.counts.sync(region, counters);
  }

  /** True once after reports of the region were lost. */
  #takeRescan(region: Region): boolean {
    return this.control.takeRescan(this.#known.get(region)!.memory.number);
  }

  /** When this returns, native code does not use the region. */
  detach(region: Region, owner: RangeOwner): void {
    const { memory } = this.#known.get(region)!;
    if (owner === RangeOwner.region) memory.unregister();
    else if (owner === RangeOwner.allocator) memory.unregisterFreed();
    if (owner !== RangeOwner.other) this.#native.bury(this.control.at, memory.number);
    this.control.removeRegion(memory.number);
  }

  /** If the new region is a memory file, maps it with the pages of its memory that are present. */
  mapFile(region: Region, present: readonly number[], accessible: number): void {
    const { memory } = this.#known.get(region)!;
    if (memory.file === null) return;
    for (const page of present) memory.file.keep(page);
    memory.mapFile(accessible);
  }

  /** Called before pages [from, to) are pinned: from now on they stay mapped. */
  pinning(region: Region, from: number, to: number): void {
    const { memory } = this.#known.get(region)!;
    if (memory.file === null) return;
    for (let page = from; page < to; page++) memory.setPinned(page, true);
    this.#native.synchronize(this.control.at);
  }

  /** Pages [from, to) have been pinned or unpinned. */
  pinned(region: Region, from: number, to: number): void {
    const { memory } = this.#known.get(region)!;
    if (memory.file === null) return;
    for (let page = from; page < to; page++)
      if (!region.isPinned(page)) memory.setPinned(page, false);
  }

  /** Call after detach(): the pages of the region no longer count. */
  forget(region: Region): void {
    this.#known.get(region)!.memory.forget();
    this.#known.delete(region);
  }

  /** Ends the native thread. No region may be left. */
  stop(): void {
    assert(this.#known.size === 0, 'no region is left');
    this.#exit.signal();
    this.control.joinThread();
    if (this.#path !== FaultPath.thread) this.#native.signalOff(this.control.at);
    this.#native.synchronize(this.control.at);
    if (this.#backing.uffd !== null) this.#linux.close(this.#backing.uffd.fd);
    this.#exit.close();
    this.bell.close();
    this.control.close();
  }
}

/**
 * Bytes of the shared states that follow the tables of a region; a memory file has two bitmaps with one bit per page after
 * them.
 */
export const statesBytes = (pages: number): number => Math.ceil(pages / PAGE_BYTES) * PAGE_BYTES;
const bitsBytes = (pages: number): number => statesBytes(Math.ceil(pages / 8));
export const fileBytes = (pages: number): number => 2 * bitsBytes(pages);

/** vm.max_map_count: the maximum number of mappings of a process. */
function maxMapCount(): number {
  try {
    return Number(readFileSync('/proc/sys/vm/max_map_count', 'utf8')) || MAPS_BY_DEFAULT;
  } catch {
    return MAPS_BY_DEFAULT;
  }
}
