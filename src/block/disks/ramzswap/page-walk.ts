/**
 * How a bio becomes pages: each is in RAM, at the backing or nowhere, and a bio goes from the first to the last until it
 * is done or a part of it is at the backing. Then its errand is under way, and goes on from there when that has landed.
 *
 * Invariants
 * - A page's new copy is safe before its old one is given up, and it has one copy at most.
 * - A bio that finds no bio for the backing can begin again from its start: a page put, filled or dropped twice is the
 *   same, as long as nobody else touches it in between (backing.ts sees to that).
 *
 * Without a backing a walk always ends. Cost: nothing is allocated but one view for a part of a page.
 */
import { InvariantError } from '../../../base/assert.ts';
import { PAGE_BYTES, type Slot, slot as slotOf } from '../../../base/units.ts';
import { PageFormat } from '../../../codec/codec.ts';
import { GetResult, PutResult } from '../../../store/results.ts';
import type { Store } from '../../../store/store.ts';
import { BioFlag, BioOp, BioStatus } from '../../bio.ts';
import type { Backing, BackingRequest } from './backing.ts';

/** With a backing, pages that pack to more than this go there: half a page, as ramzswap had it. */
const FORWARD_ABOVE_BYTES = PAGE_BYTES / 2;

/** Zeros go to the backing in runs of this at the most: it writes each of them, while others wait. */
const ZERO_RUN_BYTES = 1024 * 1024;

/** What a step of an errand answers when a part of it is at the backing, or has to wait for a bio. */
export const Pending = { underWay: -1, starved: -2 } as const;
export type Outcome = BioStatus | (typeof Pending)[keyof typeof Pending];

/** Steps of a writeZeroes. Whole pages first: what they give up is room for the parts. */
const ZeroStep = { full: 0, head: 1, tail: 2, done: 3 } as const;

const ceilPage = (offset: number): number => Math.ceil(offset / PAGE_BYTES) * PAGE_BYTES;
const floorPage = (offset: number): number => offset - (offset % PAGE_BYTES);
export const slotAt = (offset: number): Slot => slotOf(Math.floor(offset / PAGE_BYTES));

export class PageWalk {
  /** What broke an invariant, if anything did: all walks end with ioError since. */
  fault: InvariantError | null = null;
  /** Pages put or given up; the owner sets it back. */
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

  /** Goes on with an errand until it is done, or a part of it is at the backing. */
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

  /** Gives up the pages of the slots [from, to), wherever they are. */
  drop(from: number, to: number): void {
    const dropped = this.#store.dropRange(slotOf(from), to);
    this.changedPages += dropped;
    this.notifyFree += dropped + (this.#backing?.below.clearRange(from, to) ?? 0);
  }

  /** The part of the errand that was at the backing is done: takes it in and goes on. */
  completed(errand: BackingRequest, status: BioStatus): Outcome {
    if (this.fault !== null) return BioStatus.ioError;
    const outcome = this.#takeIn(errand, status);
    return outcome === BioStatus.ok ? this.go(errand) : outcome;
  }

  #takeIn(errand: BackingRequest, status: BioStatus): Outcome {
    const backing = this.#backing!;
    const { op, from, to } = errand;
    if (op === BioOp.discard) backing.discarded(errand, status);
    else if (status !== BioStatus.ok) {
      backing.failures++;
      if (op === BioOp.read) this.failedReads++;
      else this.failedWrites++;
      return status === BioStatus.noSpace ? status : BioStatus.ioError;
    } else if (op !== BioOp.read) {
      const first = slotAt(from);
      const end = Math.ceil(to / PAGE_BYTES);
      this.changedPages += this.#store.dropRange(first, end);
      backing.took(first, end);
    }
    return BioStatus.ok;
  }

  #read(errand: BackingRequest): Outcome {
    const { bio } = errand;
    const { data } = bio;
    const end = bio.offset + bio.length;
    while (errand.at < end) {
      const offset = errand.at;
      const inPage = offset % PAGE_BYTES;
      const length = Math.min(PAGE_BYTES - inPage, end - offset);
      const to = bio.at + offset - bio.offset;
      const slot = slotAt(offset);
      if (this.#isBelow(slot)) {
        const until = this.#backing!.runEnd(offset, end);
        errand.at = until;
        return this.#send(errand, BioOp.read, offset, until, data, to);
      }
      if (length === PAGE_BYTES) {
        const got = this.#store.get(slot, data, to);
        if (got === GetResult.absent) data.fill(0, to, to + PAGE_BYTES);
        else if (got === GetResult.corrupt) return this.#failedRead();
      } else {
        if (!this.#loadPage(slot, errand.page)) return this.#failedRead();
        data.set(errand.page.subarray(inPage, inPage + length), to);
      }
      errand.at += length;
    }
    return BioStatus.ok;
  }

  #write(errand: BackingRequest): Outcome {
    const { bio } = errand;
    const end = bio.offset + bio.length;
    while (errand.at < end) {
      const offset = errand.at;
      const from = bio.at + offset - bio.offset;
      const inPage = offset % PAGE_BYTES;
      const length = Math.min(PAGE_BYTES - inPage, end - offset);
      errand.at += length;
      if (length < PAGE_BYTES) {
        const outcome = this.#writePart(errand, offset, length, from);
        if (outcome !== BioStatus.ok) return outcome;
      } else if (!this.#put(slotAt(offset), bio.data, from)) return this.#forward(errand, offset);
    }
    return BioStatus.ok;
  }

  /** The page at `offset` was not taken, [offset, errand.at): it goes to the backing, with those behind it that are not either. */
  #forward(errand: BackingRequest, offset: number): Outcome {
    const { bio } = errand;
    const from = bio.at + offset - bio.offset;
    if (this.#backing === null) return this.#failedWrite();
    const most = floorPage(this.#backing.reach(offset, bio.offset + bio.length));
    let to = errand.at;
    while (errand.at < most) {
      const next = errand.at;
      errand.at += PAGE_BYTES;
      if (this.#put(slotAt(next), bio.data, from + next - offset)) break; // the run ends before it
      to = errand.at;
    }
    return this.#send(errand, BioOp.write, offset, to, bio.data, from);
  }

  #writePart(errand: BackingRequest, offset: number, length: number, from: number): Outcome {
    const { data } = errand.bio;
    const slot = slotAt(offset);
    if (this.#isBelow(slot))
      return this.#send(errand, BioOp.write, offset, offset + length, data, from);
    if (!this.#loadPage(slot, errand.page)) return this.#failedRead();
    errand.page.set(data.subarray(from, from + length), offset % PAGE_BYTES);
    return this.#putTogether(errand, slot);
  }

  /** Stores the page that was put together in the errand. */
  #putTogether(errand: BackingRequest, slot: Slot): Outcome {
    if (this.#put(slot, errand.page, 0)) return BioStatus.ok;
    if (this.#backing === null) return this.#failedWrite();
    const offset = slot * PAGE_BYTES;
    return this.#send(errand, BioOp.write, offset, offset + PAGE_BYTES, errand.page, 0);
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

  /** Tells the backing of what is dropped in [errand.at, end), where it is worth it. */
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
      const outcome = offset < first ? this.#zeroPart(errand, offset, first) : BioStatus.ok;
      if (outcome !== BioStatus.ok) return outcome;
    }
    if (errand.step === ZeroStep.done) return BioStatus.ok;
    errand.step = ZeroStep.done;
    return last < end ? this.#zeroPart(errand, last, end) : BioStatus.ok;
  }

  /** Keeps the pages [errand.at, end) as pages of zeros. */
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

  /** Zeroes [from, to), less than a page and inside one. Nothing to do where nothing is stored. */
  #zeroPart(errand: BackingRequest, from: number, to: number): Outcome {
    const slot = slotAt(from);
    if (this.#isBelow(slot)) return this.#send(errand, BioOp.writeZeroes, from, to);
    if (this.#store.formatOf(slot) === PageFormat.none) return BioStatus.ok;
    if (!this.#loadPage(slot, errand.page)) return this.#failedRead();
    errand.page.fill(0, from % PAGE_BYTES, (from % PAGE_BYTES) + (to - from));
    return this.#putTogether(errand, slot);
  }

  #send(
    errand: BackingRequest,
    op: BioOp,
    from: number,
    to: number,
    data?: Uint8Array,
    at = 0,
  ): Outcome {
    const isSent = this.#backing!.send(errand, op, from, to, data, at);
    return isSent ? Pending.underWay : Pending.starved;
  }

  /** Stores a page in RAM; false when it is not taken and the slot is as it was. */
  #put(slot: Slot, source: Uint8Array, at: number): boolean {
    if (this.#store.put(slot, source, at, this.#payloadMax) >= PutResult.refused) return false;
    this.#backing?.below.clearRange(slot, slot + 1);
    this.changedPages++;
    return true;
  }

  /** Gives up the whole pages inside [from, to). */
  #dropFull(from: number, to: number): void {
    if (from < to) this.drop(from / PAGE_BYTES, to / PAGE_BYTES);
  }

  /** Brings a page of RAM to `page`, zeros where nothing is stored; false when it is damaged. */
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
