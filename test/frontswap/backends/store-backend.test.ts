/**
 * Page stores behind the front end: contract tests C1, C2, C3, C5, C13 to C16. A random walk over several areas checks pages and
 * counters after each step.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../../src/arena/budget.ts';
import { keepPages } from '../../../src/arena/ops.ts';
import { InvariantError } from '../../../src/base/assert.ts';
import { lz4 } from '../../../src/codec/lz4.ts';
import { type StoreBackend, storeBackend } from '../../../src/frontswap/backends/store-backend.ts';
import { Frontswap } from '../../../src/frontswap/frontswap.ts';
import { LoadResult } from '../../../src/frontswap/ops.ts';
import { loadNativeZstd } from '../../../src/os/native-codec.ts';
import { CounterAt } from '../../../src/store/results.ts';
import { FakeReturns } from '../../support/fakes/fake-returns.ts';
import { madePage as page, pageKinds } from '../../support/fixtures/pages.ts';
import { randomTest } from '../../support/fixtures/replay.ts';

const into = new Uint8Array(4096);

function setUp(limitBytes: number): { budget: Budget; backend: StoreBackend; front: Frontswap } {
  const budget = new Budget(limitBytes);
  const backend = storeBackend(budget, lz4, new FakeReturns().factory);
  const front = new Frontswap();
  front.register(backend);
  return { budget, backend, front };
}

test('C1 C16 every kind of page replaces every other, and is charged as the last one', () => {
  const { backend, front } = setUp(0);
  front.init(0, 10);
  let seed = 0;
  for (const first of pageKinds)
    for (const second of pageKinds) {
      assert.equal(front.store(0, 5, page(first, seed++), 0), true);
      const last = page(second, seed++);
      assert.equal(front.store(0, 5, last, 0), true);
      assert.equal(front.load(0, 5, into, 0), LoadResult.loaded);
      assert.deepEqual(into, last);
      assert.equal(backend.counter(CounterAt.storedPages), 1);
    }
  front.store(0, 5, page('zero', 0), 0);
  assert.equal(backend.counter(CounterAt.storedBytes), 0);
  front.store(0, 5, page('random', 0), 0);
  assert.equal(backend.counter(CounterAt.storedBytes), 4096);
  front.verify();
  backend.verify();
});

test('C2 a store refused at the limit leaves no old page in the backend', () => {
  const { backend, front } = setUp(700_000);
  front.init(0, 1000);
  const held: number[] = [];
  for (let n = 0; n < 500; n++) if (front.store(0, n, page('text', n), 0)) held.push(n);
  // Replace compressible pages by incompressible ones: some find no space.
  let refused = 0;
  for (const n of held) {
    if (front.store(0, n, page('random', n), 0)) continue;
    refused++;
    assert.equal(front.has(0, n), false);
    assert.equal(front.load(0, n, into, 0), LoadResult.absent);
    assert.equal(backend.load(0, n, into, 0), LoadResult.absent, 'the backend has no page either');
  }
  assert.ok(refused > 0, 'the limit was reached');
  assert.ok(backend.counter(CounterAt.refusedByLimit) >= refused);
  front.verify();
  backend.verify();
});

test('C5 C14 a freed slot is empty at once, and never returns its old page', () => {
  const { backend, front } = setUp(0);
  front.init(0, 10);
  for (const kind of pageKinds) {
    front.store(0, 1, page(kind, 1), 0);
    front.invalidatePage(0, 1);
    assert.equal(backend.counter(CounterAt.storedPages), 0);
    assert.equal(backend.counter(CounterAt.storedBytes), 0);
    assert.equal(backend.load(0, 1, into, 0), LoadResult.absent);
    const next = page('records', 2);
    front.store(0, 1, next, 0);
    assert.equal(front.load(0, 1, into, 0), LoadResult.loaded);
    assert.deepEqual(into, next);
    front.invalidatePage(0, 1);
  }
  backend.verify();
});

test('C13 an area that is off refuses stores and has released its memory and budget', () => {
  const { budget, backend, front } = setUp(0);
  front.init(0, 5000);
  front.init(1, 5000);
  front.store(1, 0, page('text', 0), 0);
  const before = budget.usedBytes;
  for (let n = 0; n < 5000; n++) front.store(0, n, page(pageKinds[n % 10]!, n), 0);
  assert.ok(budget.usedBytes > before + 5_000_000);
  front.invalidateArea(0);
  assert.equal(budget.usedBytes, before);
  assert.equal(backend.counter(CounterAt.storedPages), 1);
  assert.equal(backend.store(0, 0, page('text', 1), 0), false);
  assert.equal(backend.load(0, 0, into, 0), LoadResult.absent);
  backend.invalidatePage(0, 0);
  front.init(0, 20); // another size
  assert.equal(backend.load(0, 0, into, 0), LoadResult.absent);
  assert.equal(front.store(0, 19, page('text', 1), 0), true);
  front.invalidateArea(0);
  front.invalidateArea(1);
  assert.equal(budget.usedBytes, 0);
  assert.equal(backend.usedBytes(), 0);
});

test('C13 the budget is released even if the system cannot release memory', () => {
  const budget = new Budget(0);
  const backend = storeBackend(budget, lz4, keepPages);
  backend.init(0, 1000);
  for (let n = 0; n < 1000; n++) backend.store(0, n, page('random', n), 0);
  backend.invalidateArea(0);
  assert.equal(budget.usedBytes, 0);
  assert.throws(() => {
    backend.init(0, 10);
    backend.init(0, 10);
  }, InvariantError);
});

test('a page whose bytes were damaged is an error, not absent', () => {
  let memory = new Uint8Array(0);
  const backend = storeBackend(new Budget(0), lz4, ({ buffer }) => {
    memory = new Uint8Array(buffer);
    return { release: () => false };
  });
  const front = new Frontswap();
  front.register(backend);
  front.init(0, 10);
  const bytes = page('random', 3);
  front.store(0, 4, bytes, 0);
  const image = Buffer.from(memory.buffer);
  for (let at = image.indexOf(bytes); at >= 0; at = image.indexOf(bytes)) image[at + 99]! ^= 1;
  assert.equal(front.load(0, 4, into, 0), LoadResult.corrupt);
  assert.deepEqual(front.counters.violated(), ['loadsDamaged']);
  assert.equal(backend.counter(CounterAt.corruptions), 1);
});

test('space freed by one area is available to another at once', () => {
  const { budget, front } = setUp(3_000_000);
  front.init(0, 1000);
  front.init(1, 1000);
  const fill = (type: number): number => {
    let kept = 0;
    while (kept < 1000 && front.store(type, kept, page('random', kept), 0)) kept++;
    return kept;
  };
  const first = fill(0);
  assert.ok(first > 500 && first < 1000, `${first} pages fill the limit`);
  for (let n = 0; n < first; n++) front.invalidatePage(0, n);
  assert.ok(budget.usedBytes > 2_000_000, 'free but still resident');
  const second = fill(1);
  assert.ok(second > first * 0.9, `${second} after ${first}`);
});

test('maintain and compactIdle release memory', () => {
  const { budget, backend, front } = setUp(0);
  front.init(0, 3000);
  front.init(1, 3000);
  for (const type of [0, 1])
    for (let n = 0; n < 3000; n++) front.store(type, n, page('random', n), 0);
  for (const type of [0, 1]) for (let n = 0; n < 3000; n++) front.invalidatePage(type, n);
  assert.ok(budget.usedBytes > 20_000_000);
  assert.equal(backend.maintain(6000), true);
  assert.ok(budget.usedBytes < 3_000_000, `${budget.usedBytes} bytes: the reserves remain`);
  assert.equal(backend.maintain(1), false, 'one call does both areas');
  while (backend.compactIdle());
  assert.ok(budget.usedBytes < 300_000, `${budget.usedBytes} bytes`);
  backend.verify();
});

randomTest('C3 C15 accepted pages are found until they are invalidated', 6000, (prng, steps) => {
  const { budget, backend, front } = setUp(2_000_000);
  const held = new Map<string, Uint8Array>();
  const on = new Set<number>();
  const slots = 400;
  let refused = 0;
  for (let i = 0; i < steps; i++) {
    const type = prng.below(3);
    const offset = prng.below(slots);
    const key = `${type}:${offset}`;
    const what = prng.below(1000);
    if (what < 600) {
      const bytes = page(pageKinds[prng.below(10)]!, i);
      held.delete(key);
      if (front.store(type, offset, bytes, 0)) held.set(key, bytes);
      else refused++;
    } else if (what < 850) {
      front.invalidatePage(type, offset);
      held.delete(key);
    } else if (what < 985) {
      const want = held.get(key);
      assert.equal(front.load(type, offset, into, 0), want ? LoadResult.loaded : LoadResult.absent);
      if (want) assert.deepEqual(into, want);
    } else if (what < 995) backend.maintain(64);
    else if (on.delete(type)) {
      front.invalidateArea(type);
      for (const k of held.keys()) if (k.startsWith(`${type}:`)) held.delete(k);
    } else {
      front.init(type, slots);
      on.add(type);
    }
    assert.equal(front.currPages(), held.size);
    assert.equal(backend.counter(CounterAt.storedPages), held.size);
    assert.equal(front.counters.get('failedStores'), refused);
    assert.ok(budget.usedBytes <= budget.limitBytes);
    assert.ok(backend.usedBytes() <= budget.usedBytes);
    if (i % 500 === 0) {
      front.verify();
      backend.verify();
    }
  }
  for (const [key, want] of held) {
    const [type, offset] = key.split(':').map(Number);
    assert.equal(front.load(type!, offset!, into, 0), LoadResult.loaded);
    assert.deepEqual(into, want);
  }
  for (const type of on) front.invalidateArea(type);
  assert.equal(budget.usedBytes, 0);
  assert.deepEqual(front.counters.violated(), []);
});

test('maintain ages pages as others change, and compactIdle recompresses idle ones', () => {
  const zstd = loadNativeZstd().factory;
  const backend = storeBackend(new Budget(0), lz4, keepPages, zstd);
  const front = new Frontswap();
  front.register(backend);
  front.init(0, 400);
  front.init(3, 400);
  for (let n = 0; n < 200; n++) front.store(n % 2 === 0 ? 0 : 3, n, page('text', n), 0);
  const pages = front.coldPages(0)!;
  assert.equal(pages.coldest(0, 400, 1, false), -1);
  for (let i = 0; i < 4; i++) backend.maintain(100);
  assert.equal(pages.coldest(0, 400, 1, false), 0, 'the clock hand has done one round');
  assert.equal(front.coldPages(3)!.coldest(0, 400, 2, false), -1);
  front.load(0, 0, into, 0);
  assert.equal(pages.coldest(0, 400, 1, false), 2, 'a load resets the age');
  assert.equal(pages.coldest(0, 400, 1, true), -1, 'text is compressible');
  while (backend.compactIdle());
  assert.equal(backend.counter(CounterAt.recompressed), 0, 'no page is idle yet');
  for (let i = 0; i < 4; i++) backend.maintain(100);
  while (backend.compactIdle());
  const { recompressed, recompressKept } = CounterAt;
  const tried = backend.counter(recompressed) + backend.counter(recompressKept);
  assert.equal(tried, zstd === null ? 0 : 199, 'all pages except the loaded one');
  for (let n = 0; n < 200; n++) {
    assert.equal(front.load(n % 2 === 0 ? 0 : 3, n, into, 0), LoadResult.loaded);
    assert.deepEqual(into, page('text', n));
  }
  backend.verify();
});
