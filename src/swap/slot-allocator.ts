/**
 * Which free slot is next. Slots come in clusters of 256; two ways to walk them, as the kernel has:
 *
 *   rotating (2.6.35)  go on behind the last slot; after 256 slots jump to the first empty cluster, and where
 *                      there is none to the next free slot in [lowest, highest]: neighbours in time are neighbours on disk
 *   solid              a list of free clusters, oldest first; take one, fill it, take the next: no search while any is free
 *
 *   used:  │ 256 │ 12 │ 0 │ 0 │ 256 │ 7 .. │        slots of each cluster that are not free
 *   list:            └─▶ 3 ─▶ 2                    clusters with used = 0, a link each way; solid only
 *
 * A hold takes free slots out of circulation while a discard of them is under way (the kernel marks them bad, too).
 *
 * Invariants
 * - used[c] = slots of c whose byte is not 0, and those that the last cluster lacks; clusters with used[c] = 0 are counted and, of a solid
 *   allocator, listed.
 * - Every free slot lies in [lowest, highest].
 * - capacity = inUse + held + free slots.
 *
 * Cost: alloc() O(1) while a cluster has room or is free, otherwise a byte scan over the map (native indexOf), counted in
 * `scanned`; release() O(1). Left out: the kernel's per-CPU clusters (one thread owns an area).
 *
 * Sources: Linux mm/swapfile.c, scan_swap_map() of 2.6.35; scan_swap_map_try_ssd_cluster() of 5.10.
 */
import { assert } from '../base/assert.ts';
import { MapByte, type SwapMap } from './swap-map.ts';

export const CLUSTER_SLOTS = 256;
const CLUSTER_SHIFT = 8;
const NONE = -1;

export type AllocatorKind = 'rotating' | 'solid';

export class SlotAllocator {
  /** Slots that can ever be handed out: neither header nor bad. */
  readonly capacity: number;
  readonly #map: SwapMap;
  readonly #isSolid: boolean;
  readonly #used: Uint16Array;
  /** The list; of a rotating allocator, which only counts empty clusters, without rows. */
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
  /** Rotating: where to go on, and slots left before the next jump. */
  #cursor = 1;
  #left = 0;
  /** Solid: the cluster being filled. */
  #current = NONE;

  /** @param map with its bad slots marked and nothing in use */
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

  /** Clusters that are not empty at the start. Looks only where it knows of something: a large area's table stays unread. */
  #startedClusters(): number {
    const last = this.#used.length - 1;
    const started = new Set(this.#map.badSlots.map((slot) => slot >>> CLUSTER_SHIFT));
    if (this.#used[last]! > 0) started.add(last);
    return started.size;
  }

  /** Slots handed out and not released, 0 .. capacity. */
  get inUse(): number {
    return this.#inUse;
  }
  /** Slots out of circulation while they are discarded. */
  get reserved(): number {
    return this.#reserved;
  }
  get freeClusters(): number {
    return this.#freeClusters;
  }
  /** Map bytes looked at by searches, since the start. */
  get scanned(): number {
    return this.#scanned;
  }

  /** A slot that is the swap cache's now, or -1: none is free. */
  alloc(): number {
    if (this.#inUse + this.#reserved === this.capacity) return NONE;
    const slot = this.#isSolid ? this.#solid() : this.#rotating();
    assert(slot !== NONE, 'a slot that the books call free is found');
    this.#map.take(slot);
    this.#count(slot >>> CLUSTER_SHIFT, 1);
    if (slot === this.#lowest) this.#lowest++;
    if (slot === this.#highest) this.#highest--;
    this.#cursor = slot + 1;
    this.#inUse++;
    return slot;
  }

  /** The slot's byte has become 0: it is free. Returns its cluster when that is all free now, else -1. */
  free(slot: number): number {
    assert(this.#map.isFree(slot), 'a slot that is released has no user');
    assert(this.#inUse > 0, 'no more slots come back than went out');
    this.#inUse--;
    this.#widen(slot);
    const cluster = slot >>> CLUSTER_SHIFT;
    this.#count(cluster, -1);
    return this.#used[cluster]! === 0 ? cluster : NONE;
  }

  /** Takes `length` free slots of one cluster out of circulation. */
  reserve(start: number, length: number): void {
    for (let slot = start; slot < start + length; slot++) {
      assert(this.#map.isFree(slot), 'a slot in use is not held');
      this.#map.bytes[slot] = MapByte.bad;
    }
    this.#count(start >>> CLUSTER_SHIFT, length);
    this.#reserved += length;
  }

  /** The other way. */
  unreserve(start: number, length: number): void {
    for (let slot = start; slot < start + length; slot++) {
      assert(this.#map.isBad(slot), 'a slot that was held still is');
      this.#map.bytes[slot] = MapByte.free;
      this.#widen(slot);
    }
    this.#reserved -= length;
    this.#count(start >>> CLUSTER_SHIFT, -length);
  }

  /** Every invariant, slot by slot; for tests. */
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
      assert(slot >= this.#lowest && slot <= this.#highest, 'free slots lie between the bounds');
    }
    assert(free === this.capacity - this.#inUse - this.#reserved, 'the books know what is free');
    let listed = this.#isSolid ? 0 : this.#freeClusters;
    for (let c = this.#head; c !== NONE; c = this.#next[c]!) {
      assert(this.#used[c]! === 0, 'a listed cluster is empty');
      listed++;
    }
    assert(listed === this.#freeClusters, 'the list is as long as it says');
    for (let c = 0; c < used.length; c++) {
      assert(used[c]! === this.#used[c]!, 'a cluster knows how many of its slots are used');
      if (used[c]! === 0) listed--;
    }
    assert(listed === 0, 'every empty cluster is listed');
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

  /** The first free slot from `from` on, then from `lowest` on. */
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

  #count(cluster: number, change: number): void {
    const before = this.#used[cluster]!;
    const after = before + change;
    assert(after >= 0 && after <= CLUSTER_SLOTS, 'a cluster has 256 slots');
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
