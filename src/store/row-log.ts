/**
 * Changes the row of a slot so that a kill at any instruction leaves the old page or the new one, never a mix.
 *
 *   log: from, word 0, word 1, state ▶ log: slot + 1 ▶ copy the bytes to the object ▶ row ▶ log: 0
 *                                          ▲ commit: one aligned store
 *
 * A row has three words, and an object can be overwritten in place. The entry in the shard's header has the new row
 * and the position of its bytes in staging, so redo() can repeat the whole change.
 *
 * Invariants
 * - The bytes at `from` stay until the entry is cleared: they are in the staging area, which nothing
 *   overwrites before the next put or recompress().
 * - The caller frees the old object after that.
 *
 * Cost: six stores, one of them with a barrier (Atomics.store), which neither compiler nor CPU reorders: about 10 ns.
 */
import type { Arena } from '../arena/arena.ts';
import type { Kernels } from '../codec/kernels.ts';
import { LOG_AT } from './image.ts';
import { checksumSeed, formatIn, LENGTH_MASK, ROW } from './rows.ts';

/** Words of the entry, from LOG_AT on. */
const SLOT = LOG_AT / 4;
const FROM = SLOT + 1;
const WORD0 = SLOT + 2;
const WORD1 = SLOT + 3;
const STATE = SLOT + 4;

/** What the row of a slot becomes. */
export interface LogEntry {
  readonly slot: number;
  /** Address of the object's bytes in staging; 0: the row has no object. */
  readonly from: number;
  readonly location: number;
  readonly state: number;
}

export class RowLog {
  readonly #words: Int32Array;
  readonly #rows: Int32Array;
  readonly #kernels: Kernels;
  readonly #arena: Arena;

  /** @param words the shard's header */
  constructor(words: Int32Array, rows: Int32Array, kernels: Kernels, arena: Arena) {
    this.#words = words;
    this.#rows = rows;
    this.#kernels = kernels;
    this.#arena = arena;
  }

  /** Copies the bytes at `from` to the object at `location`, and sets the row. */
  setObject(slot: number, from: number, location: number, state: number): void {
    this.#commit(slot, from, location, 0, state);
    this.#apply(slot, from, location, 0, state);
    this.#words[SLOT] = 0;
  }

  /** Sets the row of a page without an object. */
  setWord(slot: number, low: number, high: number, state: number): void {
    this.#commit(slot, 0, low, high, state);
    this.#apply(slot, 0, low, high, state);
    this.#words[SLOT] = 0;
  }

  /** Empties the row of a slot; its first store is the commit. */
  clear(slot: number): void {
    const row = slot * ROW;
    this.#rows[row + 2] = 0;
    this.#rows[row] = 0;
    this.#rows[row + 1] = 0;
  }

  /** The change that was in progress when the process ended, or null. Not checked. */
  get pending(): LogEntry | null {
    const words = this.#words;
    if (words[SLOT] === 0) return null;
    const [slot, from] = [words[SLOT]! - 1, words[FROM]!];
    return { slot, from, location: words[WORD0]!, state: words[STATE]! };
  }

  /** Completes the pending change, which the caller has checked. */
  redo(): void {
    const words = this.#words;
    this.#apply(words[SLOT]! - 1, words[FROM]!, words[WORD0]!, words[WORD1]!, words[STATE]!);
    words[SLOT] = 0;
  }

  #commit(slot: number, from: number, word0: number, word1: number, state: number): void {
    const words = this.#words;
    words[FROM] = from;
    words[WORD0] = word0;
    words[WORD1] = word1;
    words[STATE] = state;
    Atomics.store(words, SLOT, slot + 1);
  }

  #apply(slot: number, from: number, word0: number, word1: number, state: number): void {
    const row = slot * ROW;
    let second = word1;
    if (from !== 0) {
      const seed = checksumSeed(slot, formatIn(state));
      const to = this.#arena.address(word0);
      second = this.#kernels.copyChecksum(to, from, state & LENGTH_MASK, seed);
    }
    this.#rows[row] = word0;
    this.#rows[row + 1] = second;
    this.#rows[row + 2] = state;
  }
}
