/** ProblemHistory: a problem is new when it starts, and again only after it was absent for a second. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Problem, ProblemHistory } from '../../src/memory/tiers-problem.ts';

const { full, overBudget } = Problem;

/** A history that records what a check at a time, ms, found. */
function newHistory(): (now: number, ms: number) => number {
  let time = 0;
  const history = new ProblemHistory(() => time);
  return (now, ms) => {
    time = ms;
    return history.update(now);
  };
}

test('a problem is new only once while it continues', () => {
  const check = newHistory();
  assert.equal(check(full, 0), full);
  assert.equal(check(full, 5000), 0);
  assert.equal(check(full | overBudget, 5001), overBudget);
});

test('a problem that is absent for less than a second continues', () => {
  const check = newHistory();
  check(full, 0);
  check(0, 100);
  assert.equal(check(full, 1099), 0);
  check(0, 1100); // the time starts again
  check(0, 2099);
  assert.equal(check(full, 2099), 0);
});

test('a problem that is absent for a second has ended, while other problems continue', () => {
  const check = newHistory();
  check(full | overBudget, 0);
  check(overBudget, 100);
  check(overBudget, 1100);
  assert.equal(check(full | overBudget, 1101), full);
});
