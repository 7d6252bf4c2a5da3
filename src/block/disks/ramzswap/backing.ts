/**
 * The backing of a ramzswap disk: which pages it stores, the requests in flight to it, and the bios that wait for them.
 *
 *   bio ─▶ touches a busy page? ──no──▶ request ─▶ RAM, done
 *               │yes                      └─ a part of it is at the backing ─▶ bio of the pool ─▶ backing
 *               ▼                                        ▲                                        │
 *            waiting ──────────── tick(), in order ──────┘ no free bio: waits too                 ▼
 *                                                          completed: sets the bitmaps, continues the request
 *
 *   below, sums, intents   what must be known to read the pages again: backing-tables.ts
 *   busy                   a bit per slot: a bio in flight or waiting touches it
 *   dirty                  a bit per unit of 1 MiB: written since its last discard
 *
 * Invariants
 * - Bios in flight share no page with each other, nor with a bio that has waited longer, unless both only read it. So
 *   bios with overlapping pages take effect in the order of submission, and a late write cannot overwrite newer data.
 * - A request holds one bio of the pool from its first use to its end; the reserve is for writes, which free memory.
 * - The tables are reserved in full from the budget of the disk at the start, so that writing a page to the backing
 *   cannot exceed the limit.
 * - The backing is read and written in full pages. A page read that differs from the last write is a mismatch.
 *
 * Cost: 64 KiB of bitmaps and 1 MiB of checksums per GiB of disk (checksums are allocated on first use), and a page and
 * an intent per bio. A bio to the backing costs a few bit operations, and one checksum per page.
 */
import type { Budget } from '../../../arena/budget.ts';
import { assert } from '../../../base/assert.ts';
import { PAGE_BYTES } from '../../../base/units.ts';
import { Bio, BioFlag, BioOp, type BioOwner, BioPool, BioQueue, BioStatus } from '../../bio.ts';
import type { Disk } from '../../ops.ts';
import {
  BACKING_BIO_COUNT,
  BackingTables,
  type RamzswapImages,
  RUN_PAGES,
  tablesBytes,
  type WriteIntent,
} from './backing-tables.ts';
import { sumPages } from './page-sums.ts';
import { bitBytes, SlotBits } from './slot-bits.ts';

/** Unit of discards to the backing: a cluster of 256 slots, as the kernel's swap core discards. */
const UNIT_BYTES = 1024 * 1024;
/** Longest bio without data, bytes. */
const DATALESS_BYTES = 2 ** 31;

/** The backing disk of a ramzswap disk, and how it is used. */
export interface BackingOptions {
  /** At least as large as the ramzswap disk, writable, used by nothing else. Disposed with the disk if disposable. */
  readonly disk: Disk & Partial<Disposable>;
  /**
   * Whether a slot that was never written reads from the backing (for example a swap header in slot 0). False: it reads
   * as zeros, and the previous content is never visible.
   */
  readonly showsOldData: boolean;
  /** Maximum number of bios in flight, 2 .. 1024; a quarter is reserved for writes. Default 32. */
  readonly bioCount?: number;
}

/** Size of the tables of a backing, reserved from the limit of the disk, bytes. */
export const backingTableBytes = (
  sizeBytes: number,
  bioCount: number = BACKING_BIO_COUNT,
): number =>
  tablesBytes(sizeBytes / PAGE_BYTES, bioCount) +
  bitBytes(sizeBytes / PAGE_BYTES) +
  bitBytes(Math.ceil(sizeBytes / UNIT_BYTES)) +
  bioCount * PAGE_BYTES;

const noBio: Bio = new Bio();

/** The state of a bio that has started: its progress, and the part in flight to the backing. */
export class BackingRequest implements BioOwner {
  bio: Bio = noBio;
  /** The next byte of the disk to process. */
  at = 0;
  /** The next step of an operation with several steps. */
  step = 0;
  /** In flight: op on [from, to). */
  op: BioOp = BioOp.read;
  from = 0;
  to = 0;
  inner: Bio | null = null;
  /** A page assembled from old and new bytes; belongs to the backing until the inner bio ends. */
  readonly page: Uint8Array = new Uint8Array(PAGE_BYTES);
  /** Of the inner bio, if it is a write; its sums are those of the pages written or read. */
  readonly intent: WriteIntent;
  readonly #onCompleted: (request: BackingRequest, status: BioStatus) => void;

  constructor(
    intent: WriteIntent,
    onCompleted: (request: BackingRequest, status: BioStatus) => void,
  ) {
    this.intent = intent;
    this.#onCompleted = onCompleted;
  }

  begin(bio: Bio): void {
    this.bio = bio;
    this.at = bio.offset;
    this.step = 0;
  }

  bioEnd(bio: Bio): void {
    this.#onCompleted(this, bio.status);
  }
}

const firstSlot = (bio: Bio): number => Math.floor(bio.offset / PAGE_BYTES);
const endSlot = (bio: Bio): number => Math.ceil((bio.offset + bio.length) / PAGE_BYTES);

/** True if the bios share a page and at least one changes it. */
const conflicts = (a: Bio, b: Bio): boolean =>
  (a.op !== BioOp.read || b.op !== BioOp.read) &&
  firstSlot(a) < endSlot(b) &&
  firstSlot(b) < endSlot(a);

/** The backing: its bitmaps and checksums, the requests in flight to it, and the waiting bios. */
export class Backing implements Disposable {
  /** The slots whose page is at the backing. */
  readonly below: SlotBits;
  readonly synchronous: boolean;
  /** Size of the tables, reserved in the budget, bytes. */
  readonly tableBytes: number;
  reads = 0;
  writes = 0;
  discardedBytes = 0;
  failures = 0;
  /** Of the failures: bios that ended with noSpace. */
  noSpace = 0;
  /** Pages read that differ from what was written. */
  mismatches = 0;
  readonly #disk: Disk & Partial<Disposable>;
  readonly #sizeBytes: number;
  readonly #busy: SlotBits;
  readonly #dirty: SlotBits;
  readonly #tables: BackingTables;
  readonly #pool: BioPool;
  readonly #spare: BackingRequest[] = [];
  readonly #requests: BackingRequest[] = [];
  readonly #waiting = new BioQueue();
  #canDiscard = true;
  /** True if a request has completed since the last recall(). */
  #isAnyFree = false;

  /**
   * @param images where the tables are; null: in ordinary memory. Call adopt() before the first bio
   * @param onCompleted called when a part of a request has completed at the backing
   * @throws SwapError ERR_IO_IMAGE
   */
  constructor(
    { disk, showsOldData: isShown, bioCount = BACKING_BIO_COUNT }: BackingOptions,
    sizeBytes: number,
    images: RamzswapImages | null,
    budget: Budget,
    onCompleted: (request: BackingRequest, status: BioStatus) => void,
  ) {
    assert(disk.sizeBytes >= sizeBytes, 'disk.sizeBytes >= sizeBytes');
    assert(!disk.readOnly, 'the backing is writable');
    this.#disk = disk;
    this.#sizeBytes = sizeBytes;
    this.synchronous = disk.synchronous;
    const slots = sizeBytes / PAGE_BYTES;
    this.#tables = new BackingTables(slots, bioCount, images);
    this.below = this.#tables.below;
    this.#busy = new SlotBits(slots);
    this.#dirty = new SlotBits(Math.ceil(sizeBytes / UNIT_BYTES));
    this.#pool = new BioPool(bioCount, Math.max(1, bioCount >>> 2));
    for (const intent of this.#tables.intents)
      this.#spare.push(new BackingRequest(intent, onCompleted));
    this.tableBytes = backingTableBytes(sizeBytes, bioCount);
    assert(budget.reserve(this.tableBytes), 'the tables of the backing fit the limit');
    // Nothing records which units a killed process had discarded.
    if (isShown || this.#tables.isUsed) this.#dirty.setRange(0, this.#dirty.slots);
    // Every page is at the backing; its sum is unknown until it is written.
    if (isShown) this.below.setRange(0, slots);
  }

  /** A request for the next bio, at the start. */
  firstRequest(): BackingRequest {
    return this.#takeSpare();
  }

  /**
   * Completes or undoes what a killed process had in progress, from the images.
   * @param isInRam whether a slot has a page in RAM
   * @throws SwapError ERR_IO_IMAGE
   */
  adopt(isInRam: (slot: number) => boolean): void {
    if (this.#tables.isUsed) this.#tables.adopt(isInRam, (slot, page) => this.#readNow(slot, page));
  }

  /** Number of bios in flight or waiting. */
  get inFlight(): number {
    return this.#requests.length + this.#waiting.length;
  }

  get requestCount(): number {
    return this.#requests.length;
  }

  /** How often a request waited because no bio of the pool was free. */
  get starved(): number {
    return this.#pool.counters.get('refusals');
  }

  /**
   * True if the bio must wait: one in flight or waiting shares a page with it, and at least one of the two changes it.
   */
  isBusyFor(bio: Bio): boolean {
    if (this.inFlight === 0 || !this.#busy.hasAny(firstSlot(bio), endSlot(bio))) return false;
    if (bio.op !== BioOp.read) return true;
    for (const other of this.#requests) if (conflicts(other.bio, bio)) return true;
    for (let waiting = this.#waiting.first; waiting !== null; waiting = waiting.next)
      if (conflicts(waiting, bio)) return true;
    return false;
  }

  isBusy(slot: number): boolean {
    return this.#busy.has(slot);
  }

  /** Queues the bio until recall(). */
  enqueue(bio: Bio): void {
    this.#busy.setRange(firstSlot(bio), endSlot(bio));
    this.#waiting.push(bio);
  }

  /**
   * Returns the number of waiting bios to retry, oldest first: call shift() for each, and start or enqueue() it again.
   * 0 if no request has completed since the last call. Clears their busy bits; enqueue() sets them again.
   */
  recall(): number {
    if (!this.#isAnyFree) return 0;
    this.#isAnyFree = false;
    const { length } = this.#waiting;
    if (length === 0) return 0;
    for (let bio = this.#waiting.first; bio !== null; bio = bio.next)
      this.#busy.clearRange(firstSlot(bio), endSlot(bio));
    for (const { bio } of this.#requests) this.#busy.setRange(firstSlot(bio), endSlot(bio));
    return length;
  }

  shift(): Bio {
    const bio = this.#waiting.shift();
    assert(bio !== null, 'a recalled bio is waiting');
    return bio;
  }

  /** Records that the request is in flight. Returns a free one for the next bio. */
  started(request: BackingRequest): BackingRequest {
    this.#busy.setRange(firstSlot(request.bio), endSlot(request.bio));
    this.#requests.push(request);
    return this.#takeSpare();
  }

  /** Records that the request has ended. Returns its bio. */
  ended(request: BackingRequest): Bio {
    const { bio, inner } = request;
    assert(inner !== null, 'a request in flight has a bio of the pool');
    request.intent.end();
    this.#pool.free(inner);
    request.inner = null;
    request.bio = noBio;
    this.#requests[this.#requests.indexOf(request)] = this.#requests[this.#requests.length - 1]!;
    this.#requests.pop();
    this.#busy.clearRange(firstSlot(bio), endSlot(bio));
    for (let waiting = this.#waiting.first; waiting !== null; waiting = waiting.next)
      this.#busy.setRange(firstSlot(waiting), endSlot(waiting));
    if (bio.op === BioOp.read)
      for (const other of this.#requests)
        this.#busy.setRange(firstSlot(other.bio), endSlot(other.bio));
    this.#spare.push(request);
    this.#isAnyFree = true;
    return bio;
  }

  /** Sends a part of the request, in full pages. Returns false, and sends nothing, when no bio is free. */
  send(
    request: BackingRequest,
    op: BioOp,
    from: number,
    to: number,
    data?: Uint8Array,
    at = 0,
  ): boolean {
    assert(
      from % PAGE_BYTES === 0 && to % PAGE_BYTES === 0,
      'the backing is accessed in full pages',
    );
    // A partial write reads its page first; this read may use the reserve, because the write frees memory.
    const frees = op !== BioOp.discard && request.bio.op !== BioOp.read;
    const bio = request.inner ?? (frees ? this.#pool.allocFromReserve() : this.#pool.alloc());
    if (bio === null) return false;
    request.inner = bio;
    request.op = op;
    request.from = from;
    request.to = to;
    bio.op = op;
    bio.flags = op === BioOp.writeZeroes ? request.bio.flags & BioFlag.noUnmap : 0;
    bio.offset = from;
    bio.length = to - from;
    if (data !== undefined) bio.data = data;
    bio.at = at;
    bio.owner = request;
    const pages = (to - from) / PAGE_BYTES;
    const { intent } = request;
    intent.end();
    if (op === BioOp.read) this.reads += pages;
    else if (op !== BioOp.discard) {
      this.writes += pages;
      if (op === BioOp.write) sumPages(bio.data, at, pages, intent.sums);
      intent.begin(op, from / PAGE_BYTES, to / PAGE_BYTES);
    }
    this.#disk.submit(bio);
    return true;
  }

  /** End of the longest bio with data that starts at `from`, at most `end`; full pages, all offsets in bytes. */
  reach(from: number, end: number): number {
    return Math.min(
      end,
      from + Math.min(RUN_PAGES * PAGE_BYTES, this.#disk.limits.maxTransferBytes),
    );
  }

  /** End of the run of pages at the backing that starts at `from` and fits in one bio, at most `end`. */
  runEnd(from: number, end: number): number {
    const last = this.reach(from, end) / PAGE_BYTES;
    return this.below.nextClear(from / PAGE_BYTES, last) * PAGE_BYTES;
  }

  /** Allocates the checksums of the slots [from, to); false when the system has no memory for them. */
  reserveSums(from: number, to: number): boolean {
    return this.#tables.sums.prepare(from, to);
  }

  /** Records that the request has written the slots [from, to); reserveSums() has returned true for them. */
  written({ op, intent }: BackingRequest, from: number, to: number): void {
    const shift = UNIT_BYTES / PAGE_BYTES;
    this.#dirty.setRange(Math.floor(from / shift), Math.ceil(to / shift));
    const { sums } = this.#tables;
    if (op === BioOp.write) sums.set(from, to, intent.sums);
    else sums.setZeros(from, to);
    this.below.setRange(from, to);
  }

  /** True if the pages that the request has read match their checksums. Counts those that do not. */
  isIntact({ from, to, inner, intent }: BackingRequest): boolean {
    assert(inner !== null, 'a request in flight has a bio of the pool');
    const { data, at } = inner;
    const { sums } = this.#tables;
    const count = sums.mismatches(from / PAGE_BYTES, to / PAGE_BYTES, data, at, intent.sums);
    this.mismatches += count;
    return count === 0;
  }

  /**
   * Sends the next discard in the pages [request.at, end): full units that were written since their last discard. Other
   * freed pages are not discarded; later writes reuse them. Returns 1 if sent, 0 if no bio is free, -1 if nothing is
   * left to send.
   */
  sendDiscard(request: BackingRequest, end: number): number {
    if (!this.#canDiscard) return -1;
    const last = Math.floor((end === this.#sizeBytes ? end + UNIT_BYTES - 1 : end) / UNIT_BYTES);
    const first = this.#dirty.next(Math.ceil(request.at / UNIT_BYTES), last);
    if (first >= last) return -1;
    const run = this.#dirty.nextClear(first, Math.min(last, first + DATALESS_BYTES / UNIT_BYTES));
    const to = Math.min(run * UNIT_BYTES, this.#sizeBytes);
    if (!this.send(request, BioOp.discard, first * UNIT_BYTES, to)) return 0;
    request.at = to;
    return 1;
  }

  /** The result of a discard. The pages are not read again, whatever the result. */
  discarded({ from, to }: BackingRequest, status: BioStatus): void {
    if (status === BioStatus.ok) {
      this.#dirty.clearRange(Math.floor(from / UNIT_BYTES), Math.ceil(to / UNIT_BYTES));
      this.discardedBytes += to - from;
    } else if (status === BioStatus.notSupported) this.#canDiscard = false;
    else this.failures++;
  }

  tick(): void {
    this.#disk.tick();
  }

  #takeSpare(): BackingRequest {
    const spare = this.#spare.pop();
    assert(spare !== undefined, 'there are more requests than bios');
    return spare;
  }

  /** Reads a page before the first bio. False: the backing fails, or does not complete a bio in tick(). */
  #readNow(slot: number, page: Uint8Array): boolean {
    const bio = new Bio();
    let isDone = false;
    bio.op = BioOp.read;
    bio.offset = slot * PAGE_BYTES;
    bio.length = PAGE_BYTES;
    bio.data = page;
    bio.owner = {
      bioEnd: () => {
        isDone = true;
      },
    };
    this.#disk.submit(bio);
    this.#disk.tick();
    assert(isDone, 'the backing of a disk with images completes a bio in tick()');
    return bio.status === BioStatus.ok;
  }

  [Symbol.dispose](): void {
    this.#disk[Symbol.dispose]?.();
  }
}
