import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leastLoaded } from '../../../src/host/workers/placement.ts';

test('a disk is placed on the worker with the fewest disks, the first of several', () => {
  assert.deepEqual(
    [[0], [0, 0], [1, 0], [2, 1, 1], [3, 3, 2], [1, 2]].map(leastLoaded),
    [0, 0, 1, 1, 2, 0],
  );
});
