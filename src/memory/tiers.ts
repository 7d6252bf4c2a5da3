/**
 * The tiers of a swap: one swap area in compressed RAM, and below it an area per swap file.
 *
 *   swap out ─▶ area 0: frontswap ─▶ store, within the limit
 *                 └ refused ─▶ the tmem pool of a host, if there is one
 *                 └ refused: full ─▶ free slots of clean resident pages, retry
 *                                 └▶ disable area 0: the files' areas, by priority, until area 0 has free space
 *                                      └ refused ─▶ retry area 0: it may have space that its counters do not show
 *                 └ refused: incompressible ─▶ a file's area
 *                                                └ none, or full ─▶ the page stays in memory and is retried later
 *
 * An incompressible page takes as much space in compressed RAM as in memory, and costs a copy each way; only evict() stores it
 * there. The areas of files do not use frontswap: a page that RAM refused is not compressed a second time.
 */
import { Budget } from '../arena/budget.ts';
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { refusingDisk } from '../block/disks/refusing-disk.ts';
import { sumsOf } from '../block/filters/checksum-disk.ts';
import { lz4 } from '../codec/lz4.ts';
import { type StoreBackend, storeBackend } from '../frontswap/backends/store-backend.ts';
import { Frontswap } from '../frontswap/frontswap.ts';
import { systemPageRelease } from '../os/linux/page-release.ts';
import { RefusalResult } from '../pager/evictor.ts';
import { Pager, type PagerOptions } from '../pager/pager.ts';
import type { CounterAt } from '../store/results.ts';
import type { OnShard } from '../store/shard-parts.ts';
import type { SwapArea } from '../swap/areas.ts';
import { writeHeader } from '../swap/header.ts';
import { SwapInResult } from '../swap/swap.ts';
import { swapOn } from '../swap/swapon.ts';
import { type DeviceOptions, openSwapFile, type SwapFile } from './swap-file.ts';
import { type LostPage, Problem } from './tiers-problem.ts';
import { openTmemTier, type TmemTier } from './tmem-tier.ts';

/** Type of the area in compressed RAM; it is switched on first. */
const RAM_AREA = 0;
/** Number of its slots: 64 GiB of pages. Its tables use memory only where they are written. */
export const RAM_SLOTS: number = 2 ** 24;
const RAM_PRIORITY = 32767;
/** UUID of the RAM area, which only this process sees. */
const RAM_UUID = '00000000-0000-0000-0000-000000000000';
/** The RAM area is enabled again when this share of its limit is free. */
const FREE_SHARE = 1 / 16;
/** Slots of clean pages freed per refusal when RAM is full. */
const COPIES_PER_REFUSAL = 64;
/** A page that compresses to more than this is incompressible. */
const INCOMPRESSIBLE_BYTES = (PAGE_BYTES / 8) * 7;

export interface TierOptions {
  /** Limit of compressed pages and their tables, bytes; 0 = none. */
  readonly limitBytes: number;
  readonly devices: readonly DeviceOptions[];
  /** Tmem socket of a host that takes the pages that RAM refuses, before the devices; absent: none. */
  readonly tmem?: string;
}

/** A swap file, as native code reads it: the page of slot n is at n * 4096, unless its bit marks it as zeros. */
export interface FileArea {
  readonly type: number;
  readonly slots: number;
  readonly fd: number;
  readonly sums: Int32Array;
  readonly zero: Uint8Array;
}

export class Tiers implements Disposable {
  readonly pager: Pager;
  readonly backend: StoreBackend;
  readonly #budget: Budget;
  readonly #tmem: TmemTier | null;
  readonly #files: SwapFile[] = [];
  readonly fileAreas: FileArea[] = [];
  readonly #ram: SwapArea;
  /** True: the RAM area is disabled, because it refused a page and has no free space yet. */
  #isFull = false;
  /** True: RAM is tried even though its counters show no free space, because no file took the page. */
  #isRetrying = false;
  /** True: an incompressible page that RAM refused is being written to a file. */
  #isRedirected = false;
  /** True: incompressible pages may stay in memory. False: frames are limited, so RAM takes them. */
  readonly #keepsIncompressible: boolean;
  #changed = 0;
  /** Problems at the last check, a mask, and the value of overBudget then. */
  #problem = 0;
  #overBudget = 0;

  constructor(
    options: TierOptions,
    pager: Pick<PagerOptions, 'frames' | 'onLost'>,
    keepsIncompressible: boolean,
    onShard?: OnShard,
  ) {
    this.#keepsIncompressible = keepsIncompressible;
    this.#budget = new Budget(options.limitBytes);
    this.backend = storeBackend(
      this.#budget,
      lz4,
      systemPageRelease(process.platform),
      null,
      true, // startsEmpty: a program within its budget must not wait for the store's first shard
      onShard,
    );
    const front = new RamFrontswap();
    // The newest backend is asked first.
    this.#tmem = options.tmem === undefined ? null : openTmemTier(options.tmem);
    if (this.#tmem !== null) front.register(this.#tmem.backend);
    front.register(this.backend);
    this.pager = new Pager({ ...pager, front });
    const { evictor } = this.pager;
    evictor.onRefusal = () => this.#onRefusal();
    evictor.onBatch = (isAsked) => {
      this.backend.payloadMax =
        isAsked || !this.#keepsIncompressible ? PAGE_BYTES : INCOMPRESSIBLE_BYTES;
    };
    evictor.onRetried = () => {
      if (this.#isRedirected) this.#ram.writeOk = true;
      this.#isRedirected = false;
    };
    this.#ram = this.#switchOnRam();
    try {
      for (const device of options.devices) this.#switchOn(device);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Returns the current problems, a mask of Problem. A problem stays set until there is some free space to spare, so that the
   * program is not notified repeatedly.
   */
  checkProblems(): number {
    const { counters, evictor, regions } = this.pager;
    const before = this.#problem;
    const overBudget = counters.get('overBudget');
    let now = 0;
    if (evictor.isFull && overBudget > 0) now |= Problem.full;
    if ((before & Problem.full) !== 0 && !this.#hasSpace()) now |= Problem.full;
    let isOver = overBudget > this.#overBudget || (before & Problem.overBudget) !== 0;
    let isAbove = false;
    for (let i = 0; i < regions.length; i++) {
      const { set } = regions[i]!;
      const isAboveLimit = set.ceiling > set.limit;
      const wasAboveLimit =
        (before & Problem.incompressible) !== 0 && set.incompressible > set.limit >>> 1;
      if (isAboveLimit || wasAboveLimit) now |= Problem.incompressible;
      isOver ||= isAboveLimit;
      isAbove ||= set.pages > set.limit;
    }
    if (isOver && isAbove) now |= Problem.overBudget;
    this.#overBudget = overBudget;
    this.#problem = now;
    return now;
  }

  /** Bitmap of the slots in RAM that have pages of zeros; RAM_SLOTS bits. */
  get zeroMap(): Uint8Array {
    return this.#ram.zero.bytes;
  }

  get limitBytes(): number {
    return this.#budget.limitBytes;
  }

  /** Bytes of compressed pages and their tables. */
  get usedBytes(): number {
    return this.#budget.usedBytes;
  }

  /** Pages in files. */
  get devicePages(): number {
    let pages = 0;
    for (const area of this.pager.swap.areas)
      if (area !== null && area !== this.#ram) pages += area.allocator.inUse;
    return pages;
  }

  counter(at: (typeof CounterAt)[keyof typeof CounterAt]): number {
    return this.backend.counter(at);
  }

  /** Maintenance after `changed` pages were stored or freed; cheap if there is little to do. */
  maintain(changed: number): void {
    this.#changed += changed;
    if (this.#isFull && this.#hasSpace()) {
      this.#isFull = false;
      this.#isRetrying = false;
      this.#ram.writeOk = true;
    }
    if (this.#changed < 256) return;
    this.backend.maintain(this.#changed);
    this.#changed = 0;
  }

  /** One step of compaction; call it when no fault waits. Returns true while there is more to do. */
  compactIdle(): boolean {
    return this.backend.compactIdle();
  }

  [Symbol.dispose](): void {
    for (const file of this.#files.splice(0)) file[Symbol.dispose]();
    this.#tmem?.[Symbol.dispose]();
  }

  #switchOnRam(): SwapArea {
    const page = new Uint8Array(PAGE_BYTES);
    writeHeader({ lastPage: RAM_SLOTS - 1, badPages: [], uuid: RAM_UUID, label: 'ram' }, page);
    const disk = refusingDisk(RAM_SLOTS * PAGE_BYTES);
    const type = swapOn(this.pager.swap, disk, page, {
      priority: RAM_PRIORITY,
      // Takes the lowest free cluster, not the one that has been free longest: the tables of its slots are already in memory.
      allocator: 'rotating',
    });
    assert(type === RAM_AREA, 'type = RAM_AREA');
    return this.pager.swap.areas[RAM_AREA]!;
  }

  #switchOn(device: DeviceOptions): void {
    const file = openSwapFile(device);
    this.#files.push(file);
    const type = swapOn(this.pager.swap, file.disk, file.header, {
      ...(device.priority === undefined ? {} : { priority: device.priority }),
      discard: device.discard ?? 'off',
      allocator: 'solid',
      pageCluster: 0, // the pager does its own read-ahead
    });
    const { map, zero } = this.pager.swap.areas[type]!;
    const { fd, disk } = file;
    this.fileAreas.push({ type, slots: map.slots, fd, sums: sumsOf(disk), zero: zero.bytes });
  }

  /** Called when a page was refused: selects another area for it, or frees space in RAM. */
  #onRefusal(): RefusalResult {
    if (this.#ram.writeOk ? this.backend.isIncompressible : this.#isRedirected)
      return this.#tryFile();
    if (!this.#ram.writeOk) {
      // No file takes the page. Freed pages leave space in the store that its counters still count as used: retry RAM.
      this.#isRetrying = true;
      this.#ram.writeOk = true;
      return RefusalResult.retry;
    }
    const dropped = this.pager.dropCopies(COPIES_PER_REFUSAL);
    if (this.#files.length === 0) this.pager.evictor.exchange += dropped;
    if (dropped > 0) return RefusalResult.retry;
    if (this.#files.length === 0) return RefusalResult.full;
    const isNew = !this.#isRetrying;
    this.#isRetrying = false;
    this.#isFull = true;
    this.#ram.writeOk = false;
    return isNew ? RefusalResult.retry : RefusalResult.full;
  }

  /** The page is incompressible: redirects it to a file's area. */
  #tryFile(): RefusalResult {
    if (this.#isRedirected || this.#files.length === 0) return RefusalResult.incompressible;
    this.#isRedirected = true;
    this.#ram.writeOk = false;
    return RefusalResult.retry;
  }

  #hasSpace(): boolean {
    const { limitBytes, usedBytes } = this.#budget;
    return limitBytes === 0 || usedBytes <= limitBytes * (1 - FREE_SHARE);
  }
}

export const lossReason = (reason: SwapInResult): LostPage['reason'] =>
  reason === SwapInResult.corrupt ? 'checksum' : 'device';

/** Frontswap for the RAM area only: the other areas are not initialised in it, so it refuses their pages. */
class RamFrontswap extends Frontswap {
  override init(type: number, slots: number): void {
    if (type === RAM_AREA) super.init(type, slots);
  }
}
