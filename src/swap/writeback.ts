/**
 * Writeback: cold pages that frontswap holds go to their own slots on the area's disk, and frontswap gives them up. The slot
 * stays what it was for who refers to it.
 *
 *   front.coldest ─▶ slot ─▶ into the swap cache, a frame of the memory manager's ─▶ front.peek ─▶ bio ─▶ the disk
 *                                                                                                   │
 *   bio ends  ok, page as it was            front.completeWriteback: the bit says "on the disk"      ◀──────┘
 *             ok, but freed or dirty        nothing is believed; a freed slot is given up now
 *             an error                      the page is still in frontswap
 *             nobody found the frame?       it goes back
 *
 * The page is in the swap cache while its bio is under way (kernel: zswap_writeback_entry), so no race has a rule of its own:
 * a reader finds the frame, a writer makes it dirty, the last free() leaves the slot to the bio's end, swapoff waits. What
 * the disk has is believed only when the bit is cleared, and that is done in one place, at the bio's end.
 *
 * Which page: a hand goes over the area, for pages of age 3 first, then 2, then 1; on the last round it makes what it passes a
 * step older. So the oldest go first, and a page that was used since the hand passed (age 0) has a second chance.
 *
 * When: write() at once; tick() when the backends' memory is above a mark, until it is below another (kernel: zswap's
 * accept_threshold_percent). frontswap/admission.ts refuses stores between the two.
 *
 * Invariants
 * - A page leaves frontswap only after its bio has ended well with the page unchanged and referred to.
 * - A page of zeros is a bit and never in frontswap, so it is never written.
 * - Each bio comes out of the budget; with an empty budget nothing is sent.
 * - writebackBios = writebackPages + writebackStale + writebackErrors + inFlight.
 *
 * Cost: what coldest() looks at, at most LOOKS_MAX slots a call; a load and a bio a page. Nothing is allocated: bios are a
 * reserve of their own, frames are lent by the memory manager, who refuses them as for read-ahead.
 *
 * Source: Linux mm/zswap.c (writeback, shrink worker, second chance), drivers/block/zram (writeback_limit, huge pages).
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES, SWAP_AREAS_MAX } from '../base/units.ts';
import { type Bio, BioOp, type BioOwner, BioPool, BioStatus } from '../block/bio.ts';
import { LoadResult } from '../frontswap/ops.ts';
import type { SwapArea } from './areas.ts';
import { entryOf, offsetOf, typeOf } from './entry.ts';
import type { Swap } from './swap.ts';
import { FrameFlag } from './swap-cache.ts';

export interface WritebackOptions {
  /** Bytes that the backends use now; what tick() watches. */
  readonly usedBytes: () => number;
  /** Their ceiling. */
  readonly limitBytes: number;
  /** tick() starts above this share of the ceiling, default 95, and stops below this, default 90. */
  readonly startPercent?: number;
  readonly acceptPercent?: number;
  /** True: tick() starts below its mark as well. A store that was refused, say: admission(...).isWaiting. */
  readonly isRequested?: () => boolean;
  /** Most bios, so pages and frames, under way; default 16. */
  readonly bios?: number;
}

const AGE_MAX = 3;
/** Slots that one call looks at, at most: some tens of microseconds. */
const LOOKS_MAX = 16384;
/** Times that a call comes to the area's end in vain before it stops: three ages, and once more when all are older. */
const TURNS_MAX = 7;

const never = (): boolean => false;

/** How a page's writeback began. */
const Begun = { sent: 0, skipped: 1, waits: 2 } as const;
type Begun = (typeof Begun)[keyof typeof Begun];

export class Writeback implements BioOwner {
  /** Pages that may still be written (zram: writeback_limit); each bio takes one. Infinity: no limit. */
  budget: number = Number.POSITIVE_INFINITY;
  /** Only pages that compression made no smaller (zram: huge). */
  incompressibleOnly = false;
  readonly #swap: Swap;
  readonly #pool: BioPool;
  readonly #usedBytes: () => number;
  readonly #isRequested: () => boolean;
  readonly #startBytes: number;
  readonly #acceptBytes: number;
  #isShrinking = false;
  /** The area whose turn it is. */
  #turn = 0;

  constructor(swap: Swap, options: WritebackOptions) {
    const { usedBytes, limitBytes, startPercent = 95, acceptPercent = 90, bios = 16 } = options;
    assert(
      acceptPercent >= 0 && acceptPercent <= startPercent && startPercent <= 100,
      'marks are percentages, the lower one first',
    );
    this.#swap = swap;
    this.#pool = new BioPool(bios);
    this.#usedBytes = usedBytes;
    this.#isRequested = options.isRequested ?? never;
    this.#startBytes = (limitBytes * startPercent) / 100;
    this.#acceptBytes = (limitBytes * acceptPercent) / 100;
  }

  /** Pages whose bio has not ended. */
  get inFlight(): number {
    return this.#pool.capacity - this.#pool.freeCount;
  }

  /** True from the upper mark down to the lower one. */
  get isShrinking(): boolean {
    return this.#isShrinking;
  }

  /**
   * The shrinker's step, for the owner's loop: above the upper mark, and from then on until the lower one is reached, sends
   * as many pages as bios are free, areas in turn. How many were sent. Bios end in Swap.tick().
   */
  tick(): number {
    const used = this.#usedBytes();
    if (used <= this.#acceptBytes) this.#isShrinking = false;
    else if (used > this.#startBytes || this.#isRequested()) this.#isShrinking = true;
    if (!this.#isShrinking) return 0;
    let sent = 0;
    for (let left = SWAP_AREAS_MAX; left > 0 && this.#pool.freeCount > 0; left--) {
      if (this.#swap.areas[this.#turn]! !== null)
        sent += this.write(this.#turn, this.#pool.freeCount);
      this.#turn = (this.#turn + 1) % SWAP_AREAS_MAX;
    }
    return sent;
  }

  /** Sends up to `pages` cold pages of an area to its disk, the oldest first; how many were sent. */
  write(type: number, pages: number): number {
    const area = this.#swap.areas[type] ?? null;
    if (area === null || !area.writeback || !area.writeOk || !this.#swap.front.enabled) return 0;
    let sent = 0;
    let turns = 0;
    for (let looks = LOOKS_MAX; looks > 0 && sent < pages && this.budget > 0; ) {
      const from = area.writebackAt;
      const to = Math.min(from + looks, area.map.slots);
      const slot = this.#next(area, to);
      looks -= (slot === -1 ? to : slot + 1) - from;
      if (slot === -1) {
        if (area.writebackAt === 1 && ++turns > TURNS_MAX) break;
        continue;
      }
      const begun = this.#begin(area, slot);
      if (begun === Begun.waits) {
        area.writebackAt = slot;
        this.#swap.counters.add('writebackWaits', 1);
        break;
      }
      if (begun !== Begun.sent) continue;
      sent++;
      turns = 0;
    }
    if (sent > 0 && area.disk.synchronous) area.disk.tick();
    return sent;
  }

  /** The hand goes on, to `to` at most: the slot that it stops at, or -1. */
  #next(area: SwapArea, to: number): number {
    const { front } = this.#swap;
    const from = area.writebackAt;
    const slot = front.coldest(area.type, from, to, area.writebackAge, this.incompressibleOnly);
    area.writebackAt = slot === -1 ? to : slot + 1;
    if (area.writebackAge === 1) front.age(area.type, from, area.writebackAt);
    if (area.writebackAt === area.map.slots) {
      area.writebackAt = 1;
      area.writebackAge = area.writebackAge === 1 ? AGE_MAX : area.writebackAge - 1;
    }
    return slot;
  }

  #begin(area: SwapArea, slot: number): Begun {
    const { cache, front, mm, counters } = this.#swap;
    if (!area.map.isReferenced(slot) || area.map.hasCache(slot)) return Begun.skipped;
    if (this.#pool.freeCount === 0) return Begun.waits;
    const frame = mm.allocFrame(true);
    if (frame === -1) return Begun.waits;
    const load = front.peek(area.type, slot, mm.memory, frame * PAGE_BYTES);
    if (load !== LoadResult.loaded) {
      mm.freeFrame(frame);
      if (load === LoadResult.corrupt) counters.add('writebackDamaged', 1);
      return Begun.skipped;
    }
    const bio = this.#pool.alloc();
    assert(bio !== null, 'a pool has as many bios as it says');
    const isFree = area.map.setCache(slot);
    assert(isFree, 'a slot that is written back is in use and not cached');
    cache.add(entryOf(area.type, slot), frame, FrameFlag.writing | FrameFlag.writeback);
    bio.op = BioOp.write;
    bio.offset = slot * PAGE_BYTES;
    bio.length = PAGE_BYTES;
    bio.data = mm.memory;
    bio.at = frame * PAGE_BYTES;
    bio.owner = this;
    bio.tag = frame;
    area.written.set(slot);
    area.disk.submit(bio);
    this.budget--;
    counters.values[counters.index.writebackBios]! += 1;
    return Begun.sent;
  }

  bioEnd(bio: Bio): void {
    const swap = this.#swap;
    const { cache, front, counters } = swap;
    const frame = bio.tag;
    const isOk = bio.status === BioStatus.ok;
    this.#pool.free(bio);
    const entry = cache.entryAt(frame);
    const flags = cache.flags[frame]!;
    cache.flags[frame] = flags & ~(FrameFlag.writing | FrameFlag.writeback | FrameFlag.found);
    const type = typeOf(entry);
    const slot = offsetOf(entry);
    const { map } = swap.areas[type]!;
    const isSame = (flags & FrameFlag.dirty) === 0 && map.isReferenced(slot);
    const { values, index } = counters;
    if (!isOk) values[index.writebackErrors]! += 1;
    else if (!isSame) values[index.writebackStale]! += 1;
    else {
      front.completeWriteback(type, slot);
      values[index.writebackPages]! += 1;
    }
    if (swap.tryFree(frame) || (flags & FrameFlag.found) !== 0) return;
    swap.dropFromCache(frame);
    swap.mm.freeFrame(frame);
  }
}
