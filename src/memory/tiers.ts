/**
 * Where pages go: one area of slots for compressed RAM, and areas of files below it.
 *
 *   swap out ─▶ area 0: frontswap takes it ─▶ store, within the limit
 *                └ refuses: full ─▶ slots of resident pages are freed ─▶ again
 *                                └▶ no more slots of area 0 ─▶ a file's area, by priority, until there is room again
 *                                                               └ refuses: RAM once more, it may have room inside by now
 *                └ refuses: the page does not compress ─▶ a file's area ─▶ none, or full: it stays in memory, and is not
 *                                                                          asked for a while
 *
 * A page that does not compress costs as much in RAM as in memory, and a copy each way. evict() takes it all the same.
 * Files are not behind frontswap: a page that RAM refused is not compressed a second time.
 */
import { Budget } from '../arena/budget.ts';
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { refusingDisk } from '../block/disks/refusing-disk.ts';
import { lz4 } from '../codec/lz4.ts';
import { type StoreBackend, storeBackend } from '../frontswap/backends/store-backend.ts';
import { Frontswap } from '../frontswap/frontswap.ts';
import { systemPageRelease } from '../os/linux/page-release.ts';
import { RefusalResult } from '../pager/evictor.ts';
import { Pager, type PagerOptions } from '../pager/pager.ts';
import type { CounterAt } from '../store/results.ts';
import type { SwapArea } from '../swap/areas.ts';
import { writeHeader } from '../swap/header.ts';
import { SwapInResult } from '../swap/swap.ts';
import { swapOn } from '../swap/swapon.ts';
import { type DeviceOptions, openSwapFile, type SwapFile } from './swap-file.ts';
import { type LostPage, Problem } from './tiers-problem.ts';

/** Type of the area whose pages are in RAM; it is switched on first. */
const RAM_AREA = 0;
/** Slots of it: 64 GiB of pages. Its tables take memory as they are used. */
const RAM_SLOTS = 2 ** 24;
const RAM_PRIORITY = 32767;
/** UUID of the RAM area, which only this process sees. */
const RAM_UUID = '00000000-0000-0000-0000-000000000000';
/** RAM takes pages again when this share of its limit is free. */
const ROOM_SHARE = 1 / 16;
/** Slots of clean pages freed at a time when RAM is full. */
const COPIES_A_TIME = 64;
/** A page that compresses to more than this is incompressible. */
const INCOMPRESSIBLE_BYTES = (PAGE_BYTES / 8) * 7;

export interface TierOptions {
  /** Ceiling of compressed pages and all tables about them, bytes; 0 = none. */
  readonly limitBytes: number;
  readonly devices: readonly DeviceOptions[];
}

export class Tiers implements Disposable {
  readonly pager: Pager;
  readonly backend: StoreBackend;
  readonly #budget: Budget;
  readonly #files: SwapFile[] = [];
  readonly #ram: SwapArea;
  /** RAM refused, and has no room yet. */
  #isFull = false;
  /** RAM is tried although its counters show no room, because no file took a page. */
  #isRetrying = false;
  /** An incompressible page that RAM refused is being written to a file. */
  #isPassedOn = false;
  /** True: incompressible pages may stay in memory. False: no frames are left for them, and RAM takes them. */
  readonly #keepsIncompressible: boolean;
  #changed = 0;
  /** What was wrong at the last look, and the counter then. */
  #problem = 0;
  #overBudget = 0;

  constructor(
    options: TierOptions,
    pager: Pick<PagerOptions, 'frames' | 'onLost'>,
    keepsPoor: boolean,
  ) {
    this.#keepsIncompressible = keepsPoor;
    this.#budget = new Budget(options.limitBytes);
    this.backend = storeBackend(
      this.#budget,
      lz4,
      systemPageRelease(process.platform),
      null,
      true, // a program that stays within its budget does not wait for it
    );
    const front = new RamFrontswap();
    front.register(this.backend);
    this.pager = new Pager({ ...pager, front });
    const { evictor } = this.pager;
    evictor.onRefusal = () => this.#refused();
    evictor.onBatch = (isAsked) => {
      this.backend.payloadMax =
        isAsked || !this.#keepsIncompressible ? PAGE_BYTES : INCOMPRESSIBLE_BYTES;
    };
    evictor.onRetried = () => {
      if (this.#isPassedOn) this.#ram.writeOk = true;
      this.#isPassedOn = false;
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
   * Current problems, a mask of Problem. A problem stays set until there is some spare room, so that the program is not
   * notified repeatedly.
   */
  look(): number {
    const { counters, evictor, regions } = this.pager;
    const before = this.#problem;
    const overBudget = counters.get('overBudget');
    let now = 0;
    if (evictor.isFull && overBudget > 0) now |= Problem.full;
    if ((before & Problem.full) !== 0 && !this.#hasRoom()) now |= Problem.full;
    let isOver = overBudget > this.#overBudget || (before & Problem.over) !== 0;
    let isAbove = false;
    for (let i = 0; i < regions.length; i++) {
      const { set } = regions[i]!;
      const isPoor = set.ceiling > set.limit;
      const wasPoor = (before & Problem.poor) !== 0 && set.incompressible > set.limit >>> 1;
      if (isPoor || wasPoor) now |= Problem.poor;
      isOver ||= isPoor;
      isAbove ||= set.pages > set.limit;
    }
    if (isOver && isAbove) now |= Problem.over;
    this.#overBudget = overBudget;
    this.#problem = now;
    return now;
  }

  get limitBytes(): number {
    return this.#budget.limitBytes;
  }

  /** Bytes of RAM that compressed pages and their tables take. */
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

  /** Housekeeping after `changed` pages were stored or freed; cheap when there is little to do. */
  maintain(changed: number): void {
    this.#changed += changed;
    if (this.#isFull && this.#hasRoom()) {
      this.#isFull = false;
      this.#isRetrying = false;
      this.#ram.writeOk = true;
    }
    if (this.#changed < 256) return;
    this.backend.maintain(this.#changed);
    this.#changed = 0;
  }

  /** Housekeeping while no fault waits; true while there is more to do. */
  compactIdle(): boolean {
    return this.backend.compactIdle();
  }

  [Symbol.dispose](): void {
    for (const file of this.#files.splice(0)) file[Symbol.dispose]();
  }

  #switchOnRam(): SwapArea {
    const page = new Uint8Array(PAGE_BYTES);
    writeHeader({ lastPage: RAM_SLOTS - 1, badPages: [], uuid: RAM_UUID, label: 'ram' }, page);
    const disk = refusingDisk(RAM_SLOTS * PAGE_BYTES);
    const type = swapOn(this.pager.swap, disk, page, {
      priority: RAM_PRIORITY,
      // The lowest free cluster, not the one free longest: slots that have tables in memory already.
      allocator: 'rotating',
    });
    assert(type === RAM_AREA, 'the area in RAM is the first');
    return this.pager.swap.areas[RAM_AREA]!;
  }

  #switchOn(device: DeviceOptions): void {
    const file = openSwapFile(device);
    this.#files.push(file);
    swapOn(this.pager.swap, file.disk, file.header, {
      ...(device.priority === undefined ? {} : { priority: device.priority }),
      discard: device.discard ?? 'off',
      allocator: 'solid',
      pageCluster: 0, // the pager brings ahead what it wants
    });
  }

  /** A page was refused: finds another place for it, or space in RAM. */
  #refused(): RefusalResult {
    if (this.#ram.writeOk ? this.backend.isIncompressible : this.#isPassedOn) return this.#passOn();
    if (!this.#ram.writeOk) {
      // No file takes it. Freed pages left room inside the store that its counters show as used: try RAM once more.
      this.#isRetrying = true;
      this.#ram.writeOk = true;
      return RefusalResult.retry;
    }
    const dropped = this.pager.dropCopies(COPIES_A_TIME);
    if (this.#files.length === 0) this.pager.evictor.exchange += dropped;
    if (dropped > 0) return RefusalResult.retry;
    if (this.#files.length === 0) return RefusalResult.full;
    const isNew = !this.#isRetrying;
    this.#isRetrying = false;
    this.#isFull = true;
    this.#ram.writeOk = false;
    return isNew ? RefusalResult.retry : RefusalResult.full;
  }

  /** A page does not compress: tries a file. */
  #passOn(): RefusalResult {
    if (this.#isPassedOn || this.#files.length === 0) return RefusalResult.incompressible;
    this.#isPassedOn = true;
    this.#ram.writeOk = false;
    return RefusalResult.retry;
  }

  #hasRoom(): boolean {
    const { limitBytes, usedBytes } = this.#budget;
    return limitBytes === 0 || usedBytes <= limitBytes * (1 - ROOM_SHARE);
  }
}

export const lostBy = (reason: SwapInResult): LostPage['reason'] =>
  reason === SwapInResult.corrupt ? 'checksum' : 'device';

/** Frontswap for the RAM area only: the other areas are not initialised in it, so it refuses their pages. */
class RamFrontswap extends Frontswap {
  override init(type: number, slots: number): void {
    if (type === RAM_AREA) super.init(type, slots);
  }
}
