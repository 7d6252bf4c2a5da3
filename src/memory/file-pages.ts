/**
 * Which page of which file is in which row of a cache: flat tables, so that a million pages cost no objects.
 *
 *   hash(file, index) ──▶ bucket ──▶ row ──▶ row ...         find
 *   file ──▶ its rows, both ways                             forget a file
 *   hand ──▶ rows round and round, passing over those used since it came by last      victim (clock, second chance)
 *
 * Rows are numbered 1 .. rows, files 1 .. rows + 1; 0 is none, so zeroed tables are empty tables.
 *
 * Invariants: a page has one row; a row in use is in the chain of its hash and in the list of its file.
 * Cost: find is one bucket and 1 to 2 rows; add, remove O(1) but for the chain; victim amortised O(1). No garbage.
 */
import { assert } from '../base/assert.ts';

/** Bytes that the tables take for each row, buckets included. */
const ROW_BYTES = 33;

export class FilePages {
  readonly rows: number;
  /** Index = row. File of the row's page, 0 = the row is free. */
  readonly #file: Int32Array;
  readonly #index: Uint32Array;
  /** Next row in the hash chain, or in the list of free rows. */
  readonly #next: Int32Array;
  readonly #ofFileNext: Int32Array;
  readonly #ofFilePrevious: Int32Array;
  /** 1: found since the hand came by last. */
  readonly #used: Uint8Array;
  /** Index = file. First row. */
  readonly #first: Int32Array;
  readonly #buckets: Int32Array;
  #free = 0;
  /** Rows from here on were never used. */
  #fresh = 1;
  #clockHand = 1;
  #count = 0;

  /** @param rows 1 .. 2^30 */
  constructor(rows: number) {
    assert(Number.isInteger(rows) && rows > 0 && rows <= 2 ** 30, 'a table has 1 to 2^30 rows');
    this.rows = rows;
    this.#file = new Int32Array(rows + 1);
    this.#index = new Uint32Array(rows + 1);
    this.#next = new Int32Array(rows + 1);
    this.#ofFileNext = new Int32Array(rows + 1);
    this.#ofFilePrevious = new Int32Array(rows + 1);
    this.#used = new Uint8Array(rows + 1);
    this.#first = new Int32Array(rows + 2);
    this.#buckets = new Int32Array(2 ** Math.ceil(Math.log2(rows)));
  }

  /** Bytes that the tables of so many rows take at the most. */
  static tableBytes(rows: number): number {
    return (rows + 2) * ROW_BYTES;
  }

  /** Pages in the table. */
  get count(): number {
    return this.#count;
  }

  /** Row of a page, 0 = none. It counts as used. */
  find(file: number, index: number): number {
    const row = this.peek(file, index);
    if (row !== 0) this.#used[row] = 1;
    return row;
  }

  /** As find(), but nothing is noted. */
  peek(file: number, index: number): number {
    let row = this.#buckets[this.#bucketOf(file, index)]!;
    while (row !== 0 && (this.#index[row] !== index || this.#file[row] !== file))
      row = this.#next[row]!;
    return row;
  }

  /** A row for a page that has none; 0 when all are in use. */
  add(file: number, index: number): number {
    assert(file > 0 && file <= this.rows + 1, 'a file has a number from 1 on');
    let row = this.#free;
    if (row !== 0) this.#free = this.#next[row]!;
    else if (this.#fresh <= this.rows) row = this.#fresh++;
    else return 0;
    const bucket = this.#bucketOf(file, index);
    this.#file[row] = file;
    this.#index[row] = index;
    this.#used[row] = 0;
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
    assert(file !== 0, 'a row that is removed is in use');
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

  /** A row of the file, 0 when it has none. */
  firstOf(file: number): number {
    return this.#first[file]!;
  }

  fileOf(row: number): number {
    return this.#file[row]!;
  }

  /** The row to evict next, other than `except`: the first not used since the clock hand passed it. 0: none. */
  victim(except: number): number {
    if (this.#count - (this.fileOf(except) === 0 ? 0 : 1) === 0) return 0;
    for (;;) {
      const row = this.#clockHand;
      this.#clockHand = row + 1 < this.#fresh ? row + 1 : 1;
      if (this.#file[row] === 0 || row === except) continue;
      if (this.#used[row] === 0) return row;
      this.#used[row] = 0;
    }
  }

  /** Checks every invariant; throws InvariantError. */
  verify(): void {
    let used = 0;
    for (let row = 1; row < this.#fresh; row++) {
      const file = this.fileOf(row);
      if (file === 0) continue;
      used++;
      assert(this.peek(file, this.#index[row]!) === row, 'a page is found in its row');
      const previous = this.#ofFilePrevious[row]!;
      const link = previous === 0 ? this.#first[file] : this.#ofFileNext[previous];
      assert(link === row, 'a row is in the list of its file');
    }
    assert(used === this.#count, 'rows in use are counted');
    let free = 0;
    for (let row = this.#free; row !== 0; row = this.#next[row]!) {
      assert(this.fileOf(row) === 0, 'a free row has no file');
      free++;
    }
    assert(free + used === this.#fresh - 1, 'every row is free or in use');
  }

  #bucketOf(file: number, index: number): number {
    let h = Math.imul(file, 0x9e37_79b1) ^ Math.imul(index, 0x85eb_ca6b);
    h = Math.imul(h ^ (h >>> 15), 0xc2b2_ae35);
    return (h ^ (h >>> 13)) & (this.#buckets.length - 1);
  }
}
