/**
 * Page descriptors: rows of a flat table, found by (object's row, 32-bit index).
 *
 *   word 0    object's row; 0 = the row is free, and word 3 links the free rows
 *   word 1    index in the object
 *   word 2    content's row: where the bytes are
 *   word 3,4  next and previous page of the object
 *   word 5,6  newer and older page of the client's ephemeral list; 0 = the list ends. Unused for persistent pages
 *   word 7    mark. Ephemeral: 1 = the page had its second chance. Persistent: number + 1 under which a save sent it
 *
 * and one double a row, the stamp: when the page was put or last promoted, as a count of such events. A client's list
 * is in order of stamps; the globally oldest page is the head with the smallest one.
 *
 * Rows are numbered from 1; 0 means none. 40 bytes a page, 16 to 32 more in the index. Capacity is fixed at the start.
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

  /** Rows 1 .. end - 1 have been used at some time. */
  get end(): number {
    return this.#end;
  }

  /** The page's row, 0 when there is none. */
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

  /** A new row, first in its object's chain. `head` is the chain's first row so far. */
  add(object: number, index: number, content: number, head: number): number {
    assert(!this.isFull, 'there is a free page row');
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

  /** Frees the row; the object's first row afterwards, given that it was `head`. */
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

  /** Object's row, 0 for a free row. */
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

  /** Makes the page the newest of the list, with a new stamp. It is in no list. */
  append(row: number, list: AgeList): void {
    this.#stamps[row] = ++this.#stamp;
    this.#linkAfter(row, list.newest, list);
  }

  /** Takes the page out of its list. */
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
   * Puts the page, which keeps its stamp, where that belongs in `list`; `after` is a page of the list that is older
   * (0: from its oldest on). Moving pages in order of age, each after the last one, walks the list once.
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

  /** Throws InvariantError when the list is not in order, both ways. Its length. */
  verifyList(list: AgeList): number {
    let length = 0;
    let before = 0;
    for (let row = list.oldest; row !== 0; row = this.newerOf(row)) {
      assert(this.objectOf(row) !== 0, 'a page in a list is used');
      assert(this.#words[row * ROW + OLDER] === before, 'a list leads back the way it came');
      assert(before === 0 || this.#stamps[before]! < this.#stamps[row]!, 'a list is in age order');
      before = row;
      length++;
      assert(length <= this.used, 'a list ends');
    }
    assert(list.newest === before, 'a list ends with its newest page');
    return length;
  }

  /** Throws InvariantError when the index and the rows disagree. */
  verify(): void {
    assert(this.#index.count() === this.used, 'every page is in the index once');
    for (let row = 1; row < this.#end; row++) {
      const object = this.objectOf(row);
      if (object === 0) continue;
      assert(this.find(object, this.indexOf(row)) === row, 'a page is found by its key');
      const next = this.nextOf(row);
      assert(next === 0 || this.#words[next * ROW + PREV] === row, 'pages are chained both ways');
      assert(next === 0 || this.objectOf(next) === object, 'a chain stays in its object');
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
