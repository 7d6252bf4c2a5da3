/** Checks the histogram against a sorted list. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../../src/base/assert.ts';
import { Histogram } from '../../../src/block/filters/histogram.ts';
import { randomTest } from '../../support/fixtures/replay.ts';

test('small values and the ends of the range are exact', () => {
  for (const value of [0, 1, 7, 8, 15, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
    const histogram = new Histogram();
    histogram.add(value);
    assert.equal(histogram.quantile(0.5), value);
    assert.equal(histogram.max, value);
  }
  assert.equal(new Histogram().quantile(1), 0);
  assert.throws(() => new Histogram().add(-1), InvariantError);
  assert.throws(() => new Histogram().quantile(1.1), InvariantError);
});

test('values on both sides of 2^32 are in different buckets', () => {
  for (const value of [2 ** 32 - 2 ** 28, 2 ** 32, 2 ** 33]) {
    const histogram = new Histogram();
    histogram.add(value);
    histogram.add(2 ** 40);
    const exponent = Math.floor(Math.log2(value));
    assert.equal(histogram.quantile(0.5), value + 2 ** (exponent - 3) - 1);
  }
});

test('values of 32 bits whose highest bit is set have a bucket', () => {
  for (const value of [2 ** 31, 15 * 2 ** 28, 2 ** 32 - 1]) {
    const histogram = new Histogram();
    histogram.add(value);
    histogram.add(2 ** 40);
    const out = new Float64Array(2);
    histogram.countsBelow([2 ** 31, 2 ** 32], out);
    assert.deepEqual([...out], [0, 1]);
  }
});

randomTest('a quantile is at most one eighth too large, never too small', 300, (prng, steps) => {
  for (let round = 0; round < 5; round++) {
    const histogram = new Histogram();
    const values: number[] = [];
    for (let i = 0; i < steps; i++) {
      const value = Math.floor(prng.u32() * 2 ** (prng.below(44) - 31));
      values.push(value);
      histogram.add(value);
    }
    values.sort((a, b) => a - b);
    for (const q of [0, 0.01, 0.5, 0.9, 0.99, 0.999, 1]) {
      const exact = values[Math.max(0, Math.ceil(q * steps) - 1)]!;
      const got = histogram.quantile(q);
      assert.ok(got >= exact && got <= exact * 1.125, `q ${q}: ${got} for ${exact}`);
    }
    assert.equal(histogram.count, steps);
    assert.equal(
      histogram.sum,
      values.reduce((sum, v) => sum + v, 0),
    );
  }
});

/** Limits that are smallest values of buckets, over the range of the histogram. */
const limits = [0, 1, 7, 8, 15, 16, 18, 30, 32, 10 * 2 ** 10, 9 * 2 ** 40, 2 ** 52];

randomTest('the counts below limits are those of a sorted list', 300, (prng, steps) => {
  const histogram = new Histogram();
  const values: number[] = [];
  for (let i = 0; i < steps; i++) {
    const near = limits[prng.below(limits.length)]! + prng.below(3) - 1;
    const value = Math.max(0, prng.below(2) === 0 ? near : prng.u32() * 2 ** prng.below(20));
    values.push(value);
    histogram.add(value);
  }
  const counts = new Float64Array(limits.length);
  histogram.countsBelow(limits, counts);
  assert.deepEqual(
    [...counts],
    limits.map((limit) => values.filter((value) => value < limit).length),
  );
});

test('a limit inside a bucket, a descending one and a missing element are bugs of the caller', () => {
  const out = new Float64Array(2);
  const wrong: readonly (readonly number[])[] = [[17], [10_000], [16, 8], [1, 2, 3]];
  for (const one of wrong)
    assert.throws(() => new Histogram().countsBelow(one, out), InvariantError, one.join());
  new Histogram().countsBelow([16, 16], out);
});
