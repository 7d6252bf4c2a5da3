/** When a disk near its limit is reported. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FillWatch } from '../../src/host/fill-watch.ts';

const looks = (limit: number, used: readonly number[]): boolean[] => {
  const watch = new FillWatch();
  return used.map((bytes) => watch.check(bytes, limit));
};

test('a disk at 90 % of its limit is reported once, one byte less is not', () => {
  assert.deepEqual(looks(1000, [0, 899, 900, 950, 1000]), [false, false, true, false, false]);
});

test('it is reported again after the usage was below 80 %, and not before', () => {
  assert.deepEqual(looks(1000, [900, 800, 900]), [true, false, false]);
  assert.deepEqual(looks(1000, [900, 799, 900]), [true, false, true]);
});

test('a disk without a limit is never near it', () => {
  assert.deepEqual(looks(0, [0, 1, 1e12]), [false, false, false]);
});
