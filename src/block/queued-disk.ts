/**
 * The request queue: bios in, fewer and larger requests out, in the order that suits the disk. The kernel's block
 * layer of 2010 in small (block/blk-core.c, elevator.c, blk-barrier.c): what the bio side of the debate pays for.
 *
 *   bio ─▶ batch, by offset ───────────────▶ in flight, `depth` at most ─▶ disk
 *            merges: back, front, both             │ staging: `mergeBytes` each
 *   bio ─▶ waiting, first in first out ─▶ batch    └─ merged request failed: its bios again, one by one
 *           (a flush, an overlap, no request free)
 *
 * plug() holds the batch back so that it can grow, unplug() lets it go; so does a tick, because who ticks waits.
 *
 * Invariants
 * - Ranges in the batch and in flight are disjoint: a bio that overlaps one waits until that has ended, and
 *   everything behind it waits too. So sorting and merging change no result, and no bio sent again after a failure
 *   can land on newer data.
 * - A flush is a barrier: it starts when everything before it has ended, nothing behind it starts before its end.
 * - Each bio ends with its own outcome, never with a neighbour's.
 * - At most `requests` are in the batch and in flight; the rest waits in its own bios. Nothing is allocated.
 *
 * Cost: a search in the batch a bio; a merge of bios that do not lie side by side in memory copies their bytes once
 * (bouncedBytes) and makes a short-lived view for each. Without plug and with a disk that keeps up each bio is a request: the same work and one more hop.
 */
import { assert } from '../base/assert.ts';
import { type CounterSpec, Counters } from '../base/counters.ts';
import { type ByteCount, PAGE_BYTES } from '../base/units.ts';
import { type Bio, BioOp, BioQueue, BioStatus, PageRange } from './bio.ts';
import type { Disk, DiskLimits, ExtentSink } from './ops.ts';
import { Batch, InFlight, type Request } from './request.ts';

export interface QueueOptions {
  /** Requests there are, 1 .. 1024. */
  readonly requests: number;
  /** Requests at the disk at once, 1 .. requests. */
  readonly depth: number;
  /** Largest merged read or write, bytes; a multiple of the page, no more than the disk's maxTransferBytes. */
  readonly mergeBytes: number;
}

type QueueCounter =
  | 'bios'
  | 'requests'
  | 'merges'
  | 'bouncedBytes'
  | 'barriers'
  | 'waits'
  | 'splits'
  | 'invalid'
  | 'slotFreeMisses';

const counted = (unit: string, help: string): CounterSpec => ({ unit, mustStayZero: false, help });
const SPECS: Readonly<Record<QueueCounter, CounterSpec>> = {
  bios: counted('bios', 'bios taken'),
  requests: counted('requests', 'requests sent to the disk, bios sent again not included'),
  merges: counted(
    'bios',
    'bios that went with another; bios = requests + merges + invalid at rest',
  ),
  bouncedBytes: counted('bytes', 'copied because merged bios were apart in memory'),
  barriers: counted('bios', 'flushes'),
  waits: counted('bios', 'bios that waited behind an overlap, a barrier or for a request'),
  splits: counted('requests', 'merged requests that failed and were sent again bio by bio'),
  invalid: { unit: 'bios', mustStayZero: true, help: 'bios outside the disk' },
  slotFreeMisses: counted('slots', 'slots not freed because a bio for them was under way'),
};

export interface QueuedDisk extends Disk {
  readonly counters: Counters<QueueCounter>;
  /** Bios taken and not yet ended. */
  readonly inFlight: number;
  /** Holds requests back until unplug(), called as often. */
  plug(): void;
  unplug(): void;
}

class RequestQueue implements QueuedDisk {
  readonly sizeBytes: ByteCount;
  readonly limits: DiskLimits;
  readonly readOnly: boolean;
  readonly synchronous = false;
  readonly counters: Counters<QueueCounter> = new Counters<QueueCounter>(SPECS);
  readonly slotFree?: (slot: number) => void;
  readonly #values: Float64Array = this.counters.values;
  readonly #at: Readonly<Record<QueueCounter, number>> = this.counters.index;
  readonly #page = new PageRange();
  readonly #next: Disk;
  readonly #batch: Batch;
  readonly #flying: InFlight;
  readonly #waiting = new BioQueue();
  readonly #invalid = new BioQueue();
  #plugs = 0;
  #isFlushing = false;
  #inFlight = 0;
  /** Bios ended, since the start. */
  #ended = 0;

  constructor(next: Disk, options: QueueOptions) {
    const { requests, depth, mergeBytes } = options;
    assert(Number.isInteger(requests) && requests > 0 && requests <= 1024, 'requests: 1 .. 1024');
    assert(Number.isInteger(depth) && depth > 0 && depth <= requests, 'depth: 1 .. requests');
    assert(mergeBytes > 0 && mergeBytes % PAGE_BYTES === 0, 'a merge is whole pages');
    assert(mergeBytes <= next.limits.maxTransferBytes, 'the disk takes a merged request');
    this.sizeBytes = next.sizeBytes;
    this.limits = next.limits;
    this.readOnly = next.readOnly;
    this.#next = next;
    this.#batch = new Batch(options, next.limits, (request) => this.#requestEnded(request));
    this.#flying = new InFlight(depth, mergeBytes);
    if (next.slotFree !== undefined) this.slotFree = (slot) => this.#slotFree(slot);
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  submit(bio: Bio): void {
    this.#inFlight++;
    this.#values[this.#at.bios]! += 1;
    if (bio.op !== BioOp.flush && !this.#isInside(bio)) {
      this.#values[this.#at.invalid]! += 1;
      bio.status = BioStatus.invalid;
      this.#invalid.push(bio);
    } else if (this.#waiting.length === 0 && this.#mayAdmit(bio)) {
      this.#batch.add(bio);
      if (this.#plugs === 0) this.#pump();
    } else {
      this.#values[this.#at.waits]! += 1;
      this.#waiting.push(bio);
      this.#pump();
    }
  }

  tick(): number {
    const before = this.#ended;
    this.#pump();
    for (let due = this.#invalid.length; due > 0; due--) {
      const bio = this.#invalid.shift();
      if (bio !== null) this.#end(bio);
    }
    this.#next.tick();
    this.#pump();
    return this.#ended - before;
  }

  plug(): void {
    this.#plugs++;
  }

  unplug(): void {
    assert(this.#plugs > 0, 'a queue is unplugged as often as it was plugged');
    this.#plugs--;
    if (this.#plugs === 0) this.#pump();
  }

  extents(offset: number, length: number, sink: ExtentSink): void {
    this.#next.extents(offset, length, sink);
  }

  #isInside({ offset, length }: Bio): boolean {
    return offset >= 0 && length > 0 && offset + length <= this.sizeBytes;
  }

  /** True when the bio may be sent in any order with all that is in the batch and in flight. */
  #mayAdmit(bio: Bio): boolean {
    return (
      bio.op !== BioOp.flush &&
      !this.#isFlushing &&
      this.#batch.hasFree &&
      !this.#batch.touches(bio) &&
      !this.#flying.touches(bio)
    );
  }

  /** Sends what the disk has room for, and fills the batch again from what waits. */
  #pump(): void {
    for (;;) {
      while (this.#flying.hasRoom) {
        const request = this.#batch.shift();
        if (request === null) break;
        this.#send(request);
      }
      if (this.#batch.length > 0) return;
      const bio = this.#waiting.first;
      if (bio === null) return;
      if (bio.op === BioOp.flush) {
        if (this.#flying.count === 0) this.#sendFlush();
        return;
      }
      if (!this.#refill()) return;
    }
  }

  /** Moves what may go from the waiting bios to the batch; false when nothing may. */
  #refill(): boolean {
    let isMoved = false;
    for (let bio = this.#waiting.first; bio !== null; bio = this.#waiting.first) {
      if (!this.#mayAdmit(bio)) break;
      this.#waiting.shift();
      this.#batch.add(bio);
      isMoved = true;
    }
    return isMoved;
  }

  #sendFlush(): void {
    const bio = this.#waiting.shift();
    assert(bio !== null, 'a flush waits');
    const request = this.#batch.take();
    request.start(bio);
    this.#isFlushing = true;
    this.#values[this.#at.barriers]! += 1;
    this.#send(request);
  }

  #send(request: Request): void {
    this.#values[this.#at.requests]! += 1;
    this.#values[this.#at.merges]! += request.count - 1;
    this.#values[this.#at.bouncedBytes]! += this.#flying.add(request);
    this.#next.submit(request.bio);
  }

  /** The disk is done with a request, or with a bio of it that was sent again. */
  #requestEnded(request: Request): void {
    const { status } = request.bio;
    const { resent } = request;
    if (resent !== null) {
      resent.status = status;
      if (resent.next === null) this.#finish(request);
      else this.#sendAgain(request, resent.next);
    } else if (status !== BioStatus.ok && request.count > 1) {
      this.#values[this.#at.splits]! += 1;
      this.#sendAgain(request, request.first!);
    } else {
      for (let bio = request.first; bio !== null; bio = bio.next) bio.status = status;
      this.#finish(request);
    }
  }

  #finish(request: Request): void {
    this.#flying.remove(request);
    if (request.op === BioOp.flush) this.#isFlushing = false;
    let bio: Bio | null = request.clear();
    this.#batch.free(request); // before the owners are told: they may submit
    while (bio !== null) {
      const next: Bio | null = bio.next;
      bio.next = null;
      this.#end(bio);
      bio = next;
    }
  }

  /** One bio of a merged request that failed, alone: what it ends with is its own. */
  #sendAgain(request: Request, bio: Bio): void {
    request.resent = bio;
    request.bio.offset = bio.offset;
    request.bio.length = bio.length;
    request.bio.data = bio.data;
    request.bio.at = bio.at;
    this.#next.submit(request.bio);
  }

  #end(bio: Bio): void {
    this.#inFlight--;
    this.#ended++;
    bio.owner.bioEnd(bio);
  }

  #slotFree(slot: number): void {
    const page = this.#page.at(slot);
    if (this.#waiting.touches(page) || this.#batch.touches(page) || this.#flying.touches(page))
      this.#values[this.#at.slotFreeMisses]! += 1;
    else this.#next.slotFree?.(slot);
  }
}

export const queuedDisk = (next: Disk, options: QueueOptions): QueuedDisk =>
  new RequestQueue(next, options);
