import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { InvariantError } from '../../src/base/assert.ts';
import { randomTest } from '../support/fixtures/replay.ts';

test('a reservation up to the limit succeeds, one byte more fails', () => {
  const budget = new Budget(100);
  assert.equal(budget.reserve(101), false);
  assert.equal(budget.reserve(100), true);
  assert.equal(budget.reserve(1), false);
  assert.equal(budget.usedBytes, 100);
  budget.release(1);
  assert.equal(budget.reserve(1), true);
});

test('limit 0 is unlimited, also above 4 GiB', () => {
  const budget = new Budget(0);
  for (let i = 0; i < 5; i++) assert.equal(budget.reserve(2 ** 32), true);
  assert.equal(budget.usedBytes, 5 * 2 ** 32);
});

test('a reservation that the parent refuses changes neither budget', () => {
  const parent = new Budget(100);
  const a = new Budget(0, parent);
  const b = new Budget(80, parent);
  assert.equal(a.reserve(50), true);
  assert.equal(b.reserve(60), false);
  assert.equal(b.usedBytes, 0);
  assert.equal(parent.usedBytes, 50);
  assert.equal(b.reserve(50), true);
  a.release(50);
  assert.equal(b.reserve(31), false, 'its own limit');
  assert.equal(parent.usedBytes, 50);
});

test('the peak is the highest usedBytes, refusals aside', () => {
  const budget = new Budget(100);
  budget.reserve(70);
  budget.release(60);
  budget.reserve(200);
  budget.reserve(20);
  assert.equal(budget.peakBytes, 70);
});

test('releasing more than is reserved is an InvariantError', () => {
  const budget = new Budget(0);
  budget.reserve(10);
  assert.throws(() => budget.release(11), InvariantError);
  assert.equal(budget.usedBytes, 10);
});

test('a limit that is not a whole number of bytes is ERR_ARG_VALUE', () => {
  for (const limit of [-1, 0.5, Number.NaN, 2 ** 53])
    assert.throws(() => new Budget(limit), {
      code: 'ERR_ARG_VALUE',
      message: /limitBytes is the number/,
    });
});

randomTest('the usage of a parent budget is the sum of its children', 5000, (prng, steps) => {
  const root = new Budget(10_000);
  const disks = [new Budget(0, root), new Budget(4_000, root)];
  const leaves = [0, 1, 2, 3].map((i) => ({
    budget: new Budget(0, disks[i & 1]!),
    held: 0,
    disk: i & 1,
  }));
  const sum = (disk?: number): number =>
    leaves.reduce((n, l) => n + (disk === undefined || l.disk === disk ? l.held : 0), 0);
  for (let i = 0; i < steps; i++) {
    const leaf = leaves[prng.below(4)]!;
    const n = prng.below(900);
    if (prng.oneIn(2)) {
      const fits = sum() + n <= 10_000 && (leaf.disk === 0 || sum(1) + n <= 4_000);
      assert.equal(leaf.budget.reserve(n), fits);
      if (fits) leaf.held += n;
    } else if (n <= leaf.held) {
      leaf.budget.release(n);
      leaf.held -= n;
    }
    assert.equal(root.usedBytes, sum());
    assert.equal(disks[1]!.usedBytes, sum(1));
    assert.equal(leaf.budget.usedBytes, leaf.held);
  }
});
