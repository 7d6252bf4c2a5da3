/**
 * A bio: one block request and its completion. Names follow the kernel (include/linux/blk_types.h,
 * include/linux/bio.h):
 *
 *   owner ──alloc──▶ bio ──submit──▶ filter… ──▶ disk ──▶ tick() ──bioEnd──▶ owner ──free──▶ pool
 *
 * The owner is the NBD server or the swap core. Bios come from a mempool of fixed size, created at the start: the
 * request path allocates nothing. When the pool is empty, the NBD server stops reading from its client until a bio is
 * freed.
 *
 * Invariants
 * - A bio has exactly one holder: the pool, its owner, or, between submit() and bioEnd(), the disk.
 * - `data[at .. at + length)` belongs to the disk from submit() until bioEnd(); a disk that declares
 *   `synchronous` has read or filled it when submit() returns (kernel: BDEV_SYNCHRONOUS).
 * - `status` is valid only in bioEnd().
 *
 * A filter that needs the completion of a bio calls enter() and leave(), as drivers do with the stack locations of a
 * Windows IRP: the bio itself has a frame for each layer, so no layer can run out of frames.
 */
import { assert } from '../base/assert.ts';
import { Counters, counted } from '../base/counters.ts';
import { PAGE_BYTES } from '../base/units.ts';

/** The operation. flush, discard and writeZeroes carry no data. */
export const BioOp = { read: 0, write: 1, discard: 2, writeZeroes: 3, flush: 4 } as const;
export type BioOp = (typeof BioOp)[keyof typeof BioOp];

/** The result of a bio (kernel: blk_status_t). A full disk is a result (noSpace), not an exception. */
export const BioStatus = {
  ok: 0,
  ioError: 1,
  noSpace: 2,
  invalid: 3,
  notSupported: 4,
  readOnly: 5,
} as const;
export type BioStatus = (typeof BioStatus)[keyof typeof BioStatus];

/** Request flags, one bit each. */
export const BioFlag = {
  /** Forced unit access: the data is on stable storage when the bio ends. Disks in RAM ignore it. */
  fua: 1,
  /** writeZeroes keeps the range allocated (no hole). */
  noUnmap: 2,
  /** A write goes to the backing of the disk, if it has one, even if the page compresses. */
  writeBack: 4,
} as const;

/** Receives completions. One object serves many bios: a closure per request would be garbage. */
export interface BioOwner {
  /** Returns the bio to the owner, with `status` set. May submit or free bios; must not throw. */
  bioEnd(bio: Bio): void;
}

/** Maximum number of layers that can enter a bio. */
const FRAMES_MAX = 16;

const noData = new Uint8Array(0);
const noOwners: BioOwner[] = [];
const noMarks = new Float64Array(0);
/** Owner of every bio in a pool: free() uses it to detect a double free. */
const pooled: BioOwner = { bioEnd: () => assert(false, 'a bio in the pool is not in flight') };
const noOwner: BioOwner = { bioEnd: () => assert(false, 'a bio in flight has an owner') };

/**
 * A byte range of a disk. Queues pass ranges as objects, because V8 allocates 16 bytes for each number above 2^31 that
 * is passed to a function.
 */
export interface Range {
  readonly offset: number;
  readonly length: number;
}

/** True if the ranges have a byte in common. */
export const overlaps = (a: Range, b: Range): boolean =>
  a.offset < b.offset + b.length && b.offset < a.offset + a.length;

/** True when the range lies inside the disk. A flush has no range. */
export const isInside = (
  { offset, length }: Range,
  disk: { readonly sizeBytes: number },
): boolean => offset >= 0 && length > 0 && offset + length <= disk.sizeBytes;

/** The range of one page; reused for other pages by at(). */
export class PageRange implements Range {
  offset = 0;
  readonly length: number = PAGE_BYTES;

  at(page: number): this {
    this.offset = page * PAGE_BYTES;
    return this;
  }
}

/** A block request (kernel: struct bio): an operation, a byte range of a disk, and the data of a read or write. */
export class Bio implements Range {
  op: BioOp = BioOp.read;
  flags = 0;
  /** First byte on the disk, 0 .. 2^53 - 1; any alignment. */
  offset = 0;
  /** Bytes, 1 .. 2^32 - 1 (0 for flush). */
  length = 0;
  /** The bytes to write, or the buffer to read into, starting at `at`. */
  data: Uint8Array = noData;
  at = 0;
  owner: BioOwner = noOwner;
  /** Set by the owner to identify the request. */
  tag = 0;
  status: BioStatus = BioStatus.ok;
  /** Link in the pool or queue that the bio is in. */
  next: Bio | null = null;
  /** Frames of the layers that entered the bio, outermost first; allocated by the first enter(), then kept. */
  #owners = noOwners;
  #marks = noMarks;
  #depth = 0;

  /** Makes `owner` the owner until leave(), which returns `mark`: a time, a length or another number. */
  enter(owner: BioOwner, mark: number): void {
    assert(this.#depth < FRAMES_MAX, 'depth < FRAMES_MAX');
    if (this.#owners === noOwners) {
      this.#owners = new Array<BioOwner>(FRAMES_MAX).fill(noOwner);
      this.#marks = new Float64Array(FRAMES_MAX);
    }
    this.#owners[this.#depth] = this.owner;
    this.#marks[this.#depth] = mark;
    this.#depth++;
    this.owner = owner;
  }

  /** Undoes the last enter(): restores the previous owner. Returns the mark. */
  leave(): number {
    assert(this.#depth > 0, 'leave() follows an enter()');
    this.#depth--;
    this.owner = this.#owners[this.#depth]!;
    this.#owners[this.#depth] = noOwner;
    return this.#marks[this.#depth]!;
  }

  /** The mark of the last enter(). */
  get mark(): number {
    assert(this.#depth > 0, 'the bio is entered');
    return this.#marks[this.#depth - 1]!;
  }

  reset(): void {
    assert(this.#depth === 0, 'every layer has called leave()');
    this.op = BioOp.read;
    this.flags = 0;
    this.offset = 0;
    this.length = 0;
    this.data = noData;
    this.at = 0;
    this.owner = noOwner;
    this.tag = 0;
    this.status = BioStatus.ok;
    this.next = null;
  }
}

/**
 * Size of a bio on the heap of Node 20, bytes, without frames. In 2010 the kernel's struct bio was 104 bytes on 64-bit
 * machines, and each bio_vec 16.
 */
export const BIO_BYTES = 128;

/** Names of the counters of a BioPool. */
export type BioPoolCounter = 'allocs' | 'allocBytes' | 'reserveAllocs' | 'refusals';

/**
 * A pool of a fixed number of bios (kernel: mempool_t of a bio_set). alloc() returns null when only the reserve is
 * left. Reclaim needs I/O to free memory and may take the reserve with allocFromReserve(). Without it, reclaim could
 * wait for a bio that only its own swap-out can free.
 */
export class BioPool {
  readonly capacity: number;
  /** Bios that alloc() leaves in the pool, 0 .. capacity - 1. */
  readonly reserve: number;
  readonly counters: Counters<BioPoolCounter> = new Counters<BioPoolCounter>({
    allocs: counted('bios', 'bios allocated'),
    allocBytes: counted('bytes', 'size of the bios allocated'),
    reserveAllocs: counted('bios', 'bios taken from the reserve'),
    refusals: counted('requests', 'allocations that failed'),
  });
  #free: Bio | null = null;
  #freeCount = 0;

  constructor(capacity: number, reserve = 0) {
    assert(Number.isInteger(capacity) && capacity > 0, 'capacity is a whole number, above 0');
    assert(Number.isInteger(reserve) && reserve >= 0, 'reserve is a whole number, at least 0');
    assert(reserve < capacity, 'reserve < capacity');
    this.capacity = capacity;
    this.reserve = reserve;
    for (let i = 0; i < capacity; i++) this.#push(new Bio());
  }

  /** Bios in the pool now, 0 .. capacity. */
  get freeCount(): number {
    return this.#freeCount;
  }

  /** A bio, or null when only the reserve is left. */
  alloc(): Bio | null {
    return this.#take(this.reserve);
  }

  /** Like alloc(), but may take the last bio: for reclaim only. */
  allocFromReserve(): Bio | null {
    const isReserve = this.#freeCount <= this.reserve;
    const bio = this.#take(0);
    if (bio !== null && isReserve) this.counters.values[this.counters.index.reserveAllocs]!++;
    return bio;
  }

  free(bio: Bio): void {
    assert(bio.owner !== pooled, 'the freed bio is allocated');
    assert(this.#freeCount < this.capacity, 'freeCount < capacity');
    bio.reset();
    this.#push(bio);
  }

  #take(reserve: number): Bio | null {
    const { values, index } = this.counters;
    const bio = this.#free;
    if (bio === null || this.#freeCount <= reserve) {
      values[index.refusals]!++;
      return null;
    }
    this.#free = bio.next;
    bio.next = null;
    bio.owner = noOwner;
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

/** A FIFO of bios, linked by bio.next: queueing allocates nothing. */
export class BioQueue {
  #head: Bio | null = null;
  #tail: Bio | null = null;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(bio: Bio): void {
    assert(bio.next === null && bio !== this.#tail, 'the bio is in no queue');
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

  /** The oldest bio; it stays in the queue. */
  get first(): Bio | null {
    return this.#head;
  }

  /** True when a bio in the queue overlaps the range. Cost: a walk of the queue. */
  touches(range: Range): boolean {
    for (let bio = this.#head; bio !== null; bio = bio.next) if (overlaps(bio, range)) return true;
    return false;
  }

  /**
   * Ends all bios that are queued now, oldest first. Returns their number. Bios that the owners add wait for the next
   * call.
   */
  endAll(): number {
    const due = this.#length;
    for (let ended = 0; ended < due; ended++) {
      const bio = this.shift();
      if (bio === null) return ended; // an owner called tick() in bioEnd()
      bio.owner.bioEnd(bio);
    }
    return due;
  }
}
