/** Compressed pages read from a store and put into another one, as a lower tier does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { InvariantError } from '../../src/base/assert.ts';
import { Prng } from '../../src/base/prng.ts';
import { slot } from '../../src/base/units.ts';
import { PageFormat } from '../../src/codec/codec.ts';
import { CounterAt, GetResult, PutResult } from '../../src/store/results.ts';
import { Store } from '../../src/store/store.ts';
import { makePage, pageKinds } from '../support/fixtures/pages.ts';

const into = new Uint8Array(4096);
const packed = new Uint8Array(5000);

test('compressed bytes put in another slot of another store are the same page; other pages have none', () => {
  const from = new Store({ slots: 100, budget: new Budget(0) });
  const to = new Store({ slots: 100, budget: new Budget(0) });
  for (const [i, kind] of pageKinds.entries()) {
    const page = new Uint8Array(4096);
    makePage(kind, new Prng(i), page);
    from.put(slot(i), page, 0);
    const format = from.formatOf(slot(i));
    const length = from.compressedBytes(slot(i));
    packed.fill(0xee);
    assert.equal(from.readCompressed(slot(i), packed, 700), length);
    const isPacked = format === PageFormat.lz4 || format === PageFormat.filtered;
    assert.equal(length > 0, isPacked, kind);
    assert.ok(packed.subarray(0, 700).every((byte) => byte === 0xee));
    assert.ok(packed.subarray(700 + length).every((byte) => byte === 0xee));
    if (length === 0) continue;
    assert.equal(to.putCompressed(slot(99 - i), format, packed, 700, length), PutResult.stored);
    assert.equal(to.get(slot(99 - i), into, 0), GetResult.found);
    assert.deepEqual(into, page);
    assert.equal(to.compressedBytes(slot(99 - i)), length);
  }
  assert.equal(from.readCompressed(slot(50), packed, 0), 0, 'an empty slot');
  assert.equal(from.storedPages, pageKinds.length);
  from.verify();
  to.verify();
});

test('compressed bytes replace a page, or are refused at the limit and change nothing', () => {
  const store = new Store({ slots: 1000, budget: new Budget(400_000) });
  const page = new Uint8Array(4096);
  makePage('poor', new Prng(1), page);
  store.put(slot(0), page, 0);
  makePage('text', new Prng(2), page);
  store.put(slot(1), page, 0);
  const length = store.readCompressed(slot(1), packed, 0);
  let n = 2;
  while (store.putCompressed(slot(n), PageFormat.lz4, packed, 0, length) === PutResult.stored) n++;
  assert.ok(n > 10 && store.counter(CounterAt.refusedByLimit) > 0);
  assert.equal(store.get(slot(n), into, 0), GetResult.absent);
  assert.equal(store.putCompressed(slot(0), PageFormat.lz4, packed, 0, length), PutResult.stored);
  assert.equal(store.get(slot(0), into, 0), GetResult.found);
  assert.deepEqual(into, page);
  assert.equal(store.storedPages, n);
  store.verify();
});

test('invalid arguments for compressed bytes are an InvariantError', () => {
  const store = new Store({ slots: 10, budget: new Budget(0) });
  for (const put of [
    () => store.putCompressed(slot(0), PageFormat.raw, packed, 0, 100),
    () => store.putCompressed(slot(0), PageFormat.lz4, packed, 0, 0),
    () => store.putCompressed(slot(0), PageFormat.lz4, packed, 0, 4096),
    () => store.putCompressed(slot(0), PageFormat.lz4, packed, 4990, 20),
    () => store.putCompressed(slot(10), PageFormat.lz4, packed, 0, 20),
  ])
    assert.throws(put, InvariantError);
  assert.equal(store.storedPages, 0);
  const page = new Uint8Array(4096);
  makePage('text', new Prng(2), page);
  store.put(slot(0), page, 0);
  assert.throws(() => store.readCompressed(slot(0), packed, 4990), InvariantError);
});
