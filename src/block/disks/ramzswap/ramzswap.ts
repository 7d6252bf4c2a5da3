/**
 * ramzswap: a block device that keeps its pages compressed in RAM, modelled on the ramzswap driver of 2009 and its
 * successor zram. Each page of the disk is a slot of a store.
 *
 *   write        a full page replaces that of the slot; a partial page is read, modified and stored
 *   read         a slot that was never written, or was freed, reads as zeros
 *   discard      frees the full pages inside the range immediately; partial pages stay unchanged
 *   writeZeroes  the same, but zeroes partial pages; with noUnmap it stores same-filled pages
 *   flush, fua   no effect: neither RAM nor the backing can be read without the tables of this process
 *   slotFree     frees the page immediately, without a bio, like the driver's swap_slot_free_notify. While a bio to the
 *                backing is in flight for the slot, the page stays and the miss is counted
 *
 * When the store is full, a write ends with noSpace and the slot keeps its page, as in zram (ramzswap freed the old
 * page first). Of a longer write, the pages before the refused one are written. When a page fails its checksum, the
 * read ends with ioError; no byte of that page is returned.
 *
 * Without a backing, submit() does all the work; the bio ends in the next tick(), as on every disk. tick() also runs
 * store maintenance in proportion to the pages changed; compactIdle() runs it while the disk is idle.
 *
 * With a backing disk, each page is in RAM, or at the same offset of the backing, or nowhere and reads as zeros:
 *
 *   compresses to half a page or less ─▶ RAM         larger, or refused by the store ─▶ backing; if it is full ─▶ RAM
 *
 * The old copy is freed once the new one is stored: in RAM immediately, at the backing when its write has succeeded. After
 * a failed write to the backing, the page is as the backing left it, or still in RAM. A page read from the backing must
 * match its checksum, if that is known; otherwise the read ends with ioError. A partial write to a page at the backing
 * reads the full page first. A bio that overlaps one in flight to the backing waits (backing.ts).
 *
 * Sources: Linux drivers/staging/ramzswap, drivers/block/zram/zram_drv.c; the counters keep their names.
 */
import { Budget, type ParentBudget } from '../../../arena/budget.ts';
import type { PageReleaseFactory } from '../../../arena/ops.ts';
import { assert, type InvariantError } from '../../../base/assert.ts';
import { SwapError } from '../../../base/errors.ts';
import { checkInteger, checkOptions } from '../../../base/options.ts';
import { type ByteCount, bytes, PAGE_BYTES, slot as slotOf } from '../../../base/units.ts';
import { type CodecFactory, PageFormat } from '../../../codec/codec.ts';
import { lz4 } from '../../../codec/lz4.ts';
import type { Adopted } from '../../../store/adopt.ts';
import { CounterAt, PutResult } from '../../../store/results.ts';
import { Store } from '../../../store/store.ts';
import { type Bio, BioOp, BioQueue, BioStatus } from '../../bio.ts';
import { type Disk, type DiskLimits, Extent, type ExtentSink } from '../../ops.ts';
import { Backing, type BackingOptions, BackingRequest, backingTableBytes } from './backing.ts';
import {
  BACKING_BIO_COUNT,
  canMapTables,
  type RamzswapImages,
  WriteIntent,
} from './backing-tables.ts';
import { PageWalk, Pending, slotAt } from './page-walk.ts';
import type { RamzswapStats } from './stats.ts';

/** tick() runs store maintenance once this many pages have changed. */
const MAINTAIN_PAGES = 64;
/** 2^31 slots. */
const SIZE_BYTES_MAX = 2 ** 31 * PAGE_BYTES;
const OPTIONS = [
  ...['sizeBytes', 'limitBytes', 'total', 'codec', 'release', 'backing', 'firstPage', 'images'],
];

/** Size, RAM limit, codec and backing of a ramzswap disk. */
export interface RamzswapOptions {
  /** Bytes, a multiple of 4096, 4096 .. 2^43. */
  readonly sizeBytes: number;
  /** Limit of RAM, metadata included, bytes; 0 = none. */
  readonly limitBytes: number;
  /** A budget shared with other disks; its limit applies in addition. Default: none. */
  readonly total?: ParentBudget;
  /** Default: `lz4`, the codec in WebAssembly. */
  readonly codec?: { readonly name: string; readonly factory: CodecFactory };
  /** Releases free pages to the system. Default: they stay resident. */
  readonly release?: PageReleaseFactory;
  /** Disk for incompressible pages and those that do not fit in RAM. Default: none. */
  readonly backing?: BackingOptions;
  /** The 4096 bytes in slot 0 at the start and after a reset: a swap header (swap/header.ts writes one). */
  readonly firstPage?: Uint8Array;
  /**
   * Memories that outlive the process; the disk starts with their pages. A backing must then be the one of the former
   * process, complete bios in tick(), and not show old data. Default: none.
   */
  readonly images?: RamzswapImages;
}

function checkArguments(options: RamzswapOptions): void {
  const what = 'new Ramzswap()';
  checkOptions(options, what, OPTIONS);
  const { sizeBytes, limitBytes, backing, firstPage } = options;
  checkInteger(what, 'sizeBytes', sizeBytes, {
    min: PAGE_BYTES,
    max: SIZE_BYTES_MAX,
    multipleOf: PAGE_BYTES,
  });
  checkInteger(what, 'limitBytes', limitBytes, { min: 0 });
  if (firstPage !== undefined)
    checkInteger(what, 'firstPage.length', firstPage.length, { min: PAGE_BYTES, max: PAGE_BYTES });
  if (backing === undefined) return;
  const { disk, bioCount = BACKING_BIO_COUNT, showsOldData } = backing;
  if (options.images !== undefined) {
    if (showsOldData || bioCount !== BACKING_BIO_COUNT)
      throw new SwapError(
        'ERR_ARG_CONFLICT',
        `${what}: images are mutually exclusive with backing.showsOldData and backing.bioCount`,
      );
    if (!canMapTables(sizeBytes / PAGE_BYTES))
      throw new SwapError(
        'ERR_ARG_CONFLICT',
        `${what}: a disk with images and a backing must be smaller than 3.8 TiB`,
      );
  }
  checkInteger(what, 'backing.bioCount', bioCount, { min: 2, max: 1024 });
  checkInteger(what, 'backing.disk.sizeBytes', disk.sizeBytes, { min: sizeBytes });
  if (limitBytes !== 0)
    checkInteger(what, 'limitBytes', limitBytes, { min: backingTableBytes(sizeBytes, bioCount) });
  if (disk.readOnly)
    throw new SwapError(
      'ERR_ARG_VALUE',
      `${what}: backing.disk is read-only; pass a writable disk`,
    );
}

/** A disk that keeps its pages compressed in RAM, and optionally some of them on a backing disk. */
export class Ramzswap implements Disk, Disposable {
  readonly sizeBytes: ByteCount;
  readonly readOnly = false;
  /** That of the backing; true without one. */
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
  readonly #outlives: boolean;
  readonly #done = new BioQueue();
  /** State for the next bio. */
  #spare: BackingRequest;
  #isMaintenanceDue = false;
  #reads = 0;
  #writes = 0;
  #discards = 0;
  #missFree = 0;
  #invalidIo = 0;

  /** @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN, ERR_ARG_CONFLICT; with images ERR_IO_IMAGE, ERR_IO_NO_ROOM */
  constructor(options: RamzswapOptions) {
    checkArguments(options);
    const {
      sizeBytes,
      limitBytes,
      total,
      codec = { name: 'lz4', factory: lz4 },
      release: returns,
      backing,
      firstPage = null,
      images,
    } = options;

    this.sizeBytes = bytes(sizeBytes);
    this.#algorithm = codec.name;
    this.#budget = new Budget(limitBytes, total ?? null);
    const onCompleted = (request: BackingRequest, status: BioStatus): void =>
      this.#completed(request, status);
    this.#backing =
      backing === undefined
        ? null
        : new Backing(backing, sizeBytes, images ?? null, this.#budget, onCompleted);
    this.#spare =
      this.#backing?.firstRequest() ?? new BackingRequest(new WriteIntent(), onCompleted);
    this.synchronous = this.#backing?.synchronous ?? true;
    this.#outlives = images !== undefined;
    try {
      this.#store = new Store({
        slots: sizeBytes / PAGE_BYTES,
        budget: this.#budget,
        codec: codec.factory,
        images,
        ...(returns === undefined ? {} : { release: returns }),
      });
      this.#backing?.adopt((slot) => this.#store.formatOf(slotOf(slot)) !== PageFormat.none);
    } catch (error) {
      this.#budget.release(this.#budget.usedBytes); // of the shards that were adopted
      throw error;
    }
    this.#walk = new PageWalk(this.#store, this.#backing);
    this.#firstPage = firstPage;
    const isNew = images === undefined || (this.#backing?.below.count ?? 0) === 0;
    if (isNew && this.#store.storedPages === 0) this.#putFirstPage();
  }

  /** What the images contained when the disk was created. */
  get adopted(): Adopted {
    return this.#store.adopted;
  }

  /** The broken invariant, or null. From then on every bio ends with ioError; other disks are not affected. */
  get fault(): InvariantError | null {
    return this.#walk.fault;
  }

  submit(bio: Bio): void {
    const backing = this.#backing;
    if (!this.#isValid(bio)) {
      bio.status = BioStatus.invalid;
      this.#done.push(bio);
    } else this.#admit(bio);
    if (backing === null || !backing.synchronous) return;
    while (backing.requestCount > 0) backing.tick();
  }

  tick(): number {
    this.#tickBacking();
    const ended = this.#done.endAll();
    // In proportion to the changed pages; while more is due, a little with every tick.
    if (this.#walk.changedPages >= MAINTAIN_PAGES || this.#isMaintenanceDue) {
      this.#isMaintenanceDue = this.#maintain(Math.max(this.#walk.changedPages, MAINTAIN_PAGES));
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

  /**
   * Runs one step of store maintenance on an idle disk, which takes a few milliseconds. Returns true while more is due.
   * @param share fraction of the work of a step, for callers that do other work in between; above 0, at most 1
   */
  compactIdle(share: number = 1): boolean {
    return this.#maintain(0, share);
  }

  /** Frees the pages of the slots [from, to), also at the backing: part of a reset(). No bio may be in flight. */
  dropPages(from: number, to: number): void {
    this.#store.dropRange(slotOf(from), to);
    this.#backing?.below.clearRange(from, to);
  }

  slotFree(slot: number): void {
    const exists = slot >= 0 && slot < this.#store.slots;
    if (exists && this.#backing?.isBusy(slot) !== true) this.#walk.drop(slot, slot + 1);
    else this.#missFree++;
  }

  /**
   * Changes the limit of RAM. Returns false, and changes nothing, while more is in use; then discard pages, or let
   * compactIdle() release memory, and try again.
   * @param limitBytes bytes, metadata included; 0 = none
   */
  setLimit(limitBytes: number): boolean {
    return this.#budget.setLimit(limitBytes);
  }

  /**
   * The first slot from `slot` on that may have a page in RAM; the number of slots if there is none. To move it to the
   * backing, read it and write it back with BioFlag.writeBack, without another bio in between.
   */
  nextInRam(slot: number): number {
    return this.#store.skipEmpty(slotOf(slot), this.#store.slots);
  }

  /** The first slot from `slot` on whose page is at the backing; the number of slots if there is none. */
  nextAtBacking(slot: number): number {
    return this.#backing?.below.next(slot, this.#store.slots) ?? this.#store.slots;
  }

  /** Frees every page, also at the backing. Returns false, and does nothing, while bios are in flight. */
  reset(): boolean {
    if (this.#done.length > 0 || (this.#backing?.inFlight ?? 0) > 0) return false;
    this.#store.dropRange(slotOf(0), this.#store.slots);
    this.#backing?.below.clearRange(0, this.#store.slots);
    this.#putFirstPage();
    return true;
  }

  /**
   * Frees every page, releases the memory and disposes of the backing. The disk must not be used afterwards. The images
   * of a disk keep their pages.
   */
  [Symbol.dispose](): void {
    if (!this.#outlives) {
      this.#store.dropRange(slotOf(0), this.#store.slots);
      this.#store.releaseAll();
    }
    this.#backing?.[Symbol.dispose]();
  }

  /** The same as `[Symbol.dispose]()`. */
  close(): void {
    this[Symbol.dispose]();
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
      backingNoSpace: backing?.noSpace ?? 0,
      backingMismatches: backing?.mismatches ?? 0,
    };
  }

  /** Checks every invariant of the store and of the backing's tables; throws InvariantError. */
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
        'a page at the backing is not in RAM',
      );
  }

  #putFirstPage(): void {
    if (this.#firstPage === null) return;

    const put = this.#store.put(slotOf(0), this.#firstPage, 0);
    assert(put !== PutResult.refused, 'the first page fits the limit');
    this.#backing?.below.clearRange(0, 1);
  }

  /** Store maintenance for `changed` pages, or for an idle disk when 0. True while more is due. */
  #maintain(changed: number, share = 1): boolean {
    if (this.#walk.fault !== null) return false;
    try {
      return changed === 0 ? this.#store.compactIdle(share) : this.#store.maintain(changed);
    } catch (error) {
      this.#walk.stopAt(error);
      return false;
    }
  }

  /** Counts the bio; false when its range is outside the disk or its operation unknown. */
  #isValid({ op, offset, length }: Bio): boolean {
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

  /** Starts the bio, unless it must wait for one in flight to the backing. */
  #admit(bio: Bio): void {
    const backing = this.#backing;
    if (backing?.isBusyFor(bio) === true) {
      backing.enqueue(bio);
      return;
    }
    const request = this.#spare;
    request.begin(bio);
    const outcome = this.#walk.advance(request);
    if (outcome >= BioStatus.ok) {
      bio.status = outcome as BioStatus;
      this.#done.push(bio);
    } else if (outcome === Pending.inFlight) this.#spare = backing!.started(request);
    else backing!.enqueue(bio); // restarts from its beginning; until then no other bio may touch its pages
  }

  /** A part of the request has completed at the backing. */
  #completed(request: BackingRequest, status: BioStatus): void {
    const outcome = this.#walk.completed(request, status);
    if (outcome === Pending.inFlight) return;
    assert(outcome >= BioStatus.ok, 'a request in flight has its bio for the backing');
    const bio = this.#backing!.ended(request);
    bio.status = outcome as BioStatus;
    this.#done.push(bio);
  }

  /** The next page start in [offset, end) that may be stored, or `end`; `offset` is a page start. */
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
