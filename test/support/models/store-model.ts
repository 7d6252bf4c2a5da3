/**
 * A naive model of a store: a map of slots to pages, from which the counters follow. StoreTwin performs each step on a
 * store and on the model, and compares both.
 */
import assert from 'node:assert/strict';
import { Budget } from '../../../src/arena/budget.ts';
import { slot as slotOf } from '../../../src/base/units.ts';
import type { CodecFactory, PageFormat } from '../../../src/codec/codec.ts';
import { type Kernels, loadKernels } from '../../../src/codec/kernels.ts';
import { createMemory } from '../../../src/codec/linear-memory.ts';
import { lz4 } from '../../../src/codec/lz4.ts';
import { COMPRESSED_BYTES_MAX } from '../../../src/store/compressor.ts';
import { CounterAt, GetResult, PutResult, RecompressResult } from '../../../src/store/results.ts';
import { Store } from '../../../src/store/store.ts';
import { FakeReturns } from '../fakes/fake-returns.ts';
import { repeatsWord } from '../fixtures/pages.ts';
import { pickFilter, toPlanes } from './reference-planes.ts';

const FORMAT = { same: 1, raw: 2, lz4: 3, zstd: 4, filtered: 5 } as const;
/** Up to this size an LZ4 block is stored without trying a filter. */
const GOOD_BYTES = 1792;
const PAGE_AT = 65536;
const COMPRESSED_AT = 2 * 65536;

interface ModelPage {
  readonly bytes: Uint8Array;
  format: number;
  /** Expected payload of the page, bytes. */
  storedBytes: number;
  /** Steps since it was put or got, 0 .. 3. */
  age: number;
  /** Recompression was tried and saved nothing. */
  isTried: boolean;
}

/** Computes how a page must be stored, in a memory of its own. */
export class Predictor {
  readonly #kernels: Kernels;
  readonly #page: Uint8Array;
  readonly #compressed: Uint8Array;

  constructor() {
    const memory = createMemory(3 * 65536);
    this.#kernels = loadKernels(memory);
    this.#page = new Uint8Array(memory.buffer, PAGE_AT, 4096);
    this.#compressed = new Uint8Array(memory.buffer, COMPRESSED_AT, 4096);
  }

  /** The stored bytes of a compressed page; empty when they would exceed 3/4 of a page. */
  compress(bytes: Uint8Array): Uint8Array {
    const plain = this.#lz4(bytes, COMPRESSED_BYTES_MAX);
    return this.#filtered(bytes, plain.length) ?? plain;
  }

  modelPage(bytes: Uint8Array): ModelPage {
    const page = { bytes, format: FORMAT.same, storedBytes: 0, age: 0, isTried: false };
    if (repeatsWord(bytes)) return page;
    const { length } = this.#lz4(bytes, COMPRESSED_BYTES_MAX);
    const filtered = this.#filtered(bytes, length);
    if (filtered !== null)
      return { ...page, format: FORMAT.filtered, storedBytes: filtered.length };
    if (length === 0) return { ...page, format: FORMAT.raw, storedBytes: 4096 };
    return { ...page, format: FORMAT.lz4, storedBytes: length };
  }

  #lz4(bytes: Uint8Array, limit: number): Uint8Array {
    this.#page.set(bytes);
    return this.#compressed.slice(0, this.#kernels.lz4Compress(PAGE_AT, COMPRESSED_AT, limit));
  }

  /**
   * Filter number and block, where the filter is estimated at 5/8 and takes 7/8 of LZ4's `plain` bytes, or less. Null
   * if it does not, or if `plain` is good already; `plain` 0: LZ4 refused the page.
   */
  #filtered(bytes: Uint8Array, plain: number): Uint8Array | null {
    if (plain !== 0 && plain <= GOOD_BYTES) return null;
    const most = plain === 0 ? COMPRESSED_BYTES_MAX : Math.floor((plain * 5) / 8);
    const limit = plain === 0 ? COMPRESSED_BYTES_MAX : Math.floor((plain * 7) / 8);
    const filter = pickFilter(bytes, most);
    if (filter === 0) return null;
    const block = this.#lz4(toPlanes(filter, bytes), limit - 1);
    return block.length === 0 ? null : Uint8Array.from([filter, ...block]);
  }
}

const predictor = new Predictor();

/**
 * Free space with which every put must succeed, bytes: a zspage of 12 pages, the rows of a group, of the shard and of
 * the arena. A refusal with more than this below the limit is a bug.
 */
const SPACE_FOR_ANY_PUT: number = 12 * 4096 + 12288 + 98304 + 48;

export class StoreTwin {
  readonly store: Store;
  readonly budget: Budget;
  readonly returns: FakeReturns = new FakeReturns();
  readonly pages: Map<number, ModelPage> = new Map();
  readonly slots: number;
  refused = 0;
  recompressed = 0;
  readonly #target = new Uint8Array(3 * 4096);

  /** @param dense null: the store recompresses nothing */
  constructor(slots: number, limitBytes: number, dense: CodecFactory | null = null) {
    this.slots = slots;
    this.budget = new Budget(limitBytes);
    const returns = this.returns.factory;
    this.store = new Store({ slots, budget: this.budget, codec: lz4, release: returns, dense });
  }

  put(n: number, source: Uint8Array, at = 0): PutResult {
    const page = predictor.modelPage(source.slice(at, at + 4096));
    const freeBytes = this.#freeBytes();
    const answer = this.store.put(slotOf(n), source, at);
    return this.#record(n, page, answer, freeBytes);
  }

  putWord(n: number, low: number, high: number): PutResult {
    const bytes = new Uint8Array(4096);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < 4096; i += 8) {
      view.setUint32(i, low, true);
      view.setUint32(i + 4, high, true);
    }
    const freeBytes = this.#freeBytes();
    return this.#record(
      n,
      predictor.modelPage(bytes),
      this.store.putWord(slotOf(n), low, high),
      freeBytes,
    );
  }

  /** Reads into the middle of a larger array and checks that the bytes around the page are unchanged. */
  get(n: number): void {
    const target = this.#target.fill(0xa5);
    const expected = this.pages.get(n);
    const answer = this.store.get(slotOf(n), target, 4096);
    assert.equal(answer, expected === undefined ? GetResult.absent : GetResult.found, `slot ${n}`);
    const untouched = expected === undefined ? 0 : 4096;
    for (let i = 0; i < target.length; i++)
      if (i < 4096 || i >= 4096 + untouched) assert.equal(target[i], 0xa5, `byte ${i - 4096}`);
    if (expected !== undefined) expected.age = 0;
    if (expected !== undefined)
      assert.equal(Buffer.compare(target.subarray(4096, 8192), expected.bytes), 0, `slot ${n}`);
  }

  drop(n: number): void {
    assert.equal(this.store.drop(slotOf(n)), this.pages.delete(n), `slot ${n}`);
  }

  dropRange(from: number, to: number): void {
    let count = 0;
    for (let n = from; n < to; n++) if (this.pages.delete(n)) count++;
    assert.equal(this.store.dropRange(slotOf(from), to), count, `slots ${from} to ${to}`);
  }

  /** The answer follows from the model, except for lack of space; check() verifies the effect. */
  recompress(n: number): RecompressResult {
    const page = this.pages.get(n);
    const before = this.store.counter(CounterAt.storedBytes);
    const used = this.store.usedBytes;
    const answer = this.store.recompress(slotOf(n));
    const saved = before - this.store.counter(CounterAt.storedBytes);
    this.#recompressed(page, answer, saved);
    if (answer === RecompressResult.smaller)
      assert.ok(this.store.usedBytes <= used + SPACE_FOR_ANY_PUT);
    return answer;
  }

  /** Runs recompressIdle(): the model knows which pages it may try, and reads back which of them it recompressed. */
  recompressIdle(most: number, age: number): void {
    const due = [...this.pages].filter(
      ([, page]) => page.age >= age && page.format >= FORMAT.raw && page.format !== FORMAT.zstd,
    );
    const tried = this.store.recompressIdle(most, age);
    assert.ok(tried <= Math.min(most, due.length));
    let left = 0;
    for (const [n, page] of due) {
      if (this.store.formatOf(slotOf(n)) !== FORMAT.zstd) left++;
      else {
        page.format = FORMAT.zstd;
        page.storedBytes = -1; // see check()
        this.recompressed++;
      }
    }
    assert.ok(due.length - left <= tried);
  }

  age(from: number, to: number): void {
    this.store.age(slotOf(from), to);
    for (const [n, page] of this.pages)
      if (n >= from && n < to) page.age = Math.min(3, page.age + 1);
  }

  coldest(from: number, to: number, age: number, rawOnly: boolean): void {
    let expected = -1;
    for (let n = from; n < to && expected === -1; n++) {
      const page = this.pages.get(n);
      if (page === undefined || page.format === FORMAT.same || page.age < age) continue;
      if (!rawOnly || page.format === FORMAT.raw) expected = n;
    }
    const at = `coldest of [${from}, ${to}), age ${age}, rawOnly ${rawOnly}`;
    assert.equal(this.store.coldest(slotOf(from), to, age, rawOnly), expected, at);
  }

  #recompressed(page: ModelPage | undefined, answer: RecompressResult, saved: number): void {
    if (page === undefined) assert.equal(answer, RecompressResult.absent);
    else if (page.format === FORMAT.same || page.format === FORMAT.zstd || page.isTried)
      assert.equal(answer, RecompressResult.kept);
    if (answer === RecompressResult.kept && page!.format !== FORMAT.zstd) page!.isTried = true;
    if (answer !== RecompressResult.smaller) {
      assert.equal(saved, 0, 'a page that is not recompressed keeps its size');
      return;
    }
    assert.ok(saved > 0, 'recompression saves bytes');
    page!.format = FORMAT.zstd;
    page!.storedBytes -= saved;
    this.recompressed++;
  }

  maintain(moves: number): void {
    this.store.maintain(moves);
  }

  releaseAll(): void {
    this.store.releaseAll();
    if (!this.returns.isLimited)
      assert.equal(this.store.usedBytes, this.budget.usedBytes, 'no free page is resident');
  }

  /** Everything that must hold after each step. Cost: that of verify(). */
  check(): void {
    let same = 0;
    let raw = 0;
    let dense = 0;
    let filtered = 0;
    let bytes = 0;
    let unknown = 0;
    for (const page of this.pages.values()) {
      if (page.format === FORMAT.same) same++;
      if (page.format === FORMAT.raw) raw++;
      if (page.format === FORMAT.zstd) dense++;
      if (page.format === FORMAT.filtered) filtered++;
      if (page.storedBytes < 0) unknown++;
      else bytes += page.storedBytes;
    }
    const { store, budget } = this;
    assert.equal(store.storedPages, this.pages.size, 'storedPages');
    assert.equal(store.counter(CounterAt.samePages), same, 'samePages');
    assert.equal(store.counter(CounterAt.rawPages), raw, 'rawPages');
    assert.equal(store.counter(CounterAt.densePages), dense, 'densePages');
    assert.equal(store.counter(CounterAt.filteredPages), filtered, 'filteredPages');
    assert.equal(store.counter(CounterAt.recompressed), this.recompressed, 'recompressed');
    const stored = store.counter(CounterAt.storedBytes);
    // Only the store knows the lengths of the pages that recompressIdle() changed; all are shorter than raw.
    assert.ok(stored >= bytes && stored <= bytes + unknown * COMPRESSED_BYTES_MAX, 'storedBytes');
    assert.equal(store.counter(CounterAt.refusedByLimit), this.refused, 'refusedByLimit');
    assert.equal(store.counter(CounterAt.refusedBySpace), 0, 'refusedBySpace');
    assert.equal(store.counter(CounterAt.corruptions), 0, 'corruptions');
    assert.ok(store.usedBytes >= bytes, 'storedBytes <= usedBytes');
    assert.ok(store.usedBytes <= budget.usedBytes, 'usedBytes <= budget.usedBytes');
    if (budget.limitBytes !== 0)
      assert.ok(budget.peakBytes <= budget.limitBytes, 'peakBytes <= limitBytes');
    store.verify();
  }

  /** Reads every slot and compares it with the model. */
  checkPages(): void {
    for (let n = 0; n < this.slots; n++) {
      const format = this.store.formatOf(slotOf(n));
      const page = this.pages.get(n);
      assert.equal(format, (page?.format ?? 0) as PageFormat, `format of slot ${n}`);
      if (page !== undefined) {
        this.get(n);
        assert.equal(
          this.store.isZero(slotOf(n)),
          page.bytes.every((b) => b === 0),
          `slot ${n}`,
        );
      }
    }
  }

  #freeBytes(): number {
    const { limitBytes } = this.budget;
    if (limitBytes === 0) return Number.POSITIVE_INFINITY;
    return this.returns.isLimited ? 0 : limitBytes - this.store.usedBytes;
  }

  #record(n: number, page: ModelPage, answer: PutResult, freeBytes: number): PutResult {
    if (answer === PutResult.refused) {
      this.refused++;
      assert.ok(freeBytes <= SPACE_FOR_ANY_PUT, `refused with ${freeBytes} bytes free`);
      return answer;
    }
    assert.equal(answer, page.format === FORMAT.same ? PutResult.sameFilled : PutResult.stored);
    this.pages.set(n, page);
    return answer;
  }
}
