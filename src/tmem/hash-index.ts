/**
 * A hash index over rows of some table: hash in, row numbers out; open addressing with linear probing.
 *
 *   cell c:  row (0 = empty), hash       cell = hash & mask, then c + 1, ...
 *
 * The caller walks the candidates and compares keys itself, so one class serves every table:
 *
 *   for (let c = index.start(hash); (row = index.rowAt(c)) !== 0; c = index.next(c))
 *     if (index.hashAt(c) === hash && sameKey(row)) ...
 *
 * Invariants: at least half of the cells are empty; between a row's home cell and its own there is no empty cell
 * (removal shifts later rows back, there are no tombstones). So a walk ends, and misses are as cheap as hits.
 * Cost: 8 bytes a cell, 16 to 32 a row; a few cells a walk when hashes are good: callers seed theirs, so that
 * clients cannot choose keys that collide.
 * Source: Knuth, The Art of Computer Programming 3, 6.4, algorithm R.
 */
import { assert } from '../base/assert.ts';

export class HashIndex {
  readonly #mask: number;
  readonly #rows: Int32Array;
  readonly #hashes: Int32Array;

  /** @param rows most rows at a time */
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
      assert(this.#rows[hole]! !== 0, 'a row that is removed is in its index');
      hole = (hole + 1) & this.#mask;
    }
    for (let c = (hole + 1) & this.#mask; this.#rows[c]! !== 0; c = (c + 1) & this.#mask) {
      // The row at c may fill the hole when its home is not between the two.
      const fromHome = (c - this.#hashes[c]!) & this.#mask;
      if (fromHome < ((c - hole) & this.#mask)) continue;
      this.#rows[hole] = this.#rows[c]!;
      this.#hashes[hole] = this.#hashes[c]!;
      hole = c;
    }
    this.#rows[hole] = 0;
  }

  /** Rows in the index; every cell is looked at. For verify(). */
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

/** Ends a hash: every bit of it reaches every bit of the result. Signed. */
export function finish(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85eb_ca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2_ae35);
  return h ^ (h >>> 16);
}
