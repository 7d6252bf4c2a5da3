/**
 * Where replies are put together: one buffer, filled by one session at a time, sent by the caller in one go.
 * Data of a READ is read straight into it, so a reply is laid down before it is known whether its bios end
 * well. What may have to be taken back is noted in a row beside it:
 *
 *   bytes    [ head │ data … ][ head ][ head │ data … ]  length ─▶   ◀─ staged [ payload ][ payload ]
 *   rows       0: at, payload   1: at   2: at, payload          a bio's tag is the index of its row
 *
 * Batch: rows and bios in flight between two settlings. settle() ticks the disk once, and only if a bio failed does
 * it walk the rows, newest first, so that cutting a payload out moves nothing that is still to be looked at. A
 * synchronous disk is settled by that one tick. With another the batch may have to be settled several times, and payload of
 * writes stands at the end of the bytes until then: the input belongs to others when receive() returns. Such a batch
 * takes bios of a pool of its own, and SLOW_BIOS_MAX at the most: whoever waits for a disk that does not answer has
 * none that others need.
 *
 * Invariants
 * - A batch is of one disk, and its bios of one pool.
 * - `pending` is 0 whenever the bytes may be sent; no bio refers to the buffer then.
 * - Rows are only those of the session that fills the buffer now.
 * Cost: no allocation after construction. A failed read costs one move of what lies behind it.
 */
import { assert } from '../../base/assert.ts';
import { type Bio, type BioOwner, type BioPool, BioStatus } from '../../block/bio.ts';
import type { Disk } from '../../block/ops.ts';
import { WireError } from './wire.ts';

/** Requests that one batch can hold. More is no faster: the work is in the requests by then. */
const ROWS_MAX = 512;

/** Bios that one batch of an asynchronous disk can hold. */
const SLOW_BIOS_MAX = 32;

/** Where outputs get their bios. */
export interface BioPools {
  /** For synchronous disks: all of these are back at the end of a settling. */
  readonly quick: BioPool;
  /** For the others. */
  readonly slow: BioPool;
}

/** What a row's bios belong to, and so what is done when one fails. */
export const RowKind = {
  /** A simple reply without payload at `at`: its error field is set. */
  status: 0,
  /** A simple reply at `at` with its payload, or the first part of it: error set, payload cut. */
  simpleRead: 1,
  /** More payload of a simple reply that was sent in part: only hanging up is left. */
  simpleReadRest: 2,
  /** A data chunk at `at`: becomes an error chunk. */
  dataChunk: 3,
  /** A part of a request whose reply comes in a later batch: the session remembers the error. */
  part: 4,
  /** As status, for a request that may be told "not supported". */
  fastZero: 5,
} as const;
export type RowKind = (typeof RowKind)[keyof typeof RowKind];

/** Who put the rows there: told of each failed one, newest first. */
export interface RowOwner {
  /** `row` has an error; may cut bytes out at or behind its place, not before it. */
  rowFailed(out: Output, row: number): void;
}

export class Output implements BioOwner {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly capacity: number;
  /** Bytes to send, 0 .. capacity. */
  length = 0;
  /** Bios submitted and not ended. */
  pending = 0;
  readonly #pools: BioPools;
  /** Of this batch. */
  #pool: BioPool;
  /** Bytes at the end that bios write from. */
  #staged = 0;
  #rowCount = 0;
  #failedCount = 0;
  readonly #kind = new Uint8Array(ROWS_MAX);
  readonly #error = new Uint8Array(ROWS_MAX);
  readonly #at = new Int32Array(ROWS_MAX);
  readonly #payload = new Int32Array(ROWS_MAX);

  constructor(bytes: Uint8Array, pools: BioPools) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.capacity = bytes.byteLength;
    this.#pools = pools;
    this.#pool = pools.quick;
  }

  get room(): number {
    return this.capacity - this.length - this.#staged;
  }

  /** The bytes were sent, or given up. */
  clear(): void {
    assert(this.pending === 0, 'no bio refers to an output that is cleared');
    this.length = 0;
  }

  /** A batch that is not settled yet. */
  get isOpen(): boolean {
    return this.#rowCount > 0;
  }

  /** Copies source[from .. from + count) to the end of the bytes, for this batch; returns where. Ask for room first. */
  stage(source: Uint8Array, from: number, count: number): number {
    assert(count <= this.room, 'there is room for what is staged');
    this.#staged += count;
    const at = this.capacity - this.#staged;
    this.bytes.set(source.subarray(from, from + count), at);
    return at;
  }

  /** The batch and its replies are given up: their session is over. Not while bios are under way. */
  abandon(): void {
    this.#endBatch();
    this.clear();
  }

  /** Notes a row; its index is the tag of the bios behind it. */
  addRow(kind: RowKind, at: number, payload: number): number {
    const row = this.#rowCount;
    assert(row < ROWS_MAX, 'a batch has a row left');
    this.#rowCount = row + 1;
    this.#kind[row] = kind;
    this.#error[row] = WireError.ok;
    this.#at[row] = at;
    this.#payload[row] = payload;
    return row;
  }

  /** The reply of the request behind `row` lies in this batch after all. */
  turnRow(row: number, kind: RowKind, at: number): void {
    assert(row < this.#rowCount, 'the row is of this batch');
    this.#kind[row] = kind;
    this.#at[row] = at;
  }

  /** `count` more bytes of payload belong to `row`. */
  growRow(row: number, count: number): void {
    assert(row < this.#rowCount, 'the row is of this batch');
    this.#payload[row]! += count;
  }

  /** Whether another step (one row, one bio) of the batch's disk fits the batch. */
  hasSpaceFor({ synchronous }: Disk): boolean {
    if (this.pending === 0) this.#pool = synchronous ? this.#pools.quick : this.#pools.slow;
    if (!synchronous && this.pending >= SLOW_BIOS_MAX) return false;
    return this.#rowCount < ROWS_MAX && this.#pool.freeCount > 0;
  }

  /** A bio for `row`, ours to fill and submit. Ask hasPlaceFor() first. */
  allocBio(row: number): Bio {
    const bio = this.#pool.alloc();
    assert(bio !== null, 'the pool has a bio for this step');
    bio.owner = this;
    bio.tag = row;
    this.pending++;
    return bio;
  }

  kindOf(row: number): RowKind {
    return this.#kind[row]! as RowKind;
  }
  errorOf(row: number): number {
    return this.#error[row]!;
  }
  atOf(row: number): number {
    return this.#at[row]!;
  }
  payloadOf(row: number): number {
    return this.#payload[row]!;
  }

  bioEnd(bio: Bio): void {
    const row = bio.tag;
    if (bio.status !== BioStatus.ok && this.#error[row] === WireError.ok) {
      this.#error[row] = wireErrorOf(bio.status);
      this.#failedCount++;
    }
    this.pending--;
    this.#pool.free(bio);
  }

  /**
   * Ends the batch: one tick, then the failed rows go to their owner and the rows are gone. False, and the batch goes on,
   * when an asynchronous disk has not ended all of its bios.
   */
  settle(disk: Disk, owner: RowOwner): boolean {
    if (this.#rowCount === 0) return true;
    disk.tick();
    if (this.pending > 0) {
      assert(!disk.synchronous, 'a synchronous disk ends its bios in the next tick');
      return false;
    }
    if (this.#failedCount > 0) {
      for (let row = this.#rowCount - 1; row >= 0; row--)
        if (this.#error[row] !== WireError.ok) owner.rowFailed(this, row);
    }
    this.#endBatch();
    return true;
  }

  #endBatch(): void {
    assert(this.pending === 0, 'a batch ends when its bios have');
    this.#failedCount = 0;
    this.#rowCount = 0;
    this.#staged = 0;
  }

  /** Takes [at, at + count) out; what lies behind moves up. */
  cut(at: number, count: number): void {
    assert(count >= 0 && at + count <= this.length, 'what is cut out is there');
    this.bytes.copyWithin(at, at + count, this.length);
    this.length -= count;
  }
}

const WIRE_ERRORS = new Uint8Array(6);
WIRE_ERRORS[BioStatus.ok] = WireError.ok;
WIRE_ERRORS[BioStatus.ioError] = WireError.io;
WIRE_ERRORS[BioStatus.noSpace] = WireError.noSpace;
WIRE_ERRORS[BioStatus.invalid] = WireError.inval;
WIRE_ERRORS[BioStatus.notSupported] = WireError.notSup;
WIRE_ERRORS[BioStatus.readOnly] = WireError.perm;

/** A disk's answer as one of the errors that may cross the wire. */
const wireErrorOf = (status: BioStatus): number => WIRE_ERRORS[status]!;
