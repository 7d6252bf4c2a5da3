/**
 * Discards by bio. (The slot-free callback needs no bio; swap.ts calls it.)
 *
 *   once    the whole area except its header, at swapon; no slot is allocated until it has completed
 *   pages   a cluster that becomes free is reserved, queued, discarded, and released
 *   scan    a pass over the swap map finds free slots that were written and not discarded; each run of them is
 *           reserved, discarded, and released
 *
 * Invariants
 * - A slot is reserved while its discard is in flight, so a late discard cannot destroy a new page.
 * - Discards have a separate pool of bios. While it is empty, only discards wait (`discardWaits`).
 * - A failed discard has no effect: its slots are released.
 *
 * Cost: mode 'pages' marks 256 map bytes per free cluster; a scan reads the map byte of every slot (`discardScanned`).
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type Bio, BioOp, type BioOwner, BioPool, BioStatus } from '../block/bio.ts';
import type { SwapArea } from './areas.ts';
import type { SwapCounters } from './counters.ts';
import { CLUSTER_SLOTS } from './slot-allocator.ts';

/** Slots per bio of mode 'once': 1 GiB. A bio's length is below 2^32. */
const ONCE_SLOTS_MAX = 262144;

export class Discarder implements BioOwner {
  readonly #pool: BioPool;
  readonly #counters: SwapCounters;
  readonly #areas: readonly (SwapArea | null)[];

  /**
   * @param bios maximum number of discards in flight
   * @param areas by type; swapon.ts writes it
   */
  constructor(bios: number, counters: SwapCounters, areas: readonly (SwapArea | null)[]) {
    this.#pool = new BioPool(bios);
    this.#counters = counters;
    this.#areas = areas;
  }

  /** Mode `pages`: queues a cluster that has become free. Submits no bio, because free() calls this. */
  clusterFree(area: SwapArea, cluster: number): void {
    const start = cluster * CLUSTER_SLOTS;
    if (!area.written.hasAny(start, CLUSTER_SLOTS)) return;
    area.allocator.reserve(start, CLUSTER_SLOTS);
    const { discardQueue } = area;
    const tail = (area.discardHead + area.discardCount) % discardQueue.length;
    discardQueue[tail] = cluster;
    area.discardCount++;
  }

  /** Submits queued discards until no bio is free. */
  pump(area: SwapArea): void {
    const last = area.header.lastPage;
    while (area.discard === 'once' && !area.writeOk && area.onceAt <= last) {
      const length = Math.min(ONCE_SLOTS_MAX, last + 1 - area.onceAt);
      if (!this.#submit(area, area.onceAt, length)) return;
      area.onceAt += length;
      area.onceBios++;
    }
    while (area.discardCount > 0) {
      const cluster = area.discardQueue[area.discardHead]!;
      if (!this.#submit(area, cluster * CLUSTER_SLOTS, CLUSTER_SLOTS)) return;
      area.discardHead = (area.discardHead + 1) % area.discardQueue.length;
      area.discardCount--;
    }
  }

  /** Scans `clusters` clusters, starting where the last scan stopped; returns the number of slots sent to be discarded. */
  scan(area: SwapArea, clusters: number): number {
    const { values, index } = this.#counters;
    const { map } = area;
    let sent = 0;
    for (let i = 0; i < clusters; i++) {
      const start = area.scanCluster * CLUSTER_SLOTS;
      const end = Math.min(start + CLUSTER_SLOTS, map.slots);
      values[index.discardScanned]! += end - start;
      for (let slot = start; slot < end; slot++) {
        const from = slot;
        while (slot < end && map.isFree(slot) && area.written.has(slot)) slot++;
        if (slot === from) continue;
        area.allocator.reserve(from, slot - from);
        if (!this.#submit(area, from, slot - from)) {
          area.allocator.unreserve(from, slot - from);
          return sent;
        }
        sent += slot - from;
      }
      area.scanCluster = end === map.slots ? 0 : area.scanCluster + 1;
    }
    return sent;
  }

  bioEnd(bio: Bio): void {
    const area = this.#areas[bio.tag];
    assert(area !== null && area !== undefined, 'the area of a discard in flight is on');
    const start = bio.offset / PAGE_BYTES;
    const length = bio.length / PAGE_BYTES;
    if (bio.status === BioStatus.ok) area.written.clearRange(start, length);
    else this.#counters.add('discardErrors', 1);
    this.#pool.free(bio);
    if (area.onceBios === 0) {
      area.allocator.unreserve(start, length);
      return;
    }
    area.onceBios--;
    if (area.onceBios === 0 && area.onceAt > area.header.lastPage) area.writeOk = true;
  }

  #submit(area: SwapArea, slot: number, length: number): boolean {
    const bio = this.#pool.alloc();
    if (bio === null) {
      this.#counters.add('discardWaits', 1);
      return false;
    }
    bio.op = BioOp.discard;
    bio.offset = slot * PAGE_BYTES;
    bio.length = length * PAGE_BYTES;
    bio.owner = this;
    bio.tag = area.type;
    area.disk.submit(bio);
    this.#counters.add('discardBios', 1);
    return true;
  }
}
