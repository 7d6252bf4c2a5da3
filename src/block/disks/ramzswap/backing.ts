/**
 * The disk behind a ramzswap disk: which slots are there, what is under way to it, and who has to wait for that.
 *
 *   bio ─▶ touches a busy page? ──no──▶ errand ─▶ RAM, done
 *               │yes                      └─ a part of it is the backing's ─▶ bio of the pool ─▶ backing
 *               ▼                                        ▲                                        │
 *            waiting ──────────── tick(), in order ──────┘ no bio free: waits as well             ▼
 *                                                             landed: maps are set, the errand goes on
 *
 *   below   a bit a slot: its page is the backing's. Never set for a slot that the store holds
 *   busy    a bit a slot: a bio under way or waiting touches it
 *   soiled  a bit a unit of 1 MiB: written since it was last discarded
 *
 * Invariants
 * - Bios under way touch no page in common, and none that a bio waiting before them touches, unless both only read it. So
 *   bios whose pages overlap take effect in the order of submission, and a write that is late can land on nothing newer.
 * - An errand holds one bio of the pool from the first use to its end; the reserve is for writes, which free memory.
 * - Tables are charged to the disk's budget whole, at the start: there is nothing to refuse when a page has to go.
 *
 * Cost: 64 KiB of tables per GiB of disk and a page for each bio; a bio to the backing is a few bit operations and
 * no copy, but for a page that is put together from old bytes and new ones.
 */
import type { Budget } from '../../../arena/budget.ts';
import { assert } from '../../../base/assert.ts';
import { PAGE_BYTES } from '../../../base/units.ts';
import { Bio, BioFlag, BioOp, type BioOwner, BioPool, BioQueue, BioStatus } from '../../bio.ts';
import type { Disk } from '../../ops.ts';
import { bitBytes, SlotBits } from './slot-bits.ts';

/** Given back together: what the kernel's swap core discards, a cluster of 256 slots. */
const UNIT_BYTES = 1024 * 1024;
/** Longest bio without data, bytes. */
const DATALESS_BYTES = 2 ** 31;

export interface BackingOptions {
  /** At least as large as the disk before it, not read-only; nobody else uses it. Disposed with the disk, if it can be. */
  readonly disk: Disk & Partial<Disposable>;
  /**
   * True: a slot that was never written reads what the backing holds there, a swap header in slot 0 for one. False:
   * as zeros; what was there before is never seen.
   */
  readonly showsOldData: boolean;
  /** Bios that can be under way to it, 2 up; a quarter of them only for writes. Default 32. */
  readonly bioCount?: number;
}

export const BACKING_BIO_COUNT = 32;

/** What the tables of a backing take of a disk's limit, bytes. */
export const backingTableBytes = (
  sizeBytes: number,
  bioCount: number = BACKING_BIO_COUNT,
): number =>
  bitBytes(sizeBytes / PAGE_BYTES) * 2 +
  bitBytes(Math.ceil(sizeBytes / UNIT_BYTES)) +
  bioCount * PAGE_BYTES;

const nobody: Bio = new Bio();

/** A bio that has begun and is not done: how far it is, and which part of it is at the backing. */
export class BackingRequest implements BioOwner {
  bio: Bio = nobody;
  /** The next byte of the disk to look at. */
  at = 0;
  /** For whom goes in steps: the next one. */
  step = 0;
  /** At the backing: op on [from, to). */
  op: BioOp = BioOp.read;
  from = 0;
  to = 0;
  inner: Bio | null = null;
  /** A page put together from old bytes and new ones; the backing's until the inner bio ends. */
  readonly page: Uint8Array = new Uint8Array(PAGE_BYTES);
  readonly #onCompleted: (errand: BackingRequest, status: BioStatus) => void;

  constructor(onLanded: (errand: BackingRequest, status: BioStatus) => void) {
    this.#onCompleted = onLanded;
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

/** True when the two touch a page in common, and one of them does more than read it. */
const conflicts = (a: Bio, b: Bio): boolean =>
  (a.op !== BioOp.read || b.op !== BioOp.read) &&
  firstSlot(a) < endSlot(b) &&
  firstSlot(b) < endSlot(a);

export class Backing implements Disposable {
  /** Slots whose page is the backing's. */
  readonly below: SlotBits;
  readonly synchronous: boolean;
  /** Charged to the budget, bytes. */
  readonly tableBytes: number;
  reads = 0;
  writes = 0;
  discardedBytes = 0;
  failures = 0;
  readonly #disk: Disk & Partial<Disposable>;
  readonly #sizeBytes: number;
  readonly #busy: SlotBits;
  readonly #soiled: SlotBits;
  readonly #pool: BioPool;
  readonly #spare: BackingRequest[] = [];
  readonly #underWay: BackingRequest[] = [];
  readonly #waiting = new BioQueue();
  #canDiscard = true;
  /** Something ended since those that wait were last looked at. */
  #isAnyFree = false;

  /** @param onLanded told when the part of an errand that was at the backing is done */
  constructor(
    { disk, showsOldData: isShown, bioCount = BACKING_BIO_COUNT }: BackingOptions,
    sizeBytes: number,
    budget: Budget,
    onLanded: (errand: BackingRequest, status: BioStatus) => void,
  ) {
    assert(disk.sizeBytes >= sizeBytes, 'a backing is as large as its disk');
    assert(!disk.readOnly, 'a backing can be written');
    this.#disk = disk;
    this.#sizeBytes = sizeBytes;
    this.synchronous = disk.synchronous;
    const slots = sizeBytes / PAGE_BYTES;
    this.below = new SlotBits(slots);
    this.#busy = new SlotBits(slots);
    this.#soiled = new SlotBits(Math.ceil(sizeBytes / UNIT_BYTES));
    this.#pool = new BioPool(bioCount, Math.max(1, bioCount >>> 2));
    for (let i = 0; i < bioCount; i++) this.#spare.push(new BackingRequest(onLanded));
    this.tableBytes = backingTableBytes(sizeBytes, bioCount);
    assert(budget.reserve(this.tableBytes), 'a limit has room for the tables of a backing');
    if (!isShown) return;
    this.below.setRange(0, slots);
    this.#soiled.setRange(0, this.#soiled.slots);
  }

  /** Bios that have not ended: under way or waiting. */
  get inFlight(): number {
    return this.#underWay.length + this.#waiting.length;
  }

  get underWay(): number {
    return this.#underWay.length;
  }

  /** Times that a bio had to wait because no bio of the pool was to be had. */
  get starved(): number {
    return this.#pool.counters.get('refusals');
  }

  /** True when a bio under way or waiting touches a page of this one, and not both read: it must wait its turn. */
  isBusyFor(bio: Bio): boolean {
    if (this.inFlight === 0 || !this.#busy.hasAny(firstSlot(bio), endSlot(bio))) return false;
    if (bio.op !== BioOp.read) return true;
    for (const other of this.#underWay) if (conflicts(other.bio, bio)) return true;
    for (let held = this.#waiting.first; held !== null; held = held.next)
      if (conflicts(held, bio)) return true;
    return false;
  }

  isBusy(slot: number): boolean {
    return this.#busy.has(slot);
  }

  /** The bio waits; see recall(). */
  hold(bio: Bio): void {
    this.#busy.setRange(firstSlot(bio), endSlot(bio));
    this.#waiting.push(bio);
  }

  /**
   * How many of those that wait are to be tried again, oldest first, each by shift() and then begun or held again. 0
   * while nothing has ended since the last time. Their pages are marked anew by who still has to wait.
   */
  recall(): number {
    if (!this.#isAnyFree) return 0;
    this.#isAnyFree = false;
    const { length } = this.#waiting;
    if (length === 0) return 0;
    for (let bio = this.#waiting.first; bio !== null; bio = bio.next)
      this.#busy.clearRange(firstSlot(bio), endSlot(bio));
    for (const { bio } of this.#underWay) this.#busy.setRange(firstSlot(bio), endSlot(bio));
    return length;
  }

  shift(): Bio {
    const bio = this.#waiting.shift();
    assert(bio !== null, 'a bio that was recalled waits');
    return bio;
  }

  /** The errand is under way; there is another one to begin with. */
  depart(errand: BackingRequest): BackingRequest {
    this.#busy.setRange(firstSlot(errand.bio), endSlot(errand.bio));
    this.#underWay.push(errand);
    const spare = this.#spare.pop();
    assert(spare !== undefined, 'there are more errands than bios');
    return spare;
  }

  /** The errand is done. */
  arrive(errand: BackingRequest): Bio {
    const { bio, inner } = errand;
    assert(inner !== null, 'an errand under way holds a bio');
    this.#pool.free(inner);
    errand.inner = null;
    errand.bio = nobody;
    this.#underWay[this.#underWay.indexOf(errand)] = this.#underWay[this.#underWay.length - 1]!;
    this.#underWay.pop();
    this.#busy.clearRange(firstSlot(bio), endSlot(bio));
    for (let held = this.#waiting.first; held !== null; held = held.next)
      this.#busy.setRange(firstSlot(held), endSlot(held));
    if (bio.op === BioOp.read)
      for (const other of this.#underWay)
        this.#busy.setRange(firstSlot(other.bio), endSlot(other.bio));
    this.#spare.push(errand);
    this.#isAnyFree = true;
    return bio;
  }

  /** Sends a part of the errand; false, and nothing is sent, when no bio is free. */
  send(
    errand: BackingRequest,
    op: BioOp,
    from: number,
    to: number,
    data?: Uint8Array,
    at = 0,
  ): boolean {
    const frees = op === BioOp.write || op === BioOp.writeZeroes;
    const bio = errand.inner ?? (frees ? this.#pool.allocFromReserve() : this.#pool.alloc());
    if (bio === null) return false;
    errand.inner = bio;
    errand.op = op;
    errand.from = from;
    errand.to = to;
    bio.op = op;
    bio.flags = op === BioOp.writeZeroes ? errand.bio.flags & BioFlag.noUnmap : 0;
    bio.offset = from;
    bio.length = to - from;
    if (data !== undefined) bio.data = data;
    bio.at = at;
    bio.owner = errand;
    const pages = Math.ceil(to / PAGE_BYTES) - Math.floor(from / PAGE_BYTES);
    if (op === BioOp.read) this.reads += pages;
    else if (frees) this.writes += pages;
    this.#disk.submit(bio);
    return true;
  }

  /** End of what one bio with data may carry from `from` on, at most `end`; in whole pages if cut. */
  reach(from: number, end: number): number {
    return Math.min(end, from - (from % PAGE_BYTES) + this.#disk.limits.maxTransferBytes);
  }

  /** End of the pages from the one at `offset` on, at most `end`, that are the backing's. */
  runEnd(offset: number, end: number): number {
    const slots = Math.ceil(this.reach(offset, end) / PAGE_BYTES);
    const found = this.below.nextClear(Math.floor(offset / PAGE_BYTES), slots);
    return Math.min(end, found * PAGE_BYTES);
  }

  /** The pages of the slots are the backing's now. */
  took(from: number, to: number): void {
    this.below.setRange(from, to);
    const shift = UNIT_BYTES / PAGE_BYTES;
    this.#soiled.setRange(Math.floor(from / shift), Math.ceil(to / shift));
  }

  /**
   * Sends the next discard that is worth a bio in the pages [errand.at, end): units that are in it whole and were written
   * since their last one. What else is given up is forgotten here and overwritten there some day. Returns 1 when
   * sent, 0 when no bio is free, -1 when there is nothing (more) to send.
   */
  sendDiscard(errand: BackingRequest, end: number): number {
    if (!this.#canDiscard) return -1;
    const last = Math.floor((end === this.#sizeBytes ? end + UNIT_BYTES - 1 : end) / UNIT_BYTES);
    const first = this.#soiled.next(Math.ceil(errand.at / UNIT_BYTES), last);
    if (first >= last) return -1;
    const run = this.#soiled.nextClear(first, Math.min(last, first + DATALESS_BYTES / UNIT_BYTES));
    const to = Math.min(run * UNIT_BYTES, this.#sizeBytes);
    if (!this.send(errand, BioOp.discard, first * UNIT_BYTES, to)) return 0;
    errand.at = to;
    return 1;
  }

  /** A discard is advice: nothing is read from there whatever became of it. */
  discarded({ from, to }: BackingRequest, status: BioStatus): void {
    if (status === BioStatus.ok) {
      this.#soiled.clearRange(Math.floor(from / UNIT_BYTES), Math.ceil(to / UNIT_BYTES));
      this.discardedBytes += to - from;
    } else if (status === BioStatus.notSupported) this.#canDiscard = false;
    else this.failures++;
  }

  tick(): void {
    this.#disk.tick();
  }

  [Symbol.dispose](): void {
    this.#disk[Symbol.dispose]?.();
  }
}
