/**
 * The swap cache: maps an entry to the frame that holds its page. A page enters when it gets a slot or is read from one,
 * and leaves when its frame is reclaimed or its slot freed, so two faults on one entry find one frame.
 *
 *   entry ─hash─▶ #frames: │ - │ 7 │ - │ 3 │ 9 │ - │   frame + 1, 0 = empty; linear probing, no tombstones
 *   frame ─────▶ #entries: │ e │ 0 │ e │               0 = the frame is not in the cache
 *                 flags:   │ f │ 0 │ f │
 *
 * Invariants
 * - find(entry) = frame if and only if entryAt(frame) = entry.
 * - The table has at least twice as many cells as there are frames, so every probe ends.
 * - A `reading` or `writing` frame, and its slot, stay in the cache until the bio has completed.
 *
 * Cost: O(1), about 1.5 probes; remove() moves later entries of the chain up. No allocation after the constructor.
 */
import { assert } from '../base/assert.ts';
import type { SwapEntry } from './entry.ts';

export const FrameFlag = {
  /** The frame differs from the slot's copy, or the slot has none. */
  dirty: 1,
  /** A read bio is in flight: the frame's bytes are not valid yet. */
  reading: 2,
  /** A write bio is in flight. */
  writing: 4,
  /** Read ahead and not used yet. */
  ahead: 8,
  /** A swapIn() returned `pending`: call readDone() when the bio completes. */
  awaited: 16,
  /** With `writing`: writeback submitted the bio, not swapOut(). */
  writeback: 32,
  /** With `writeback`: a lookup has found the frame, which may be mapped now. */
  found: 64,
} as const;

export class SwapCache {
  /** FrameFlag bits by frame; 0 = not in the cache. */
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
  /** Frames in the cache. */
  get count(): number {
    return this.#count;
  }

  /** The frame's entry; NO_ENTRY if it is not in the cache. */
  entryAt(frame: number): SwapEntry {
    return this.#entries[frame]! as SwapEntry;
  }

  /** The entry's frame, or -1. */
  find(entry: SwapEntry): number {
    for (let at = this.#home(entry); ; at = (at + 1) & this.#mask) {
      const frame = this.#frames[at]! - 1;
      if (frame === -1 || this.#entries[frame] === entry) return frame;
    }
  }

  add(entry: SwapEntry, frame: number, flags: number): void {
    assert(this.#entries[frame] === 0, 'the frame is not in the swap cache yet');
    let at = this.#home(entry);
    while (this.#frames[at] !== 0) {
      const other = this.#entries[this.#frames[at]! - 1];
      assert(other !== entry, 'the entry is not in the swap cache yet');
      at = (at + 1) & this.#mask;
    }
    this.#frames[at] = frame + 1;
    this.#entries[frame] = entry;
    this.flags[frame] = flags;
    this.#count++;
  }

  remove(frame: number): void {
    const entry = this.#entries[frame]! as SwapEntry;
    assert(entry !== 0, 'the frame is in the swap cache');
    let hole = this.#home(entry);
    while (this.#frames[hole] !== frame + 1) hole = (hole + 1) & this.#mask;
    for (let at = (hole + 1) & this.#mask; this.#frames[at] !== 0; at = (at + 1) & this.#mask) {
      const home = this.#home(this.#entries[this.#frames[at]! - 1]! as SwapEntry);
      // An entry whose home is not in (hole, at] could not be found past the hole: move it up.
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
