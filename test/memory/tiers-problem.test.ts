/** ProblemHistory: a problem is new when it starts, and again only after it was absent for a second. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Problem, ProblemHistory } from '../../src/memory/tiers-problem.ts';

const { full, overBudget } = Problem;

test('a problem is new once while it continues', () => {
  const history = new ProblemHistory();
  assert.equal(history.update(full, 0), full);
  assert.equal(history.update(full, 5000), 0);
  assert.equal(history.update(full | overBudget, 5001), overBudget);
});

test('a problem that is absent for less than a second continues', () => {
  const history = new ProblemHistory();
  history.update(full, 0);
  history.update(0, 100);
  assert.equal(history.update(full, 1099), 0);
  history.update(0, 1100); // the time starts again
  history.update(0, 2099);
  assert.equal(history.update(full, 2099), 0);
});

test('a problem that is absent for a second has ended, and the others continue', () => {
  const history = new ProblemHistory();
  history.update(full | overBudget, 0);
  history.update(overBudget, 100);
  history.update(overBudget, 1100);
  assert.equal(history.update(full | overBudget, 1101), full);
});
