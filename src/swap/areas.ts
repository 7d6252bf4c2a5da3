/**
 * Swap areas, and the order in which their slots are allocated: highest priority first; areas of equal priority
 * take turns, one slot each (kernel: swap_info_struct, swap_active_head).
 *
 *   order:  │ 10: A │ 10: B │ -1: C │ -2: D │     after a slot of A:  B, A, C, D
 *
 * An area without a priority option gets the next negative priority, so areas fill in the order of swapon.
 */

import { checkChoice, checkInteger } from '../base/arguments.ts';
import { assert } from '../base/assert.ts';
import { checkOptions } from '../base/options.ts';
import { BitMap } from './bit-map.ts';
import { entryOf, NO_ENTRY, type SwapEntry } from './entry.ts';
import type { SwapHeader } from './header.ts';
import type { SwapDisk } from './ops.ts';
import { ReadAhead } from './read-ahead.ts';
import {
  ALLOCATOR_KINDS,
  type AllocatorKind,
  CLUSTER_SLOTS,
  SlotAllocator,
} from './slot-allocator.ts';
import { SwapMap } from './swap-map.ts';

/** off: never; once: the whole area at swapon; pages: each cluster that becomes free; scan: by scanDiscard(). */
export type DiscardMode = (typeof DISCARD_MODES)[number];
const DISCARD_MODES = ['off', 'once', 'pages', 'scan'] as const;

/** Options of swapon() for one swap area. */
export interface AreaOptions {
  /** 0 .. 32767, higher first; default: the next negative priority. */
  readonly priority?: number;
  /** Default 'rotating'. */
  readonly allocator?: AllocatorKind;
  /** Default 'off', as in the kernel. */
  readonly discard?: DiscardMode;
  /** Read-ahead of at most 2^n slots, n = 0 .. 8; default 3 (kernel: /proc/sys/vm/page-cluster). */
  readonly pageCluster?: number;
  /** Whether writeback may write cold frontswap pages to this area's disk; default true. */
  readonly writeback?: boolean;
}

const PRIORITY_MAX = 32767;
const PAGE_CLUSTER_MAX = 8;
const AREA_OPTIONS = ['priority', 'allocator', 'discard', 'pageCluster', 'writeback'] as const;

/** @throws SwapError ERR_ARG_UNKNOWN, ERR_ARG_VALUE */
export function checkAreaOptions(options: AreaOptions): void {
  checkOptions(options, 'swapOn(options)', AREA_OPTIONS);
  const { priority = 0, pageCluster = 0, allocator = 'rotating', discard = 'off' } = options;
  const { writeback = true } = options;
  checkInteger('swapOn(options).priority', priority, 0, PRIORITY_MAX);
  checkInteger('swapOn(options).pageCluster', pageCluster, 0, PAGE_CLUSTER_MAX);
  checkChoice('swapOn(options).allocator', allocator, ALLOCATOR_KINDS);
  checkChoice('swapOn(options).discard', discard, DISCARD_MODES);
  checkChoice('swapOn(options).writeback', writeback, [true, false]);
}

export class SwapArea {
  readonly type: number;
  readonly priority: number;
  readonly disk: SwapDisk;
  readonly header: SwapHeader;
  readonly map: SwapMap;
  readonly allocator: SlotAllocator;
  readonly readAhead: ReadAhead;
  readonly discard: DiscardMode;
  /** Slots whose page is all zeros and is stored only as this bit. */
  readonly zero: BitMap;
  /** Slots that have been written to the disk and not discarded since. */
  readonly written: BitMap;
  /** Clusters reserved for a discard that has not been sent: a ring with one place for each cluster of the area. */
  readonly discardQueue: Int32Array;
  discardHead = 0;
  discardCount = 0;
  /** True if slots may be allocated (kernel: SWP_WRITEOK). */
  writeOk = false;
  /** True if writeback may start bios to this disk. May change at any time; bios in flight complete as usual. */
  writeback: boolean;
  /** Writeback's clock hand: the next slot to check, and the least age it accepts. */
  writebackAt = 1;
  writebackAge = 3;
  /** Discard mode 'once': bios in flight, and the first slot not yet sent. */
  onceBios = 0;
  onceAt = 1;
  /** The next slot that swapOff() checks. */
  swapOffAt = 1;
  /** The next cluster that scanDiscard() checks. */
  scanCluster = 0;

  constructor(
    type: number,
    priority: number,
    disk: SwapDisk,
    header: SwapHeader,
    options: AreaOptions,
  ) {
    const slots = header.lastPage + 1;
    this.type = type;
    this.priority = priority;
    this.disk = disk;
    this.header = header;
    this.map = new SwapMap(slots);
    for (const bad of header.badPages) this.map.markBad(bad);
    this.allocator = new SlotAllocator(this.map, options.allocator ?? 'rotating');
    this.readAhead = new ReadAhead(options.pageCluster ?? 3);
    this.discard = options.discard ?? 'off';
    this.writeback = options.writeback ?? true;
    this.zero = new BitMap(slots);
    this.written = new BitMap(slots);
    this.discardQueue = new Int32Array(Math.ceil(slots / CLUSTER_SLOTS));
  }
}

/** The areas that are on, in the order of slot allocation. */
export class AreaOrder {
  readonly #areas: SwapArea[] = [];
  #leastPriority = 0;

  /** The priority of an area without a priority option. */
  nextPriority(): number {
    return --this.#leastPriority;
  }

  add(area: SwapArea): void {
    const at = this.#areas.findIndex((other) => other.priority < area.priority);
    this.#areas.splice(at === -1 ? this.#areas.length : at, 0, area);
  }

  remove(area: SwapArea): void {
    const at = this.#areas.indexOf(area);
    assert(at !== -1, 'the area is on');
    this.#areas.splice(at, 1);
  }

  /** True if more than half of all slots are in use: clean pages in memory then lose theirs (kernel: vm_swap_full). */
  get isHalfFull(): boolean {
    let inUse = 0;
    let capacity = 0;
    for (let at = 0; at < this.#areas.length; at++) {
      const { allocator, writeOk } = this.#areas[at]!;
      if (!writeOk) continue;
      inUse += allocator.inUse;
      capacity += allocator.capacity;
    }
    return inUse * 2 > capacity;
  }

  /** Allocates a slot of the first area with a free slot; NO_ENTRY if none has one. */
  alloc(): SwapEntry {
    for (let at = 0; at < this.#areas.length; at++) {
      const area = this.#areas[at]!;
      if (!area.writeOk) continue;
      const slot = area.allocator.alloc();
      if (slot === -1) continue;
      this.#rotate(at);
      return entryOf(area.type, slot);
    }
    return NO_ENTRY;
  }

  /** Moves the area after all others of its priority. */
  #rotate(at: number): void {
    const area = this.#areas[at]!;
    let to = at;
    while (this.#areas[to + 1]?.priority === area.priority) {
      this.#areas[to] = this.#areas[to + 1]!;
      to++;
    }
    this.#areas[to] = area;
  }
}
