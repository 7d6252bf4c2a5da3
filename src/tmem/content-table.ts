/**
 * Contents: what pages hold. Content row c lies in slot c - 1 of the page store; several pages may share one.
 *
 *   word 0  pages that share it; 0 = the row is free, and word 1 links the free rows
 *   word 1  those of them that are persistent
 *   word 2  hash, mixed with the scope; its place in the index
 *   word 3  hash, high word
 *   word 4  1 = in the index, 0 = never shared
 *   word 5  payload, bytes
 *
 * Two pages share a content when scope and 64-bit hash agree AND all 4096 bytes do. The scope is in the hash.
 *
 * Invariants: a row is used exactly when its slot holds a page. freeableBytes = the payload of contents without a
 * persistent page: what evicting everything ephemeral gives back.
 */
import { assert } from '../base/assert.ts';
import { type Slot, slot as slotOf } from '../base/units.ts';
import { finish, HashIndex, mix } from './hash-index.ts';
import { type PageComparer, type PageStore, STORE_FOUND, STORE_REFUSED } from './ops.ts';

const ROW = 6;
const REFS = 0;
const PERSISTENT = 1;
const HASH = 2;
const HASH_HIGH = 3;
const SHARED = 4;
const BYTES = 5;

/** Scope of contents that are never shared. */
export const NO_SCOPE = -1;

const storeSlot = (row: number): Slot => slotOf(row - 1);

export class ContentTable {
  used = 0;
  /** Payload of all contents, and of those that only ephemeral pages hold; bytes. */
  payloadBytes = 0;
  freeableBytes = 0;
  readonly #store: PageStore;
  readonly #comparer: PageComparer | null;
  readonly #words: Int32Array;
  readonly #index: HashIndex;
  #free = 0;
  #end = 1;

  /** Without a lens nothing is ever shared. */
  constructor(store: PageStore, lens: PageComparer | null) {
    this.#store = store;
    this.#comparer = lens;
    this.#words = new Int32Array((store.slots + 1) * ROW);
    this.#index = new HashIndex(lens === null ? 1 : store.slots);
  }

  /** Most contents at a time. */
  get capacity(): number {
    return this.#store.slots;
  }

  get isFull(): boolean {
    return this.used === this.capacity;
  }

  /** Row of a content equal to the page, 0 when there is none. The lens holds the page afterwards. */
  findEqual(scope: number, source: Uint8Array, at: number): number {
    const lens = this.#comparer;
    assert(lens !== null, 'there is a lens to find equal pages with');
    lens.load(source, at);
    const hash = this.#hash(scope);
    const index = this.#index;
    for (let cell = index.start(hash); ; cell = index.next(cell)) {
      const row = index.rowAt(cell);
      if (row === 0) return 0;
      if (index.hashAt(cell) === hash && this.#isEqual(row, lens)) return row;
    }
  }

  /**
   * Stores the page as a new content with no pages yet; its row, or 0 when the store refuses. A scope other than
   * NO_SCOPE takes the page from the lens, which findEqual() has filled.
   */
  store(scope: number, source: Uint8Array, at: number): number {
    if (this.isFull) return 0;
    const words = this.#words;
    const row = this.#free === 0 ? this.#end : this.#free;
    const before = this.#store.storedBytes;
    const isShared = scope !== NO_SCOPE;
    const page = isShared ? this.#comparer!.page : source;
    if (this.#store.put(storeSlot(row), page, isShared ? 0 : at) === STORE_REFUSED) return 0;
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

  /** One more page holds it. */
  addReference(row: number, isPersistent: boolean): void {
    const w = row * ROW;
    this.#words[w + REFS]!++;
    if (!isPersistent) return;
    if (this.#words[w + PERSISTENT]!++ === 0) this.freeableBytes -= this.#words[w + BYTES]!;
  }

  /** One page less holds it; the last one gives its bytes up. */
  dropReference(row: number, isPersistent: boolean): void {
    const words = this.#words;
    const w = row * ROW;
    if (isPersistent && --words[w + PERSISTENT]! === 0) this.freeableBytes += words[w + BYTES]!;
    if (--words[w + REFS]! !== 0) return;
    assert(this.#store.drop(storeSlot(row)), 'a content has a page in the store');
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

  /** Writes the page to target[at ..]; false when its bytes are damaged. */
  read(row: number, target: Uint8Array, at: number): boolean {
    return this.#store.get(storeSlot(row), target, at) === STORE_FOUND;
  }

  /** Throws InvariantError when the sums are wrong. refs: pages that hold each row, and persistent ones, counted elsewhere. */
  verify(refs: Int32Array, persistent: Int32Array): void {
    let used = 0;
    let indexed = 0;
    let payload = 0;
    let freeable = 0;
    for (let row = 1; row < this.#end; row++) {
      const w = row * ROW;
      assert(this.#words[w + REFS] === refs[row], 'a content counts its pages');
      if (refs[row] === 0) continue;
      assert(this.#words[w + PERSISTENT] === persistent[row], 'and the persistent ones');
      used++;
      if (this.#words[w + SHARED] !== 0) indexed++;
      payload += this.bytesOf(row);
      if (persistent[row] === 0) freeable += this.bytesOf(row);
    }
    assert(used === this.used, 'used contents are counted');
    assert(this.#index.count() === indexed, 'contents that may be shared are in the index');
    assert(payload === this.payloadBytes, 'payload is counted');
    assert(payload === this.#store.storedBytes, 'the store holds what contents hold');
    assert(freeable === this.freeableBytes, 'freeable bytes are counted');
  }

  /** mix() is one to one in its word: equal pages of different scopes have different hashes, and are never compared. */
  #hash(scope: number): number {
    return finish(mix(this.#comparer!.hashLow, scope));
  }

  #isEqual(row: number, lens: PageComparer): boolean {
    if (this.#words[row * ROW + HASH_HIGH] !== lens.hashHigh) return false;
    return this.read(row, lens.candidate, 0) && lens.isEqual();
  }
}
