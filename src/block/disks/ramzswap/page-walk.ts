/**
 * Splits a bio into pages: each is in RAM, at the backing or nowhere. The walk processes them in order until the bio is
 * done or a part of it is in flight to the backing; it continues when that part has completed.
 *
 * Invariants
 * - The new copy of a page is stored before the old one is freed, and a page has at most one copy.
 * - A page read from the backing is used only if it matches its checksum, where one is known.
 * - A bio that finds no free bio for the backing restarts from its beginning: storing, filling or dropping a page twice
 *   has the same result, since no other bio touches it in between (see backing.ts).
 *
 * Without a backing a walk always ends. Cost: allocates only one view for a partial page.
 */
import { InvariantError } from '../../../base/assert.ts';
import { PAGE_BYTES, type Slot, slot as slotOf } from '../../../base/units.ts';
import { PageFormat } from '../../../codec/codec.ts';
import { GetResult, PutResult } from '../../../store/results.ts';
import type { Store } from '../../../store/store.ts';
import { type Bio, BioFlag, BioOp, BioStatus } from '../../bio.ts';
import type { Backing, BackingRequest } from './backing.ts';

/** With a backing, pages that compress to more than this are stored there: half a page, as in ramzswap. */
const FORWARD_ABOVE_BYTES = PAGE_BYTES / 2;

/** Maximum run of zeros per bio to the backing, which writes them while other bios wait. */
const ZERO_RUN_BYTES = 1024 * 1024;

/** Result of a step when a part is in flight to the backing, or must wait for a free bio. */
export const Pending = { inFlight: -1, starved: -2 } as const;
/** Result of a step: the status of a bio that is done, or a Pending. */
export type Outcome = BioStatus | (typeof Pending)[keyof typeof Pending];

/** Steps of a writeZeroes. Full pages first: they free space for the partial pages. */
const ZeroStep = { full: 0, head: 1, tail: 2, done: 3 } as const;

const ceilPage = (offset: number): number => Math.ceil(offset / PAGE_BYTES) * PAGE_BYTES;
const floorPage = (offset: number): number => offset - (offset % PAGE_BYTES);
/** The slot of the page that contains a byte of the disk. */
export const slotAt = (offset: number): Slot => slotOf(Math.floor(offset / PAGE_BYTES));

/** Executes bios page by page, in RAM and at the backing, and counts what they change. */
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
  advance(request: BackingRequest): Outcome {
    if (this.fault !== null) return BioStatus.ioError;
    try {
      switch (request.bio.op) {
        case BioOp.read:
          return this.#read(request);
        case BioOp.write:
          return this.#write(request);
        case BioOp.discard:
          return this.#discard(request);
        case BioOp.writeZeroes:
          return this.#writeZeroes(request);
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
  completed(request: BackingRequest, status: BioStatus): Outcome {
    if (this.fault !== null) return BioStatus.ioError;
    try {
      const outcome = this.#applyResult(request, status);
      return outcome === BioStatus.ok ? this.advance(request) : outcome;
    } catch (error) {
      this.stopAt(error);
      return BioStatus.ioError;
    }
  }

  #applyResult(request: BackingRequest, status: BioStatus): Outcome {
    const backing = this.#backing!;
    const { op, from, to } = request;
    if (op === BioOp.discard) backing.discarded(request, status);
    else if (status !== BioStatus.ok) return this.#failed(request, status);
    else if (op !== BioOp.read) {
      const first = slotAt(from);
      const end = to / PAGE_BYTES;
      backing.written(request, first, end);
      this.changedPages += this.#store.dropRange(first, end); // after it: a kill never leaves a slot without its page
    } else if (!backing.isIntact(request)) return this.#failedRead();
    else if (request.inner!.data === request.page) return this.#usePage(request, slotAt(from));
    return BioStatus.ok;
  }

  /** The backing failed a read or a write. */
  #failed(request: BackingRequest, status: BioStatus): Outcome {
    const backing = this.#backing!;
    backing.failures++;
    if (status === BioStatus.noSpace) {
      backing.noSpace++;
      return request.op === BioOp.write ? this.#keepInRam(request) : this.#failedWrite();
    }
    if (request.op === BioOp.read) this.failedReads++;
    else this.failedWrites++;
    return BioStatus.ioError;
  }

  /** The backing is full: stores its pages in RAM, incompressible ones uncompressed. */
  #keepInRam({ from, to, inner }: BackingRequest): Outcome {
    const { data, at } = inner!;
    for (let offset = from; offset < to; offset += PAGE_BYTES)
      if (!this.#put(slotAt(offset), data, at + offset - from, PAGE_BYTES))
        return this.#failedWrite();
    return BioStatus.ok;
  }

  #read(request: BackingRequest): Outcome {
    const { bio } = request;
    const { data } = bio;
    const end = bio.offset + bio.length;
    while (request.at < end) {
      const offset = request.at;
      const slot = slotAt(offset);
      if (offset % PAGE_BYTES !== 0 || end - offset < PAGE_BYTES) {
        const outcome = this.#loadOld(request, slot);
        if (outcome !== BioStatus.ok) return outcome;
        continue;
      }
      const to = bio.at + offset - bio.offset;
      if (this.#isBelow(slot)) {
        request.at = this.#backing!.runEnd(offset, floorPage(end));
        return this.#send(request, BioOp.read, offset, request.at, data, to);
      }
      const got = this.#store.get(slot, data, to);
      if (got === GetResult.absent) data.fill(0, to, to + PAGE_BYTES);
      else if (got === GetResult.corrupt) return this.#failedRead();
      request.at += PAGE_BYTES;
    }
    return BioStatus.ok;
  }

  #write(request: BackingRequest): Outcome {
    const { bio } = request;
    const end = bio.offset + bio.length;
    while (request.at < end) {
      const offset = request.at;
      if (offset % PAGE_BYTES !== 0 || end - offset < PAGE_BYTES) {
        const outcome = this.#loadOld(request, slotAt(offset));
        if (outcome !== BioStatus.ok) return outcome;
        continue;
      }
      request.at += PAGE_BYTES;
      const from = bio.at + offset - bio.offset;
      if (!this.#put(slotAt(offset), bio.data, from, this.#payloadMaxOf(bio)))
        return this.#forward(request, offset);
    }
    return BioStatus.ok;
  }

  /** Sends the refused page [offset, request.at) to the backing, together with the adjacent refused pages after it. */
  #forward(request: BackingRequest, offset: number): Outcome {
    const { bio } = request;
    const from = bio.at + offset - bio.offset;
    if (this.#backing === null) return this.#failedWrite();
    const most = this.#backing.reach(offset, floorPage(bio.offset + bio.length));
    let to = request.at;
    while (request.at < most) {
      const next = request.at;
      request.at += PAGE_BYTES;
      // Stored in RAM: the run ends before it.
      if (this.#put(slotAt(next), bio.data, from + next - offset, this.#payloadMaxOf(bio))) break;
      to = request.at;
    }
    return this.#send(request, BioOp.write, offset, to, bio.data, from);
  }

  /** Reads the page of a partial read or write into request.page, from RAM or the backing. */
  #loadOld(request: BackingRequest, slot: Slot): Outcome {
    if (this.#isBelow(slot)) {
      const from = slot * PAGE_BYTES;
      return this.#send(request, BioOp.read, from, from + PAGE_BYTES, request.page);
    }
    if (!this.#loadPage(slot, request.page)) return this.#failedRead();
    return this.#usePage(request, slot);
  }

  /** request.page is the page of `slot`: copies the bio's part from it, or changes that part and stores the page. */
  #usePage(request: BackingRequest, slot: Slot): Outcome {
    const { bio, page } = request;
    const start = slot * PAGE_BYTES;
    const from = Math.max(start, bio.offset);
    const to = Math.min(start + PAGE_BYTES, bio.offset + bio.length);
    const at = bio.at + from - bio.offset;
    request.at = to;
    if (bio.op === BioOp.read) {
      bio.data.set(page.subarray(from - start, to - start), at);
      return BioStatus.ok;
    }
    if (bio.op === BioOp.writeZeroes) page.fill(0, from - start, to - start);
    else page.set(bio.data.subarray(at, at + to - from), from - start);
    if (this.#put(slot, page, 0)) return BioStatus.ok;
    if (this.#backing === null) return this.#failedWrite();
    return this.#send(request, BioOp.write, start, start + PAGE_BYTES, page);
  }

  #discard(request: BackingRequest): Outcome {
    const { offset, length } = request.bio;
    const end = floorPage(offset + length);
    if (request.at === offset) {
      request.at = ceilPage(offset);
      this.#dropFull(request.at, end);
    }
    return this.#passDiscard(request, end);
  }

  /** Discards the full units in [request.at, end) at the backing. */
  #passDiscard(request: BackingRequest, end: number): Outcome {
    const sent = this.#backing?.sendDiscard(request, end) ?? -1;
    if (sent < 0) return BioStatus.ok;
    return sent > 0 ? Pending.inFlight : Pending.starved;
  }

  #writeZeroes(request: BackingRequest): Outcome {
    const { offset, length, flags } = request.bio;
    const end = offset + length;
    const first = Math.min(end, ceilPage(offset));
    const last = Math.max(first, floorPage(end));
    const noUnmap = (flags & BioFlag.noUnmap) !== 0;
    if (request.step === ZeroStep.full) {
      if (request.at === offset && !noUnmap) this.#dropFull(first, last);
      request.at = Math.max(request.at, first);
      const outcome = noUnmap ? this.#zeroFull(request, last) : this.#passDiscard(request, last);
      if (outcome !== BioStatus.ok) return outcome;
      request.step = ZeroStep.head;
    }
    if (request.step === ZeroStep.head) {
      request.step = ZeroStep.tail;
      const outcome = offset < first ? this.#zeroPart(request, offset) : BioStatus.ok;
      if (outcome !== BioStatus.ok) return outcome;
    }
    if (request.step === ZeroStep.done) return BioStatus.ok;
    request.step = ZeroStep.done;
    return last < end ? this.#zeroPart(request, last) : BioStatus.ok;
  }

  /** Stores the pages [request.at, end) as zero pages. */
  #zeroFull(request: BackingRequest, end: number): Outcome {
    for (; request.at < end; request.at += PAGE_BYTES) {
      const slot = slotAt(request.at);
      this.changedPages++;
      if (this.#store.putWord(slot, 0, 0) !== PutResult.refused) {
        this.#backing?.below.clearRange(slot, slot + 1);
      } else if (this.#backing === null) return this.#failedWrite();
      else {
        const from = request.at;
        request.at = Math.min(end, from + ZERO_RUN_BYTES);
        return this.#send(request, BioOp.writeZeroes, from, request.at);
      }
    }
    return BioStatus.ok;
  }

  /** Zeroes the bio's part of the partial page at `offset`. Does nothing if the slot is empty. */
  #zeroPart(request: BackingRequest, offset: number): Outcome {
    const slot = slotAt(offset);
    if (!this.#isBelow(slot) && this.#store.formatOf(slot) === PageFormat.none) return BioStatus.ok;
    return this.#loadOld(request, slot);
  }

  /** Returns 0 for BioFlag.writeBack, so that only pages without payload stay in RAM. */
  #payloadMaxOf({ flags }: Bio): number {
    const isWriteBack = (flags & BioFlag.writeBack) !== 0 && this.#backing !== null;
    return isWriteBack ? 0 : this.#payloadMax;
  }

  #send(
    request: BackingRequest,
    op: BioOp,
    from: number,
    to: number,
    data?: Uint8Array,
    at = 0,
  ): Outcome {
    const backing = this.#backing!;
    const isWrite = op === BioOp.write || op === BioOp.writeZeroes;
    if (isWrite && !backing.reserveSums(from / PAGE_BYTES, to / PAGE_BYTES))
      return this.#failedWrite();
    return backing.send(request, op, from, to, data, at) ? Pending.inFlight : Pending.starved;
  }

  /** Stores a page in RAM. Returns false if the store refuses it; the slot is then unchanged. */
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
