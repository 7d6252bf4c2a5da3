/**
 * The swap core: allocates slots, swaps pages out and in, and frees a slot as soon as its last reference is dropped.
 *
 *   swap out:  addToSwap ▶ duplicate, once per reference ▶ swapOut ▶ dropFromCache
 *   swap in:   swapIn ▶ map the frame ▶ free
 *                                       └▶ a clean page in the swap cache keeps its slot until slots are scarce
 *
 *   AreaOrder  areas by priority        SwapMap   references of each slot       SlotAllocator  the next free slot
 *   SwapCache  entry ⇄ frame            PageIo    zero bit, frontswap or bio    Discarder      discards by bio
 *
 * Invariants
 * - free() of the last reference drops the zero bit, frontswap's copy and the disk's copy before the slot can be
 *   allocated again. O(1), no bio, no allocation.
 * - A swap-in returns the page as it was last swapped out, or the reason why it cannot. No other page is affected.
 * - A swap-in that bypasses the swap cache leaves frontswap's copy until free(), even with exclusive gets.
 * - Callbacks do not call the swap core, except unuse(), which may call free() and dropFromCache().
 *
 * Sources: Linux mm/swapfile.c, mm/swap_state.c, mm/page_io.c, 2.6.35 and 5.10. Left out: huge pages, memory cgroups.
 */
import { checkInteger } from '../base/arguments.ts';
import { assert } from '../base/assert.ts';
import { checkOptions } from '../base/options.ts';
import { PAGE_SHIFT, SWAP_AREAS_MAX } from '../base/units.ts';
import { type Bio, BioOp, type BioOwner, BioStatus } from '../block/bio.ts';
import { AreaOrder, type SwapArea } from './areas.ts';
import { type SwapCounters, swapCounters } from './counters.ts';
import { Discarder } from './discard.ts';
import { entryOf, NO_ENTRY, offsetOf, type SwapEntry, typeOf } from './entry.ts';
import type { FrontEnd, MemoryManager } from './ops.ts';
import { PageIo, PageIoResult } from './page-io.ts';
import { FrameFlag, SwapCache } from './swap-cache.ts';
import type { DuplicateResult } from './swap-map.ts';

/** Result of swapOut(). */
export const SwapOutResult = {
  /** The slot has the page: the frame may be reclaimed. */
  done: 0,
  /** A bio is in flight; writeDone() will be called. */
  pending: 1,
  /** The slot had no reference left: it was freed, and removedFromCache() called. */
  freed: 2,
  /** No bio is free, or writeback is writing the frame. Nothing changed: try again after a tick(). */
  busy: 3,
  /** The disk failed the write. The frame stays dirty and its slot has no page. */
  ioError: 4,
} as const;
export type SwapOutResult = (typeof SwapOutResult)[keyof typeof SwapOutResult];

/** Result of swapIn(). Only done and pending set `frame`. */
export const SwapInResult = {
  /** The page is in `frame`. */
  done: 0,
  /** A bio is reading the page into `frame`; readDone() will be called. */
  pending: 1,
  /** The memory manager has no free frame. */
  noFrame: 2,
  /** No bio is free: try again after a tick(). */
  busy: 3,
  /** The disk failed the read. The slot is unchanged. */
  ioError: 4,
  /** Frontswap's copy is corrupt or lost. The slot is unchanged. */
  corrupt: 5,
  /** No such area, or the slot has no reference (kernel: "Bad swap file entry", "Unused swap offset entry"). */
  badEntry: 6,
} as const;
export type SwapInResult = (typeof SwapInResult)[keyof typeof SwapInResult];

/** Limits on the bios that the swap core has in flight. */
export interface SwapOptions {
  /** Maximum number of page bios in flight, 1 .. 65536; default 64. */
  readonly bios?: number;
  /** Maximum number of discards in flight, 1 .. 65536; default 4. */
  readonly discardBios?: number;
}

const BIOS_MAX = 65536;

const BUSY: number = FrameFlag.reading | FrameFlag.writing;
/** Slots that addToSwap() frees from clean pages in one batch when none is free. */
const RECLAIM_SLOTS = 32;
/** Slots whose tables freeMany() reads ahead: more than a CPU's outstanding misses, fewer than its L1 cache lines. */
const WARM_SLOTS = 64;

/** The swap core: swap areas, their slots, the swap cache and page I/O. */
export class Swap implements BioOwner {
  readonly counters: SwapCounters = swapCounters();
  /** The frame of the last swapIn() that returned done or pending. */
  frame = -1;
  /** A checksum of the data that freeMany() read ahead; public, so that the reads are not optimised away. */
  warmed = 0;
  /** By type; null = off. Only swapon.ts writes it. */
  readonly areas: (SwapArea | null)[] = new Array<SwapArea | null>(SWAP_AREAS_MAX).fill(null);
  readonly order: AreaOrder = new AreaOrder();
  readonly front: FrontEnd;
  readonly mm: MemoryManager;
  readonly cache: SwapCache;
  readonly discarder: Discarder;
  readonly #io: PageIo;
  #values: Float64Array;
  #at: SwapCounters['index'];
  /** In #readBypassed(): its frame, and the status of its bio; -1 = in flight. */
  #bypassFrame = -1;
  #bypassStatus = -1;
  /** The frame whose bio the current call waits for; it gets no writeDone(). */
  #awaitedFrame = -1;
  #reclaimAt = 0;
  readonly #warmSlots = new Int32Array(WARM_SLOTS);

  /** @throws SwapError ERR_ARG_UNKNOWN, ERR_ARG_VALUE */
  constructor(front: FrontEnd, mm: MemoryManager, options: SwapOptions = {}) {
    checkOptions(options, 'Swap(options)', ['bios', 'discardBios']);
    const { bios = 64, discardBios = 4 } = options;
    checkInteger('Swap(options).bios', bios, 1, BIOS_MAX);
    checkInteger('Swap(options).discardBios', discardBios, 1, BIOS_MAX);
    this.front = front;
    this.mm = mm;
    this.cache = new SwapCache(mm.memory.length >>> PAGE_SHIFT);
    this.#values = this.counters.values;
    this.#at = this.counters.index;
    this.#io = new PageIo(front, mm.memory, bios, this.counters);
    this.discarder = new Discarder(discardBios, this.counters, this.areas);
  }

  /** Allocates a slot for the frame and adds it, dirty, to the swap cache; NO_ENTRY if no slot is free. */
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

  /** Adds a reference to the entry. */
  duplicate(entry: SwapEntry): DuplicateResult {
    return this.#area(entry).map.duplicate(offsetOf(entry));
  }

  /** Ensures that the next duplicate() of the entry succeeds. May allocate. */
  addContinuation(entry: SwapEntry): void {
    this.#area(entry).map.addContinuation(offsetOf(entry));
  }

  /** Records that the frame was modified: it differs from the slot's copy. */
  markDirty(frame: number): void {
    assert(this.cache.entryAt(frame) !== NO_ENTRY, 'the frame is in the swap cache');
    this.cache.flags[frame]! |= FrameFlag.dirty;
  }

  isDirty(frame: number): boolean {
    return (this.cache.flags[frame]! & FrameFlag.dirty) !== 0;
  }

  /** True while a bio reads or writes the frame. */
  isBusy(frame: number): boolean {
    return (this.cache.flags[frame]! & BUSY) !== 0;
  }

  /** Finds the entry's frame in the swap cache; -1 if it is not there. */
  lookup(entry: SwapEntry): number {
    const frame = this.cache.find(entry);
    if (frame !== -1) this.cache.flags[frame]! |= FrameFlag.found;
    return frame;
  }

  /** Writes the frame to its slot. */
  swapOut(frame: number): SwapOutResult {
    const entry = this.cache.entryAt(frame);
    assert(entry !== NO_ENTRY, 'the frame is in the swap cache');
    const flags = this.cache.flags[frame]!;
    assert((flags & FrameFlag.reading) === 0, 'no read of the frame is in flight');
    if ((flags & FrameFlag.writeback) !== 0) return SwapOutResult.busy;
    if ((flags & FrameFlag.writing) !== 0) return SwapOutResult.pending;
    const area = this.#area(entry);
    const slot = offsetOf(entry);
    this.#values[this.#at.pagesOut]! += 1;
    if (!area.map.isReferenced(slot)) {
      this.#values[this.#at.freedOut]! += 1;
      this.#freeCached(area, slot, frame);
      return SwapOutResult.freed;
    }
    this.cache.flags[frame] = flags & ~FrameFlag.dirty;
    const io = this.#io.write(area, slot, frame, this);
    if (io === PageIoResult.done) return SwapOutResult.done;
    if (io === PageIoResult.busy) {
      this.cache.flags[frame]! |= FrameFlag.dirty;
      return SwapOutResult.busy;
    }
    this.cache.flags[frame]! |= FrameFlag.writing;
    if (area.disk.synchronous) {
      this.#awaitedFrame = frame;
      area.disk.tick();
      this.#awaitedFrame = -1;
    }
    const after = this.cache.flags[frame]!;
    if ((after & FrameFlag.writing) !== 0) return SwapOutResult.pending;
    return (after & FrameFlag.dirty) === 0 ? SwapOutResult.done : SwapOutResult.ioError;
  }

  /** Removes a clean frame from the cache; the memory manager calls this when it reclaims the frame. */
  dropFromCache(frame: number): void {
    const entry = this.cache.entryAt(frame);
    assert(
      (this.cache.flags[frame]! & (BUSY | FrameFlag.dirty)) === 0,
      'the frame is clean and idle',
    );
    const area = this.#area(entry);
    this.cache.remove(frame);
    if (area.map.clearCache(offsetOf(entry))) this.#slotFree(area, offsetOf(entry));
  }

  /** Reads the entry's page into a frame. The caller keeps its reference until it calls free(). */
  swapIn(entry: SwapEntry): SwapInResult {
    const area = this.areas[typeOf(entry)] ?? null;
    const slot = offsetOf(entry);
    this.frame = -1;
    this.#values[this.#at.pagesIn]! += 1;
    if (area === null || slot >= area.map.slots || !area.map.isReferenced(slot)) {
      this.#values[this.#at.refusedIn]! += 1;
      return SwapInResult.badEntry;
    }
    const isBypassed = area.disk.synchronous && area.map.bytes[slot]! === 1;
    return isBypassed ? this.#readBypassed(area, slot) : this.readCached(area, entry);
  }

  /** swapIn() through the swap cache, for any disk. */
  readCached(area: SwapArea, entry: SwapEntry): SwapInResult {
    const slot = offsetOf(entry);
    const cached = this.cache.find(entry);
    if (cached !== -1) return this.#hit(area, cached);
    const frame = this.mm.allocFrame(false);
    if (frame === -1) return this.#refuse(SwapInResult.noFrame);
    let io = this.#io.fetch(area, slot, frame, false);
    if (io === PageIoResult.corrupt) return this.#releaseFrame(frame, SwapInResult.corrupt);
    if (io !== PageIoResult.onDisk) {
      this.#enter(area, entry, frame, io === PageIoResult.doneExclusive ? FrameFlag.dirty : 0);
      return SwapInResult.done;
    }
    this.#enter(area, entry, frame, FrameFlag.reading);
    io = this.#io.read(area, slot, frame, this);
    if (io === PageIoResult.busy) {
      this.#unenter(area, slot, frame);
      this.mm.freeFrame(frame);
      return this.#refuse(SwapInResult.busy);
    }
    this.#values[this.#at.readBios]! += 1;
    this.#awaitedFrame = frame;
    this.#readAround(area, slot);
    area.disk.tick();
    this.#awaitedFrame = -1;
    if (this.cache.entryAt(frame) !== entry) return SwapInResult.ioError;
    this.frame = frame;
    if ((this.cache.flags[frame]! & FrameFlag.reading) === 0) return SwapInResult.done;
    this.cache.flags[frame]! |= FrameFlag.awaited;
    return SwapInResult.pending;
  }

  /** Drops a reference to the entry. A clean page in the swap cache keeps its slot, unless slots are scarce. */
  free(entry: SwapEntry): void {
    const area = this.#area(entry);
    const slot = offsetOf(entry);
    if (area.map.drop(slot)) this.#slotFree(area, slot);
    else if (!area.map.isReferenced(slot) && this.order.isHalfFull) this.#tryFreeEntry(entry);
  }

  /** free() of entries[from .. to), as when a process exits. Reads the tables ahead, so that cache misses overlap. */
  freeMany(entries: Int32Array, from: number, to: number): void {
    for (let at = from; at < to; at += WARM_SLOTS) {
      const end = Math.min(at + WARM_SLOTS, to);
      this.#warm(entries, at, end);
      for (let i = at; i < end; i++) this.free(entries[i]! as SwapEntry);
    }
  }

  /** free(), and frees the slot even if its page is clean in the swap cache (kernel: free_swap_and_cache). */
  freeAndCache(entry: SwapEntry): void {
    const area = this.#area(entry);
    const slot = offsetOf(entry);
    if (area.map.drop(slot)) this.#slotFree(area, slot);
    else if (!area.map.isReferenced(slot)) this.#tryFreeEntry(entry);
  }

  /** Frees the slot of a cached frame if it has no reference and no bio, and calls removedFromCache(). */
  tryFree(frame: number): boolean {
    const entry = this.cache.entryAt(frame);
    if (entry === NO_ENTRY || (this.cache.flags[frame]! & BUSY) !== 0) return false;
    const area = this.#area(entry);
    if (area.map.isReferenced(offsetOf(entry))) return false;
    this.#freeCached(area, offsetOf(entry), frame);
    return true;
  }

  /** Frees up to `slotsMax` slots without references from clean pages in memory; returns how many. Checks each frame once. */
  reclaimCacheOnly(slotsMax: number): number {
    let freed = 0;
    for (let i = this.cache.frameCount; i > 0 && freed < slotsMax; i--) {
      const frame = this.#reclaimAt;
      this.#reclaimAt = frame + 1 === this.cache.frameCount ? 0 : frame + 1;
      if (this.tryFree(frame)) freed++;
    }
    this.#values[this.#at.cacheOnlyReclaimed]! += freed;
    return freed;
  }

  /** Completes the finished bios of every disk and submits queued discards. Returns the number of bios completed. */
  tick(): number {
    let completed = 0;
    for (let type = 0; type < SWAP_AREAS_MAX; type++) {
      const area = this.areas[type]!;
      if (area === null) continue;
      this.discarder.pump(area);
      completed += area.disk.tick();
    }
    return completed;
  }

  /** Scans `clusters` clusters of each area in discard mode `scan`; returns the number of slots sent to be discarded. */
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
    if (frame === this.#bypassFrame) this.#bypassStatus = status;
    else if (op === BioOp.write) this.#writeEnd(entry, frame, status === BioStatus.ok);
    else this.#readEnd(entry, frame, status === BioStatus.ok);
  }

  #writeEnd(entry: SwapEntry, frame: number, ok: boolean): void {
    this.cache.flags[frame]! &= ~FrameFlag.writing;
    if (!ok) {
      this.cache.flags[frame]! |= FrameFlag.dirty;
      this.#values[this.#at.writeErrors]! += 1;
    }
    if (frame === this.#awaitedFrame) return;
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

  /** For a slot with one reference on a synchronous disk: no swap cache, no read-ahead (kernel: SWP_SYNCHRONOUS_IO). */
  #readBypassed(area: SwapArea, slot: number): SwapInResult {
    const frame = this.mm.allocFrame(false);
    if (frame === -1) return this.#refuse(SwapInResult.noFrame);
    let io = this.#io.fetch(area, slot, frame, true);
    if (io === PageIoResult.corrupt) return this.#releaseFrame(frame, SwapInResult.corrupt);
    if (io === PageIoResult.onDisk) {
      this.#bypassFrame = frame;
      this.#bypassStatus = -1;
      io = this.#io.read(area, slot, frame, this);
      if (io === PageIoResult.pending) area.disk.tick();
      this.#bypassFrame = -1;
      if (io === PageIoResult.busy) {
        this.mm.freeFrame(frame);
        return this.#refuse(SwapInResult.busy);
      }
      assert(this.#bypassStatus !== -1, 'a synchronous disk completes a bio at the next tick');
      this.#values[this.#at.readBios]! += 1;
      if (this.#bypassStatus !== BioStatus.ok) {
        this.#values[this.#at.readErrors]! += 1;
        return this.#releaseFrame(frame, SwapInResult.ioError);
      }
    }
    this.#values[this.#at.bypassed]! += 1;
    this.frame = frame;
    return SwapInResult.done;
  }

  /** Read-ahead: reads the slots around a fault that are on the disk, while frames and bios are free. */
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
      this.#enter(area, entryOf(area.type, other), frame, FrameFlag.reading | FrameFlag.ahead);
      this.#io.read(area, other, frame, this);
      this.#values[this.#at.readAheadBios]! += 1;
    }
  }

  #enter(area: SwapArea, entry: SwapEntry, frame: number, flags: number): void {
    assert(area.map.setCache(offsetOf(entry)), 'the slot is referenced and not cached');
    this.cache.add(entry, frame, flags);
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
    assert(frame !== -1, 'a cached slot has a frame');
    this.tryFree(frame);
  }

  #freeCached(area: SwapArea, slot: number, frame: number): void {
    this.cache.remove(frame);
    const isFree = area.map.clearCache(slot);
    assert(isFree, 'the slot has no reference');
    this.#slotFree(area, slot);
    this.mm.removedFromCache(frame);
  }

  /** Reads the data that free() of the entries will read, for entries in the area of the first. Changes nothing. */
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

  /** Drops every copy of the page of a slot whose map byte is 0, then makes the slot allocatable. */
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
    assert(area !== null, 'the area of the entry is on');
    return area;
  }
}
