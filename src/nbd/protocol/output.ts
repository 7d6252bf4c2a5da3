/**
 * The output: one buffer of replies, filled by one session at a time and sent by the caller with one write. The disk writes
 * READ data directly into it, so a reply is written before its bios have ended. A row per reply records what to correct if a
 * bio fails:
 *
 *   bytes    [ head │ data … ][ head ][ head │ data … ]  length ─▶   ◀─ staged [ payload ][ payload ]
 *   rows       0: at, payload   1: at   2: at, payload          the tag of a bio is the index of its row
 *
 * A batch is the rows and bios between two successful calls of finishBatch(). finishBatch() ticks the disk once. If a bio
 * failed, it walks the rows, newest first, so that removing a payload does not move the rows still to be walked. A synchronous
 * disk needs one call. An asynchronous disk may need several; until it has finished, the payload of writes is staged at the end
 * of the bytes, because the input is reused when receive() returns. Batches of asynchronous disks have their own bio pool and
 * at most ASYNC_BIOS_MAX bios each, so a disk that does not respond cannot exhaust the bios of others.
 *
 * Invariants
 * - A batch has one disk, and its bios come from one pool.
 * - `pending` is 0 when the bytes are sent: no bio refers to the buffer.
 * - All rows belong to the session that fills the buffer.
 * Cost: no allocation after construction. A failed read moves the bytes after it once.
 */
import { assert } from '../../base/assert.ts';
import { type Bio, type BioOwner, type BioPool, BioStatus } from '../../block/bio.ts';
import type { Disk } from '../../block/ops.ts';
import { WireError } from './wire.ts';

/** Maximum number of requests per batch; larger batches are not faster. */
export const ROWS_MAX = 512;

/** Maximum number of bios per batch of an asynchronous disk. */
const ASYNC_BIOS_MAX = 32;

/** The bio pools of the outputs. */
export interface BioPools {
  /** For synchronous disks: all bios are free when a batch is finished. */
  readonly synchronous: BioPool;
  readonly asynchronous: BioPool;
}

/** The kind of reply that a row describes, and the correction if a bio fails. */
export const RowKind = {
  /** A simple reply without payload at `at`: set its error field. */
  status: 0,
  /** A simple reply at `at` with its payload, or the first part of it: set the error, remove the payload. */
  simpleRead: 1,
  /** Further payload of a simple reply that was sent in part: disconnect. */
  simpleReadRest: 2,
  /** A data chunk at `at`: replace it with an error chunk. */
  dataChunk: 3,
  /** A part of a request; its reply is in a later batch, so the session keeps the error. */
  part: 4,
  /** As status, for a request that may fail with ENOTSUP. */
  fastZero: 5,
} as const;
export type RowKind = (typeof RowKind)[keyof typeof RowKind];

/** The session that added the rows; called for each failed row, newest first. */
export interface RowOwner {
  /** `row` has an error. May remove bytes at or after its position, not before it. */
  rowFailed(out: Output, row: number): void;
}

export class Output implements BioOwner {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly capacity: number;
  readonly #rowsMax: number;
  /** Number of bytes to send, 0 .. capacity. */
  length = 0;
  /** Number of bios that are submitted and have not ended. */
  pending = 0;
  readonly #pools: BioPools;
  /** The pool of this batch. */
  #pool: BioPool;
  /** Number of staged bytes at the end of the buffer. */
  #staged = 0;
  #rowCount = 0;
  #failedCount = 0;
  readonly #kind = new Uint8Array(ROWS_MAX);
  readonly #error = new Uint8Array(ROWS_MAX);
  readonly #at = new Int32Array(ROWS_MAX);
  readonly #payload = new Int32Array(ROWS_MAX);

  /** @param rowsMax requests per batch, 1 .. ROWS_MAX */
  constructor(bytes: Uint8Array, pools: BioPools, rowsMax: number = ROWS_MAX) {
    assert(rowsMax >= 1 && rowsMax <= ROWS_MAX, '1 <= rowsMax <= ROWS_MAX');
    this.#rowsMax = rowsMax;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.capacity = bytes.byteLength;
    this.#pools = pools;
    this.#pool = pools.synchronous;
  }

  get freeBytes(): number {
    return this.capacity - this.length - this.#staged;
  }

  /** Drops the bytes, because they were sent or the session is over. */
  clear(): void {
    assert(this.pending === 0, 'no bio is pending');
    this.length = 0;
  }

  /** True while a batch is not finished. */
  get isOpen(): boolean {
    return this.#rowCount > 0;
  }

  /** Copies source[from .. from + count) to the staging area of this batch. Returns its position. Needs `count` free bytes. */
  stage(source: Uint8Array, from: number, count: number): number {
    assert(count <= this.freeBytes, 'count <= freeBytes');
    this.#staged += count;
    const at = this.capacity - this.#staged;
    this.bytes.set(source.subarray(from, from + count), at);
    return at;
  }

  /** Drops the batch and its replies, because the session is over. No bio may be pending. */
  discard(): void {
    this.#endBatch();
    this.clear();
  }

  /** Adds a row. Returns its index, the tag of its bios. */
  addRow(kind: RowKind, at: number, payload: number): number {
    const row = this.#rowCount;
    assert(row < this.#rowsMax, 'row < rowsMax');
    this.#rowCount = row + 1;
    this.#kind[row] = kind;
    this.#error[row] = WireError.ok;
    this.#at[row] = at;
    this.#payload[row] = payload;
    return row;
  }

  /** Sets the reply of `row`, which must be in this batch. */
  setReply(row: number, kind: RowKind, at: number): void {
    assert(row < this.#rowCount, 'the row belongs to this batch');
    this.#kind[row] = kind;
    this.#at[row] = at;
  }

  /** Adds `count` bytes to the payload of `row`. */
  growRow(row: number, count: number): void {
    assert(row < this.#rowCount, 'the row belongs to this batch');
    this.#payload[row]! += count;
  }

  /** Whether the batch has space for another step (one row, one bio) on this disk. */
  hasSpaceFor({ synchronous }: Disk): boolean {
    if (this.pending === 0)
      this.#pool = synchronous ? this.#pools.synchronous : this.#pools.asynchronous;
    if (!synchronous && this.pending >= ASYNC_BIOS_MAX) return false;
    return this.#rowCount < this.#rowsMax && this.#pool.freeCount > 0;
  }

  /** Allocates a bio for `row`. Call only after hasSpaceFor() returned true. */
  allocBio(row: number): Bio {
    const bio = this.#pool.alloc();
    assert(bio !== null, 'hasSpaceFor() returned true');
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
   * Ticks the disk once; when all bios have ended, reports the failed rows to their owner and removes the rows. Returns
   * false, and keeps the batch, while an asynchronous disk has bios in flight.
   */
  finishBatch(disk: Disk, owner: RowOwner): boolean {
    if (this.#rowCount === 0) return true;
    disk.tick();
    if (this.pending > 0) {
      assert(!disk.synchronous, 'a synchronous disk ends all bios in one tick');
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
    assert(this.pending === 0, 'no bio is pending');
    this.#failedCount = 0;
    this.#rowCount = 0;
    this.#staged = 0;
  }

  /** Removes [at, at + count) and moves the bytes after it forward. */
  cut(at: number, count: number): void {
    assert(count >= 0 && at + count <= this.length, 'at + count <= length');
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

/** The wire error for the result of a bio. */
const wireErrorOf = (status: BioStatus): number => WIRE_ERRORS[status]!;
