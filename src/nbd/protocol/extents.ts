/**
 * What a disk says about a range (Disk.extents), as the wire wants it: runs for chunks of a read, descriptors
 * for BLOCK_STATUS. Each object keeps one sink for its life, so asking allocates nothing.
 */
import { type Disk, Extent, type ExtentSink } from '../../block/ops.ts';
import type { Output } from './output.ts';
import { putChunkHead } from './replies.ts';
import * as wire from './wire.ts';
import { ALLOCATION_ID, AllocationState, BlockDescriptor, Chunk } from './wire.ts';

/**
 * Zeros inside a read get a chunk of their own from this length on, bytes. A chunk costs a client two more
 * receive calls, about what it takes to send this many zeros over a local socket.
 */
const HOLE_BYTES_MIN = 16384;
/** Looked at in one go, bytes: 256 table rows. */
const WINDOW_BYTES_MAX = 1024 * 1024;

/** Splits a read into runs of data and runs of zeros worth telling apart. */
export class RunFinder {
  /** Whether the run last found is zeros. */
  isHole = false;
  #dataBytes = 0;
  /** Zeros behind the data, or zeros alone. */
  #zeroBytes = 0;

  readonly #sink: ExtentSink = (kind, length) => {
    const isWorthIt = this.#zeroBytes >= HOLE_BYTES_MIN;
    if (kind !== Extent.data) {
      this.#zeroBytes += length;
      return this.#dataBytes === 0 || this.#zeroBytes < HOLE_BYTES_MIN;
    }
    if (isWorthIt) return false;
    this.#dataBytes += this.#zeroBytes + length;
    this.#zeroBytes = 0;
    return true;
  };

  /** Length of the run at `offset`, 1 .. length; isHole tells its kind. */
  find(disk: Disk, offset: number, length: number): number {
    this.#dataBytes = 0;
    this.#zeroBytes = 0;
    disk.extents(offset, Math.min(length, WINDOW_BYTES_MAX), this.#sink);
    this.isHole = this.#dataBytes === 0;
    if (this.isHole) return this.#zeroBytes;
    return this.#zeroBytes >= HOLE_BYTES_MIN ? this.#dataBytes : this.#dataBytes + this.#zeroBytes;
  }
}

const HEAD_BYTES = wire.ChunkHead.bytes + wire.BlockStatus.bytes;
/** Room that a BLOCK_STATUS reply waits for: some 1,000 descriptors, so that clients need not ask often. */
export const STATUS_ROOM_MIN = 8192;
/** Descriptors of one reply; the protocol asks for fewer than 2^20. */
const DESCRIPTORS_MAX = 8192;

const STATES = new Uint8Array(3);
STATES[Extent.data] = AllocationState.data;
STATES[Extent.hole] = AllocationState.hole | AllocationState.zero;
STATES[Extent.zero] = AllocationState.zero;

/** Writes the reply to a BLOCK_STATUS. */
export class StatusWriter {
  #out: Output | null = null;
  #count = 0;
  #countMax = 0;

  /** A descriptor a run; runs of one kind that come apart are joined. */
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
    if (this.#count === this.#countMax) return false;
    view.setUint32(out.length + BlockDescriptor.length, length);
    view.setUint32(out.length + BlockDescriptor.flags, state);
    out.length += BlockDescriptor.bytes;
    this.#count++;
    return true;
  };

  /** Describes [offset, offset + length), or the front of it that fits; length is below 2^32. */
  put(
    out: Output,
    cookieHigh: number,
    cookieLow: number,
    disk: Disk,
    offset: number,
    length: number,
    onlyOne: boolean,
  ): void {
    const start = out.length;
    const roomFor = Math.floor((out.room - HEAD_BYTES) / BlockDescriptor.bytes);
    const at = putChunkHead(out, cookieHigh, cookieLow, Chunk.blockStatus, true, 0);
    out.view.setUint32(at + wire.BlockStatus.context, ALLOCATION_ID);
    out.length = at + wire.BlockStatus.bytes;
    this.#out = out;
    this.#count = 0;
    this.#countMax = onlyOne ? 1 : Math.min(roomFor, DESCRIPTORS_MAX);
    disk.extents(offset, length, this.#sink);
    this.#out = null;
    out.view.setUint32(start + wire.ChunkHead.length, out.length - at);
  }
}
