/**
 * A bio: one block request on its way to a disk and back. The names are the kernel's
 * (include/linux/blk_types.h, include/linux/bio.h); the shape is ours:
 *
 *   door ──alloc──▶ bio ──submit──▶ filter… ──▶ disk ──complete──▶ tick() ──end──▶ door ──free──▶ pool
 *
 * Bios come from a mempool of fixed size, made at start: the request path allocates nothing, and a door
 * that finds the pool empty stops reading from its peer until a bio comes back. That is the back-pressure.
 *
 * Invariants
 * - A bio is owned by exactly one place: the pool, the door, or the disk between submit() and end().
 * - `data[at .. at + length)` belongs to the disk from submit() until end(); a disk that declares
 *   `synchronous` has read or filled it when submit() returns (kernel: BDEV_SYNCHRONOUS).
 * - `status` means something only in end().
 *
 * A filter that wants to see a bio again on its way back enters it and leaves it, as drivers do with the stack
 * locations of a Windows IRP: each layer has a frame in the bio itself, so no layer can run out of them.
 */
import { assert } from '../base/assert.ts';
import { Counters } from '../base/counters.ts';
import { PAGE_BYTES } from '../base/units.ts';

/** What is asked. flush, discard and writeZeroes carry no data. */
export const BioOp = { read: 0, write: 1, discard: 2, writeZeroes: 3, flush: 4 } as const;
export type BioOp = (typeof BioOp)[keyof typeof BioOp];

/** How it ended. A full disk is an answer (noSpace), not an exception. */
export const BioStatus = {
  ok: 0,
  ioError: 1,
  noSpace: 2,
  invalid: 3,
  notSupported: 4,
  readOnly: 5,
} as const;
export type BioStatus = (typeof BioStatus)[keyof typeof BioStatus];

/** Request flags, a bit each. */
export const BioFlag = {
  /** Forced unit access: the data is stable when the bio ends. RAM is as stable as it gets: no extra work there. */
  fua: 1,
  /** writeZeroes must leave the range readable as zeros without giving it back (no hole). */
  noUnmap: 2,
} as const;

/** Who is told. One object serves many bios: closures a request would be garbage a request. */
export interface BioOwner {
  /** The bio is the owner's again, `status` set. May submit or free, must not throw. */
  bioEnd(bio: Bio): void;
}

/** Layers that may stand over one disk and see their bios come back. */
const FRAMES_MAX = 16;

const nothing = new Uint8Array(0);
const noOwners: BioOwner[] = [];
const noMarks = new Float64Array(0);
/** Owner of every bio in a pool: how free() sees that one is there already. */
const pooled: BioOwner = { bioEnd: () => assert(false, 'a bio in the pool is not in flight') };
const nobody: BioOwner = { bioEnd: () => assert(false, 'a bio in flight has an owner') };

/** Bytes of a disk. Queues compare ranges as objects: an offset above 2^31 that crosses a call as a number is boxed, 16 bytes each. */
export interface Range {
  readonly offset: number;
  readonly length: number;
}

export const overlaps = (a: Range, b: Range): boolean =>
  a.offset < b.offset + b.length && b.offset < a.offset + a.length;

/** A page's range, to be moved from page to page. */
export class PageRange implements Range {
  offset = 0;
  readonly length: number = PAGE_BYTES;

  at(page: number): this {
    this.offset = page * PAGE_BYTES;
    return this;
  }
}

export class Bio implements Range {
  op: BioOp = BioOp.read;
  flags = 0;
  /** First byte on the disk, 0 .. 2^53 - 1; any alignment. */
  offset = 0;
  /** Bytes, 1 .. 2^32 - 1 (0 for flush). */
  length = 0;
  /** Holds the written bytes, or takes the read ones, from `at` on. */
  data: Uint8Array = nothing;
  at = 0;
  owner: BioOwner = nobody;
  /** The owner's own number: which request this belongs to. */
  tag = 0;
  status: BioStatus = BioStatus.ok;
  /** Link in whichever queue holds the bio: pool, completion queue. */
  next: Bio | null = null;
  /** Frames of the layers that the bio is in, outermost first; made when first entered, then kept. */
  #owners = noOwners;
  #marks = noMarks;
  #depth = 0;

  /** `owner` is told first from now on, and finds `mark` (a time, a length: its own number) in leave(). */
  enter(owner: BioOwner, mark: number): void {
    assert(this.#depth < FRAMES_MAX, 'no more layers see a bio again than it has frames');
    if (this.#owners === noOwners) {
      this.#owners = new Array<BioOwner>(FRAMES_MAX).fill(nobody);
      this.#marks = new Float64Array(FRAMES_MAX);
    }
    this.#owners[this.#depth] = this.owner;
    this.#marks[this.#depth] = mark;
    this.#depth++;
    this.owner = owner;
  }

  /** Undoes the last enter(): the owner before is the owner again. Returns the mark. */
  leave(): number {
    assert(this.#depth > 0, 'a bio is left as often as it was entered');
    this.#depth--;
    this.owner = this.#owners[this.#depth]!;
    this.#owners[this.#depth] = nobody;
    return this.#marks[this.#depth]!;
  }

  /** The mark of the last enter(). */
  get mark(): number {
    assert(this.#depth > 0, 'a bio has a mark while somebody has entered it');
    return this.#marks[this.#depth - 1]!;
  }

  reset(): void {
    assert(this.#depth === 0, 'a bio is free when every layer has left it');
    this.op = BioOp.read;
    this.flags = 0;
    this.offset = 0;
    this.length = 0;
    this.data = nothing;
    this.at = 0;
    this.owner = nobody;
    this.tag = 0;
    this.status = BioStatus.ok;
    this.next = null;
  }
}

/**
 * What one bio costs, bytes: its object on the heap of Node 20, frames not included. The kernel's struct bio was
 * 104 bytes on a 64-bit machine in 2010, and one bio_vec more 16.
 */
export const BIO_BYTES = 128;

export type BioPoolCounter = 'allocs' | 'allocBytes' | 'reserveAllocs' | 'refusals';

/**
 * Fixed stock of bios (kernel: mempool_t under a bio_set). alloc() answers null when all are out, or all but the
 * reserve: those are for who frees memory by doing I/O, and gets them from allocFromReserve(). Without them a
 * machine short of memory could wait for a bio that only its own swap-out can bring back.
 */
export class BioPool {
  readonly capacity: number;
  /** Bios that alloc() leaves in the pool, 0 .. capacity - 1. */
  readonly reserve: number;
  readonly counters: Counters<BioPoolCounter> = new Counters<BioPoolCounter>({
    allocs: { unit: 'bios', mustStayZero: false, help: 'bios handed out' },
    allocBytes: { unit: 'bytes', mustStayZero: false, help: 'memory that those bios are' },
    reserveAllocs: { unit: 'bios', mustStayZero: false, help: 'bios that only the reserve had' },
    refusals: { unit: 'requests', mustStayZero: false, help: 'times that no bio was to be had' },
  });
  #free: Bio | null = null;
  #freeCount = 0;

  constructor(capacity: number, reserve = 0) {
    assert(Number.isInteger(capacity) && capacity > 0, 'a bio pool holds at least one bio');
    assert(Number.isInteger(reserve) && reserve >= 0, 'a reserve is a number of bios');
    assert(reserve < capacity, 'a bio pool is more than its reserve');
    this.capacity = capacity;
    this.reserve = reserve;
    for (let i = 0; i < capacity; i++) this.#push(new Bio());
  }

  /** Bios in the pool now, 0 .. capacity. */
  get freeCount(): number {
    return this.#freeCount;
  }

  /** A bio, or null when none but the reserve is left. */
  alloc(): Bio | null {
    return this.#take(this.reserve);
  }

  /** As alloc(), down to the last bio: for reclaim only. */
  allocFromReserve(): Bio | null {
    const isReserve = this.#freeCount <= this.reserve;
    const bio = this.#take(0);
    if (bio !== null && isReserve) this.counters.values[this.counters.index.reserveAllocs]!++;
    return bio;
  }

  free(bio: Bio): void {
    assert(bio.owner !== pooled, 'a bio is freed once');
    assert(this.#freeCount < this.capacity, 'a bio goes back to its own pool');
    bio.reset();
    this.#push(bio);
  }

  #take(leave: number): Bio | null {
    const { values, index } = this.counters;
    const bio = this.#free;
    if (bio === null || this.#freeCount <= leave) {
      values[index.refusals]!++;
      return null;
    }
    this.#free = bio.next;
    bio.next = null;
    bio.owner = nobody;
    this.#freeCount--;
    values[index.allocs]!++;
    values[index.allocBytes]! += BIO_BYTES;
    return bio;
  }

  #push(bio: Bio): void {
    bio.owner = pooled;
    bio.next = this.#free;
    this.#free = bio;
    this.#freeCount++;
  }
}

/** Bios that are done and wait for tick(), oldest first. Intrusive: queueing allocates nothing. */
export class BioQueue {
  #head: Bio | null = null;
  #tail: Bio | null = null;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(bio: Bio): void {
    assert(bio.next === null && bio !== this.#tail, 'a bio waits in one queue, once');
    if (this.#tail === null) this.#head = bio;
    else this.#tail.next = bio;
    this.#tail = bio;
    this.#length++;
  }

  shift(): Bio | null {
    const bio = this.#head;
    if (bio === null) return null;
    this.#head = bio.next;
    if (this.#head === null) this.#tail = null;
    bio.next = null;
    this.#length--;
    return bio;
  }

  /** The oldest bio, which stays. */
  get first(): Bio | null {
    return this.#head;
  }

  /** True when a bio in the queue touches the range. Cost: a walk of the queue. */
  touches(range: Range): boolean {
    for (let bio = this.#head; bio !== null; bio = bio.next) if (overlaps(bio, range)) return true;
    return false;
  }

  /** Tells the owners of all that wait now, oldest first; returns how many. What they submit waits its turn. */
  endAll(): number {
    const due = this.#length;
    for (let ended = 0; ended < due; ended++) {
      const bio = this.shift();
      if (bio === null) return ended; // an owner ticked from bioEnd()
      bio.owner.bioEnd(bio);
    }
    return due;
  }
}
