/**
 * Allocates slots of an area. Slots are grouped in clusters of 256; as in the kernel, there are two allocators:
 *
 *   rotating (2.6.35)  continues after the last slot; after 256 slots, jumps to the first free cluster, or else to the
 *                      next free slot in [lowest, highest]. Pages swapped out together are adjacent on disk.
 *   solid (SSDs)       keeps a list of free clusters, the longest free first; fills the first, then takes the next.
 *                      No search while a cluster is free.
 *
 *   used:  │ 256 │ 12 │ 0 │ 0 │ 256 │ 7 .. │        slots of each cluster that are not free
 *   list:            └─▶ 3 ─▶ 2                    clusters with used = 0, doubly linked; solid only
 *
 * Free slots are reserved while their discard is in flight; their map byte is `bad`, as in the kernel.
 *
 * Invariants
 * - used[c] = slots of c whose map byte is not 0, plus the slots missing from the last cluster. freeClusters counts
 *   the clusters with used[c] = 0; a solid allocator lists them.
 * - Every free slot is in [lowest, highest].
 * - capacity = inUse + reserved + free slots.
 *
 * Cost: alloc() is O(1) while the current cluster has a free slot or a cluster is free; otherwise it scans the map
 * bytes (native indexOf) and counts them in `scanned`. free() is O(1). The kernel's per-CPU clusters are left out,
 * because one thread owns an area.
 *
 * Sources: Linux mm/swapfile.c, scan_swap_map() of 2.6.35; scan_swap_map_try_ssd_cluster() of 5.10.
 */
import { assert } from '../base/assert.ts';
import { MapByte, type SwapMap } from './swap-map.ts';

export const CLUSTER_SLOTS = 256;
const CLUSTER_SHIFT = 8;
const NONE = -1;

export const ALLOCATOR_KINDS = ['rotating', 'solid'] as const;
export type AllocatorKind = (typeof ALLOCATOR_KINDS)[number];

export class SlotAllocator {
  /** Slots that can be allocated: all except the header and bad slots. */
  readonly capacity: number;
  readonly #map: SwapMap;
  readonly #isSolid: boolean;
  readonly #used: Uint16Array;
  /** The list of free clusters; empty arrays in a rotating allocator. */
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  #head = NONE;
  #tail = NONE;
  #freeClusters = 0;
  #lowest: number;
  #highest = 0;
  #inUse = 0;
  #reserved = 0;
  #scanned = 0;
  /** Rotating: the slot to search from, and the slots left before the next jump. */
  #cursor = 1;
  #left = 0;
  /** Solid: the cluster being filled. */
  #current = NONE;

  /** @param map with its bad slots marked and no slot in use */
  constructor(map: SwapMap, kind: AllocatorKind) {
    this.#map = map;
    this.#isSolid = kind === 'solid';
    const clusters = Math.ceil(map.slots / CLUSTER_SLOTS);
    this.#used = new Uint16Array(clusters);
    this.#next = new Int32Array(this.#isSolid ? clusters : 0).fill(NONE);
    this.#previous = new Int32Array(this.#isSolid ? clusters : 0).fill(NONE);
    this.#used[clusters - 1] = clusters * CLUSTER_SLOTS - map.slots;
    for (const slot of map.badSlots) this.#used[slot >>> CLUSTER_SHIFT]! += 1;
    this.capacity = map.slots - map.badSlots.length;
    this.#lowest = map.slots;
    if (this.capacity > 0) {
      for (this.#lowest = 1; !map.isFree(this.#lowest); ) this.#lowest++;
      for (this.#highest = map.slots - 1; !map.isFree(this.#highest); ) this.#highest--;
    }
    if (!this.#isSolid) this.#freeClusters = clusters - this.#startedClusters();
    else
      for (let cluster = 0; cluster < clusters; cluster++)
        if (this.#used[cluster]! === 0) this.#append(cluster);
  }

  /**
   * Counts the clusters that start with a used slot. Reads only those with bad slots and the last: no table is touched.
   */
  #startedClusters(): number {
    const last = this.#used.length - 1;
    const started = new Set(this.#map.badSlots.map((slot) => slot >>> CLUSTER_SHIFT));
    if (this.#used[last]! > 0) started.add(last);
    return started.size;
  }

  /** Slots allocated and not freed, 0 .. capacity. */
  get inUse(): number {
    return this.#inUse;
  }
  /** Free slots that cannot be allocated because their discard is queued or in flight. */
  get reserved(): number {
    return this.#reserved;
  }
  get freeClusters(): number {
    return this.#freeClusters;
  }
  /** Map bytes read by searches since the start. */
  get scanned(): number {
    return this.#scanned;
  }

  /** Allocates a slot and marks it cached; -1: none is free. */
  alloc(): number {
    if (this.#inUse + this.#reserved === this.capacity) return NONE;
    const slot = this.#isSolid ? this.#solid() : this.#rotating();
    assert(slot !== NONE, 'inUse + reserved < capacity only if a slot is free');
    this.#map.take(slot);
    this.#addUsed(slot >>> CLUSTER_SHIFT, 1);
    if (slot === this.#lowest) this.#lowest++;
    if (slot === this.#highest) this.#highest--;
    this.#cursor = slot + 1;
    this.#inUse++;
    return slot;
  }

  /** Frees a slot whose map byte has become 0. Returns its cluster if the cluster is now free, else -1. */
  free(slot: number): number {
    assert(this.#map.isFree(slot), 'a freed slot has map byte 0');
    assert(this.#inUse > 0, 'no more slots are freed than were allocated');
    this.#inUse--;
    this.#widen(slot);
    const cluster = slot >>> CLUSTER_SHIFT;
    this.#addUsed(cluster, -1);
    return this.#used[cluster]! === 0 ? cluster : NONE;
  }

  /** Reserves `length` free slots of one cluster: they are not allocated until unreserve(). */
  reserve(start: number, length: number): void {
    for (let slot = start; slot < start + length; slot++) {
      assert(this.#map.isFree(slot), 'a reserved slot was free');
      this.#map.bytes[slot] = MapByte.bad;
    }
    this.#addUsed(start >>> CLUSTER_SHIFT, length);
    this.#reserved += length;
  }

  /** Makes reserved slots free again. */
  unreserve(start: number, length: number): void {
    for (let slot = start; slot < start + length; slot++) {
      assert(this.#map.isBad(slot), 'the slot is reserved');
      this.#map.bytes[slot] = MapByte.free;
      this.#widen(slot);
    }
    this.#reserved -= length;
    this.#addUsed(start >>> CLUSTER_SHIFT, -length);
  }

  /** Checks every invariant; throws InvariantError. For tests. Cost: all slots. */
  verify(): void {
    const { slots } = this.#map;
    const used = new Uint16Array(this.#used.length);
    used[used.length - 1] = used.length * CLUSTER_SLOTS - slots;
    let free = 0;
    for (let slot = 0; slot < slots; slot++) {
      if (!this.#map.isFree(slot)) {
        used[slot >>> CLUSTER_SHIFT]! += 1;
        continue;
      }
      free++;
      assert(slot >= this.#lowest && slot <= this.#highest, 'lowest <= free slot <= highest');
    }
    assert(
      free === this.capacity - this.#inUse - this.#reserved,
      'capacity = inUse + reserved + free slots',
    );
    let listed = this.#isSolid ? 0 : this.#freeClusters;
    for (let c = this.#head; c !== NONE; c = this.#next[c]!) {
      assert(this.#used[c]! === 0, 'a listed cluster is free');
      listed++;
    }
    assert(listed === this.#freeClusters, 'freeClusters = length of the list');
    for (let c = 0; c < used.length; c++) {
      assert(used[c]! === this.#used[c]!, 'used[c] = slots of the cluster that are not free');
      if (used[c]! === 0) listed--;
    }
    assert(listed === 0, 'every free cluster is listed');
  }

  #rotating(): number {
    if (this.#left === 0) {
      this.#left = CLUSTER_SLOTS;
      if (this.#freeClusters > 0) {
        const first = this.#lowest >>> CLUSTER_SHIFT;
        const cluster = this.#used.indexOf(0, first);
        if (cluster !== NONE) this.#cursor = cluster << CLUSTER_SHIFT;
      }
    }
    this.#left--;
    return this.#search(this.#cursor > this.#highest ? this.#lowest : this.#cursor);
  }

  #solid(): number {
    if (this.#current !== NONE && this.#used[this.#current]! < CLUSTER_SLOTS) {
      const start = this.#current << CLUSTER_SHIFT;
      const end = Math.min(start + CLUSTER_SLOTS, this.#map.slots);
      for (let slot = start; slot < end; slot++) {
        this.#scanned++;
        if (this.#map.isFree(slot)) return slot;
      }
    }
    this.#current = this.#head;
    if (this.#head !== NONE) return this.#head << CLUSTER_SHIFT;
    return this.#search(this.#cursor > this.#highest ? this.#lowest : this.#cursor);
  }

  /** Finds the first free slot in [from, end), then in [lowest, from). */
  #search(from: number): number {
    const { bytes } = this.#map;
    const up = bytes.indexOf(MapByte.free, from);
    this.#scanned += (up === NONE ? bytes.length : up + 1) - from;
    if (up !== NONE) return up;
    const low = bytes.indexOf(MapByte.free, this.#lowest);
    this.#scanned += low + 1 - this.#lowest;
    return low;
  }

  #widen(slot: number): void {
    if (slot < this.#lowest) this.#lowest = slot;
    if (slot > this.#highest) this.#highest = slot;
  }

  #addUsed(cluster: number, change: number): void {
    const before = this.#used[cluster]!;
    const after = before + change;
    assert(after >= 0 && after <= CLUSTER_SLOTS, '0 <= used[c] <= 256');
    this.#used[cluster] = after;
    if (before === 0) this.#unlink(cluster);
    else if (after === 0) this.#append(cluster);
  }

  #append(cluster: number): void {
    this.#freeClusters++;
    if (!this.#isSolid) return;
    this.#previous[cluster] = this.#tail;
    this.#next[cluster] = NONE;
    if (this.#tail === NONE) this.#head = cluster;
    else this.#next[this.#tail] = cluster;
    this.#tail = cluster;
  }

  #unlink(cluster: number): void {
    this.#freeClusters--;
    if (!this.#isSolid) return;
    const previous = this.#previous[cluster]!;
    const next = this.#next[cluster]!;
    if (previous === NONE) this.#head = next;
    else this.#next[previous] = next;
    if (next === NONE) this.#tail = previous;
    else this.#previous[next] = previous;
  }
}
