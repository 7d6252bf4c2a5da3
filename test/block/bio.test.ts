import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../src/base/assert.ts';
import {
  BIO_BYTES,
  Bio,
  BioFlag,
  BioOp,
  BioPool,
  BioQueue,
  BioStatus,
} from '../../src/block/bio.ts';
import { randomTest } from '../support/fixtures/replay.ts';

test('a pool allocates each bio once and then returns null', () => {
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

test('an allocated bio is reset, whatever it was used for', () => {
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
  assert.throws(() => again.owner.bioEnd(again), InvariantError, 'a bio in flight has an owner');
});

test('freeing a bio twice is detected, also while others are allocated', () => {
  const pool = new BioPool(3);
  const bio = pool.alloc()!;
  pool.alloc();
  pool.alloc();
  pool.free(bio);
  assert.throws(() => pool.free(bio), InvariantError);
  assert.equal(pool.freeCount, 1);
  assert.equal(pool.alloc(), bio);
  assert.equal(pool.alloc(), null, 'no bio has two owners');
});

test('a full pool rejects further bios', () => {
  const pool = new BioPool(2);
  assert.throws(() => pool.free(new Bio()), InvariantError);
  for (const capacity of [0, -1, 1.5]) assert.throws(() => new BioPool(capacity), InvariantError);
});

test('alloc() leaves the reserve, allocFromReserve() takes it', () => {
  const pool = new BioPool(4, 2);
  const out = [pool.alloc(), pool.alloc()];
  assert.ok(!out.includes(null));
  assert.equal(pool.alloc(), null);
  assert.equal(pool.freeCount, 2);
  out.push(pool.allocFromReserve(), pool.allocFromReserve());
  assert.ok(!out.includes(null));
  assert.equal(pool.allocFromReserve(), null);
  assert.deepEqual(pool.counters.snapshot(), {
    allocs: 4,
    allocBytes: 4 * BIO_BYTES,
    reserveAllocs: 2,
    refusals: 2,
  });
  for (const bio of out) pool.free(bio!);
  assert.notEqual(pool.allocFromReserve(), null);
  assert.equal(pool.counters.get('reserveAllocs'), 2, 'a bio above the reserve does not count');
  for (const reserve of [-1, 1.5, 4]) assert.throws(() => new BioPool(4, reserve), InvariantError);
});

test('BIO_BYTES is the size of a bio', (t) => {
  if (globalThis.gc === undefined) return t.skip('needs --expose-gc');
  const made = new Array<Bio | null>(50_000).fill(null);
  globalThis.gc();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < made.length; i++) made[i] = new Bio();
  globalThis.gc();
  const each = (process.memoryUsage().heapUsed - before) / made.length;
  assert.ok(Math.abs(each - BIO_BYTES) < BIO_BYTES / 4, `${each} bytes`);
});

test('touches() finds queued bios that overlap a range', () => {
  const queue = new BioQueue();
  const bio = new Bio();
  Object.assign(bio, { offset: 100, length: 50 });
  const touches = (offset: number, length: number): boolean => queue.touches({ offset, length });
  assert.ok(!touches(0, 1000));
  queue.push(bio);
  assert.equal(queue.first, bio);
  assert.ok(touches(149, 1) && touches(0, 101) && touches(120, 1));
  assert.ok(!touches(0, 100) && !touches(150, 10));
});

test('endAll() ends the bios queued now; those that owners add wait for the next call', () => {
  const queue = new BioQueue();
  const told: number[] = [];
  for (const tag of [1, 2, 3]) {
    const bio = new Bio();
    bio.tag = tag;
    bio.owner = {
      bioEnd: (done) => {
        told.push(done.tag);
        queue.push(done);
      },
    };
    queue.push(bio);
  }
  assert.equal(queue.endAll(), 3);
  assert.deepEqual(told, [1, 2, 3]);
  assert.equal(queue.length, 3);
});

test('adding a queued bio to a queue is detected', () => {
  const queue = new BioQueue();
  const other = new BioQueue();
  const [a, b] = [new Bio(), new Bio()];
  queue.push(a);
  assert.throws(() => queue.push(a), InvariantError, 'alone in the queue');
  queue.push(b);
  assert.throws(() => queue.push(a), InvariantError, 'at the head');
  assert.throws(() => queue.push(b), InvariantError, 'at the tail');
  assert.throws(() => other.push(a), InvariantError, 'in another queue');
  assert.equal(queue.length, 2);
  assert.equal(queue.shift(), a);
  queue.push(a);
  assert.deepEqual([queue.shift(), queue.shift(), queue.shift()], [b, a, null]);
});

randomTest('a queue is FIFO', 5000, (prng, steps) => {
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
