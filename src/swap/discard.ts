/**
 * Telling a disk what is dead, in the three ways that need a bio. (The slot-free callback needs none, and is in swap.ts.)
 *
 *   once    at swapon, the whole area but the header; slots are handed out when it has ended
 *   pages   a cluster that is all free is held, discarded, and let go; a queue an area, as long as it has clusters
 *   scan    a pass over the swap map looks for free slots whose place on the disk still holds bytes; runs of them are
 *           held, discarded, and let go
 *
 * Invariants
 * - A slot is not handed out while a discard of it is under way: a late discard cannot eat a new page.
 * - Bios come from a reserve of their own; when it is out the work waits (`discardWaits`), and nothing else does.
 * - A disk that refuses a discard loses nothing: the slots are let go all the same.
 *
 * Cost: a cluster's release marks 256 map bytes; a scan looks at every slot it passes (`discardScanned`), which is
 * what the debate of 2010 was about.
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type Bio, BioOp, type BioOwner, BioPool, BioStatus } from '../block/bio.ts';
import type { SwapArea } from './areas.ts';
import type { SwapCounters } from './counters.ts';
import { CLUSTER_SLOTS } from './slot-allocator.ts';

/** Slots of one bio at swapon: 1 GiB. A bio's length is below 2^32. */
const START_SLOTS = 262144;

export class Discarder implements BioOwner {
  readonly #pool: BioPool;
  readonly #counters: SwapCounters;
  readonly #areas: readonly (SwapArea | null)[];

  /** @param areas by type; filled and emptied by the swap core */
  constructor(reserve: number, counters: SwapCounters, areas: readonly (SwapArea | null)[]) {
    this.#pool = new BioPool(reserve);
    this.#counters = counters;
    this.#areas = areas;
  }

  /** A cluster of an area with mode `pages` has become free. No bio yet: this is the free path. */
  clusterFree(area: SwapArea, cluster: number): void {
    const start = cluster * CLUSTER_SLOTS;
    if (!area.written.hasAny(start, CLUSTER_SLOTS)) return;
    area.allocator.reserve(start, CLUSTER_SLOTS);
    const { discardQueue } = area;
    const tail = (area.discardHead + area.discardCount) % discardQueue.length;
    discardQueue[tail] = cluster;
    area.discardCount++;
  }

  /** Sends what waits, as far as the reserve goes. */
  pump(area: SwapArea): void {
    const last = area.header.lastPage;
    while (area.discard === 'once' && !area.writeOk && area.onceAt <= last) {
      const length = Math.min(START_SLOTS, last + 1 - area.onceAt);
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

  /** Looks through `clusters` clusters from where the last scan ended; returns how many dead slots it sends off. */
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
    assert(area !== null && area !== undefined, 'an area stays until its discards have ended');
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
