/** The swap map against a Map of numbers, and a count far past its byte. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { entryOf, offsetOf, typeOf } from '../../src/swap/entry.ts';
import { DuplicateResult, MapByte, SwapMap } from '../../src/swap/swap-map.ts';
import { randomTest } from '../support/fixtures/replay.ts';

test('an entry returns its type and offset, at both ends of their ranges', () => {
  for (const type of [0, 1, 31])
    for (const offset of [1, 255, 2 ** 26 - 1]) {
      const entry = entryOf(type, offset);
      assert.deepEqual([typeOf(entry), offsetOf(entry)], [type, offset]);
      assert.ok(entry > 0 && entry < 2 ** 31);
    }
  assert.throws(() => entryOf(32, 1), { name: 'InvariantError' });
  assert.throws(() => entryOf(0, 0), { name: 'InvariantError' });
});

test('a count carries through two continuation pages and back to the first byte', () => {
  const map = new SwapMap(16);
  map.take(5);
  const top = 63 * 128 + 200;
  for (let want = 1; want <= top; want++) {
    let answer = map.duplicate(5);
    if (answer === DuplicateResult.needsContinuation) {
      assert.equal(map.count(5), want - 1, 'a refused duplicate changes nothing');
      map.addContinuation(5);
      answer = map.duplicate(5);
    }
    assert.equal(answer, DuplicateResult.done);
    assert.equal(map.count(5), want);
  }
  for (let want = top - 1; want >= 0; want--) {
    assert.equal(map.drop(5), false, 'the slot is still cached');
    assert.equal(map.count(5), want);
  }
  assert.equal(map.bytes[5], MapByte.hasCache);
  assert.throws(() => map.drop(5), { name: 'InvariantError' });
  assert.equal(map.clearCache(5), true);
});

test('free and bad slots are neither duplicated nor cached', () => {
  const map = new SwapMap(16);
  map.markBad(3);
  for (const slot of [0, 3, 4]) {
    assert.equal(map.duplicate(slot), DuplicateResult.badEntry);
    assert.equal(map.setCache(slot), false);
    assert.throws(() => map.drop(slot), { name: 'InvariantError' });
  }
  assert.throws(() => map.take(3), { name: 'InvariantError' });
});

interface Row {
  count: number;
  cache: boolean;
}

randomTest('the swap map matches a Map of counts', 20_000, (prng, steps) => {
  const slots = 40;
  const map = new SwapMap(slots);
  const model = new Map<number, Row>();
  const check = (slot: number): void => {
    const row = model.get(slot);
    assert.equal(map.isFree(slot), row === undefined);
    if (row === undefined) return;
    assert.equal(map.count(slot), row.count);
    assert.equal(map.hasCache(slot), row.cache);
    assert.equal(map.isReferenced(slot), row.count > 0);
    assert.equal((map.bytes[slot]! & MapByte.continued) !== 0, row.count > 62);
  };
  for (let step = 0; step < steps; step++) {
    const slot = 1 + prng.below(slots - 1);
    const row = model.get(slot);
    const many = prng.oneIn(50) ? 100 : 1;
    const kind = prng.below(5);
    if (row === undefined) {
      map.take(slot);
      model.set(slot, { count: 0, cache: true });
    } else if (kind < 2) {
      for (let i = 0; i < many; i++) {
        if (map.duplicate(slot) === DuplicateResult.needsContinuation) {
          map.addContinuation(slot);
          assert.equal(map.duplicate(slot), DuplicateResult.done);
        }
        row.count++;
      }
    } else if (kind < 4) {
      for (let i = 0; i < many && row.count > 0; i++) {
        row.count--;
        assert.equal(map.drop(slot), row.count === 0 && !row.cache);
      }
    } else if (row.cache) {
      row.cache = false;
      assert.equal(map.clearCache(slot), row.count === 0);
    } else {
      row.cache = true;
      assert.equal(map.setCache(slot), true);
    }
    const now = model.get(slot);
    if (now !== undefined && now.count === 0 && !now.cache) model.delete(slot);
    check(slot);
    check(1 + prng.below(slots - 1));
  }
});
