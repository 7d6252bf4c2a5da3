/** Capacity of the queue of remote deletions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../src/base/assert.ts';
import { FlushQueue } from '../../src/remote/flush-queue.ts';

test('the ring holds as many pages as it has entries', () => {
  const queue = new FlushQueue(8);
  for (let i = 0; i < 8; i++) assert.equal(queue.addPage(1, i, 1), true, `page ${i}`);
  assert.equal(queue.addPage(1, 8, 1), false);
  assert.equal(queue.pages, 8);
  for (const entries of [0, 7, 12]) assert.throws(() => new FlushQueue(entries), InvariantError);
});

test('the queue holds 64 areas; the next one drops the oldest and returns how many of its chunks were left', () => {
  const queue = new FlushQueue(8);
  const touched = (chunks: number): Uint8Array => new Uint8Array(5).fill(1, 0, chunks);
  assert.equal(queue.addArea(1, touched(0)), 0);
  assert.ok(queue.isEmpty, 'an area without remote pages is not queued');
  assert.equal(queue.addArea(2, touched(3)), 0);
  for (let epoch = 3; epoch < 66; epoch++) assert.equal(queue.addArea(epoch, touched(1)), 0);
  assert.equal(queue.addArea(66, touched(1)), 3);
  assert.equal(queue.addArea(67, touched(1)), 1);
});
