/**
 * The swap cache: which frame holds the page of a slot. A page is in it from the moment it gets a slot until its
 * frame is reclaimed, and from the moment it is read until its slot is given up; so two faults on one entry find one frame.
 *
 *   entry ─hash─▶ #frames: │ - │ 7 │ - │ 3 │ 9 │ - │   frame + 1, 0 = empty; linear probing, no tombstones
 *   frame ─────▶ #entries: │ e │ 0 │ e │               0 = the frame is not in the cache
 *                 flags:   │ f │ 0 │ f │
 *
 * Invariants
 * - find(entry) = frame exactly when entryAt(frame) = entry.
 * - The table is at least twice as large as the number of frames: a probe ends.
 * - A frame that is `reading` or `writing` stays in the cache until its bio has ended; so does its slot.
 *
 * Cost: O(1), about one probe and a half; removal moves the entries behind it up. Nothing is allocated after the constructor.
 */
import { assert } from '../base/assert.ts';
import type { SwapEntry } from './entry.ts';

export const FrameFlag = {
  /** The memory differs from the slot's copy, or the slot has none. */
  dirty: 1,
  /** A bio fills the frame: its bytes mean nothing yet. */
  reading: 2,
  /** A bio is taking the frame to the disk. */
  writing: 4,
  /** Read before anybody asked. */
  ahead: 8,
  /** Somebody waits for the bio: tell the memory manager. */
  awaited: 16,
  /** With `writing`: the bio is writeback's, not swapOut()'s. */
  writeback: 32,
  /** With `back`: somebody has found the frame, and may have mapped it. */
  found: 64,
} as const;

export class SwapCache {
  /** FrameFlag bits a frame; 0 outside the cache. */
  readonly flags: Uint8Array;
  readonly #frames: Int32Array;
  readonly #entries: Int32Array;
  readonly #mask: number;
  readonly #shift: number;
  #count = 0;

  constructor(frameCount: number) {
    const bits = Math.max(4, 32 - Math.clz32(frameCount * 2 - 1));
    this.#frames = new Int32Array(2 ** bits);
    this.#mask = 2 ** bits - 1;
    this.#shift = 32 - bits;
    this.#entries = new Int32Array(frameCount);
    this.flags = new Uint8Array(frameCount);
  }

  get frameCount(): number {
    return this.#entries.length;
  }
  /** Frames in the cache now. */
  get count(): number {
    return this.#count;
  }

  entryAt(frame: number): SwapEntry {
    return this.#entries[frame]! as SwapEntry;
  }

  /** The frame, or -1. */
  find(entry: SwapEntry): number {
    for (let at = this.#home(entry); ; at = (at + 1) & this.#mask) {
      const frame = this.#frames[at]! - 1;
      if (frame === -1 || this.#entries[frame] === entry) return frame;
    }
  }

  add(entry: SwapEntry, frame: number, flags: number): void {
    assert(this.#entries[frame] === 0, 'a frame is in the swap cache once');
    let at = this.#home(entry);
    while (this.#frames[at] !== 0) {
      assert(this.#entries[this.#frames[at]! - 1] !== entry, 'an entry is in the swap cache once');
      at = (at + 1) & this.#mask;
    }
    this.#frames[at] = frame + 1;
    this.#entries[frame] = entry;
    this.flags[frame] = flags;
    this.#count++;
  }

  remove(frame: number): void {
    const entry = this.#entries[frame]! as SwapEntry;
    assert(entry !== 0, 'a frame that leaves the swap cache was in it');
    let hole = this.#home(entry);
    while (this.#frames[hole] !== frame + 1) hole = (hole + 1) & this.#mask;
    for (let at = (hole + 1) & this.#mask; this.#frames[at] !== 0; at = (at + 1) & this.#mask) {
      const home = this.#home(this.#entries[this.#frames[at]! - 1]! as SwapEntry);
      // Move up what would not be found past the hole: its home is not in (hole, at].
      if (((at - home) & this.#mask) < ((at - hole) & this.#mask)) continue;
      this.#frames[hole] = this.#frames[at]!;
      hole = at;
    }
    this.#frames[hole] = 0;
    this.#entries[frame] = 0;
    this.flags[frame] = 0;
    this.#count--;
  }

  #home(entry: SwapEntry): number {
    return Math.imul(entry, 0x9e3779b1) >>> this.#shift;
  }
}
