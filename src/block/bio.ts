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
 */
import { assert } from '../base/assert.ts';

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

const nothing = new Uint8Array(0);
/** Owner of every bio in a pool: how free() sees that one is there already. */
const pooled: BioOwner = { bioEnd: () => assert(false, 'a bio in the pool is not in flight') };
const nobody: BioOwner = { bioEnd: () => assert(false, 'a bio in flight has an owner') };

export class Bio {
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

  reset(): void {
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

/** Fixed reserve of bios (kernel: mempool_t under a bio_set). alloc() answers null when all are out. */
export class BioPool {
  readonly capacity: number;
  #free: Bio | null = null;
  #freeCount = 0;

  constructor(capacity: number) {
    assert(Number.isInteger(capacity) && capacity > 0, 'a bio pool holds at least one bio');
    this.capacity = capacity;
    for (let i = 0; i < capacity; i++) this.#push(new Bio());
  }

  /** Bios in the pool now, 0 .. capacity. */
  get freeCount(): number {
    return this.#freeCount;
  }

  alloc(): Bio | null {
    const bio = this.#free;
    if (bio === null) return null;
    this.#free = bio.next;
    bio.next = null;
    bio.owner = nobody;
    this.#freeCount--;
    return bio;
  }

  free(bio: Bio): void {
    assert(bio.owner !== pooled, 'a bio is freed once');
    assert(this.#freeCount < this.capacity, 'a bio goes back to its own pool');
    bio.reset();
    this.#push(bio);
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
}
