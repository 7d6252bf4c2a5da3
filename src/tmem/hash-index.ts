/**
 * A hash index over the rows of a table: maps a hash to row numbers. Open addressing with linear probing.
 *
 *   cell c:  row (0 = empty), hash       cell = hash & mask, then c + 1, ...
 *
 * The caller iterates over the candidates and compares keys, so one class serves every table:
 *
 *   for (let c = index.start(hash); (row = index.rowAt(c)) !== 0; c = index.next(c))
 *     if (index.hashAt(c) === hash && sameKey(row)) ...
 *
 * Invariants: at least half of the cells are empty; no cell between a row's home cell and its own is empty (removal
 * shifts later rows back, there are no tombstones). So every probe ends, and a miss costs no more than a hit.
 * Cost: 8 bytes per cell, 16 to 32 per row; a few cells per probe. Callers seed their hashes, so that clients cannot
 * choose colliding keys.
 * Source: Knuth, The Art of Computer Programming 3, 6.4, algorithm R.
 */
import { assert } from '../base/assert.ts';

export class HashIndex {
  readonly #mask: number;
  readonly #rows: Int32Array;
  readonly #hashes: Int32Array;

  /** @param rows maximum number of rows */
  constructor(rows: number) {
    const cells = 2 ** Math.ceil(Math.log2(2 * rows + 2));
    this.#mask = cells - 1;
    this.#rows = new Int32Array(cells);
    this.#hashes = new Int32Array(cells);
  }

  start(hash: number): number {
    return hash & this.#mask;
  }

  next(cell: number): number {
    return (cell + 1) & this.#mask;
  }

  rowAt(cell: number): number {
    return this.#rows[cell]!;
  }

  hashAt(cell: number): number {
    return this.#hashes[cell]!;
  }

  /** @param hash signed 32-bit @param row 1 or more, not in the index */
  add(hash: number, row: number): void {
    let cell = hash & this.#mask;
    while (this.#rows[cell]! !== 0) cell = (cell + 1) & this.#mask;
    this.#rows[cell] = row;
    this.#hashes[cell] = hash;
  }

  remove(hash: number, row: number): void {
    let hole = hash & this.#mask;
    while (this.#rows[hole]! !== row) {
      assert(this.#rows[hole]! !== 0, 'the row is in the index');
      hole = (hole + 1) & this.#mask;
    }
    for (let c = (hole + 1) & this.#mask; this.#rows[c]! !== 0; c = (c + 1) & this.#mask) {
      // The row at c can move to the hole if its home is not in (hole, c].
      const fromHome = (c - this.#hashes[c]!) & this.#mask;
      if (fromHome < ((c - hole) & this.#mask)) continue;
      this.#rows[hole] = this.#rows[c]!;
      this.#hashes[hole] = this.#hashes[c]!;
      hole = c;
    }
    this.#rows[hole] = 0;
  }

  /** Counts the rows by reading every cell. Used by verify(). */
  count(): number {
    let rows = 0;
    for (let c = 0; c <= this.#mask; c++) if (this.#rows[c]! !== 0) rows++;
    return rows;
  }
}

/** Mixes a word into a 32-bit hash (murmur3's step; Appleby, public domain). Signed. */
export function mix(hash: number, word: number): number {
  let w = Math.imul(word, 0xcc9e_2d51);
  w = (w << 15) | (w >>> 17);
  let h = hash ^ Math.imul(w, 0x1b87_3593);
  h = (h << 13) | (h >>> 19);
  return (Math.imul(h, 5) + 0xe654_6b64) | 0;
}

/** Finalises a hash: every input bit affects every output bit (murmur3). Signed. */
export function finish(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85eb_ca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2_ae35);
  return h ^ (h >>> 16);
}
