/**
 * The memory of a chain: pieces that the device reads, then pieces that it writes, in the order of the chain.
 *
 *   pieces    0 … readable - 1 │ readable … count - 1      piece i: views[i][at[i] .. at[i] + lengths[i])
 *
 * Invariant: no piece is empty. Cost: arrays of fixed size; nothing is allocated for a chain, except a view for a long copy.
 */

import type { GuestMemory } from './guest-memory.ts';

/** Maximum number of pieces of a chain. A request has up to 128 descriptors, and some may be split at the end of a region. */
export const PIECES_MAX = 256;

/** From this length on, creating a view and copying it is faster than a loop. */
const COPY_BYTES_MIN = 256;
const noBytes = new Uint8Array(0);

export class Pieces {
  readonly views: Uint8Array[] = new Array<Uint8Array>(PIECES_MAX).fill(noBytes);
  readonly at: Float64Array = new Float64Array(PIECES_MAX);
  readonly lengths: Float64Array = new Float64Array(PIECES_MAX);
  count = 0;
  readable = 0;
  /** Bytes of all pieces of a direction. */
  readableBytes = 0;
  writableBytes = 0;
  /** Whether a writable descriptor, possibly empty, was found. */
  isWriting = false;

  clear(): void {
    this.count = 0;
    this.readable = 0;
    this.readableBytes = 0;
    this.writableBytes = 0;
    this.isWriting = false;
  }

  /**
   * Adds `length` bytes at the position of the last memory.reach(), in the current direction. False: there are too many pieces.
   */
  add(memory: GuestMemory, length: number): boolean {
    const i = this.count;
    if (i === PIECES_MAX) return false;
    this.views[i] = memory.regions[memory.region]!.view;
    this.at[i] = memory.at;
    this.lengths[i] = length;
    this.count++;
    if (this.isWriting) this.writableBytes += length;
    else {
      this.readable++;
      this.readableBytes += length;
    }
    return true;
  }

  /** Copies the readable bytes [from, from + bytes) of the chain to `out`. */
  copyReadable(from: number, bytes: number, out: Uint8Array): void {
    let skip = from;
    let done = 0;
    for (let i = 0; i < this.readable && done < bytes; i++) {
      const length = this.lengths[i]!;
      const view = this.views[i]!;
      const start = this.at[i]!;
      const part = Math.min(length - skip, bytes - done);
      if (part >= COPY_BYTES_MIN) {
        out.set(view.subarray(start + skip, start + skip + part), done);
        done += part;
      } else for (let j = skip; j < skip + part; j++) out[done++] = view[start + j]!;
      skip = Math.max(0, skip - length);
    }
  }
}
