/**
 * A file or a block device as a disk: the flash below the RAM, where what is refused goes.
 *
 *   submit ─▶ queue ─▶ tick(): up to `biosPerTick` bios, until `bytesPerTick` have moved ─▶ end
 *
 * Nothing is done inside submit(): the work is bounded by the tick, so a disk that is slow is slow between
 * other work and not in the middle of it. A bio is done whole: a tick can move bytesPerTick and all of one bio more, so who
 * shares a thread with the disk keeps bios small. Bios are done in the order in which they came.
 *
 *   read, write   past the page cache where the file system lets us (O_DIRECT), through `staging` in whole blocks:
 *                 a page cache over swapped pages would keep in memory what was to leave it. Parts of a block are
 *                 read, changed and written back
 *   discard       a hole for the whole pages inside the range; notSupported where the file system has none
 *   writeZeroes   a hole for the whole pages (unless noUnmap), zeros for the rest
 *   flush, fua    fdatasync
 *
 * A read that finds the end of the file is an ioError: somebody cut the file, and what was there is lost, not zeros.
 * A full file system ends a write with noSpace, every other error with ioError; both are counted, nothing is
 * thrown. Part of a failed write may be done. slotFree would be a system call under the swap core's feet: not
 * offered, discard is the way.
 *
 * Cost: a system call for each bio of up to STAGING_BYTES and a copy where O_DIRECT is in use.
 */
import { assert } from '../../base/assert.ts';
import { type CounterSpec, Counters } from '../../base/counters.ts';
import { type ByteCount, bytes, PAGE_BYTES } from '../../base/units.ts';
import { createMemory } from '../../codec/linear-memory.ts';
import { type Bio, BioFlag, BioOp, BioQueue, BioStatus } from '../bio.ts';
import { type Disk, type DiskLimits, Extent, type ExtentSink } from '../ops.ts';
import type { FileIo } from './file-io.ts';

/** Most that one system call moves. */
const STAGING_BYTES = 1024 * 1024;

export interface FileDiskOptions {
  /** Bytes, a multiple of 4096; the file has as many. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly isDirect: boolean;
  /** Bios done in one tick, 1 up. */
  readonly biosPerTick: number;
  /** A tick begins no bio once it has read and written this many, 1 up. Default 1 MiB. */
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

const counted = (unit: string, help: string): CounterSpec => ({ unit, mustStayZero: false, help });
const fault = (help: string): CounterSpec => ({ unit: 'bios', mustStayZero: true, help });
const SPECS: Readonly<Record<FileCounter, CounterSpec>> = {
  readBytes: counted('bytes', 'read from the file, for parts of blocks too'),
  writtenBytes: counted('bytes', 'written to the file, zeros too'),
  holeBytes: counted('bytes', 'given back to the file system'),
  syncs: counted('calls', 'flushes and forced writes'),
  noSpace: counted('bios', 'writes for which the file system had no room'),
  shortReads: fault('bios that found the end of a file that was cut short'),
  ioErrors: fault('bios that the system failed, those too'),
  invalid: fault('bios outside the disk'),
};

const carriesData = (op: BioOp): boolean => op === BioOp.read || op === BioOp.write;

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
  /** Read and written in this tick. */
  #movedBytes = 0;
  readonly #queue = new BioQueue();
  /** A WebAssembly memory is aligned to pages, as O_DIRECT wants it; a Node buffer is not. */
  readonly #staging: Uint8Array;
  #isOpen = true;

  constructor(io: FileIo, options: FileDiskOptions) {
    const { sizeBytes, readOnly, isDirect, biosPerTick, bytesPerTick = STAGING_BYTES } = options;
    assert(Number.isSafeInteger(sizeBytes) && sizeBytes > 0, 'a disk has at least one page');
    assert(sizeBytes % PAGE_BYTES === 0, 'a file disk is whole pages');
    assert(Number.isInteger(biosPerTick) && biosPerTick > 0, 'a tick does something');
    assert(bytesPerTick > 0, 'a tick moves something');
    this.sizeBytes = bytes(sizeBytes);
    this.readOnly = readOnly;
    this.#io = io;
    this.#isDirect = isDirect;
    this.#biosPerTick = biosPerTick;
    this.#bytesPerTick = bytesPerTick;
    this.#staging = new Uint8Array(createMemory(STAGING_BYTES).buffer);
  }

  /** Bios that wait for a tick. */
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
      if (bio === null) break; // an owner ticked from bioEnd()
      bio.status = this.#perform(bio);
      ended++;
      bio.owner.bioEnd(bio);
    }
    return ended;
  }

  /** Which blocks are holes only the file system knows: everything is called data. */
  extents(_offset: number, length: number, sink: ExtentSink): void {
    sink(Extent.data, length);
  }

  /** Closes the file. Bios that come later, or still wait, end with ioError. */
  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#io.close();
  }

  #perform(bio: Bio): BioStatus {
    const { op, offset, length } = bio;
    if (op !== BioOp.flush && (offset < 0 || length < 1 || offset + length > this.sizeBytes))
      return this.#counted('invalid', BioStatus.invalid);
    if (!this.#isOpen) return this.#counted('ioErrors', BioStatus.ioError);
    if (this.readOnly && op !== BioOp.read && op !== BioOp.flush) return BioStatus.readOnly;
    try {
      const status = this.#transfer(bio);
      if (op === BioOp.flush || (bio.flags & BioFlag.fua) !== 0) this.#sync(op);
      return status;
    } catch (cause) {
      const { code, errno } = cause as NodeJS.ErrnoException;
      if (errno === undefined) throw cause; // not the system's: a bug
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

  /** Bytes of [from, end) that one transfer takes; with O_DIRECT the blocks around them fit the staging. */
  #partAt(from: number, end: number): number {
    return Math.min(end - from, STAGING_BYTES - (from % PAGE_BYTES));
  }

  /**
   * Brings the blocks around [offset, offset + length) to the staging: all, or only those that are not covered
   * whole. Returns where in the staging `offset` is.
   */
  #stage(offset: number, length: number, all: boolean): number {
    const inBlock = offset % PAGE_BYTES;
    const first = offset - inBlock;
    const last = Math.floor((offset + length - 1) / PAGE_BYTES) * PAGE_BYTES;
    if (all) this.#readAll(this.#staging, 0, last + PAGE_BYTES - first, first);
    else {
      const isLastWhole = (offset + length) % PAGE_BYTES === 0;
      if (inBlock !== 0 || (first === last && !isLastWhole))
        this.#readAll(this.#staging, 0, PAGE_BYTES, first);
      if (last > first && !isLastWhole)
        this.#readAll(this.#staging, last - first, PAGE_BYTES, last);
    }
    return inBlock;
  }

  /** Writes the blocks around [offset, offset + length) from the staging. */
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

  /** Reads to the last byte. */
  #readAll(data: Uint8Array, at: number, length: number, position: number): void {
    for (let done = 0; done < length; ) {
      const got = this.#io.read(data, at + done, length - done, position + done);
      if (got === 0) {
        this.counters.add('shortReads', 1);
        throw Object.assign(new Error('the file ends before the disk'), { code: 'EIO', errno: -5 });
      }
      done += got;
      this.#movedBytes += got;
      this.counters.add('readBytes', got);
    }
  }

  #writeAll(data: Uint8Array, at: number, length: number, position: number): void {
    for (let done = 0; done < length; ) {
      const put = this.#io.write(data, at + done, length - done, position + done);
      assert(put > 0, 'a write that does not fail writes something');
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
