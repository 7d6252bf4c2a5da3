/**
 * ramzswap: a block device whose blocks live compressed in RAM, after the driver of 2009 that the debate is
 * about and zram, which it became. Pages of the disk are slots of a store, one to one.
 *
 *   write      a whole page replaces the slot's; part of a page is read, changed and put back
 *   read       a slot that was never written, or was given up, reads as zeros
 *   discard    whole pages inside the range are given up at once; parts of a page stay as they are
 *   writeZeroes  the same, and parts of a page are zeroed; with noUnmap pages stay, as same-filled ones
 *   flush, fua nothing to do: what was accepted is where it will stay, and without this process's tables neither
 *              RAM nor the backing is worth anything
 *   slotFree   the page is given up at once, without a bio: the driver's swap_slot_free_notify. Only a bio to the
 *              backing can be busy with the slot; then the page stays and the miss is counted
 *
 * A full store ends the write with noSpace and the slot keeps what it had (zram does so; ramzswap gave the old
 * page up first). Of a write longer than a page the pages before the refused one are written. A page whose bytes
 * fail their checksum ends the read with ioError; nothing of that page is returned.
 *
 * Without a backing everything happens inside submit(); the bio ends at the next tick(), as for every disk. Housekeeping
 * of the store follows the ticks, as much as was changed; settle() is for when there is nothing else to do.
 *
 * With a backing disk a page lives in RAM, or at the same offset of the backing, or nowhere and reads as zeros:
 *
 *   packs to half a page or less ─▶ RAM         more, or RAM refuses for any reason ─▶ backing
 *
 * The old copy is given up when the new one is safe: at once by a put, when its write has ended well by the backing. A
 * write that the backing fails leaves the page as the backing left it, or in RAM as it was. Parts of pages that are
 * there are read and written there. Who touches a page that is under way waits (backing.ts).
 *
 * Sources: Linux drivers/staging/ramzswap, drivers/block/zram/zram_drv.c; the counters keep their names.
 */
import { Budget } from '../../../arena/budget.ts';
import type { PageReleaseFactory } from '../../../arena/ops.ts';
import { assert, type InvariantError } from '../../../base/assert.ts';
import { type ByteCount, bytes, PAGE_BYTES, slot as slotOf } from '../../../base/units.ts';
import { type CodecFactory, PageFormat } from '../../../codec/codec.ts';
import { lz4 } from '../../../codec/lz4.ts';
import { CounterAt, PutResult } from '../../../store/results.ts';
import { Store } from '../../../store/store.ts';
import { type Bio, BioOp, BioQueue, BioStatus } from '../../bio.ts';
import { type Disk, type DiskLimits, Extent, type ExtentSink } from '../../ops.ts';
import { Backing, type BackingOptions, BackingRequest } from './backing.ts';
import { PageWalk, Pending, slotAt } from './page-walk.ts';
import type { RamzswapStats } from './stats.ts';

/** Housekeeping follows a tick once this many pages have changed. */
const MAINTAIN_PAGES = 64;
export interface RamzswapOptions {
  /** Bytes, a multiple of 4096, 4096 .. 2^43. */
  readonly sizeBytes: number;
  /** Ceiling of RAM with all metadata, bytes; 0 = none. */
  readonly limitBytes: number;
  /** A ceiling that this disk shares with others: what it refuses is refused as by the disk's own. Default: none. */
  readonly total?: Budget;
  /** Default: `lz4`, the codec in WebAssembly. */
  readonly codec?: { readonly name: string; readonly factory: CodecFactory };
  readonly release?: PageReleaseFactory;
  /** Where poor pages go, and those for which there is no RAM. */
  readonly backing?: BackingOptions;
  /** 4096 bytes that slot 0 holds at the start and after a reset: a swap header (swap/header.ts writes one). */
  readonly firstPage?: Uint8Array;
}

export class Ramzswap implements Disk, Disposable {
  readonly sizeBytes: ByteCount;
  readonly readOnly = false;
  /** As the backing's, if there is one. */
  readonly synchronous: boolean;
  readonly limits: DiskLimits = {
    physicalBlockBytes: PAGE_BYTES,
    discardGranularityBytes: PAGE_BYTES,
    maxTransferBytes: 2 ** 32 - PAGE_BYTES,
  };
  readonly #algorithm: string;
  readonly #budget: Budget;
  readonly #store: Store;
  readonly #walk: PageWalk;
  readonly #backing: Backing | null;
  readonly #firstPage: Uint8Array | null;
  readonly #done = new BioQueue();
  /** The errand that the next bio begins with. */
  #spare: BackingRequest;
  #hasMoreToDo = false;
  #reads = 0;
  #writes = 0;
  #discards = 0;
  #missFree = 0;
  #invalidIo = 0;

  constructor(options: RamzswapOptions) {
    const {
      sizeBytes,
      limitBytes,
      total,
      codec = { name: 'lz4', factory: lz4 },
      release: returns,
      backing,
      firstPage = null,
    } = options;
    assert(sizeBytes > 0 && sizeBytes % PAGE_BYTES === 0, 'a disk is whole pages');
    this.sizeBytes = bytes(sizeBytes);
    this.#algorithm = codec.name;
    this.#budget = new Budget(limitBytes, total ?? null);
    const onLanded = (errand: BackingRequest, status: BioStatus): void =>
      this.#completed(errand, status);
    this.#backing =
      backing === undefined ? null : new Backing(backing, sizeBytes, this.#budget, onLanded);
    this.#spare = new BackingRequest(onLanded);
    this.synchronous = this.#backing?.synchronous ?? true;
    this.#store = new Store({
      slots: sizeBytes / PAGE_BYTES,
      budget: this.#budget,
      codec: codec.factory,
      ...(returns === undefined ? {} : { release: returns }),
    });
    this.#walk = new PageWalk(this.#store, this.#backing);
    this.#firstPage = firstPage;
    this.#putFirstPage();
  }

  /** What broke an invariant of this disk, if anything did: it answers ioError ever since, others go on. */
  get fault(): InvariantError | null {
    return this.#walk.fault;
  }

  submit(bio: Bio): void {
    const backing = this.#backing;
    if (!this.#isUnderstood(bio)) {
      bio.status = BioStatus.invalid;
      this.#done.push(bio);
    } else this.#admit(bio);
    if (backing === null || !backing.synchronous) return;
    while (backing.underWay > 0) backing.tick();
  }

  tick(): number {
    this.#tickBacking();
    const ended = this.#done.endAll();
    // As much housekeeping as was changed, and a little with every tick while there is more to do.
    if (this.#walk.changedPages >= MAINTAIN_PAGES || this.#hasMoreToDo) {
      this.#hasMoreToDo = this.#maintain(Math.max(this.#walk.changedPages, MAINTAIN_PAGES));
      this.#walk.changedPages = 0;
    }
    return ended;
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
  compactIdle(): boolean {
    return this.#maintain(0);
  }

  slotFree(slot: number): void {
    const isOurs = slot >= 0 && slot < this.#store.slots;
    if (isOurs && this.#backing?.isBusy(slot) !== true) this.#walk.drop(slot, slot + 1);
    else this.#missFree++;
  }

  /** Gives up every page, those of the backing too; false, and nothing is done, while bios are in flight. */
  reset(): boolean {
    if (this.#done.length > 0 || (this.#backing?.inFlight ?? 0) > 0) return false;
    this.#store.dropRange(slotOf(0), this.#store.slots);
    this.#backing?.below.clearRange(0, this.#store.slots);
    this.#putFirstPage();
    return true;
  }

  /** Gives up every page, returns the memory and disposes of the backing. The disk is not used afterwards. */
  [Symbol.dispose](): void {
    this.#store.dropRange(slotOf(0), this.#store.slots);
    this.#store.releaseAll();
    this.#backing?.[Symbol.dispose]();
  }

  stats(): RamzswapStats {
    const store = this.#store;
    const backing = this.#backing;
    const storedPages = store.storedPages;
    return {
      algorithm: this.#algorithm,
      diskSizeBytes: this.sizeBytes,
      limitBytes: this.#budget.limitBytes,
      storedPages,
      dataBytes: storedPages * PAGE_BYTES,
      compressedBytes: store.counter(CounterAt.storedBytes),
      usedBytes: store.usedBytes + (backing?.tableBytes ?? 0),
      peakUsedBytes: this.#budget.peakBytes,
      sameFilledPages: store.counter(CounterAt.samePages),
      zeroPages: store.counter(CounterAt.zeroPages),
      goodPages: store.counter(CounterAt.goodPages),
      incompressiblePages: store.counter(CounterAt.rawPages),
      compactedPages: store.counter(CounterAt.compactedPages),
      reads: this.#reads,
      writes: this.#writes,
      discards: this.#discards,
      notifyFree: this.#walk.notifyFree,
      missFree: this.#missFree,
      invalidIo: this.#invalidIo,
      failedReads: this.#walk.failedReads,
      failedWrites: this.#walk.failedWrites,
      backingBytes: (backing?.below.count ?? 0) * PAGE_BYTES,
      backingReads: backing?.reads ?? 0,
      backingWrites: backing?.writes ?? 0,
      backingDiscardedBytes: backing?.discardedBytes ?? 0,
      backingFailures: backing?.failures ?? 0,
    };
  }

  /** Checks every invariant of the store and of the tables beside it; throws InvariantError. */
  verify(): void {
    this.#store.verify();
    const below = this.#backing?.below;
    if (below === undefined) return;
    for (
      let at = below.next(0, below.slots);
      at < below.slots;
      at = below.next(at + 1, below.slots)
    )
      assert(
        this.#store.formatOf(slotOf(at)) === PageFormat.none,
        'a page is in RAM or at the backing, not both',
      );
  }

  #putFirstPage(): void {
    if (this.#firstPage === null) return;
    assert(this.#firstPage.length === PAGE_BYTES, 'the first page is a page');
    const put = this.#store.put(slotOf(0), this.#firstPage, 0);
    assert(put !== PutResult.refused, 'a limit has room for the first page');
    this.#backing?.below.clearRange(0, 1);
  }

  /** Housekeeping for `changed` pages, or for a disk at rest when that is 0; true while there is more to do. */
  #maintain(changed: number): boolean {
    if (this.#walk.fault !== null) return false;
    try {
      return changed === 0 ? this.#store.compactIdle() : this.#store.maintain(changed);
    } catch (error) {
      this.#walk.stopAt(error);
      return false;
    }
  }

  /** Counts the bio; false when it is outside the disk or unknown. */
  #isUnderstood({ op, offset, length }: Bio): boolean {
    if (
      offset < 0 ||
      length < 0 ||
      offset + length > this.sizeBytes ||
      op < 0 ||
      op > BioOp.flush
    ) {
      this.#invalidIo++;
      return false;
    }
    if (op === BioOp.read) this.#reads++;
    else if (op === BioOp.write) this.#writes++;
    else if (op !== BioOp.flush) this.#discards++;
    return true;
  }

  #tickBacking(): void {
    const backing = this.#backing;
    if (backing === null) return;
    backing.tick();
    for (let left = backing.recall(); left > 0; left--) this.#admit(backing.shift());
  }

  /** Begins the bio, unless it has to wait its turn. */
  #admit(bio: Bio): void {
    const backing = this.#backing;
    if (backing?.isBusyFor(bio) === true) {
      backing.hold(bio);
      return;
    }
    const errand = this.#spare;
    errand.begin(bio);
    const outcome = this.#walk.go(errand);
    if (outcome >= BioStatus.ok) {
      bio.status = outcome as BioStatus;
      this.#done.push(bio);
    } else if (outcome === Pending.underWay) this.#spare = backing!.depart(errand);
    else backing!.hold(bio); // begun again from its start: nobody else touches its pages meanwhile
  }

  /** The part of an errand that was at the backing is done. */
  #completed(errand: BackingRequest, status: BioStatus): void {
    const outcome = this.#walk.completed(errand, status);
    if (outcome === Pending.underWay) return;
    assert(outcome >= BioStatus.ok, 'an errand under way has a bio');
    const bio = this.#backing!.arrive(errand);
    bio.status = outcome as BioStatus;
    this.#done.push(bio);
  }

  /** From a page's start on: the next offset before `end` where something may be stored, or `end`. */
  #skipEmpty(offset: number, end: number): number {
    if (offset >= end) return end;
    const slots = Math.ceil(end / PAGE_BYTES);
    const slot = slotAt(offset);
    let found = this.#store.skipEmpty(slot, slots);
    if (this.#backing !== null) found = this.#backing.below.next(slot, found);
    return Math.min(end, found * PAGE_BYTES);
  }

  #kindAt(offset: number): Extent {
    const slot = slotAt(offset);
    if (this.#backing?.below.has(slot) === true) return Extent.data;
    if (this.#store.formatOf(slot) === PageFormat.none) return Extent.hole;
    return this.#store.isZero(slot) ? Extent.zero : Extent.data;
  }
}
