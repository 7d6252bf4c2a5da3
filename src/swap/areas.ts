/**
 * Swap areas and the order in which they are filled: by priority, highest first; areas of equal priority take
 * turns, a slot each (kernel: swap_info_struct, swap_active_head).
 *
 *   order:  │ 10: A │ 10: B │ -1: C │ -2: D │     A gives a slot: B, A, C, D
 *
 * An area without a given priority gets the next negative one: later areas are filled after earlier ones.
 */
import { assert } from '../base/assert.ts';
import { BitMap } from './bit-map.ts';
import { entryOf, NO_ENTRY, type SwapEntry } from './entry.ts';
import type { SwapHeader } from './header.ts';
import type { SwapDisk } from './ops.ts';
import { ReadAhead } from './read-ahead.ts';
import { type AllocatorKind, CLUSTER_SLOTS, SlotAllocator } from './slot-allocator.ts';
import { SwapMap } from './swap-map.ts';

/** off: never; once: all of it at swapon; pages: each cluster that is all free; scan: dead pages found by scanDiscard(). */
export type DiscardMode = 'off' | 'once' | 'pages' | 'scan';

export interface AreaOptions {
  /** 0 .. 32767, higher first; absent: the next negative one. */
  readonly priority?: number;
  /** 'rotating' (default) or 'solid'. */
  readonly allocator?: AllocatorKind;
  /** Default off, as the kernel's. */
  readonly discard?: DiscardMode;
  /** Read-ahead of at most 2^n slots; default 3. */
  readonly pageCluster?: number;
  /** Cold pages that frontswap has may be written to the disk; default true. */
  readonly writeback?: boolean;
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
  /** Slots whose page is all zeros and is nowhere else. */
  readonly zero: BitMap;
  /** Slots whose place on the disk holds bytes that were not discarded. */
  readonly written: BitMap;
  /** Clusters held for a discard, as a ring: at most all of them wait. */
  readonly discardQueue: Int32Array;
  discardHead = 0;
  discardCount = 0;
  /** Slots may be taken (kernel: SWP_WRITEOK). */
  writeOk = false;
  /** Writeback may write here. May be changed at any time; what is under way ends as it would. */
  writeback: boolean;
  /** Where writeback goes on, and the age that it looks for. */
  writebackAt = 1;
  writebackAge = 3;
  /** Bios of a discard at swapon that have not ended, and the slot to go on from. */
  onceBios = 0;
  onceAt = 1;
  /** Where a swapoff goes on. */
  swapOffAt = 1;
  /** Where the periodic scan goes on: a cluster. */
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

/** The areas that slots are taken from, in order. */
export class AreaOrder {
  readonly #areas: SwapArea[] = [];
  #leastPriority = 0;

  /** The priority of an area that was not given one. */
  nextPriority(): number {
    return --this.#leastPriority;
  }

  add(area: SwapArea): void {
    const at = this.#areas.findIndex((other) => other.priority < area.priority);
    this.#areas.splice(at === -1 ? this.#areas.length : at, 0, area);
  }

  remove(area: SwapArea): void {
    const at = this.#areas.indexOf(area);
    assert(at !== -1, 'an area that goes was there');
    this.#areas.splice(at, 1);
  }

  /** A slot of the first area that has one, or NO_ENTRY. */
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

  /** The area goes behind all others of its priority. */
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
