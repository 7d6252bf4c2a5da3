/**
 * Objects: rows of a flat table, found by (pool, 192-bit object id). An object exists while it has pages.
 *
 *   word 0      pool's number + 1; 0 = the row is free, and word 8 is the next free row
 *   words 1..6  object id
 *   word 7      hash of pool and id
 *   word 8, 9   next and previous object of the pool
 *   word 10     newest page of the object: head of a chain of page rows
 *   word 11     pages of the object
 *
 * Rows are numbered from 1; 0 = none. The capacity is fixed.
 */
import { assert } from '../base/assert.ts';
import { finish, HashIndex, mix } from './hash-index.ts';

const ROW = 12;
const POOL = 0;
const OID = 1;
const OID_WORDS = 6;
const HASH = 7;
const NEXT = 8;
const PREV = 9;
const FIRST_PAGE = 10;
const PAGES = 11;

export class ObjectTable {
  readonly capacity: number;
  used = 0;
  readonly #words: Int32Array;
  readonly #index: HashIndex;
  readonly #seed: number;
  #free = 0;
  #end = 1;

  constructor(capacity: number, seed: number) {
    this.capacity = capacity;
    this.#words = new Int32Array((capacity + 1) * ROW);
    this.#index = new HashIndex(capacity);
    this.#seed = seed;
  }

  get isFull(): boolean {
    return this.used === this.capacity;
  }

  /** The hash of an object's key, for find() and add(). The id is oid[at .. at + 6). */
  hash(pool: number, oid: Uint32Array, at: number): number {
    let hash = mix(this.#seed, pool);
    for (let i = 0; i < OID_WORDS; i++) hash = mix(hash, oid[at + i]! | 0);
    return finish(hash);
  }

  /** The object's row, or 0. */
  find(
    pool: number,
    oid: Uint32Array,
    at: number,
    hash: number = this.hash(pool, oid, at),
  ): number {
    const index = this.#index;
    for (let cell = index.start(hash); ; cell = index.next(cell)) {
      const row = index.rowAt(cell);
      if (row === 0) return 0;
      if (index.hashAt(cell) === hash && this.#isKey(row, pool, oid, at)) return row;
    }
  }

  /** Adds an object at the front of its pool's chain, whose first row is `head`; returns its row. */
  add(pool: number, oid: Uint32Array, at: number, hash: number, head: number): number {
    assert(!this.isFull, 'an object row is free');
    const words = this.#words;
    let row = this.#free;
    if (row === 0) row = this.#end++;
    else this.#free = words[row * ROW + NEXT]!;
    const w = row * ROW;
    words[w + POOL] = pool + 1;
    for (let i = 0; i < OID_WORDS; i++) words[w + OID + i] = oid[at + i]!;
    words[w + HASH] = hash;
    words[w + NEXT] = head;
    words[w + PREV] = 0;
    if (head !== 0) words[head * ROW + PREV] = row;
    words[w + FIRST_PAGE] = 0;
    words[w + PAGES] = 0;
    this.#index.add(hash, row);
    this.used++;
    return row;
  }

  /** Removes an object without pages from its pool's chain, whose first row is `head`; returns the new first row. */
  remove(row: number, head: number): number {
    const words = this.#words;
    const w = row * ROW;
    assert(words[w + PAGES] === 0, 'the object has no pages');
    const next = words[w + NEXT]!;
    const prev = words[w + PREV]!;
    if (next !== 0) words[next * ROW + PREV] = prev;
    if (prev !== 0) words[prev * ROW + NEXT] = next;
    this.#index.remove(words[w + HASH]!, row);
    words[w + POOL] = 0;
    words[w + NEXT] = this.#free;
    this.#free = row;
    this.used--;
    return head === row ? next : head;
  }

  poolOf(row: number): number {
    return this.#words[row * ROW + POOL]! - 1;
  }

  nextOf(row: number): number {
    return this.#words[row * ROW + NEXT]!;
  }

  firstPageOf(row: number): number {
    return this.#words[row * ROW + FIRST_PAGE]!;
  }

  setFirstPage(row: number, page: number): void {
    this.#words[row * ROW + FIRST_PAGE] = page;
  }

  pagesOf(row: number): number {
    return this.#words[row * ROW + PAGES]!;
  }

  /** Adds `change` to the object's page count; returns the new count. */
  addPages(row: number, change: number): number {
    const pages = this.#words[row * ROW + PAGES]! + change;
    this.#words[row * ROW + PAGES] = pages;
    return pages;
  }

  /** Writes the object id to oid[at .. at + 6). */
  copyId(row: number, oid: Uint32Array, at: number): void {
    const w = row * ROW + OID;
    for (let i = 0; i < OID_WORDS; i++) oid[at + i] = this.#words[w + i]!;
  }

  /** Checks rows and index; throws InvariantError. */
  verify(): void {
    assert(this.#index.count() === this.used, 'every object is in the index once');
    const oid = new Uint32Array(OID_WORDS);
    for (let row = 1; row < this.#end; row++) {
      const pool = this.poolOf(row);
      if (pool < 0) continue;
      this.copyId(row, oid, 0);
      assert(this.find(pool, oid, 0) === row, 'find(id) = row');
      assert(this.pagesOf(row) > 0, 'an object has pages');
      assert(this.firstPageOf(row) !== 0, 'an object has a first page');
      const next = this.nextOf(row);
      assert(next === 0 || this.#words[next * ROW + PREV] === row, 'next.previous = row');
    }
  }

  #isKey(row: number, pool: number, oid: Uint32Array, at: number): boolean {
    const words = this.#words;
    const w = row * ROW;
    if (words[w + POOL] !== pool + 1) return false;
    for (let i = 0; i < OID_WORDS; i++) if (words[w + OID + i] !== (oid[at + i]! | 0)) return false;
    return true;
  }
}
