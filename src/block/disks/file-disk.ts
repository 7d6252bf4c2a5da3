/**
 * A disk on a file or block device: stores the pages that do not fit in RAM.
 *
 *   submit ─▶ queue ─▶ tick(): up to `biosPerTick` bios, until `bytesPerTick` have moved ─▶ end
 *
 * All I/O happens in tick(), in the order of submission, so the caller chooses when it waits for the device. tick()
 * does not split bios and can move up to bytesPerTick plus one bio: callers that share the thread keep bios small.
 *
 *   read, write   by O_DIRECT where the file system supports it, through `staging` in full blocks: the page cache
 *                 would keep swapped-out pages in memory. Partial blocks are read, modified and written
 *   discard       punches a hole for the full pages inside the range; notSupported where the file system cannot
 *   writeZeroes   punches a hole for the full pages (unless noUnmap), writes zeros to the rest
 *   flush, fua    fdatasync
 *
 * A read at the end of the file ends with ioError: the file was truncated and its data is lost, not zeros. A write ends
 * with noSpace when the file system is full; every other error is ioError. Both are counted; nothing is thrown. A
 * failed write may be partial. There is no slotFree, because it would cost a system call per slot: use
 * discard.
 *
 * Cost: one system call per bio of up to STAGING_BYTES, and one copy with O_DIRECT.
 */
import { assert } from '../../base/assert.ts';
import { type CounterSpec, Counters, counted, mustStayZero } from '../../base/counters.ts';
import { type ByteCount, bytes, PAGE_BYTES } from '../../base/units.ts';
import { createMemory } from '../../codec/linear-memory.ts';
import { type Bio, BioFlag, BioOp, BioQueue, BioStatus, isInside } from '../bio.ts';
import { type Disk, type DiskLimits, Extent, type ExtentSink } from '../ops.ts';
import type { FileIo } from './file-io.ts';

/** Maximum bytes per system call. */
const STAGING_BYTES = 1024 * 1024;

/** Size and access of a file disk, and the limits of one tick. */
export interface FileDiskOptions {
  /** Bytes, a multiple of 4096, at most the size of the file. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly isDirect: boolean;
  /** Maximum number of bios per tick, at least 1. */
  readonly biosPerTick: number;
  /** tick() starts no further bio once it has moved this many bytes, at least 1. Default 1 MiB. */
  readonly bytesPerTick?: number;
}

type FileCounter =
  | 'readBytes'
  | 'writtenBytes'
  | 'holeBytes'
  | 'syncs'
  | 'noSpace'
  | 'shortReads'
  | 'ioErrors'
  | 'invalid';

const SPECS: Readonly<Record<FileCounter, CounterSpec>> = {
  readBytes: counted('bytes', 'bytes read from the file, also to complete partial blocks'),
  writtenBytes: counted('bytes', 'bytes written to the file, zeros included'),
  holeBytes: counted('bytes', 'bytes of punched holes'),
  syncs: counted('calls', 'calls of fdatasync'),
  noSpace: counted('bios', 'writes failed because the file system was full'),
  shortReads: mustStayZero('bios', 'bios that reached the end of a truncated file'),
  ioErrors: mustStayZero('bios', 'bios that ended with ioError, short reads included'),
  invalid: mustStayZero('bios', 'bios outside the disk'),
};

const carriesData = (op: BioOp): boolean => op === BioOp.read || op === BioOp.write;

/** A disk on an open file or block device. All I/O is synchronous and happens in tick(). */
export class FileDisk implements Disk, Disposable {
  readonly sizeBytes: ByteCount;
  readonly readOnly: boolean;
  readonly synchronous = false;
  readonly counters: Counters<FileCounter> = new Counters<FileCounter>(SPECS);
  readonly limits: DiskLimits = {
    physicalBlockBytes: PAGE_BYTES,
    discardGranularityBytes: PAGE_BYTES,
    maxTransferBytes: 64 * 1024 * 1024,
  };
  readonly #io: FileIo;
  readonly #isDirect: boolean;
  readonly #biosPerTick: number;
  readonly #bytesPerTick: number;
  /** Bytes read and written in this tick. */
  #movedBytes = 0;
  readonly #queue = new BioQueue();
  /** A WebAssembly memory is page-aligned, as O_DIRECT requires; a Node buffer is not. */
  readonly #staging: Uint8Array;
  #isOpen = true;

  constructor(io: FileIo, options: FileDiskOptions) {
    const { sizeBytes, readOnly, isDirect, biosPerTick, bytesPerTick = STAGING_BYTES } = options;
    assert(
      Number.isSafeInteger(sizeBytes) && sizeBytes > 0,
      'sizeBytes is a whole number, above 0',
    );
    assert(sizeBytes % PAGE_BYTES === 0, 'sizeBytes is a multiple of 4096');
    assert(Number.isInteger(biosPerTick) && biosPerTick > 0, 'biosPerTick > 0');
    assert(bytesPerTick > 0, 'bytesPerTick > 0');
    this.sizeBytes = bytes(sizeBytes);
    this.readOnly = readOnly;
    this.#io = io;
    this.#isDirect = isDirect;
    this.#biosPerTick = biosPerTick;
    this.#bytesPerTick = bytesPerTick;
    this.#staging = new Uint8Array(createMemory(STAGING_BYTES).buffer);
  }

  /** Number of queued bios. */
  get queued(): number {
    return this.#queue.length;
  }

  submit(bio: Bio): void {
    this.#queue.push(bio);
  }

  tick(): number {
    const due = Math.min(this.#queue.length, this.#biosPerTick);
    this.#movedBytes = 0;
    let ended = 0;
    while (ended < due && this.#movedBytes < this.#bytesPerTick) {
      const bio = this.#queue.shift();
      if (bio === null) break; // an owner called tick() in bioEnd()
      bio.status = this.#perform(bio);
      ended++;
      bio.owner.bioEnd(bio);
    }
    return ended;
  }

  /** Reports everything as data: only the file system knows its holes. */
  extents(_offset: number, length: number, sink: ExtentSink): void {
    sink(Extent.data, length);
  }

  /** Closes the file. Bios that are queued, or submitted later, end with ioError. */
  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#io.close();
  }

  /** The same as `[Symbol.dispose]()`. */
  close(): void {
    this[Symbol.dispose]();
  }

  #perform(bio: Bio): BioStatus {
    const { op } = bio;
    if (op !== BioOp.flush && !isInside(bio, this))
      return this.#counted('invalid', BioStatus.invalid);
    if (!this.#isOpen) return this.#counted('ioErrors', BioStatus.ioError);
    if (this.readOnly && op !== BioOp.read && op !== BioOp.flush) return BioStatus.readOnly;
    try {
      const status = this.#transfer(bio);
      if (op === BioOp.flush || (bio.flags & BioFlag.fua) !== 0) this.#sync(op);
      return status;
    } catch (cause) {
      const { code, errno } = cause as NodeJS.ErrnoException;
      if (errno === undefined) throw cause; // not a system error: a bug
      const isFull = code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG';
      return isFull
        ? this.#counted('noSpace', BioStatus.noSpace)
        : this.#counted('ioErrors', BioStatus.ioError);
    }
  }

  #transfer(bio: Bio): BioStatus {
    const { op, offset, length } = bio;
    if (carriesData(op)) this.#move(bio);
    else if (op === BioOp.discard) return this.#discard(offset, offset + length);
    else if (op === BioOp.writeZeroes)
      this.#zero(offset, offset + length, (bio.flags & BioFlag.noUnmap) === 0);
    return BioStatus.ok;
  }

  #sync(op: BioOp): void {
    if (op === BioOp.read) return;
    this.#io.sync();
    this.counters.add('syncs', 1);
  }

  #move({ op, offset, length, data, at }: Bio): void {
    for (let done = 0; done < length; ) {
      const part = this.#partAt(offset + done, offset + length);
      const from = at + done;
      if (!this.#isDirect) {
        if (op === BioOp.read) this.#readAll(data, from, part, offset + done);
        else this.#writeAll(data, from, part, offset + done);
      } else if (op === BioOp.read) {
        const inBlock = this.#stage(offset + done, part, true);
        data.set(this.#staging.subarray(inBlock, inBlock + part), from);
      } else {
        const inBlock = this.#stage(offset + done, part, false);
        this.#staging.set(data.subarray(from, from + part), inBlock);
        this.#unstage(offset + done, part);
      }
      done += part;
    }
  }

  /** Bytes of [from, end) that one transfer moves: with O_DIRECT their blocks must fit the staging. */
  #partAt(from: number, end: number): number {
    return Math.min(end - from, STAGING_BYTES - (from % PAGE_BYTES));
  }

  /**
   * Reads the blocks of [offset, offset + length) into the staging: all of them, or only the partially covered ones.
   * Returns the position of `offset` in the staging.
   */
  #stage(offset: number, length: number, all: boolean): number {
    const inBlock = offset % PAGE_BYTES;
    const first = offset - inBlock;
    const last = Math.floor((offset + length - 1) / PAGE_BYTES) * PAGE_BYTES;
    if (all) this.#readAll(this.#staging, 0, last + PAGE_BYTES - first, first);
    else {
      const isLastFull = (offset + length) % PAGE_BYTES === 0;
      if (inBlock !== 0 || (first === last && !isLastFull))
        this.#readAll(this.#staging, 0, PAGE_BYTES, first);
      if (last > first && !isLastFull) this.#readAll(this.#staging, last - first, PAGE_BYTES, last);
    }
    return inBlock;
  }

  /** Writes the blocks of [offset, offset + length) from the staging. */
  #unstage(offset: number, length: number): void {
    const first = offset - (offset % PAGE_BYTES);
    const end = Math.ceil((offset + length) / PAGE_BYTES) * PAGE_BYTES;
    this.#writeAll(this.#staging, 0, end - first, first);
  }

  #discard(from: number, to: number): BioStatus {
    const first = Math.ceil(from / PAGE_BYTES) * PAGE_BYTES;
    const end = Math.floor(to / PAGE_BYTES) * PAGE_BYTES;
    if (first >= end) return BioStatus.ok;
    return this.#punch(first, end) ? BioStatus.ok : BioStatus.notSupported;
  }

  #zero(from: number, to: number, mayPunch: boolean): void {
    const first = Math.ceil(from / PAGE_BYTES) * PAGE_BYTES;
    const end = Math.floor(to / PAGE_BYTES) * PAGE_BYTES;
    if (!mayPunch || first >= end || !this.#punch(first, end)) this.#writeZeros(from, to);
    else {
      this.#writeZeros(from, first);
      this.#writeZeros(end, to);
    }
  }

  #punch(from: number, to: number): boolean {
    if (!this.#io.punchHole(from, to - from)) return false;
    this.counters.add('holeBytes', to - from);
    return true;
  }

  #writeZeros(from: number, to: number): void {
    for (let at = from; at < to; ) {
      const part = this.#partAt(at, to);
      if (this.#isDirect) {
        const inBlock = this.#stage(at, part, false);
        this.#staging.fill(0, inBlock, inBlock + part);
        this.#unstage(at, part);
      } else {
        this.#staging.fill(0, 0, part);
        this.#writeAll(this.#staging, 0, part, at);
      }
      at += part;
    }
  }

  /** Reads all bytes; throws at the end of the file. */
  #readAll(data: Uint8Array, at: number, length: number, position: number): void {
    for (let done = 0; done < length; ) {
      const got = this.#io.read(data, at + done, length - done, position + done);
      if (got === 0) {
        this.counters.add('shortReads', 1);
        throw Object.assign(new Error('the file is shorter than the disk'), {
          code: 'EIO',
          errno: -5,
        });
      }
      done += got;
      this.#movedBytes += got;
      this.counters.add('readBytes', got);
    }
  }

  #writeAll(data: Uint8Array, at: number, length: number, position: number): void {
    for (let done = 0; done < length; ) {
      const put = this.#io.write(data, at + done, length - done, position + done);
      assert(put > 0, 'write() returns at least 1');
      done += put;
      this.#movedBytes += put;
      this.counters.add('writtenBytes', put);
    }
  }

  #counted(name: FileCounter, status: BioStatus): BioStatus {
    this.counters.add(name, 1);
    return status;
  }
}
