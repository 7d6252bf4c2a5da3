/**
 * Converts Disk.extents to the wire: runs for the chunks of a read, descriptors for BLOCK_STATUS. Each object has one
 * permanent sink, so a query allocates nothing.
 */
import { type Disk, Extent, type ExtentSink } from '../../block/ops.ts';
import type { Output } from './output.ts';
import { type Cookie, putChunkHead } from './replies.ts';
import * as wire from './wire.ts';
import { ALLOCATION_ID, AllocationState, BlockDescriptor, Chunk } from './wire.ts';
import { holeWork, statusWork } from './work.ts';

/**
 * Minimum length of a hole chunk between data, bytes. A chunk costs a client two more receive calls, about as much as receiving
 * this number of zeros over a local socket.
 */
const HOLE_BYTES_MIN = 16384;
/** Range queried for one chunk, bytes: 256 table rows. */
const WINDOW_BYTES_MAX = 1024 * 1024;

/** Splits a read into runs of data and runs of zeros that are long enough for a hole chunk. */
export class RunFinder {
  /** Whether the last run found is zeros. */
  isHole = false;
  #dataBytes = 0;
  /** Zeros after the data, or zeros only. */
  #zeroBytes = 0;

  readonly #sink: ExtentSink = (kind, length) => {
    const isHoleLong = this.#zeroBytes >= HOLE_BYTES_MIN;
    if (kind !== Extent.data) {
      this.#zeroBytes += length;
      return this.#dataBytes === 0 || this.#zeroBytes < HOLE_BYTES_MIN;
    }
    if (isHoleLong) return false;
    this.#dataBytes += this.#zeroBytes + length;
    this.#zeroBytes = 0;
    return true;
  };

  readonly #disk: Disk;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /** Length of the run at `offset`, 1 .. length; sets isHole. */
  find(offset: number, length: number): number {
    this.#dataBytes = 0;
    this.#zeroBytes = 0;
    this.#disk.extents(offset, Math.min(length, WINDOW_BYTES_MAX), this.#sink);
    this.isHole = this.#dataBytes === 0;
    if (this.isHole) return this.#zeroBytes;
    return this.#zeroBytes >= HOLE_BYTES_MIN ? this.#dataBytes : this.#dataBytes + this.#zeroBytes;
  }
}

/** Longest hole that is found in one query, bytes. */
const HOLE_BYTES_MAX = 64 * 1024 * 1024;

/** Finds long holes, where a disk can skip its tables. */
export class HoleFinder {
  #kind: Extent = Extent.data;
  #length = 0;

  readonly #sink: ExtentSink = (kind, length) => {
    this.#kind = kind;
    this.#length = length;
    return false;
  };

  readonly #disk: Disk;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /** Length of the hole at `offset`, at most `length`, and up to a multiple of HOLE_BYTES_MAX; 0: not a hole. */
  find(offset: number, length: number): number {
    // Query one byte first: the query would walk a run of data to its end.
    this.#disk.extents(offset, 1, this.#sink);
    if (this.#kind !== Extent.hole) return 0;
    const most = Math.min(length, HOLE_BYTES_MAX - (offset % HOLE_BYTES_MAX));
    this.#disk.extents(offset, most, this.#sink);
    return this.#kind === Extent.hole ? this.#length : 0;
  }
}

const HEAD_BYTES = wire.ChunkHead.bytes + wire.BlockStatus.bytes;
/** Free output that a BLOCK_STATUS reply requires, bytes: about 1,000 descriptors, so that clients need few requests. */
export const STATUS_BYTES_MIN = 8192;
/** Range described in one step if it is not a hole, bytes. */
const STATUS_STEP_BYTES = 1024 * 1024;
/** Maximum descriptors per reply; the protocol requires fewer than 2^20. */
const DESCRIPTORS_MAX = 8192;

const STATES = new Uint8Array(3);
STATES[Extent.data] = AllocationState.data;
STATES[Extent.hole] = AllocationState.hole | AllocationState.zero;
STATES[Extent.zero] = AllocationState.zero;

/** Writes replies to BLOCK_STATUS. */
export class StatusWriter {
  #out: Output | null = null;
  #count = 0;
  #countMax = 0;
  #isFull = false;

  /** One descriptor per run; consecutive runs of one kind are joined. */
  readonly #sink: ExtentSink = (kind, length) => {
    const out = this.#out;
    if (out === null) return false;
    const { view } = out;
    const state = STATES[kind]!;
    const last = out.length - BlockDescriptor.bytes;
    if (this.#count > 0 && view.getUint32(last + BlockDescriptor.flags) === state) {
      const joined = view.getUint32(last + BlockDescriptor.length) + length;
      view.setUint32(last + BlockDescriptor.length, joined);
      return true;
    }
    if (this.#count === this.#countMax) {
      this.#isFull = true;
      return false;
    }
    view.setUint32(out.length + BlockDescriptor.length, length);
    view.setUint32(out.length + BlockDescriptor.flags, state);
    out.length += BlockDescriptor.bytes;
    this.#count++;
    return true;
  };

  readonly #disk: Disk;
  readonly #holes: HoleFinder;

  constructor(disk: Disk, holes: HoleFinder) {
    this.#disk = disk;
    this.#holes = holes;
  }

  /**
   * Describes [offset, offset + length), or the first part of it: what fits in the output and takes about `grant` of work.
   * length is below 2^32. Returns the work.
   */
  put(out: Output, cookie: Cookie, range: StatusRange, grant: number): number {
    const { onlyOne } = range;
    const start = out.length;
    const fitting = Math.floor((out.freeBytes - HEAD_BYTES) / BlockDescriptor.bytes);
    const at = putChunkHead(out, cookie, Chunk.blockStatus, true, 0);
    out.view.setUint32(at + wire.BlockStatus.context, ALLOCATION_ID);
    out.length = at + wire.BlockStatus.bytes;
    this.#out = out;
    this.#count = 0;
    this.#countMax = onlyOne ? 1 : Math.min(fitting, DESCRIPTORS_MAX);
    this.#isFull = false;
    const work = this.#describe(range, grant);
    this.#out = null;
    out.view.setUint32(start + wire.ChunkHead.length, out.length - at);
    return work;
  }

  #describe({ offset, length }: StatusRange, grant: number): number {
    let work = 0;
    const end = offset + length;
    for (let at = offset; at < end && work < grant && !this.#isFull; ) {
      let step = Math.min(end - at, STATUS_STEP_BYTES);
      const hole = this.#holes.find(at, end - at);
      if (hole >= step) {
        step = hole;
        work += holeWork(step);
        this.#sink(Extent.hole, step);
      } else {
        work += statusWork(step);
        this.#disk.extents(at, step, this.#sink);
      }
      at += step;
    }
    return work;
  }
}

/** A range to describe. */
export interface StatusRange {
  readonly offset: number;
  readonly length: number;
  /** Whether to reply with only one descriptor. */
  readonly onlyOne: boolean;
}
