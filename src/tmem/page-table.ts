/**
 * Page descriptors: rows of a flat table, found by (object's row, 32-bit index).
 *
 *   word 0    object's row; 0 = the row is free, and word 3 is the next free row
 *   word 1    index in the object
 *   word 2    content's row
 *   word 3,4  next and previous page of the object
 *   word 5,6  newer and older page of the client's ephemeral list; 0 = none. Unused for persistent pages
 *   word 7    mark. Ephemeral: 1 = the page had its second chance. Persistent: 1 + its number in a save's stream
 *
 * and one double per row, the stamp: a sequence number of the put or the last promotion. A client's list is in order of
 * stamps; the globally oldest page is the list head with the smallest stamp.
 *
 * Rows are numbered from 1; 0 = none. 40 bytes per page and 16 to 32 in the index. The capacity is fixed.
 */
import { assert } from '../base/assert.ts';
import { finish, HashIndex, mix } from './hash-index.ts';

const ROW = 8;
const OBJECT = 0;
const INDEX = 1;
const CONTENT = 2;
const NEXT = 3;
const PREV = 4;
const NEWER = 5;
const OLDER = 6;
const MARK = 7;

/** A client's ephemeral pages, oldest to newest. */
export interface AgeList {
  oldest: number;
  newest: number;
}

export class PageTable {
  readonly capacity: number;
  used = 0;
  readonly #words: Int32Array;
  readonly #stamps: Float64Array;
  readonly #index: HashIndex;
  readonly #seed: number;
  #free = 0;
  #end = 1;
  #stamp = 0;

  constructor(capacity: number, seed: number) {
    this.capacity = capacity;
    this.#words = new Int32Array((capacity + 1) * ROW);
    this.#stamps = new Float64Array(capacity + 1);
    this.#index = new HashIndex(capacity);
    this.#seed = seed;
  }

  get isFull(): boolean {
    return this.used === this.capacity;
  }

  /** Only rows 1 .. end - 1 have ever been used. */
  get end(): number {
    return this.#end;
  }

  /** The page's row, or 0. */
  find(object: number, index: number): number {
    const words = this.#words;
    const cells = this.#index;
    const hash = this.#hash(object, index);
    for (let cell = cells.start(hash); ; cell = cells.next(cell)) {
      const row = cells.rowAt(cell);
      if (row === 0) return 0;
      if (words[row * ROW + OBJECT] === object && words[row * ROW + INDEX] === (index | 0))
        return row;
    }
  }

  /** Adds a page at the front of its object's chain, whose first row is `head`; returns its row. */
  add(object: number, index: number, content: number, head: number): number {
    assert(!this.isFull, 'a page row is free');
    const words = this.#words;
    let row = this.#free;
    if (row === 0) row = this.#end++;
    else this.#free = words[row * ROW + NEXT]!;
    const w = row * ROW;
    words[w + OBJECT] = object;
    words[w + INDEX] = index;
    words[w + CONTENT] = content;
    words[w + NEXT] = head;
    words[w + PREV] = 0;
    if (head !== 0) words[head * ROW + PREV] = row;
    words[w + MARK] = 0;
    this.#index.add(this.#hash(object, index), row);
    this.used++;
    return row;
  }

  /** Removes a page from its object's chain, whose first row is `head`; returns the new first row. */
  remove(row: number, head: number): number {
    const words = this.#words;
    const w = row * ROW;
    const next = words[w + NEXT]!;
    const prev = words[w + PREV]!;
    if (next !== 0) words[next * ROW + PREV] = prev;
    if (prev !== 0) words[prev * ROW + NEXT] = next;
    this.#index.remove(this.#hash(words[w + OBJECT]!, words[w + INDEX]!), row);
    words[w + OBJECT] = 0;
    words[w + NEXT] = this.#free;
    this.#free = row;
    this.used--;
    return head === row ? next : head;
  }

  /** The object's row; 0: the page row is free. */
  objectOf(row: number): number {
    return this.#words[row * ROW + OBJECT]!;
  }

  indexOf(row: number): number {
    return this.#words[row * ROW + INDEX]! >>> 0;
  }

  contentOf(row: number): number {
    return this.#words[row * ROW + CONTENT]!;
  }

  nextOf(row: number): number {
    return this.#words[row * ROW + NEXT]!;
  }

  newerOf(row: number): number {
    return this.#words[row * ROW + NEWER]!;
  }

  markOf(row: number): number {
    return this.#words[row * ROW + MARK]!;
  }

  setMark(row: number, mark: number): void {
    this.#words[row * ROW + MARK] = mark;
  }

  stampOf(row: number): number {
    return this.#stamps[row]!;
  }

  /** Appends a page that is in no list, as the newest, with a new stamp. */
  append(row: number, list: AgeList): void {
    this.#stamps[row] = ++this.#stamp;
    this.#linkAfter(row, list.newest, list);
  }

  /** Removes the page from its list. */
  unlink(row: number, list: AgeList): void {
    const words = this.#words;
    const newer = words[row * ROW + NEWER]!;
    const older = words[row * ROW + OLDER]!;
    if (newer !== 0) words[newer * ROW + OLDER] = older;
    else list.newest = older;
    if (older !== 0) words[older * ROW + NEWER] = newer;
    else list.oldest = newer;
  }

  /**
   * Inserts the page into `list` by its stamp. The search starts at `after`, an older page of the list (0: at the
   * oldest). To insert many pages in order of age, pass the previous one as `after`: this walks the list once.
   */
  insertByStamp(row: number, after: number, list: AgeList): void {
    const stamp = this.#stamps[row]!;
    let older = after;
    let newer = after === 0 ? list.oldest : this.newerOf(after);
    while (newer !== 0 && this.#stamps[newer]! < stamp) {
      older = newer;
      newer = this.newerOf(newer);
    }
    this.#linkAfter(row, older, list);
  }

  /** Checks the list's order and links, throws InvariantError; returns its length. */
  verifyList(list: AgeList): number {
    let length = 0;
    let before = 0;
    for (let row = list.oldest; row !== 0; row = this.newerOf(row)) {
      assert(this.objectOf(row) !== 0, 'a listed page row is in use');
      assert(this.#words[row * ROW + OLDER] === before, 'newer.older = row');
      assert(before === 0 || this.#stamps[before]! < this.#stamps[row]!, 'stamps ascend');
      before = row;
      length++;
      assert(length <= this.used, 'a list has no cycle');
    }
    assert(list.newest === before, 'the last page of a list is its newest');
    return length;
  }

  /** Checks rows and index; throws InvariantError. */
  verify(): void {
    assert(this.#index.count() === this.used, 'every page is in the index once');
    for (let row = 1; row < this.#end; row++) {
      const object = this.objectOf(row);
      if (object === 0) continue;
      assert(this.find(object, this.indexOf(row)) === row, 'find(key) = row');
      const next = this.nextOf(row);
      assert(next === 0 || this.#words[next * ROW + PREV] === row, 'next.previous = row');
      assert(next === 0 || this.objectOf(next) === object, 'chained pages have the same object');
    }
  }

  #linkAfter(row: number, older: number, list: AgeList): void {
    const words = this.#words;
    const newer = older === 0 ? list.oldest : words[older * ROW + NEWER]!;
    words[row * ROW + OLDER] = older;
    words[row * ROW + NEWER] = newer;
    if (older !== 0) words[older * ROW + NEWER] = row;
    else list.oldest = row;
    if (newer !== 0) words[newer * ROW + OLDER] = row;
    else list.newest = row;
  }

  #hash(object: number, index: number): number {
    return finish(mix(mix(this.#seed, object), index | 0));
  }
}
