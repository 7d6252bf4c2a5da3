/** What is to be given up on the other machine: how much of it is remembered. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../src/base/assert.ts';
import { FlushQueue } from '../../src/remote/flush-queue.ts';

test('as many pages wait as the ring has entries, and not one more', () => {
  const queue = new FlushQueue(8);
  for (let i = 0; i < 8; i++) assert.equal(queue.addPage(1, i, 1), true, `page ${i}`);
  assert.equal(queue.addPage(1, 8, 1), false);
  assert.equal(queue.pages, 8);
  for (const room of [0, 7, 12]) assert.throws(() => new FlushQueue(room), InvariantError);
});

test('64 ended areas wait; the next one makes the oldest go, and says how much of it is left behind', () => {
  const queue = new FlushQueue(8);
  const touched = (chunks: number): Uint8Array => new Uint8Array(5).fill(1, 0, chunks);
  assert.equal(queue.addArea(1, touched(0)), 0);
  assert.ok(queue.isEmpty, 'an area that has nothing there is not remembered');
  assert.equal(queue.addArea(2, touched(3)), 0);
  for (let epoch = 3; epoch < 66; epoch++) assert.equal(queue.addArea(epoch, touched(1)), 0);
  assert.equal(queue.addArea(66, touched(1)), 3);
  assert.equal(queue.addArea(67, touched(1)), 1);
});
