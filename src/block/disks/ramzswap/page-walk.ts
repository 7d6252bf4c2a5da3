/**
 * Splits a bio into pages: each is in RAM, at the backing or nowhere. The walk processes them in order until the bio is done
 * or a part of it is in flight to the backing; it continues when that part has completed.
 *
 * Invariants
 * - A page's new copy is safe before its old one is given up, and it has one copy at most.
 * - A page that came from the backing is used when its checksum says that it is the one that was written there.
 * - A bio that finds no bio for the backing can begin again from its start: a page put, filled or dropped twice is the
 *   same, as long as nobody else touches it in between (backing.ts sees to that).
 *
 * Without a backing a walk always ends. Cost: allocates only one view for a partial page.
 */
import { InvariantError } from '../../../base/assert.ts';
import { PAGE_BYTES, type Slot, slot as slotOf } from '../../../base/units.ts';
import { PageFormat } from '../../../codec/codec.ts';
import { GetResult, PutResult } from '../../../store/results.ts';
import type { Store } from '../../../store/store.ts';
import { BioFlag, BioOp, BioStatus } from '../../bio.ts';
import type { Backing, BackingRequest } from './backing.ts';

/** With a backing, pages that compress to more than this are stored there: half a page, as in ramzswap. */
const FORWARD_ABOVE_BYTES = PAGE_BYTES / 2;

/** Maximum run of zeros per bio to the backing, which writes them while other bios wait. */
const ZERO_RUN_BYTES = 1024 * 1024;

/** Result of a step when a part is in flight to the backing, or must wait for a free bio. */
export const Pending = { underWay: -1, starved: -2 } as const;
export type Outcome = BioStatus | (typeof Pending)[keyof typeof Pending];

/** Steps of a writeZeroes. Full pages first: they free space for the partial pages. */
const ZeroStep = { full: 0, head: 1, tail: 2, done: 3 } as const;

const ceilPage = (offset: number): number => Math.ceil(offset / PAGE_BYTES) * PAGE_BYTES;
const floorPage = (offset: number): number => offset - (offset % PAGE_BYTES);
export const slotAt = (offset: number): Slot => slotOf(Math.floor(offset / PAGE_BYTES));

export class PageWalk {
  /** The broken invariant, or null. Afterwards all walks end with ioError. */
  fault: InvariantError | null = null;
  /** Number of pages stored or freed; the owner resets it. */
  changedPages = 0;
  notifyFree = 0;
  failedReads = 0;
  failedWrites = 0;
  readonly #store: Store;
  readonly #backing: Backing | null;
  /** See Store.put. */
  readonly #payloadMax: number;

  constructor(store: Store, backing: Backing | null) {
    this.#store = store;
    this.#backing = backing;
    this.#payloadMax = backing === null ? PAGE_BYTES : FORWARD_ABOVE_BYTES;
  }

  stopAt(error: unknown): void {
    if (!(error instanceof InvariantError)) throw error;
    this.fault = error;
    this.failedReads++;
  }

  /** Continues a request until it is done or a part is in flight to the backing. */
  go(errand: BackingRequest): Outcome {
    if (this.fault !== null) return BioStatus.ioError;
    try {
      switch (errand.bio.op) {
        case BioOp.read:
          return this.#read(errand);
        case BioOp.write:
          return this.#write(errand);
        case BioOp.discard:
          return this.#discard(errand);
        case BioOp.writeZeroes:
          return this.#writeZeroes(errand);
        default:
          return BioStatus.ok;
      }
    } catch (error) {
      this.stopAt(error);
      return BioStatus.ioError;
    }
  }

  /** Frees the pages of the slots [from, to), in RAM and at the backing. */
  drop(from: number, to: number): void {
    const dropped = this.#store.dropRange(slotOf(from), to);
    this.changedPages += dropped;
    this.notifyFree += dropped + (this.#backing?.below.clearRange(from, to) ?? 0);
  }

  /** Processes the result of the part that was at the backing, and continues. */
  completed(errand: BackingRequest, status: BioStatus): Outcome {
    if (this.fault !== null) return BioStatus.ioError;
    try {
      const outcome = this.#takeIn(errand, status);
      return outcome === BioStatus.ok ? this.go(errand) : outcome;
    } catch (error) {
      this.stopAt(error);
      return BioStatus.ioError;
    }
  }

  #takeIn(errand: BackingRequest, status: BioStatus): Outcome {
    const backing = this.#backing!;
    const { op, from, to } = errand;
    if (op === BioOp.discard) backing.discarded(errand, status);
    else if (status !== BioStatus.ok) return this.#failed(errand, status);
    else if (op !== BioOp.read) {
      const first = slotAt(from);
      const end = to / PAGE_BYTES;
      this.changedPages += this.#store.dropRange(first, end);
      backing.took(errand, first, end);
    } else if (!backing.isIntact(errand)) return this.#failedRead();
    else if (errand.inner!.data === errand.page) return this.#haveOld(errand, slotAt(from));
    return BioStatus.ok;
  }

  /** The backing failed a read or a write. */
  #failed(errand: BackingRequest, status: BioStatus): Outcome {
    const backing = this.#backing!;
    backing.failures++;
    if (status === BioStatus.noSpace) {
      backing.noSpace++;
      return errand.op === BioOp.write ? this.#keepInRam(errand) : this.#failedWrite();
    }
    if (errand.op === BioOp.read) this.failedReads++;
    else this.failedWrites++;
    return BioStatus.ioError;
  }

  /** The backing is full: the pages that it was to take are put, at any length. */
  #keepInRam({ from, to, inner }: BackingRequest): Outcome {
    const { data, at } = inner!;
    for (let offset = from; offset < to; offset += PAGE_BYTES)
      if (!this.#put(slotAt(offset), data, at + offset - from, PAGE_BYTES))
        return this.#failedWrite();
    return BioStatus.ok;
  }

  #read(errand: BackingRequest): Outcome {
    const { bio } = errand;
    const { data } = bio;
    const end = bio.offset + bio.length;
    while (errand.at < end) {
      const offset = errand.at;
      const slot = slotAt(offset);
      if (offset % PAGE_BYTES !== 0 || end - offset < PAGE_BYTES) {
        const outcome = this.#loadOld(errand, slot);
        if (outcome !== BioStatus.ok) return outcome;
        continue;
      }
      const to = bio.at + offset - bio.offset;
      if (this.#isBelow(slot)) {
        errand.at = this.#backing!.runEnd(offset, floorPage(end));
        return this.#send(errand, BioOp.read, offset, errand.at, data, to);
      }
      const got = this.#store.get(slot, data, to);
      if (got === GetResult.absent) data.fill(0, to, to + PAGE_BYTES);
      else if (got === GetResult.corrupt) return this.#failedRead();
      errand.at += PAGE_BYTES;
    }
    return BioStatus.ok;
  }

  #write(errand: BackingRequest): Outcome {
    const { bio } = errand;
    const end = bio.offset + bio.length;
    while (errand.at < end) {
      const offset = errand.at;
      if (offset % PAGE_BYTES !== 0 || end - offset < PAGE_BYTES) {
        const outcome = this.#loadOld(errand, slotAt(offset));
        if (outcome !== BioStatus.ok) return outcome;
        continue;
      }
      errand.at += PAGE_BYTES;
      const from = bio.at + offset - bio.offset;
      if (!this.#put(slotAt(offset), bio.data, from)) return this.#forward(errand, offset);
    }
    return BioStatus.ok;
  }

  /** Sends the refused page [offset, errand.at) to the backing, together with adjacent refused pages behind it. */
  #forward(errand: BackingRequest, offset: number): Outcome {
    const { bio } = errand;
    const from = bio.at + offset - bio.offset;
    if (this.#backing === null) return this.#failedWrite();
    const most = this.#backing.reach(offset, floorPage(bio.offset + bio.length));
    let to = errand.at;
    while (errand.at < most) {
      const next = errand.at;
      errand.at += PAGE_BYTES;
      if (this.#put(slotAt(next), bio.data, from + next - offset)) break; // stored in RAM: the run ends before it
      to = errand.at;
    }
    return this.#send(errand, BioOp.write, offset, to, bio.data, from);
  }

  /** Brings the page that the errand reads or changes in part to errand.page, from RAM or the backing. */
  #loadOld(errand: BackingRequest, slot: Slot): Outcome {
    if (this.#isBelow(slot)) {
      const from = slot * PAGE_BYTES;
      return this.#send(errand, BioOp.read, from, from + PAGE_BYTES, errand.page);
    }
    if (!this.#loadPage(slot, errand.page)) return this.#failedRead();
    return this.#haveOld(errand, slot);
  }

  /** errand.page holds the page of `slot`: copies the bio's part of it out or changes it, and goes on behind it. */
  #haveOld(errand: BackingRequest, slot: Slot): Outcome {
    const { bio, page } = errand;
    const start = slot * PAGE_BYTES;
    const from = Math.max(start, bio.offset);
    const to = Math.min(start + PAGE_BYTES, bio.offset + bio.length);
    const at = bio.at + from - bio.offset;
    errand.at = to;
    if (bio.op === BioOp.read) {
      bio.data.set(page.subarray(from - start, to - start), at);
      return BioStatus.ok;
    }
    if (bio.op === BioOp.writeZeroes) page.fill(0, from - start, to - start);
    else page.set(bio.data.subarray(at, at + to - from), from - start);
    if (this.#put(slot, page, 0)) return BioStatus.ok;
    if (this.#backing === null) return this.#failedWrite();
    return this.#send(errand, BioOp.write, start, start + PAGE_BYTES, page);
  }

  #discard(errand: BackingRequest): Outcome {
    const { offset, length } = errand.bio;
    const end = floorPage(offset + length);
    if (errand.at === offset) {
      errand.at = ceilPage(offset);
      this.#dropFull(errand.at, end);
    }
    return this.#passDiscard(errand, end);
  }

  /** Discards the full units in [errand.at, end) at the backing. */
  #passDiscard(errand: BackingRequest, end: number): Outcome {
    const sent = this.#backing?.sendDiscard(errand, end) ?? -1;
    if (sent < 0) return BioStatus.ok;
    return sent > 0 ? Pending.underWay : Pending.starved;
  }

  #writeZeroes(errand: BackingRequest): Outcome {
    const { offset, length, flags } = errand.bio;
    const end = offset + length;
    const first = Math.min(end, ceilPage(offset));
    const last = Math.max(first, floorPage(end));
    const noUnmap = (flags & BioFlag.noUnmap) !== 0;
    if (errand.step === ZeroStep.full) {
      if (errand.at === offset && !noUnmap) this.#dropFull(first, last);
      errand.at = Math.max(errand.at, first);
      const outcome = noUnmap ? this.#zeroFull(errand, last) : this.#passDiscard(errand, last);
      if (outcome !== BioStatus.ok) return outcome;
      errand.step = ZeroStep.head;
    }
    if (errand.step === ZeroStep.head) {
      errand.step = ZeroStep.tail;
      const outcome = offset < first ? this.#zeroPart(errand, offset) : BioStatus.ok;
      if (outcome !== BioStatus.ok) return outcome;
    }
    if (errand.step === ZeroStep.done) return BioStatus.ok;
    errand.step = ZeroStep.done;
    return last < end ? this.#zeroPart(errand, last) : BioStatus.ok;
  }

  /** Stores the pages [errand.at, end) as zero pages. */
  #zeroFull(errand: BackingRequest, end: number): Outcome {
    for (; errand.at < end; errand.at += PAGE_BYTES) {
      const slot = slotAt(errand.at);
      this.changedPages++;
      if (this.#store.putWord(slot, 0, 0) !== PutResult.refused) {
        this.#backing?.below.clearRange(slot, slot + 1);
      } else if (this.#backing === null) return this.#failedWrite();
      else {
        const from = errand.at;
        errand.at = Math.min(end, from + ZERO_RUN_BYTES);
        return this.#send(errand, BioOp.writeZeroes, from, errand.at);
      }
    }
    return BioStatus.ok;
  }

  /** Zeroes the bio's part of the page at `offset`, less than all of it. Nothing to do where nothing is stored. */
  #zeroPart(errand: BackingRequest, offset: number): Outcome {
    const slot = slotAt(offset);
    if (!this.#isBelow(slot) && this.#store.formatOf(slot) === PageFormat.none) return BioStatus.ok;
    return this.#loadOld(errand, slot);
  }

  #send(
    errand: BackingRequest,
    op: BioOp,
    from: number,
    to: number,
    data?: Uint8Array,
    at = 0,
  ): Outcome {
    const backing = this.#backing!;
    const isWrite = op === BioOp.write || op === BioOp.writeZeroes;
    if (isWrite && !backing.canTake(from / PAGE_BYTES, to / PAGE_BYTES)) return this.#failedWrite();
    return backing.send(errand, op, from, to, data, at) ? Pending.underWay : Pending.starved;
  }

  /** Stores a page in RAM; false when it is not taken and the slot is as it was. */
  #put(slot: Slot, source: Uint8Array, at: number, payloadMax = this.#payloadMax): boolean {
    if (this.#store.put(slot, source, at, payloadMax) >= PutResult.refused) return false;
    this.#backing?.below.clearRange(slot, slot + 1);
    this.changedPages++;
    return true;
  }

  /** Frees the full pages inside [from, to). */
  #dropFull(from: number, to: number): void {
    if (from < to) this.drop(from / PAGE_BYTES, to / PAGE_BYTES);
  }

  /** Reads a page in RAM into `page`, zeros if the slot is empty. Returns false if it is damaged. */
  #loadPage(slot: Slot, page: Uint8Array): boolean {
    const got = this.#store.get(slot, page, 0);
    if (got === GetResult.absent) page.fill(0);
    return got !== GetResult.corrupt;
  }

  #isBelow(slot: Slot): boolean {
    return this.#backing?.below.has(slot) === true;
  }

  #failedRead(): BioStatus {
    this.failedReads++;
    return BioStatus.ioError;
  }

  #failedWrite(): BioStatus {
    this.failedWrites++;
    return BioStatus.noSpace;
  }
}
