import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Bug } from '../../src/base/assert.ts';
import { Bio, BioFlag, BioOp, BioPool, BioQueue, BioStatus } from '../../src/block/bio.ts';
import { randomTest } from '../model/replay.ts';

test('a pool hands out each bio once and then answers null', () => {
  const pool = new BioPool(3);
  const out = new Set([pool.alloc(), pool.alloc(), pool.alloc()]);
  assert.equal(out.size, 3);
  assert.ok(!out.has(null));
  assert.equal(pool.freeCount, 0);
  assert.equal(pool.alloc(), null);
  for (const bio of out) pool.free(bio!);
  assert.equal(pool.freeCount, 3);
  assert.notEqual(pool.alloc(), null);
});

test('a bio comes out of the pool as new, whatever it was used for', () => {
  const pool = new BioPool(1);
  const bio = pool.alloc()!;
  const data = new Uint8Array(8);
  Object.assign(bio, { op: BioOp.discard, flags: BioFlag.fua, offset: 5, length: 6, data, at: 7 });
  Object.assign(bio, { owner: { bioEnd: () => {} }, tag: 8, status: BioStatus.ioError });
  pool.free(bio);
  const again = pool.alloc()!;
  const fresh = new BioPool(1).alloc()!;
  assert.equal(again, bio);
  for (const key of Object.keys(fresh) as (keyof Bio)[]) assert.equal(again[key], fresh[key], key);
  assert.throws(() => again.owner.bioEnd(again), Bug, 'a bio in flight has an owner');
});

test('a bio is freed once, also while others are out', () => {
  const pool = new BioPool(3);
  const bio = pool.alloc()!;
  pool.alloc();
  pool.alloc();
  pool.free(bio);
  assert.throws(() => pool.free(bio), Bug);
  assert.equal(pool.freeCount, 1);
  assert.equal(pool.alloc(), bio);
  assert.equal(pool.alloc(), null, 'no bio has two owners');
});

test('a full pool takes nothing more', () => {
  const pool = new BioPool(2);
  assert.throws(() => pool.free(new Bio()), Bug);
  for (const capacity of [0, -1, 1.5]) assert.throws(() => new BioPool(capacity), Bug);
});

test('a bio waits in one queue, once', () => {
  const queue = new BioQueue();
  const other = new BioQueue();
  const [a, b] = [new Bio(), new Bio()];
  queue.push(a);
  assert.throws(() => queue.push(a), Bug, 'alone in the queue');
  queue.push(b);
  assert.throws(() => queue.push(a), Bug, 'at the head');
  assert.throws(() => queue.push(b), Bug, 'at the tail');
  assert.throws(() => other.push(a), Bug, 'in another queue');
  assert.equal(queue.length, 2);
  assert.equal(queue.shift(), a);
  queue.push(a);
  assert.deepEqual([queue.shift(), queue.shift(), queue.shift()], [b, a, null]);
});

randomTest('a queue is first in, first out', 5000, (prng, steps) => {
  const queue = new BioQueue();
  const model: Bio[] = [];
  for (let i = 0; i < steps; i++) {
    if (prng.below(100) < ((i >>> 7) & 1 ? 60 : 40)) {
      const bio = new Bio();
      queue.push(bio);
      model.push(bio);
    } else assert.equal(queue.shift(), model.shift() ?? null);
    assert.equal(queue.length, model.length);
  }
});
