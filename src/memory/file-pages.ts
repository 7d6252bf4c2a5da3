/**
 * The page index of a file cache: maps a page of a file to its row. Uses flat tables, with no object per page.
 *
 *   hash(file, index) ──▶ bucket ──▶ row ──▶ row ...         find
 *   file ──▶ doubly linked list of its rows                  drop a file
 *   clock hand ──▶ the first row not referenced since the hand passed it      victim (second chance)
 *
 * Rows are numbered 1 .. rows, files 1 .. rows + 1; 0 means none, so zeroed tables are empty.
 *
 * Invariants: a page has one row; a row in use is in the chain of its hash and in the list of its file.
 * Cost: find reads one bucket and 1 to 2 rows; add and remove are O(1) plus the chain; victim is amortised O(1).
 * Nothing is allocated after the constructor.
 */
import { assert } from '../base/assert.ts';

/** Bytes of the tables per row, buckets included. */
const ROW_BYTES = 33;

export class FilePages {
  readonly rows: number;
  /** By row: file of its page; 0: the row is free. */
  readonly #file: Int32Array;
  readonly #index: Uint32Array;
  /** Next row in the hash chain, or in the list of free rows. */
  readonly #next: Int32Array;
  readonly #ofFileNext: Int32Array;
  readonly #ofFilePrevious: Int32Array;
  /** By row: 1 if it was found since the clock hand passed it. */
  readonly #referenced: Uint8Array;
  /** By file: its first row. */
  readonly #first: Int32Array;
  readonly #buckets: Int32Array;
  #free = 0;
  /** Rows from this one on have never been used. */
  #unusedFrom = 1;
  #clockHand = 1;
  #count = 0;

  /** @param rows 1 .. 2^30 */
  constructor(rows: number) {
    assert(Number.isInteger(rows) && rows > 0 && rows <= 2 ** 30, '1 <= rows <= 2^30');
    this.rows = rows;
    this.#file = new Int32Array(rows + 1);
    this.#index = new Uint32Array(rows + 1);
    this.#next = new Int32Array(rows + 1);
    this.#ofFileNext = new Int32Array(rows + 1);
    this.#ofFilePrevious = new Int32Array(rows + 1);
    this.#referenced = new Uint8Array(rows + 1);
    this.#first = new Int32Array(rows + 2);
    this.#buckets = new Int32Array(2 ** Math.ceil(Math.log2(rows)));
  }

  /** Maximum size of the tables for this number of rows, bytes. */
  static tableBytes(rows: number): number {
    return (rows + 2) * ROW_BYTES;
  }

  /** Pages in the table. */
  get count(): number {
    return this.#count;
  }

  /** Returns the row of a page, or 0. Marks it as referenced. */
  find(file: number, index: number): number {
    const row = this.peek(file, index);
    if (row !== 0) this.#referenced[row] = 1;
    return row;
  }

  /** As find(), without marking the row. */
  peek(file: number, index: number): number {
    let row = this.#buckets[this.#bucketOf(file, index)]!;
    while (row !== 0 && (this.#index[row] !== index || this.#file[row] !== file))
      row = this.#next[row]!;
    return row;
  }

  /** Allocates a row for a page that has none. Returns 0 if all rows are in use. */
  add(file: number, index: number): number {
    assert(file > 0 && file <= this.rows + 1, '1 <= file <= rows + 1');
    let row = this.#free;
    if (row !== 0) this.#free = this.#next[row]!;
    else if (this.#unusedFrom <= this.rows) row = this.#unusedFrom++;
    else return 0;
    const bucket = this.#bucketOf(file, index);
    this.#file[row] = file;
    this.#index[row] = index;
    this.#referenced[row] = 0;
    this.#next[row] = this.#buckets[bucket]!;
    this.#buckets[bucket] = row;
    const first = this.#first[file]!;
    this.#ofFileNext[row] = first;
    this.#ofFilePrevious[row] = 0;
    if (first !== 0) this.#ofFilePrevious[first] = row;
    this.#first[file] = row;
    this.#count++;
    return row;
  }

  /** Frees a row in use. */
  remove(row: number): void {
    const file = this.fileOf(row);
    assert(file !== 0, 'the row is in use');
    const bucket = this.#bucketOf(file, this.#index[row]!);
    let before = 0;
    let at = this.#buckets[bucket]!;
    while (at !== row) {
      before = at;
      at = this.#next[at]!;
    }
    if (before === 0) this.#buckets[bucket] = this.#next[row]!;
    else this.#next[before] = this.#next[row]!;
    const next = this.#ofFileNext[row]!;
    const previous = this.#ofFilePrevious[row]!;
    if (next !== 0) this.#ofFilePrevious[next] = previous;
    if (previous === 0) this.#first[file] = next;
    else this.#ofFileNext[previous] = next;
    this.#file[row] = 0;
    this.#next[row] = this.#free;
    this.#free = row;
    this.#count--;
  }

  /** Returns a row of the file, or 0. */
  firstOf(file: number): number {
    return this.#first[file]!;
  }

  fileOf(row: number): number {
    return this.#file[row]!;
  }

  /**
   * Returns the row to evict next, other than `except`, or 0: the first not referenced since the clock hand passed it.
   */
  victim(except: number): number {
    if (this.#count - (this.fileOf(except) === 0 ? 0 : 1) === 0) return 0;
    for (;;) {
      const row = this.#clockHand;
      this.#clockHand = row + 1 < this.#unusedFrom ? row + 1 : 1;
      if (this.#file[row] === 0 || row === except) continue;
      if (this.#referenced[row] === 0) return row;
      this.#referenced[row] = 0;
    }
  }

  /** Checks every invariant; throws InvariantError. */
  verify(): void {
    let used = 0;
    for (let row = 1; row < this.#unusedFrom; row++) {
      const file = this.fileOf(row);
      if (file === 0) continue;
      used++;
      assert(this.peek(file, this.#index[row]!) === row, 'find returns the row of its page');
      const previous = this.#ofFilePrevious[row]!;
      const link = previous === 0 ? this.#first[file] : this.#ofFileNext[previous];
      assert(link === row, 'the row is in the list of its file');
    }
    assert(used === this.#count, 'count = rows in use');
    let free = 0;
    for (let row = this.#free; row !== 0; row = this.#next[row]!) {
      assert(this.fileOf(row) === 0, 'the free row has no file');
      free++;
    }
    assert(free + used === this.#unusedFrom - 1, 'rows = free + used');
  }

  #bucketOf(file: number, index: number): number {
    let h = Math.imul(file, 0x9e37_79b1) ^ Math.imul(index, 0x85eb_ca6b);
    h = Math.imul(h ^ (h >>> 15), 0xc2b2_ae35);
    return (h ^ (h >>> 13)) & (this.#buckets.length - 1);
  }
}
