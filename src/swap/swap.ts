/**
 * The swap core: slots for pages, pages to slots and back, and slots given up the moment nobody refers to them.
 *
 *   mm ─▶ addToSwap ▶ duplicate… ▶ swapOut ▶ dropFromCache       a page leaves memory
 *   mm ─▶ swapIn ▶ (map it) ▶ free                               a page comes back
 *                              └▶ the slot stays with its clean page in the swap cache, until slots are scarce
 *
 *   areas ── order, priorities          SwapMap   who refers to a slot         SlotAllocator  which is next
 *   SwapCache  entry ⇄ frame            PageIo    bit, frontswap, or bio       Discarder      telling the disk
 *
 * Invariants
 * - free(): when the last user of a slot goes, the bit, the backend's copy and the device's are given up before the slot
 *   can be handed out again; O(1), no bio, nothing allocated.
 * - A page that was swapped out is found unchanged, or the reader is told why not; no other page is touched.
 * - A read past the swap cache never takes the only copy: with exclusive gets, too, it leaves the backend's until free().
 * - Calls do not nest: the memory manager's callbacks return before they call again (bringHome() may call free()).
 *
 * Sources: Linux mm/swapfile.c, mm/swap_state.c, mm/page_io.c, 2.6.35 and 5.10. Left out: huge pages, memory cgroups.
 */

import { assert } from '../base/assert.ts';
import { SWAP_AREAS_MAX } from '../base/units.ts';
import { type Bio, BioOp, type BioOwner, BioStatus } from '../block/bio.ts';
import { AreaOrder, type SwapArea } from './areas.ts';
import { type SwapCounters, swapCounters } from './counters.ts';
import { Discarder } from './discard.ts';
import { entryOf, NO_ENTRY, offsetOf, type SwapEntry, typeOf } from './entry.ts';
import type { FrontEnd, MemoryManager } from './ops.ts';
import { PageIo, PageIoResult } from './page-io.ts';
import { FrameFlag, SwapCache } from './swap-cache.ts';
import type { DuplicateResult } from './swap-map.ts';

/** How a swapOut() ended. */
export const SwapOutResult = {
  /** The slot has the page: the frame may be dropped. */
  done: 0,
  /** A bio is under way; writeDone() tells. */
  pending: 1,
  /** Nobody refers to the slot: it is given up, and removedFromCache() told. */
  freed: 2,
  /** No bio was left, or writeback has one under way for the frame: later. The page is in memory as before. */
  busy: 3,
  /** The disk refused. The page is in memory as before, and its slot has none. */
  ioError: 4,
} as const;
export type SwapOutResult = (typeof SwapOutResult)[keyof typeof SwapOutResult];

/** How a swapIn() ended. */
export const SwapInResult = {
  /** The page is in `frame`. */
  done: 0,
  /** A bio is under way into `frame`; readDone() tells. */
  pending: 1,
  /** The memory manager had no frame. */
  noFrame: 2,
  /** No bio was left: later. */
  busy: 3,
  /** The disk could not read the page. The slot stays as it is. */
  ioError: 4,
  /** A backend has the page, damaged. */
  corrupt: 5,
  /** Nobody refers to such a slot. */
  badEntry: 6,
} as const;
export type SwapInResult = (typeof SwapInResult)[keyof typeof SwapInResult];

export interface SwapOptions {
  /** Most page bios in flight; default 64. */
  readonly bios?: number;
  /** Reserve of bios for discards; default 4. */
  readonly discardBios?: number;
}

const BUSY: number = FrameFlag.reading | FrameFlag.writing;
/** Frames looked at for one slot that is wanted and not there. */
const RECLAIM_SLOTS = 32;
/** Slots that freeMany() reads ahead: more than a processor has misses in flight, fewer than its first cache has lines. */
const WARM_SLOTS = 64;

export class Swap implements BioOwner {
  readonly counters: SwapCounters = swapCounters();
  /** Where the last swapIn() put the page, or will. */
  frame = -1;
  /** Means nothing: where freeMany()'s reads go, for a read whose value nobody keeps may be left out. */
  warmed = 0;
  /** By type. Written by swapon.ts only. */
  readonly areas: (SwapArea | null)[] = new Array<SwapArea | null>(SWAP_AREAS_MAX).fill(null);
  readonly order: AreaOrder = new AreaOrder();
  readonly front: FrontEnd;
  readonly mm: MemoryManager;
  readonly cache: SwapCache;
  readonly discarder: Discarder;
  readonly #io: PageIo;
  #values: Float64Array;
  #at: SwapCounters['index'];
  /** The read past the cache that is under way, inside one call: how its bio ended, -1 before. */
  #direct = -1;
  #directStatus = -1;
  /** The frame whose bio this call itself waits for. */
  #own = -1;
  #reclaimAt = 0;
  readonly #warmSlots = new Int32Array(WARM_SLOTS);

  constructor(front: FrontEnd, mm: MemoryManager, options: SwapOptions = {}) {
    this.front = front;
    this.mm = mm;
    this.cache = new SwapCache(mm.memory.length >>> 12);
    this.#values = this.counters.values;
    this.#at = this.counters.index;
    this.#io = new PageIo(front, mm.memory, options.bios ?? 64, this.counters);
    this.discarder = new Discarder(options.discardBios ?? 4, this.counters, this.areas);
  }

  /** A slot for the frame's page, which is dirty in the swap cache from now on; NO_ENTRY when none is free. */
  addToSwap(frame: number): SwapEntry {
    let entry = this.order.alloc();
    if (entry === NO_ENTRY && this.reclaimCacheOnly(RECLAIM_SLOTS) > 0) entry = this.order.alloc();
    if (entry === NO_ENTRY) {
      this.#values[this.#at.noSlot]! += 1;
      return NO_ENTRY;
    }
    this.#values[this.#at.slotsTaken]! += 1;
    this.cache.add(entry, frame, FrameFlag.dirty);
    return entry;
  }

  /** One more reference to the entry. */
  duplicate(entry: SwapEntry): DuplicateResult {
    return this.#area(entry).map.duplicate(offsetOf(entry));
  }

  addContinuation(entry: SwapEntry): void {
    this.#area(entry).map.addContinuation(offsetOf(entry));
  }

  /** The memory has changed: the slot's copy is no longer the page. */
  markDirty(frame: number): void {
    assert(this.cache.entryAt(frame) !== NO_ENTRY, 'only a page in the swap cache has a copy');
    this.cache.flags[frame]! |= FrameFlag.dirty;
  }

  isDirty(frame: number): boolean {
    return (this.cache.flags[frame]! & FrameFlag.dirty) !== 0;
  }

  isBusy(frame: number): boolean {
    return (this.cache.flags[frame]! & BUSY) !== 0;
  }

  /** The entry's frame in the swap cache, or -1. */
  lookup(entry: SwapEntry): number {
    const frame = this.cache.find(entry);
    if (frame !== -1) this.cache.flags[frame]! |= FrameFlag.found;
    return frame;
  }

  /** More than half of all slots are taken: slots are not kept for clean pages in memory (kernel: vm_swap_full). */
  get isHalfFull(): boolean {
    let inUse = 0;
    let capacity = 0;
    for (let type = 0; type < SWAP_AREAS_MAX; type++) {
      const area = this.areas[type]!;
      if (area === null || !area.writeOk) continue;
      inUse += area.allocator.inUse;
      capacity += area.allocator.capacity;
    }
    return inUse * 2 > capacity;
  }

  /** Writes the frame's page to its slot. */
  swapOut(frame: number): SwapOutResult {
    const entry = this.cache.entryAt(frame);
    assert(entry !== NO_ENTRY, 'a page that is swapped out has a slot');
    const flags = this.cache.flags[frame]!;
    assert((flags & FrameFlag.reading) === 0, 'a page that is being read is not written');
    if ((flags & FrameFlag.writeback) !== 0) return SwapOutResult.busy;
    if ((flags & FrameFlag.writing) !== 0) return SwapOutResult.pending;
    const area = this.#area(entry);
    const slot = offsetOf(entry);
    this.#values[this.#at.pagesOut]! += 1;
    if (!area.map.isReferenced(slot)) {
      this.#values[this.#at.freedOut]! += 1;
      this.#leave(area, slot, frame);
      return SwapOutResult.freed;
    }
    this.cache.flags[frame] = flags & ~FrameFlag.dirty;
    const io = this.#io.write(area, slot, frame, this);
    if (io === PageIoResult.done) return SwapOutResult.done;
    if (io === PageIoResult.noBio) {
      this.cache.flags[frame]! |= FrameFlag.dirty;
      return SwapOutResult.busy;
    }
    this.cache.flags[frame]! |= FrameFlag.writing;
    if (area.disk.synchronous) {
      this.#own = frame;
      area.disk.tick();
      this.#own = -1;
    }
    const after = this.cache.flags[frame]!;
    if ((after & FrameFlag.writing) !== 0) return SwapOutResult.pending;
    return (after & FrameFlag.dirty) === 0 ? SwapOutResult.done : SwapOutResult.ioError;
  }

  /** The frame is reclaimed: its page is in the slot. */
  dropFromCache(frame: number): void {
    const entry = this.cache.entryAt(frame);
    assert((this.cache.flags[frame]! & (BUSY | FrameFlag.dirty)) === 0, 'the slot has the page');
    const area = this.#area(entry);
    this.cache.remove(frame);
    if (area.map.clearCache(offsetOf(entry))) this.#slotFree(area, offsetOf(entry));
  }

  /** Brings the entry's page in; see In. The caller's reference stays until free(). */
  swapIn(entry: SwapEntry): SwapInResult {
    const area = this.areas[typeOf(entry)] ?? null;
    const slot = offsetOf(entry);
    this.frame = -1;
    this.#values[this.#at.pagesIn]! += 1;
    if (area === null || slot >= area.map.slots || !area.map.isReferenced(slot)) {
      this.#values[this.#at.refusedIn]! += 1;
      return SwapInResult.badEntry;
    }
    const past = area.disk.synchronous && area.map.bytes[slot]! === 1;
    return past ? this.#readPast(area, slot) : this.readCached(area, slot);
  }

  /** swapIn() through the swap cache, whatever the disk is. */
  readCached(area: SwapArea, slot: number): SwapInResult {
    const entry = entryOf(area.type, slot);
    const cached = this.cache.find(entry);
    if (cached !== -1) return this.#hit(area, cached);
    const frame = this.mm.allocFrame(false);
    if (frame === -1) return this.#refuse(SwapInResult.noFrame);
    let io = this.#io.fetch(area, slot, frame, false);
    if (io === PageIoResult.corrupt) return this.#releaseFrame(frame, SwapInResult.corrupt);
    if (io === PageIoResult.done) {
      const only = this.front.enabled && !area.zero.has(slot) && this.front.lastLoadExclusive;
      this.#enter(area, slot, frame, only ? FrameFlag.dirty : 0);
      return SwapInResult.done;
    }
    this.#enter(area, slot, frame, FrameFlag.reading);
    io = this.#io.read(area, slot, frame, this);
    if (io === PageIoResult.noBio) {
      this.#unenter(area, slot, frame);
      this.mm.freeFrame(frame);
      return this.#refuse(SwapInResult.busy);
    }
    this.#values[this.#at.readBios]! += 1;
    this.#own = frame;
    this.#readAround(area, slot);
    area.disk.tick();
    this.#own = -1;
    if (this.cache.entryAt(frame) !== entry) return SwapInResult.ioError;
    this.frame = frame;
    if ((this.cache.flags[frame]! & FrameFlag.reading) === 0) return SwapInResult.done;
    this.cache.flags[frame]! |= FrameFlag.awaited;
    return SwapInResult.pending;
  }

  /** One reference to the entry less. A clean page keeps its slot for a while, unless slots are scarce. */
  free(entry: SwapEntry): void {
    const area = this.#area(entry);
    const slot = offsetOf(entry);
    if (area.map.drop(slot)) this.#slotFree(area, slot);
    else if (!area.map.isReferenced(slot) && this.isHalfFull) this.#tryFreeEntry(entry);
  }

  /** free() of each of entries[from .. to), as when a process ends: tables are read ahead, so that cache misses overlap. */
  freeMany(entries: Int32Array, from: number, to: number): void {
    for (let at = from; at < to; at += WARM_SLOTS) {
      const end = Math.min(at + WARM_SLOTS, to);
      this.#warm(entries, at, end);
      for (let i = at; i < end; i++) this.free(entries[i]! as SwapEntry);
    }
  }

  /** The same, of a page that nobody will ask for (a process has ended): the swap cache lets go, too. */
  freeAndCache(entry: SwapEntry): void {
    const area = this.#area(entry);
    const slot = offsetOf(entry);
    if (area.map.drop(slot)) this.#slotFree(area, slot);
    else if (!area.map.isReferenced(slot)) this.#tryFreeEntry(entry);
  }

  /** Gives the slot of a cached page up if only the cache holds it; removedFromCache() is told. */
  tryFree(frame: number): boolean {
    const entry = this.cache.entryAt(frame);
    if (entry === NO_ENTRY || (this.cache.flags[frame]! & BUSY) !== 0) return false;
    const area = this.#area(entry);
    if (area.map.isReferenced(offsetOf(entry))) return false;
    this.#leave(area, offsetOf(entry), frame);
    return true;
  }

  /** Takes back up to `most` slots that only the swap cache holds; returns how many. Looks at each frame once at most. */
  reclaimCacheOnly(most: number): number {
    let freed = 0;
    for (let i = this.cache.frameCount; i > 0 && freed < most; i--) {
      const frame = this.#reclaimAt;
      this.#reclaimAt = frame + 1 === this.cache.frameCount ? 0 : frame + 1;
      if (this.tryFree(frame)) freed++;
    }
    this.#values[this.#at.cacheOnlyReclaimed]! += freed;
    return freed;
  }

  /** Ends what is done on every disk, and sends discards that wait. Returns how many bios ended. */
  tick(): number {
    let ended = 0;
    for (let type = 0; type < SWAP_AREAS_MAX; type++) {
      const area = this.areas[type]!;
      if (area === null) continue;
      this.discarder.pump(area);
      ended += area.disk.tick();
    }
    return ended;
  }

  /** A pass of the periodic discard over `clusters` clusters of each area with mode `scan`; returns dead slots sent off. */
  scanDiscard(clusters: number): number {
    let sent = 0;
    for (const area of this.areas)
      if (area !== null && area.discard === 'scan') sent += this.discarder.scan(area, clusters);
    return sent;
  }

  bioEnd(bio: Bio): void {
    const { op, status, tag: frame } = bio;
    this.#io.pool.free(bio);
    const entry = this.cache.entryAt(frame);
    if (frame === this.#direct) this.#directStatus = status;
    else if (op === BioOp.write) this.#writeEnd(entry, frame, status === BioStatus.ok);
    else this.#readEnd(entry, frame, status === BioStatus.ok);
  }

  #writeEnd(entry: SwapEntry, frame: number, ok: boolean): void {
    this.cache.flags[frame]! &= ~FrameFlag.writing;
    if (!ok) {
      this.cache.flags[frame]! |= FrameFlag.dirty;
      this.#values[this.#at.writeErrors]! += 1;
    }
    if (frame === this.#own) return;
    this.mm.writeDone(entry, frame, ok);
    this.tryFree(frame);
  }

  #readEnd(entry: SwapEntry, frame: number, ok: boolean): void {
    const isAwaited = (this.cache.flags[frame]! & FrameFlag.awaited) !== 0;
    this.cache.flags[frame]! &= ~(FrameFlag.reading | FrameFlag.awaited);
    if (!ok) {
      this.#values[this.#at.readErrors]! += 1;
      const area = this.#area(entry);
      this.#unenter(area, offsetOf(entry), frame);
      if (isAwaited) this.mm.readDone(entry, frame, false);
      this.mm.freeFrame(frame);
      return;
    }
    if (isAwaited) this.mm.readDone(entry, frame, true);
    this.tryFree(frame);
  }

  #hit(area: SwapArea, frame: number): SwapInResult {
    this.#values[this.#at.cacheHits]! += 1;
    const flags = this.cache.flags[frame]!;
    if ((flags & FrameFlag.ahead) !== 0) {
      area.readAhead.hit();
      this.#values[this.#at.readAheadHits]! += 1;
      this.cache.flags[frame]! &= ~FrameFlag.ahead;
    }
    this.cache.flags[frame]! |= FrameFlag.found;
    this.frame = frame;
    if ((flags & FrameFlag.reading) === 0) return SwapInResult.done;
    this.cache.flags[frame]! |= FrameFlag.awaited;
    return SwapInResult.pending;
  }

  /** One user, a disk that answers at once: no cache, no read-ahead (kernel: SWP_SYNCHRONOUS_IO). */
  #readPast(area: SwapArea, slot: number): SwapInResult {
    const frame = this.mm.allocFrame(false);
    if (frame === -1) return this.#refuse(SwapInResult.noFrame);
    let io = this.#io.fetch(area, slot, frame, true);
    if (io === PageIoResult.corrupt) return this.#releaseFrame(frame, SwapInResult.corrupt);
    if (io === PageIoResult.onDisk) {
      this.#direct = frame;
      this.#directStatus = -1;
      io = this.#io.read(area, slot, frame, this);
      if (io === PageIoResult.submitted) area.disk.tick();
      this.#direct = -1;
      if (io === PageIoResult.noBio) {
        this.mm.freeFrame(frame);
        return this.#refuse(SwapInResult.busy);
      }
      assert(this.#directStatus !== -1, 'a synchronous disk ends a bio at the next tick');
      this.#values[this.#at.readBios]! += 1;
      if (this.#directStatus !== BioStatus.ok) {
        this.#values[this.#at.readErrors]! += 1;
        return this.#releaseFrame(frame, SwapInResult.ioError);
      }
    }
    this.#values[this.#at.bypassed]! += 1;
    this.frame = frame;
    return SwapInResult.done;
  }

  /** Reads the neighbours that are on the disk, as far as frames and bios go. Nobody waits for them. */
  #readAround(area: SwapArea, slot: number): void {
    if (area.disk.synchronous) return;
    const window = area.readAhead.window(slot);
    const start = slot & ~(window - 1);
    const end = Math.min(start + window, area.map.slots);
    for (let other = Math.max(start, 1); other < end; other++) {
      if (other === slot || area.map.hasCache(other) || !area.map.isReferenced(other)) continue;
      if (area.zero.has(other) || (this.front.enabled && this.front.has(area.type, other)))
        continue;
      if (this.#io.pool.freeCount === 0) return;
      const frame = this.mm.allocFrame(true);
      if (frame === -1) return;
      this.#enter(area, other, frame, FrameFlag.reading | FrameFlag.ahead);
      this.#io.read(area, other, frame, this);
      this.#values[this.#at.readAheadBios]! += 1;
    }
  }

  #enter(area: SwapArea, slot: number, frame: number, flags: number): void {
    assert(area.map.setCache(slot), 'a slot that is read is in use and not cached');
    this.cache.add(entryOf(area.type, slot), frame, flags);
    this.frame = frame;
  }

  #unenter(area: SwapArea, slot: number, frame: number): void {
    this.cache.remove(frame);
    if (area.map.clearCache(slot)) this.#slotFree(area, slot);
  }

  #refuse(answer: SwapInResult): SwapInResult {
    this.#values[this.#at.refusedIn]! += 1;
    this.frame = -1;
    return answer;
  }

  #releaseFrame(frame: number, answer: SwapInResult): SwapInResult {
    this.mm.freeFrame(frame);
    this.frame = -1;
    return answer;
  }

  #tryFreeEntry(entry: SwapEntry): void {
    const frame = this.cache.find(entry);
    assert(frame !== -1, 'a slot with a cache bit has a frame');
    this.tryFree(frame);
  }

  #leave(area: SwapArea, slot: number, frame: number): void {
    this.cache.remove(frame);
    const isFree = area.map.clearCache(slot);
    assert(isFree, 'nobody refers to a slot that is given up');
    this.#slotFree(area, slot);
    this.mm.removedFromCache(frame);
  }

  /** Reads what freeing the entries will read, as far as they are of the first one's area. Changes nothing. */
  #warm(entries: Int32Array, from: number, to: number): void {
    const type = typeOf(entries[from]! as SwapEntry);
    const { bytes } = this.#area(entries[from]! as SwapEntry).map;
    let count = 0;
    let sum = 0;
    for (let i = from; i < to; i++) {
      const entry = entries[i]! as SwapEntry;
      if (typeOf(entry) !== type) continue;
      const slot = offsetOf(entry);
      sum ^= bytes[slot]!;
      this.#warmSlots[count++] = slot;
    }
    if (this.front.enabled) sum ^= this.front.warm?.(type, this.#warmSlots, count) ?? 0;
    this.warmed = sum;
  }

  /** The byte is 0. Everything that holds the page lets go of it; only then may the slot be handed out. */
  #slotFree(area: SwapArea, slot: number): void {
    area.zero.clear(slot);
    if (this.front.enabled) this.front.invalidatePage(area.type, slot);
    area.disk.slotFree?.(slot);
    this.#values[this.#at.slotsFreed]! += 1;
    const cluster = area.allocator.free(slot);
    if (cluster !== -1 && area.discard === 'pages') this.discarder.clusterFree(area, cluster);
  }

  #area(entry: SwapEntry): SwapArea {
    const area = this.areas[typeOf(entry)] ?? null;
    assert(area !== null, 'an entry that is in use has an area');
    return area;
  }
}
