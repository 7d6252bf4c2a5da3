/**
 * Writeback: writes cold pages of frontswap to their own slots on the area's disk, and drops them from frontswap. All
 * references to the entry stay valid.
 *
 *   cold slot ─▶ allocFrame ─▶ front.peek ─▶ add to the swap cache ─▶ write bio
 *   bio completes  ok, page unchanged              front.completeWriteback(): frontswap drops its copy
 *                  ok, page freed or dirty         the write is ignored; a slot without references is freed now
 *                  error                           frontswap keeps its copy
 *                  and no lookup found the frame   the frame is freed
 *
 * The page is in the swap cache while its bio is in flight (kernel: zswap_writeback_entry), so no race needs a special
 * case: a reader finds the frame, a writer makes it dirty, the last free() lets the bio's completion free the slot, and
 * swapoff waits. Frontswap's bit is cleared in one place, when the bio completes.
 *
 * Selection: a clock hand passes over the area, first for pages of age 3, then 2, then 1; in the last round it also
 * ages the pages that it passes. Pages used since the last pass of the hand (age 0) get a second chance.
 *
 * Trigger: write() immediately; tick() from when the backends' memory exceeds the start mark until it is below the
 * accept mark (kernel: zswap accept_threshold_percent). Between the marks, frontswap/admission.ts refuses stores.
 *
 * Invariants
 * - A page is dropped from frontswap only after a successful write of the unchanged page to a referenced slot.
 * - Each bio costs one page of `budget`; with none left, nothing is written.
 * - writebackBios = writebackPages + writebackStale + writebackErrors + inFlight.
 *
 * Cost: coldest() over at most SCAN_SLOTS_MAX slots per call; a load and a bio per page. No allocation: bios come from
 * a separate pool, frames from the memory manager, which may refuse them as it does for read-ahead.
 *
 * Source: Linux mm/zswap.c (writeback, shrink worker, second chance), drivers/block/zram (writeback_limit, huge pages).
 */
import { checkInteger } from '../base/arguments.ts';
import { assert } from '../base/assert.ts';
import { checkOptions } from '../base/options.ts';
import { PAGE_BYTES, SWAP_AREAS_MAX } from '../base/units.ts';
import { type Bio, BioOp, type BioOwner, BioPool, BioStatus } from '../block/bio.ts';
import { type ColdPages, LoadResult } from '../frontswap/ops.ts';
import type { SwapArea } from './areas.ts';
import { entryOf, offsetOf, typeOf } from './entry.ts';
import type { Swap } from './swap.ts';
import { FrameFlag } from './swap-cache.ts';

/** Memory thresholds that start and stop writeback, and its limit of bios. */
export interface WritebackOptions {
  /** Memory that the backends use now, in bytes. */
  readonly usedBytes: () => number;
  /** Their limit, in bytes. */
  readonly limitBytes: number;
  /** tick() starts above this percentage of the limit; acceptPercent .. 100, default 95. */
  readonly startPercent?: number;
  /** tick() stops at this percentage of the limit; 0 .. 100, default 90. */
  readonly acceptPercent?: number;
  /** Returns true to make tick() start below startPercent too, for example `admission(...).isWaiting`. */
  readonly isRequested?: () => boolean;
  /** Maximum number of bios, and so frames, in flight; 1 .. 65536, default 16. */
  readonly bios?: number;
}

const OPTIONS = ['usedBytes', 'limitBytes', 'startPercent', 'acceptPercent', 'isRequested', 'bios'];
const BIOS_MAX = 65536;
const AGE_MAX = 3;
/** Slots checked per write(): tens of microseconds. */
const SCAN_SLOTS_MAX = 16384;
/**
 * Maximum number of times that write() passes the end of the area without finding a page: two rounds for each of the
 * three ages, because the first may only age the pages, and the round that it started midway.
 */
const WRAPS_MAX = 7;

const never = (): boolean => false;

/** Result of #start(). */
const StartResult = { submitted: 0, skipped: 1, busy: 2 } as const;
type StartResult = (typeof StartResult)[keyof typeof StartResult];

/** Writes cold frontswap pages to the disks of their areas to free RAM. */
export class Writeback implements BioOwner {
  /** Pages that may still be written; each bio costs one. Infinity = no limit (zram: writeback_limit). */
  budget: number = Number.POSITIVE_INFINITY;
  /** Write only incompressible pages (zram: huge). */
  incompressibleOnly = false;
  readonly #swap: Swap;
  readonly #pool: BioPool;
  readonly #usedBytes: () => number;
  readonly #isRequested: () => boolean;
  readonly #startBytes: number;
  readonly #acceptBytes: number;
  #isShrinking = false;
  /** Type of the area that tick() writes next. */
  #nextType = 0;

  /** @throws SwapError ERR_ARG_UNKNOWN, ERR_ARG_VALUE */
  constructor(swap: Swap, options: WritebackOptions) {
    checkOptions(options, 'Writeback(options)', OPTIONS);
    const { usedBytes, limitBytes, startPercent = 95, acceptPercent = 90, bios = 16 } = options;
    checkInteger('Writeback(options).limitBytes', limitBytes, 0, Number.MAX_SAFE_INTEGER);
    checkInteger('Writeback(options).acceptPercent', acceptPercent, 0, 100);
    checkInteger('Writeback(options).startPercent', startPercent, acceptPercent, 100);
    checkInteger('Writeback(options).bios', bios, 1, BIOS_MAX);
    this.#swap = swap;
    this.#pool = new BioPool(bios);
    this.#usedBytes = usedBytes;
    this.#isRequested = options.isRequested ?? never;
    this.#startBytes = (limitBytes * startPercent) / 100;
    this.#acceptBytes = (limitBytes * acceptPercent) / 100;
  }

  /** Bios in flight. */
  get inFlight(): number {
    return this.#pool.capacity - this.#pool.freeCount;
  }

  /** True after usage exceeds the start mark, until it reaches the accept mark. */
  get isShrinking(): boolean {
    return this.#isShrinking;
  }

  /**
   * One step of the shrinker, for the owner's loop: while it is shrinking, submits a page per free bio, from each area
   * in turn. Returns the number submitted. Bios complete in Swap.tick().
   */
  tick(): number {
    const used = this.#usedBytes();
    if (used <= this.#acceptBytes) this.#isShrinking = false;
    else if (used > this.#startBytes || this.#isRequested()) this.#isShrinking = true;
    if (!this.#isShrinking) return 0;
    let submitted = 0;
    for (let left = SWAP_AREAS_MAX; left > 0 && this.#pool.freeCount > 0; left--) {
      if (this.#swap.areas[this.#nextType]! !== null)
        submitted += this.write(this.#nextType, this.#pool.freeCount);
      this.#nextType = (this.#nextType + 1) % SWAP_AREAS_MAX;
    }
    return submitted;
  }

  /** Submits up to `pages` cold pages of an area to its disk, oldest first; returns how many. */
  write(type: number, pages: number): number {
    const area = this.#swap.areas[type] ?? null;
    if (area === null || !area.writeback || !area.writeOk || !this.#swap.front.enabled) return 0;
    const cold = this.#swap.front.coldPages(type);
    if (cold === null) return 0;
    let submitted = 0;
    let wraps = 0;
    for (let left = SCAN_SLOTS_MAX; left > 0 && submitted < pages && this.budget > 0; ) {
      const from = area.writebackAt;
      const to = Math.min(from + left, area.map.slots);
      const slot = this.#advance(area, cold, to);
      left -= (slot === -1 ? to : slot + 1) - from;
      if (slot === -1) {
        if (area.writebackAt === 1 && ++wraps > WRAPS_MAX) break;
        continue;
      }
      const result = this.#start(area, slot);
      if (result === StartResult.busy) {
        area.writebackAt = slot;
        this.#swap.counters.add('writebackWaits', 1);
        break;
      }
      if (result !== StartResult.submitted) continue;
      submitted++;
      wraps = 0;
    }
    if (submitted > 0 && area.disk.synchronous) area.disk.tick();
    return submitted;
  }

  /** Moves the clock hand past the next cold slot, at most to `to`; returns that slot, or -1. */
  #advance(area: SwapArea, cold: ColdPages, to: number): number {
    const from = area.writebackAt;
    const slot = cold.coldest(from, to, area.writebackAge, this.incompressibleOnly);
    area.writebackAt = slot === -1 ? to : slot + 1;
    if (area.writebackAge === 1) cold.age(from, area.writebackAt);
    if (area.writebackAt === area.map.slots) {
      area.writebackAt = 1;
      area.writebackAge = area.writebackAge === 1 ? AGE_MAX : area.writebackAge - 1;
    }
    return slot;
  }

  #start(area: SwapArea, slot: number): StartResult {
    const { cache, front, mm, counters } = this.#swap;
    if (!area.map.isReferenced(slot) || area.map.hasCache(slot)) return StartResult.skipped;
    if (this.#pool.freeCount === 0) return StartResult.busy;
    const frame = mm.allocFrame(true);
    if (frame === -1) return StartResult.busy;
    const load = front.peek(area.type, slot, mm.memory, frame * PAGE_BYTES);
    if (load !== LoadResult.loaded) {
      mm.freeFrame(frame);
      if (load === LoadResult.corrupt) counters.add('writebackDamaged', 1);
      return StartResult.skipped;
    }
    const bio = this.#pool.alloc();
    assert(bio !== null, 'freeCount > 0 bios can be allocated');
    const isSet = area.map.setCache(slot);
    assert(isSet, 'the slot is referenced and not cached');
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
    return StartResult.submitted;
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
    const isUnchanged = (flags & FrameFlag.dirty) === 0 && map.isReferenced(slot);
    const { values, index } = counters;
    if (!isOk) values[index.writebackErrors]! += 1;
    else if (!isUnchanged) values[index.writebackStale]! += 1;
    else {
      front.completeWriteback(type, slot);
      values[index.writebackPages]! += 1;
    }
    if (swap.tryFree(frame) || (flags & FrameFlag.found) !== 0) return;
    swap.dropFromCache(frame);
    swap.mm.freeFrame(frame);
  }
}
