/** The read-ahead window, step by step, against the kernel's formula. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReadAhead } from '../../src/swap/read-ahead.ts';

test('distant faults read one slot, adjacent ones two', () => {
  const window = new ReadAhead(3);
  assert.deepEqual(
    [100, 500, 501, 500, 502].map((offset) => window.window(offset)),
    [1, 1, 2, 2, 1],
  );
});

test('hits widen the window to a power of two, up to the maximum', () => {
  for (const [hits, want] of [
    [1, 4],
    [2, 4],
    [3, 8],
    [6, 8],
    [7, 8],
    [100, 8],
  ] as const) {
    const window = new ReadAhead(3);
    for (let i = 0; i < hits; i++) window.hit();
    assert.equal(window.window(1000), want, `${hits} hits`);
  }
});

test('the window shrinks by at most half each time', () => {
  const window = new ReadAhead(3);
  for (let i = 0; i < 6; i++) window.hit();
  assert.deepEqual(
    [1000, 5000, 9000, 13000, 17000].map((offset) => window.window(offset)),
    [8, 4, 2, 1, 1],
  );
});

test('page cluster 0 never reads ahead', () => {
  const window = new ReadAhead(0);
  window.hit();
  window.hit();
  assert.equal(window.window(10), 1);
});
