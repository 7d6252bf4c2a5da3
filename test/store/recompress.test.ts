/** Recompression: C17, gets are unchanged; C16, the limit is kept; and which pages count as old. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { sizeClasses } from '../../src/arena/size-classes.ts';
import { InvariantError } from '../../src/base/assert.ts';
import { slot as slotOf } from '../../src/base/units.ts';
import { type CodecFactory, PageFormat } from '../../src/codec/codec.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { loadNativeZstd } from '../../src/os/native-codec.ts';
import { CounterAt, GetResult, PutResult, RecompressResult } from '../../src/store/results.ts';
import { SHARD_SLOTS_MAX } from '../../src/store/shard-parts.ts';
import { Store } from '../../src/store/store.ts';
import { madePage as page, pageKinds } from '../support/fixtures/pages.ts';
import { StoreTwin } from '../support/models/store-model.ts';

const dense = loadNativeZstd().factory;
const skip = dense === null ? loadNativeZstd().reason : false;

/** A dense codec for machines without one: compresses a page to its first bytes, and decompresses to a page of a pattern. */
const tiny: CodecFactory = (memory) => {
  const bytes = new Uint8Array(memory.buffer);
  return {
    name: 'tiny',
    format: PageFormat.zstd,
    compress: (from, out) => {
      bytes.copyWithin(out, from, from + 48);
      return 48;
    },
    decompress: (from, _length, to) => {
      for (let i = 0; i < 4096; i += 48)
        bytes.copyWithin(to + i, from, from + Math.min(48, 4096 - i));
      return 4096;
    },
  };
};
const pattern = (seed: number): Uint8Array => {
  const word = page('random', seed).subarray(0, 48);
  return Uint8Array.from({ length: 4096 }, (_, i) => word[i % 48]!);
};

test('C17 recompression leaves every get unchanged, and uses less memory', { skip }, () => {
  const twin = new StoreTwin(1000, 0, dense);
  for (let n = 0; n < 1000; n++) twin.put(n, page(pageKinds[n % pageKinds.length]!, n));
  const before = twin.store.usedBytes;
  const payload = twin.store.counter(CounterAt.storedBytes);
  const answers = new Map<number, number>();
  for (let n = 0; n < 1000; n++) {
    const answer = twin.recompress(n);
    answers.set(answer, (answers.get(answer) ?? 0) + 1);
    if (n % 100 === 0) twin.check();
  }
  twin.check();
  twin.checkPages();
  assert.ok(
    answers.get(RecompressResult.smaller)! > 200 && answers.get(RecompressResult.kept)! > 200,
  );
  assert.ok(twin.store.counter(CounterAt.storedBytes) < payload * 0.9);
  while (twin.store.maintain(500));
  assert.ok(twin.store.usedBytes < before);
  for (let n = 0; n < 1000; n++) twin.drop(n);
  twin.releaseAll();
  twin.check();
});

test('C17 a raw page that the dense codec compresses is no longer stored or charged as raw', () => {
  const raw: CodecFactory = (memory, kernels) => ({ ...lz4(memory, kernels), compress: () => 0 });
  const store = new Store({ slots: 10, budget: new Budget(0), codec: raw, dense: tiny });
  const bytes = pattern(3);
  store.put(slotOf(4), bytes, 0);
  assert.equal(store.counter(CounterAt.rawPages), 1);
  assert.equal(store.recompress(slotOf(4)), RecompressResult.smaller);
  store.verify();
  assert.equal(store.formatOf(slotOf(4)), PageFormat.zstd);
  assert.deepEqual(
    [CounterAt.rawPages, CounterAt.densePages, CounterAt.storedBytes].map((c) => store.counter(c)),
    [0, 1, 48],
  );
  const into = new Uint8Array(4096);
  assert.equal(store.get(slotOf(4), into, 0), GetResult.found);
  assert.deepEqual(into, bytes);
});

test('a page that does not become smaller is not tried again until its next put', () => {
  let calls = 0;
  const never: CodecFactory = (memory, kernels) => ({
    ...tiny(memory, kernels),
    compress: () => {
      calls++;
      return 0;
    },
  });
  const store = new Store({ slots: 10, budget: new Budget(0), dense: never });
  store.put(slotOf(1), page('text', 1), 0);
  for (let i = 0; i < 3; i++) {
    assert.equal(store.recompress(slotOf(1)), RecompressResult.kept);
    assert.equal(store.recompressIdle(5, 0), 0);
    store.get(slotOf(1), new Uint8Array(4096), 0);
  }
  assert.equal(calls, 1);
  assert.equal(store.counter(CounterAt.recompressKept), 1);
  store.put(slotOf(1), page('text', 1), 0);
  assert.equal(store.recompressIdle(5, 0), 1);
  assert.equal(calls, 2);
  store.verify();
});

test('a page is recompressed if its size class becomes smaller, and not within the same class', () => {
  let length = 0;
  const exact: CodecFactory = (memory, kernels) => ({
    ...tiny(memory, kernels),
    compress(from, out) {
      tiny(memory, kernels).compress(from, out, 4096);
      return length;
    },
  });
  const store = new Store({ slots: 10, budget: new Budget(0), dense: exact });
  store.put(slotOf(1), pattern(1), 0);
  const { ofEighths } = sizeClasses();
  const classOf = (bytes: number): number => ofEighths[(bytes + 4 + 7) >>> 3]!;
  const packed = store.compressedBytes(slotOf(1));
  length = packed;
  while (classOf(length - 1) === classOf(packed)) length--;
  assert.equal(store.recompress(slotOf(1)), RecompressResult.kept, `${length} bytes for ${packed}`);
  store.put(slotOf(1), pattern(1), 0);
  length--;
  assert.ok(length >= 48);
  assert.equal(
    store.recompress(slotOf(1)),
    RecompressResult.smaller,
    `${length} bytes for ${packed}`,
  );
  store.verify();
});

test('without a dense codec, and for empty slots and same-filled pages, nothing changes', () => {
  const store = new Store({ slots: 10, budget: new Budget(0) });
  store.put(slotOf(1), page('text', 1), 0);
  assert.equal(store.recompress(slotOf(1)), RecompressResult.kept);
  assert.equal(store.recompressIdle(9, 0), 0);
  const other = new Store({ slots: 10, budget: new Budget(0), dense: tiny });
  other.putWord(slotOf(2), 1, 2);
  assert.equal(other.recompress(slotOf(2)), RecompressResult.kept);
  assert.equal(other.recompress(slotOf(3)), RecompressResult.absent);
  assert.throws(() => other.recompress(slotOf(10)), InvariantError);
});

test('C16 C17 without space for both forms the page is unchanged, and the limit is not exceeded', () => {
  const twin = new StoreTwin(4000, 700_000, null);
  let count = 0;
  while (twin.put(count, page('random', count)) !== PutResult.refused) count++;
  const { limitBytes } = twin.budget;
  const store = new Store({ slots: 4000, budget: new Budget(limitBytes), dense: tiny });
  const pages: Uint8Array[] = [];
  for (let n = 0; n < 4000; n++) {
    pages.push(n % 5 === 0 ? pattern(n) : page('random', n));
    if (store.put(slotOf(n), pages[n]!, 0) === PutResult.refused) break;
  }
  let tried = 0;
  for (let n = 0; n < pages.length; n += 5)
    if (store.recompress(slotOf(n)) !== RecompressResult.noSpace) tried++;
  store.verify();
  assert.ok(tried < pages.length / 5, 'some pages had no space');
  assert.ok(store.counter(CounterAt.recompressNoSpace) > 0);
  const into = new Uint8Array(4096);
  for (let n = 0; n < pages.length; n += 5)
    if (store.get(slotOf(n), into, 0) === GetResult.found)
      assert.deepEqual(into, pages[n], `slot ${n}`);
});

test('C17 a page may be moved to free space for its own new form', { skip }, () => {
  let moved = 0;
  for (let first = 0; first < 40; first++) {
    const twin = new StoreTwin(2000, 500_000, dense);
    let count = 0;
    const kinds = ['text', 'records'] as const;
    while (twin.put(count, page(kinds[count % 2]!, count)) !== PutResult.refused) count++;
    // Zspages have free objects, and the limit is what is in use: only compaction makes space.
    for (let n = 0; n < count; n++) if (n % 8 > 2) twin.drop(n);
    twin.releaseAll();
    const { store, budget } = twin;
    assert.ok(budget.setLimit(budget.usedBytes));
    const n = Math.floor(first / 3) * 8 + (first % 3);
    const answer = twin.recompress(n);
    if (answer === RecompressResult.smaller && store.counter(CounterAt.moves) > 0) moved++;
    store.verify();
    twin.checkPages();
  }
  assert.ok(moved > 0, `${moved} moves made space`);
});

test('a damaged page is not recompressed; it stays damaged and is reported', () => {
  let bytes = new Uint8Array(0);
  const spy: CodecFactory = (memory, kernels) => {
    bytes = new Uint8Array(memory.buffer);
    return tiny(memory, kernels);
  };
  const store = new Store({ slots: 4, budget: new Budget(0), dense: spy });
  const random = page('random', 1);
  store.put(slotOf(0), random, 0);
  const at = Buffer.from(bytes.buffer).indexOf(random, 96 * 1024);
  bytes[at + 7]! ^= 4;
  assert.equal(store.recompress(slotOf(0)), RecompressResult.corrupt);
  assert.equal(store.recompressIdle(3, 0), 0, 'and the walk continues');
  bytes[at + 7]! ^= 4;
  const into = new Uint8Array(4096);
  assert.equal(store.get(slotOf(0), into, 0), GetResult.found);
  store.put(slotOf(1), pattern(2), 0);
  assert.equal(store.recompress(slotOf(1)), RecompressResult.smaller);
  const packed = Buffer.from(bytes.buffer).lastIndexOf(pattern(2).subarray(0, 48));
  bytes[packed + 3]! ^= 1;
  assert.equal(store.get(slotOf(1), into, 0), GetResult.corrupt);
});

test('a put or get sets age 0, and a pass increases the age up to 3', () => {
  const store = new Store({ slots: 5000, budget: new Budget(0), dense: tiny });
  const into = new Uint8Array(4096);
  for (const n of [0, 7, 1023, 1024, 4999]) store.put(slotOf(n), page('text', n), 0);
  store.putWord(slotOf(8), 5, 6);
  const old = (age: number): number[] => {
    const found: number[] = [];
    for (let n = store.coldest(slotOf(0), 5000, age, false); n !== -1; ) {
      found.push(n);
      n = n === 4999 ? -1 : store.coldest(slotOf(n + 1), 5000, age, false);
    }
    return found;
  };
  assert.deepEqual(old(0), [0, 7, 1023, 1024, 4999], 'same-filled pages are skipped');
  assert.deepEqual(old(1), []);
  for (let step = 0; step < 5; step++) store.age(slotOf(0), 1024);
  assert.deepEqual(old(3), [0, 7, 1023]);
  store.get(slotOf(7), into, 0);
  store.put(slotOf(0), page('text', 5), 0);
  assert.deepEqual(old(1), [1023]);
  store.age(slotOf(0), 5000);
  assert.deepEqual(old(1), [0, 7, 1023, 1024, 4999]);
  assert.deepEqual(old(2), [1023]);
  assert.equal(store.get(slotOf(8), into, 0), GetResult.found);
  assert.equal(store.recompressIdle(1, 2), 1);
  assert.equal(store.formatOf(slotOf(1023)), PageFormat.zstd);
  assert.deepEqual(old(2), [1023], 'recompression does not count as a use of the page');
  assert.equal(store.recompressIdle(3, 1), 3, 'it continues where it stopped, and wraps around');
  assert.equal(store.recompressIdle(3, 1), 1);
  assert.equal(store.recompressIdle(3, 1), 0);
  store.verify();
  assert.throws(() => store.coldest(slotOf(0), 5001, 0, false), InvariantError);
  assert.throws(() => store.coldest(slotOf(0), 1, 4, false), InvariantError);
});

test('ageing and search cross the borders of shards, and skip shards that were never created', () => {
  const edge = SHARD_SLOTS_MAX;
  const slots = edge * 3;
  const store = new Store({ slots, budget: new Budget(0) });
  for (const n of [edge - 1, edge, slots - 1])
    store.put(slotOf(n), page(n === edge ? 'random' : 'text', 1), 0);
  store.age(slotOf(0), slots - 1);
  const from = (n: number, age: number, poor: boolean): number =>
    store.coldest(slotOf(n), slots, age, poor);
  assert.equal(from(0, 1, false), edge - 1);
  assert.equal(from(edge, 1, false), edge);
  assert.equal(from(edge + 1, 1, false), -1);
  assert.equal(from(edge + 1, 0, false), slots - 1);
  assert.equal(from(0, 0, true), edge);
});
