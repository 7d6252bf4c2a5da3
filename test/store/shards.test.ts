/** A store of two shards: slots on both sides of 2^19, with one common limit. Uses only address space until pages are stored. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { slot as slotOf } from '../../src/base/units.ts';
import { CounterAt, GetResult, PutResult } from '../../src/store/results.ts';
import { SHARD_SLOTS_MAX } from '../../src/store/shard-parts.ts';
import { Store } from '../../src/store/store.ts';
import { FakeReturns } from '../support/fakes/fake-returns.ts';
import { noisePage } from '../support/fixtures/pages.ts';

const EDGE = 2 ** 19;
const SLOTS = EDGE + 4096;

function twoShards(limitBytes = 0): { store: Store; budget: Budget } {
  const budget = new Budget(limitBytes);
  const returns = new FakeReturns();
  return { store: new Store({ slots: SLOTS, budget, release: returns.factory }), budget };
}

function holds(store: Store, n: number, bytes: Uint8Array): void {
  const target = new Uint8Array(4096);
  assert.equal(store.get(slotOf(n), target, 0), GetResult.found, `slot ${n}`);
  assert.deepEqual(target, bytes, `slot ${n}`);
}

test('slots on both sides of the border of two shards are different slots', () => {
  assert.equal(SHARD_SLOTS_MAX, EDGE);
  const { store } = twoShards();
  const slots = [0, EDGE - 1, EDGE, SLOTS - 1];
  for (const n of slots) assert.equal(store.put(slotOf(n), noisePage(n), 0), PutResult.stored);
  for (const n of slots) holds(store, n, noisePage(n));
  assert.equal(store.storedPages, 4);
  assert.ok(store.drop(slotOf(EDGE)));
  assert.equal(store.drop(slotOf(EDGE)), false);
  holds(store, EDGE - 1, noisePage(EDGE - 1));
  holds(store, 0, noisePage(0));
  store.verify();
});

test('a range across the border of two shards is dropped exactly', () => {
  const { store } = twoShards();
  for (let n = EDGE - 5; n < EDGE + 5; n++) store.putWord(slotOf(n), n, 0);
  assert.equal(store.dropRange(slotOf(EDGE - 3), EDGE + 3), 6);
  for (let n = EDGE - 5; n < EDGE + 5; n++)
    assert.equal(store.formatOf(slotOf(n)) !== 0, n < EDGE - 3 || n >= EDGE + 3, `slot ${n}`);
  assert.equal(store.dropRange(slotOf(0), SLOTS), 4);
  assert.equal(store.storedPages, 0);
  store.verify();
});

test('the next slot that may have a page is found across the border, or the end if there is none', () => {
  const { store } = twoShards();
  const next = (from: number, to: number): number => store.skipEmpty(slotOf(from), to);
  assert.equal(next(0, SLOTS), SLOTS, 'nothing is stored, and the second shard does not exist');
  store.putWord(slotOf(EDGE + 2100), 1, 0);
  // Returns the slot, or the start of its group of 1024.
  for (const from of [0, EDGE - 1, EDGE]) assert.equal(next(from, SLOTS), EDGE + 2048);
  assert.equal(next(EDGE + 2100, SLOTS), EDGE + 2100);
  assert.equal(next(0, EDGE), EDGE, 'the end of the range is the end of a shard');
  assert.equal(next(0, EDGE + 1), EDGE + 1);
  assert.equal(next(0, EDGE + 2048), EDGE + 2048);
  assert.equal(next(EDGE + 3072, SLOTS), SLOTS);
  store.putWord(slotOf(EDGE - 1), 1, 0);
  assert.equal(next(0, SLOTS), EDGE - 1024);
});

test('space that one shard frees is available to the other at once', () => {
  const { store, budget } = twoShards(1_500_000);
  let first = 0;
  while (store.put(slotOf(first), noisePage(first), 0) === PutResult.stored) first++;
  assert.ok(first > 100);
  store.dropRange(slotOf(0), first);
  const refused = store.counter(CounterAt.refusedByLimit);
  let second = 0;
  while (store.put(slotOf(EDGE + second), noisePage(second), 0) === PutResult.stored) second++;
  // The second shard has tables as large as those of the first one, which stay allocated.
  assert.ok(second >= first - 30, `${second} pages after ${first}`);
  assert.equal(
    store.counter(CounterAt.refusedByLimit),
    refused + 1,
    'only the last put is refused',
  );
  assert.ok(budget.peakBytes <= budget.limitBytes);
  for (let n = 0; n < second; n++) holds(store, EDGE + n, noisePage(n));
  store.verify();
});

test('maintain reports more work until every shard is done', () => {
  for (const base of [0, EDGE]) {
    const { store, budget } = twoShards();
    for (let n = 0; n < 2000; n++) store.put(slotOf(base + n), noisePage(n), 0);
    store.dropRange(slotOf(base), base + 2000);
    let calls = 0;
    while (store.maintain(64)) assert.ok(++calls < 1000, 'maintain ends');
    const kept = (budget.usedBytes - store.usedBytes) / 4096;
    assert.ok(kept <= 256, `${kept} free pages are kept by the shard of slot ${base}`);
  }
});

test('counters are the sum over the shards', () => {
  const { store } = twoShards();
  store.put(slotOf(1), noisePage(1), 0);
  store.put(slotOf(EDGE + 1), noisePage(2), 0);
  store.putWord(slotOf(EDGE + 2), 0, 0);
  assert.equal(store.storedPages, 3);
  assert.equal(store.counter(CounterAt.rawPages), 2);
  assert.equal(store.counter(CounterAt.samePages), 1);
  assert.equal(store.counter(CounterAt.storedBytes), 8192);
});
