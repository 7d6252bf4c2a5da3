/**
 * Contents: the stored bytes of pages. Content row c is slot c - 1 of the page store; several equal pages may share one.
 *
 *   word 0  references: pages that share it; 0 = the row is free
 *   word 1  references from persistent pages; in a free row: the next free row
 *   word 2  low hash, mixed with the scope: the key in the index
 *   word 3  high hash
 *   word 4  1 = in the index, 0 = never shared
 *   word 5  payload, bytes
 *
 * Two pages share a content if their scopes, their 64-bit hashes and all 4096 bytes are equal.
 *
 * Invariants: a row is in use if and only if its slot has a page. freeableBytes = the payload of contents without a
 * persistent reference, which evicting every ephemeral page would free.
 */
import { assert } from '../base/assert.ts';
import { type Slot, slot as slotOf } from '../base/units.ts';
import { GetResult, PutResult } from '../store/results.ts';
import { finish, HashIndex, mix } from './hash-index.ts';
import type { PageComparer, PageStore } from './ops.ts';

const ROW = 6;
const REFS = 0;
const PERSISTENT = 1;
const HASH = 2;
const HASH_HIGH = 3;
const SHARED = 4;
const BYTES = 5;

/** The scope of contents that are never shared. */
export const NO_SCOPE = -1;

const storeSlot = (row: number): Slot => slotOf(row - 1);

export class ContentTable {
  used = 0;
  /** Payload of all contents, and of those with only ephemeral references; bytes. */
  payloadBytes = 0;
  freeableBytes = 0;
  readonly #store: PageStore;
  readonly #comparer: PageComparer | null;
  readonly #words: Int32Array;
  readonly #index: HashIndex;
  #free = 0;
  #end = 1;

  /** @param comparer null: no content is shared */
  constructor(store: PageStore, comparer: PageComparer | null) {
    this.#store = store;
    this.#comparer = comparer;
    this.#words = new Int32Array((store.slots + 1) * ROW);
    this.#index = new HashIndex(comparer === null ? 1 : store.slots);
  }

  /** Maximum number of contents. */
  get capacity(): number {
    return this.#store.slots;
  }

  get isFull(): boolean {
    return this.used === this.capacity;
  }

  /** Loads the page into the comparer; returns the row of an equal content, or 0. */
  findEqual(scope: number, source: Uint8Array, at: number): number {
    const comparer = this.#comparer;
    assert(comparer !== null, 'a scope has a comparer');
    comparer.load(source, at);
    const hash = this.#hash(scope);
    const index = this.#index;
    for (let cell = index.start(hash); ; cell = index.next(cell)) {
      const row = index.rowAt(cell);
      if (row === 0) return 0;
      if (index.hashAt(cell) === hash && this.#isEqual(row, comparer)) return row;
    }
  }

  /**
   * Stores the page as a new content without references; returns its row, or 0 if the store refuses it. With a scope
   * other than NO_SCOPE, findEqual() must have loaded the page into the comparer.
   * @param isRaw do not compress the page
   */
  store(scope: number, source: Uint8Array, at: number, isRaw: boolean): number {
    if (this.isFull) return 0;
    const words = this.#words;
    const row = this.#free === 0 ? this.#end : this.#free;
    const before = this.#store.storedBytes;
    const isShared = scope !== NO_SCOPE;
    const page = isShared ? this.#comparer!.page : source;
    if (this.#store.put(storeSlot(row), page, isShared ? 0 : at, isRaw) === PutResult.refused)
      return 0;
    const payload = this.#store.storedBytes - before;
    const w = row * ROW;
    if (this.#free === 0) this.#end++;
    else this.#free = words[w + PERSISTENT]!;
    words[w + REFS] = 0;
    words[w + PERSISTENT] = 0;
    words[w + SHARED] = isShared ? 1 : 0;
    words[w + BYTES] = payload;
    if (isShared) {
      words[w + HASH] = this.#hash(scope);
      words[w + HASH_HIGH] = this.#comparer!.hashHigh;
      this.#index.add(words[w + HASH]!, row);
    }
    this.used++;
    this.payloadBytes += payload;
    this.freeableBytes += payload;
    return row;
  }

  /** Adds the reference of a page. */
  addReference(row: number, isPersistent: boolean): void {
    const w = row * ROW;
    this.#words[w + REFS]!++;
    if (!isPersistent) return;
    if (this.#words[w + PERSISTENT]!++ === 0) this.freeableBytes -= this.#words[w + BYTES]!;
  }

  /** Drops the reference of a page; the last one frees the content. */
  dropReference(row: number, isPersistent: boolean): void {
    const words = this.#words;
    const w = row * ROW;
    if (isPersistent && --words[w + PERSISTENT]! === 0) this.freeableBytes += words[w + BYTES]!;
    if (--words[w + REFS]! !== 0) return;
    assert(this.#store.drop(storeSlot(row)), 'the content is in the store');
    if (words[w + SHARED]! !== 0) this.#index.remove(words[w + HASH]!, row);
    this.payloadBytes -= words[w + BYTES]!;
    this.freeableBytes -= words[w + BYTES]!;
    words[w + PERSISTENT] = this.#free;
    this.#free = row;
    this.used--;
  }

  refsOf(row: number): number {
    return this.#words[row * ROW + REFS]!;
  }

  bytesOf(row: number): number {
    return this.#words[row * ROW + BYTES]!;
  }

  /** Fills target[at .. at + 4096). Returns false if the stored bytes are damaged. */
  read(row: number, target: Uint8Array, at: number): boolean {
    return this.#store.get(storeSlot(row), target, at) === GetResult.found;
  }

  /** Checks the sums against references counted by the caller; throws InvariantError. */
  verify(refs: Int32Array, persistent: Int32Array): void {
    let used = 0;
    let indexed = 0;
    let payload = 0;
    let freeable = 0;
    for (let row = 1; row < this.#end; row++) {
      const w = row * ROW;
      assert(this.#words[w + REFS] === refs[row], 'references = pages of the content');
      if (refs[row] === 0) continue;
      assert(this.#words[w + PERSISTENT] === persistent[row], 'persistent references are counted');
      used++;
      if (this.#words[w + SHARED] !== 0) indexed++;
      payload += this.bytesOf(row);
      if (persistent[row] === 0) freeable += this.bytesOf(row);
    }
    assert(used === this.used, 'used = contents in use');
    assert(this.#index.count() === indexed, 'every sharable content is in the index');
    assert(payload === this.payloadBytes, 'payloadBytes = sum of the contents');
    assert(payload === this.#store.storedBytes, 'payloadBytes = storedBytes of the store');
    assert(freeable === this.freeableBytes, 'freeableBytes = payload without persistent pages');
  }

  /** mix() is a bijection of its word, so equal pages of different scopes have different hashes and are not compared. */
  #hash(scope: number): number {
    return finish(mix(this.#comparer!.hashLow, scope));
  }

  #isEqual(row: number, comparer: PageComparer): boolean {
    if (this.#words[row * ROW + HASH_HIGH] !== comparer.hashHigh) return false;
    return this.read(row, comparer.candidate, 0) && comparer.isEqual();
  }
}
