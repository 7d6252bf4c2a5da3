/**
 * ramzswap: a block device whose blocks live compressed in RAM, after the driver of 2009 that the debate is
 * about and zram, which it became. Pages of the disk are slots of a store, one to one.
 *
 *   write      a whole page replaces the slot's; part of a page is read, changed and put back
 *   read       a slot that was never written, or was given up, reads as zeros
 *   discard    whole pages inside the range are given up at once; parts of a page stay as they are
 *   writeZeroes  the same, and parts of a page are zeroed; with noUnmap pages stay, as same-filled ones
 *   flush, fua nothing to do: what was accepted is where it will stay
 *   slotFree   the page is given up at once, without a bio: the driver's swap_slot_free_notify. Nothing here can
 *              be busy with the slot, so no notice is missed
 *
 * A full store ends the write with noSpace and the slot keeps what it had (zram does so; ramzswap gave the old
 * page up first). Of a write longer than a page the pages before the refused one are written. A page whose bytes
 * fail their checksum ends the read with ioError; nothing of that page is returned.
 *
 * Everything happens inside submit(); the bio ends at the next tick(), as for every disk. Housekeeping of the store follows
 * the ticks, as much as was changed; settle() is for when there is nothing else to do.
 *
 * Sources: Linux drivers/staging/ramzswap, drivers/block/zram/zram_drv.c; the counters keep their names.
 */
import { Budget } from '../../arena/budget.ts';
import type { PageReturnFactory } from '../../arena/ops.ts';
import { assert, Bug } from '../../base/assert.ts';
import { type ByteCount, bytes, PAGE_BYTES, slot as slotOf } from '../../base/units.ts';
import { type Bio, BioFlag, BioOp, BioQueue, BioStatus } from '../../block/bio.ts';
import { type Disk, type DiskLimits, Extent, type ExtentSink } from '../../block/ops.ts';
import { type CodecFactory, PageFormat } from '../../codec/codec.ts';
import { CounterAt, Get, Put } from '../../store/results.ts';
import { Store } from '../../store/store.ts';

/** Housekeeping follows a tick once this many pages have changed. */
const MAINTAIN_PAGES = 64;

export interface RamzswapOptions {
  /** Bytes, a multiple of 4096, 4096 .. 2^43. */
  readonly sizeBytes: number;
  /** Ceiling of RAM with all metadata, bytes; 0 = none. */
  readonly limitBytes: number;
  readonly codec: { readonly name: string; readonly factory: CodecFactory };
  readonly returns?: PageReturnFactory;
}

/** What a disk holds and has done. Names and meaning as zram's mm_stat and io_stat where both have it. */
export interface RamzswapStats {
  readonly algorithm: string;
  readonly diskSizeBytes: number;
  readonly limitBytes: number;
  /** Pages held now, same-filled ones included. */
  readonly storedPages: number;
  /** storedPages x 4096. */
  readonly dataBytes: number;
  /** Payload of the stored pages: packed lengths, 4096 for an incompressible page. */
  readonly compressedBytes: number;
  /** RAM in use for them, all metadata included. */
  readonly usedBytes: number;
  /** Most that usedBytes and free memory not yet given back ever came to. */
  readonly peakUsedBytes: number;
  readonly sameFilledPages: number;
  readonly incompressiblePages: number;
  /** Pages that compaction freed, since the start. */
  readonly compactedPages: number;
  /** Requests since the start. */
  readonly reads: number;
  readonly writes: number;
  readonly discards: number;
  /** Pages given up by slotFree, discard and writeZeroes since the start. */
  readonly notifyFree: number;
  /** Slots said to be free that the disk does not have: must stay 0. */
  readonly missFree: number;
  /** Requests outside the disk or not understood. */
  readonly invalidIo: number;
  /** Reads ended by a checksum that did not fit: must stay 0. */
  readonly failedReads: number;
  /** Writes refused because the limit was reached. */
  readonly failedWrites: number;
}

export class Ramzswap implements Disk, Disposable {
  readonly sizeBytes: ByteCount;
  readonly readOnly = false;
  readonly synchronous = true;
  readonly limits: DiskLimits = {
    physicalBlockBytes: PAGE_BYTES,
    discardGranularityBytes: PAGE_BYTES,
    maxTransferBytes: 2 ** 32 - PAGE_BYTES,
  };
  readonly #algorithm: string;
  readonly #budget: Budget;
  readonly #store: Store;
  readonly #done = new BioQueue();
  readonly #page = new Uint8Array(PAGE_BYTES);
  /** Pages put or given up since the last housekeeping. */
  #changedPages = 0;
  #hasMoreToDo = false;
  #fault: Bug | null = null;
  #reads = 0;
  #writes = 0;
  #discards = 0;
  #notifyFree = 0;
  #missFree = 0;
  #invalidIo = 0;
  #failedReads = 0;
  #failedWrites = 0;

  constructor(options: RamzswapOptions) {
    const { sizeBytes, limitBytes, codec, returns } = options;
    assert(sizeBytes > 0 && sizeBytes % PAGE_BYTES === 0, 'a disk is whole pages');
    this.sizeBytes = bytes(sizeBytes);
    this.#algorithm = codec.name;
    this.#budget = new Budget(limitBytes);
    this.#store = new Store({
      slots: sizeBytes / PAGE_BYTES,
      budget: this.#budget,
      codec: codec.factory,
      ...(returns === undefined ? {} : { returns }),
    });
  }

  /** What broke an invariant of this disk, if anything did: it answers ioError ever since, others go on. */
  get fault(): Bug | null {
    return this.#fault;
  }

  submit(bio: Bio): void {
    bio.status = BioStatus.ioError;
    if (this.#fault === null) {
      try {
        bio.status = this.#perform(bio);
      } catch (error) {
        this.#stopAt(error);
      }
    }
    this.#done.push(bio);
  }

  #stopAt(error: unknown): void {
    if (!(error instanceof Bug)) throw error;
    this.#fault = error;
    this.#failedReads++;
  }

  tick(): number {
    const ended = this.#done.endAll();
    // As much housekeeping as was changed, and a little with every tick while there is more to do.
    if (this.#changedPages >= MAINTAIN_PAGES || this.#hasMoreToDo) {
      this.#hasMoreToDo = this.#tidy(Math.max(this.#changedPages, MAINTAIN_PAGES));
      this.#changedPages = 0;
    }
    return ended;
  }

  /** Housekeeping for `changed` pages, or for a disk at rest when that is 0; true while there is more to do. */
  #tidy(changed: number): boolean {
    if (this.#fault !== null) return false;
    try {
      return changed === 0 ? this.#store.settle() : this.#store.maintain(changed);
    } catch (error) {
      this.#stopAt(error);
      return false;
    }
  }

  extents(offset: number, length: number, sink: ExtentSink): void {
    const end = offset + length;
    let at = offset;
    let kind = this.#kindAt(at);
    let runStart = at;
    while (at < end) {
      let next = Math.min(end, (Math.floor(at / PAGE_BYTES) + 1) * PAGE_BYTES);
      if (kind === Extent.hole) next = this.#skipEmpty(next, end);
      const nextKind = next < end ? this.#kindAt(next) : kind;
      if (nextKind !== kind) {
        if (!sink(kind, next - runStart)) return;
        kind = nextKind;
        runStart = next;
      }
      at = next;
    }
    if (end > runStart) sink(kind, end - runStart);
  }

  /** Housekeeping for when no request is under way, see Store.settle; true while there is more to do. */
  settle(): boolean {
    return this.#tidy(0);
  }

  slotFree(slot: number): void {
    if (slot >= 0 && slot < this.#store.slots) {
      const dropped = this.#store.dropRange(slotOf(slot), slot + 1);
      this.#notifyFree += dropped;
      this.#changedPages += dropped;
    } else this.#missFree++;
  }

  /** Gives up every page; false, and nothing is done, while bios are in flight. */
  reset(): boolean {
    if (this.#done.length > 0) return false;
    this.#store.dropRange(slotOf(0), this.#store.slots);
    return true;
  }

  /** Gives up every page and returns the memory. The disk is not used afterwards. */
  [Symbol.dispose](): void {
    this.#store.dropRange(slotOf(0), this.#store.slots);
    this.#store.giveBackAll();
  }

  stats(): RamzswapStats {
    const store = this.#store;
    const storedPages = store.storedPages;
    return {
      algorithm: this.#algorithm,
      diskSizeBytes: this.sizeBytes,
      limitBytes: this.#budget.limitBytes,
      storedPages,
      dataBytes: storedPages * PAGE_BYTES,
      compressedBytes: store.counter(CounterAt.storedBytes),
      usedBytes: store.usedBytes,
      peakUsedBytes: this.#budget.peakBytes,
      sameFilledPages: store.counter(CounterAt.samePages),
      incompressiblePages: store.counter(CounterAt.rawPages),
      compactedPages: store.counter(CounterAt.compactedPages),
      reads: this.#reads,
      writes: this.#writes,
      discards: this.#discards,
      notifyFree: this.#notifyFree,
      missFree: this.#missFree,
      invalidIo: this.#invalidIo,
      failedReads: this.#failedReads,
      failedWrites: this.#failedWrites,
    };
  }

  /** Checks every invariant of the store; throws Bug. */
  verify(): void {
    this.#store.verify();
  }

  #perform(bio: Bio): BioStatus {
    const { offset, length } = bio;
    if (offset < 0 || length < 0 || offset + length > this.sizeBytes) return this.#invalid();
    switch (bio.op) {
      case BioOp.read:
        this.#reads++;
        return this.#read(bio);
      case BioOp.write:
        this.#writes++;
        return this.#write(bio);
      case BioOp.discard:
        this.#discards++;
        this.#dropWhole(offset, offset + length);
        return BioStatus.ok;
      case BioOp.writeZeroes:
        this.#discards++;
        return this.#writeZeroes(offset, offset + length, (bio.flags & BioFlag.noUnmap) !== 0);
      case BioOp.flush:
        return BioStatus.ok;
      default:
        return this.#invalid();
    }
  }

  #invalid(): BioStatus {
    this.#invalidIo++;
    return BioStatus.invalid;
  }

  #read(bio: Bio): BioStatus {
    const { data } = bio;
    const end = bio.offset + bio.length;
    let to = bio.at;
    for (let offset = bio.offset; offset < end; ) {
      const inPage = offset % PAGE_BYTES;
      const length = Math.min(PAGE_BYTES - inPage, end - offset);
      const slot = slotOf(Math.floor(offset / PAGE_BYTES));
      if (length === PAGE_BYTES) {
        const got = this.#store.get(slot, data, to);
        if (got === Get.absent) data.fill(0, to, to + PAGE_BYTES);
        else if (got === Get.corrupt) return this.#failedRead();
      } else {
        if (!this.#loadPage(slot)) return this.#failedRead();
        data.set(this.#page.subarray(inPage, inPage + length), to);
      }
      to += length;
      offset += length;
    }
    return BioStatus.ok;
  }

  #write(bio: Bio): BioStatus {
    const { data } = bio;
    const end = bio.offset + bio.length;
    let from = bio.at;
    for (let offset = bio.offset; offset < end; ) {
      const inPage = offset % PAGE_BYTES;
      const length = Math.min(PAGE_BYTES - inPage, end - offset);
      const slot = slotOf(Math.floor(offset / PAGE_BYTES));
      let put: Put;
      if (length === PAGE_BYTES) {
        put = this.#store.put(slot, data, from);
      } else {
        if (!this.#loadPage(slot)) return this.#failedRead();
        this.#page.set(data.subarray(from, from + length), inPage);
        put = this.#store.put(slot, this.#page, 0);
      }
      if (put === Put.refused) return this.#failedWrite();
      this.#changedPages++;
      from += length;
      offset += length;
    }
    return BioStatus.ok;
  }

  #writeZeroes(offset: number, end: number, noUnmap: boolean): BioStatus {
    const firstWhole = Math.min(end, Math.ceil(offset / PAGE_BYTES) * PAGE_BYTES);
    const lastWhole = Math.max(firstWhole, end - (end % PAGE_BYTES));
    // Whole pages first: what they give up is room for the parts.
    if (!noUnmap) this.#dropWhole(firstWhole, lastWhole);
    else {
      for (let at = firstWhole; at < lastWhole; at += PAGE_BYTES) {
        this.#changedPages++;
        const put = this.#store.putWord(slotOf(at / PAGE_BYTES), 0, 0);
        if (put === Put.refused) return this.#failedWrite();
      }
    }
    if (offset < firstWhole) {
      const status = this.#zeroPart(offset, firstWhole);
      if (status !== BioStatus.ok) return status;
    }
    return lastWhole < end ? this.#zeroPart(lastWhole, end) : BioStatus.ok;
  }

  /** Zeroes [from, to), less than a page and inside one. Nothing to do where nothing is stored. */
  #zeroPart(from: number, to: number): BioStatus {
    const slot = slotOf(Math.floor(from / PAGE_BYTES));
    if (this.#store.formatOf(slot) === PageFormat.none) return BioStatus.ok;
    if (!this.#loadPage(slot)) return this.#failedRead();
    this.#page.fill(0, from % PAGE_BYTES, (from % PAGE_BYTES) + (to - from));
    this.#changedPages++;
    return this.#store.put(slot, this.#page, 0) === Put.refused
      ? this.#failedWrite()
      : BioStatus.ok;
  }

  /** Gives up the whole pages inside [from, to). */
  #dropWhole(from: number, to: number): void {
    const first = Math.ceil(from / PAGE_BYTES);
    const end = Math.floor(to / PAGE_BYTES);
    if (first >= end) return;
    const dropped = this.#store.dropRange(slotOf(first), end);
    this.#notifyFree += dropped;
    this.#changedPages += dropped;
  }

  /** Brings a page to #page, zeros where nothing is stored; false when it is damaged. */
  #loadPage(slot: ReturnType<typeof slotOf>): boolean {
    const got = this.#store.get(slot, this.#page, 0);
    if (got === Get.absent) this.#page.fill(0);
    return got !== Get.corrupt;
  }

  /** From a page's start on: the next offset before `end` where something may be stored, or `end`. */
  #skipEmpty(offset: number, end: number): number {
    if (offset >= end) return end;
    const slots = Math.ceil(end / PAGE_BYTES);
    const found = this.#store.skipEmpty(slotOf(offset / PAGE_BYTES), slots);
    return Math.min(end, found * PAGE_BYTES);
  }

  #kindAt(offset: number): Extent {
    const slot = slotOf(Math.floor(offset / PAGE_BYTES));
    if (this.#store.formatOf(slot) === PageFormat.none) return Extent.hole;
    return this.#store.isZero(slot) ? Extent.zero : Extent.data;
  }

  #failedRead(): BioStatus {
    this.#failedReads++;
    return BioStatus.ioError;
  }

  #failedWrite(): BioStatus {
    this.#failedWrites++;
    return BioStatus.noSpace;
  }
}
