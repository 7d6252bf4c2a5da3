/**
 * The request queue: sorts bios by offset and merges them into fewer, larger requests. Modelled on the kernel's block
 * layer of 2010 (block/blk-core.c, elevator.c, blk-barrier.c).
 *
 *   bio ─▶ batch, sorted by offset ────────▶ in flight, at most `depth` ─▶ disk
 *            merges: back, front, both             │ staging: `mergeBytes` each
 *   bio ─▶ waiting, FIFO ─▶ batch                  └─ a merged request failed: resend its bios one by one
 *           (a flush, an overlap, no free request)
 *
 * plug() holds the batch so that it can grow; unplug() and tick() send it.
 *
 * Invariants
 * - Ranges in the batch and in flight are disjoint: a bio that overlaps one of them waits until that one ends, and all
 *   later bios wait too. So sorting and merging change no result, and a bio resent after a failure cannot overwrite
 *   newer data.
 * - A flush is a barrier: it starts after all earlier bios have ended, and later bios start after it has ended.
 * - Each bio ends with its own status, not with the status of a neighbour.
 * - At most `requests` requests are in the batch and in flight; further bios wait. The queue allocates nothing.
 *
 * Cost: one binary search per bio. A merge of bios that are not contiguous in memory copies their bytes once
 * (bouncedBytes) and creates a short-lived view for each. Without plug() and with a fast disk, each bio is one request.
 */
import { assert } from '../base/assert.ts';
import { type CounterSpec, Counters, counted, mustStayZero } from '../base/counters.ts';
import { type ByteCount, PAGE_BYTES } from '../base/units.ts';
import { type Bio, BioOp, BioQueue, BioStatus, PageRange } from './bio.ts';
import type { Disk, DiskLimits, ExtentSink } from './ops.ts';
import { Batch, InFlight, type Request } from './request.ts';

/** Limits of a request queue. */
export interface QueueOptions {
  /** Number of requests, 1 .. 1024 (kernel: nr_requests). */
  readonly requests: number;
  /** Maximum number of requests in flight, 1 .. requests. */
  readonly depth: number;
  /** Largest merged read or write, bytes: a multiple of 4096, at most maxTransferBytes of the disk. */
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

const SPECS: Readonly<Record<QueueCounter, CounterSpec>> = {
  bios: counted('bios', 'bios submitted'),
  requests: counted('requests', 'requests sent to the disk, without resent bios'),
  merges: counted(
    'bios',
    'bios merged into a request; when idle, bios = requests + merges + invalid',
  ),
  bouncedBytes: counted('bytes', 'bytes copied because merged bios were not contiguous in memory'),
  barriers: counted('bios', 'flushes'),
  waits: counted('bios', 'bios that waited for an overlap, a barrier or a free request'),
  splits: counted('requests', 'failed merged requests whose bios were resent one by one'),
  invalid: mustStayZero('bios', 'bios outside the disk'),
  slotFreeMisses: counted('slots', 'slots not freed because a bio for them was in flight'),
};

/** A disk behind a request queue, with the counters of the queue. */
export interface QueuedDisk extends Disk {
  readonly counters: Counters<QueueCounter>;
  /** Bios submitted and not yet ended. */
  readonly inFlight: number;
  /** Holds requests until the matching unplug(); calls nest. */
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
  readonly #sent: InFlight;
  readonly #waiting = new BioQueue();
  readonly #invalid = new BioQueue();
  #plugs = 0;
  #isFlushing = false;
  #inFlight = 0;
  /** Bios ended since the start. */
  #ended = 0;

  constructor(next: Disk, options: QueueOptions) {
    const { requests, depth, mergeBytes } = options;
    assert(Number.isInteger(requests) && requests > 0 && requests <= 1024, 'requests: 1 .. 1024');
    assert(Number.isInteger(depth) && depth > 0 && depth <= requests, 'depth: 1 .. requests');
    assert(mergeBytes > 0 && mergeBytes % PAGE_BYTES === 0, 'mergeBytes is a multiple of 4096');
    assert(mergeBytes <= next.limits.maxTransferBytes, 'mergeBytes <= maxTransferBytes');
    this.sizeBytes = next.sizeBytes;
    this.limits = next.limits;
    this.readOnly = next.readOnly;
    this.#next = next;
    this.#batch = new Batch(options, next.limits, (request) => this.#requestEnded(request));
    this.#sent = new InFlight(depth, mergeBytes);
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
    assert(this.#plugs > 0, 'unplug() follows a plug()');
    this.#plugs--;
    if (this.#plugs === 0) this.#pump();
  }

  extents(offset: number, length: number, sink: ExtentSink): void {
    this.#next.extents(offset, length, sink);
  }

  /** isInside() of bio.ts for disks of one object shape: with several, V8 allocates to read a size above 2^31. */
  #isInside({ offset, length }: Bio): boolean {
    return offset >= 0 && length > 0 && offset + length <= this.sizeBytes;
  }

  /** True when the bio can go to the batch: it overlaps nothing there or in flight, and a request is free. */
  #mayAdmit(bio: Bio): boolean {
    return (
      bio.op !== BioOp.flush &&
      !this.#isFlushing &&
      this.#batch.hasFree &&
      !this.#batch.touches(bio) &&
      !this.#sent.touches(bio)
    );
  }

  /** Sends up to `depth` requests and refills the batch from the waiting bios. */
  #pump(): void {
    for (;;) {
      while (this.#sent.hasFree) {
        const request = this.#batch.shift();
        if (request === null) break;
        this.#send(request);
      }
      if (this.#batch.length > 0) return;
      const bio = this.#waiting.first;
      if (bio === null) return;
      if (bio.op === BioOp.flush) {
        if (this.#sent.count === 0) this.#sendFlush();
        return;
      }
      if (!this.#refill()) return;
    }
  }

  /** Moves waiting bios to the batch until one must wait. Returns false when none was moved. */
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
    assert(bio !== null, 'the first waiting bio is the flush');
    const request = this.#batch.alloc();
    request.start(bio);
    this.#isFlushing = true;
    this.#values[this.#at.barriers]! += 1;
    this.#send(request);
  }

  #send(request: Request): void {
    this.#values[this.#at.requests]! += 1;
    this.#values[this.#at.merges]! += request.count - 1;
    this.#values[this.#at.bouncedBytes]! += this.#sent.add(request);
    this.#next.submit(request.bio);
  }

  /** A request, or one of its resent bios, has completed. */
  #requestEnded(request: Request): void {
    const { status } = request.bio;
    const { resent } = request;
    if (resent !== null) {
      resent.status = status;
      if (resent.next === null) this.#finish(request);
      else this.#resend(request, resent.next);
    } else if (status !== BioStatus.ok && request.count > 1) {
      this.#values[this.#at.splits]! += 1;
      this.#resend(request, request.first!);
    } else {
      for (let bio = request.first; bio !== null; bio = bio.next) bio.status = status;
      this.#finish(request);
    }
  }

  #finish(request: Request): void {
    this.#sent.remove(request);
    if (request.op === BioOp.flush) this.#isFlushing = false;
    let bio: Bio | null = request.clear();
    this.#batch.free(request); // before the bios end: their owners may submit
    while (bio !== null) {
      const next: Bio | null = bio.next;
      bio.next = null;
      this.#end(bio);
      bio = next;
    }
  }

  /** Sends one bio of a failed merged request alone, so that it ends with its own status. */
  #resend(request: Request, bio: Bio): void {
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
    if (this.#waiting.touches(page) || this.#batch.touches(page) || this.#sent.touches(page))
      this.#values[this.#at.slotFreeMisses]! += 1;
    else this.#next.slotFree?.(slot);
  }
}

/** Puts a request queue in front of `next`: it sorts and merges bios and bounds the number in flight. */
export const queuedDisk = (next: Disk, options: QueueOptions): QueuedDisk =>
  new RequestQueue(next, options);
