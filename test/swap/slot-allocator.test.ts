/** Both allocators: no used or bad slot is allocated, every other slot can be, and the counts are exact. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Prng } from '../../src/base/prng.ts';
import { type AllocatorKind, CLUSTER_SLOTS, SlotAllocator } from '../../src/swap/slot-allocator.ts';
import { SwapMap } from '../../src/swap/swap-map.ts';
import { randomTest } from '../support/fixtures/replay.ts';

const kinds: readonly AllocatorKind[] = ['rotating', 'solid'];

function made(slots: number, kind: AllocatorKind, bad: readonly number[] = []) {
  const map = new SwapMap(slots);
  for (const slot of bad) map.markBad(slot);
  return { map, allocator: new SlotAllocator(map, kind) };
}

function giveUp(map: SwapMap, allocator: SlotAllocator, slot: number): number {
  assert.equal(map.clearCache(slot), true);
  return allocator.free(slot);
}

for (const kind of kinds) {
  test(`${kind}: every good slot is allocated once, then none`, () => {
    for (const slots of [10, 256, 257, 700, 1024]) {
      const bad = [3, 4, 9, 255, 256, 600].filter((slot) => slot < slots);
      const { map, allocator } = made(slots, kind, bad);
      assert.equal(allocator.capacity, slots - 1 - bad.length);
      const seen = new Set<number>();
      for (let slot = allocator.alloc(); slot !== -1; slot = allocator.alloc()) {
        assert.ok(!bad.includes(slot) && slot > 0 && slot < slots && !seen.has(slot));
        seen.add(slot);
      }
      assert.equal(seen.size, allocator.capacity);
      allocator.verify();
      // Any single slot that is freed is found again.
      for (const slot of seen) {
        giveUp(map, allocator, slot);
        assert.equal(allocator.alloc(), slot);
      }
    }
  });

  test(`${kind}: reserved slots are not allocated until they are unreserved`, () => {
    const { allocator } = made(3 * CLUSTER_SLOTS, kind);
    allocator.reserve(CLUSTER_SLOTS, CLUSTER_SLOTS);
    let last = 0;
    for (let i = 0; i < 2 * CLUSTER_SLOTS - 1; i++) {
      last = allocator.alloc();
      assert.ok(last < CLUSTER_SLOTS || last >= 2 * CLUSTER_SLOTS);
    }
    assert.equal(allocator.alloc(), -1);
    allocator.unreserve(CLUSTER_SLOTS, CLUSTER_SLOTS);
    assert.equal(allocator.alloc() >>> 8, 1);
    allocator.verify();
  });

  test(`${kind}: repeated reserve and unreserve change nothing`, () => {
    const { map, allocator } = made(3 * CLUSTER_SLOTS, kind, [3]);
    for (let i = 0; i < 10; i++) {
      allocator.reserve(CLUSTER_SLOTS, CLUSTER_SLOTS);
      allocator.unreserve(CLUSTER_SLOTS, CLUSTER_SLOTS);
    }
    assert.deepEqual(map.badSlots, [0, 3]);
  });

  randomTest(
    `${kind}: random allocs, frees and reservations keep every invariant`,
    4000,
    (prng, steps) => {
      const bad = [5, 6, 300];
      const { map, allocator } = made(1111, kind, bad);
      const used: number[] = [];
      let reservedAt = 0;
      const take = (): void => {
        const slot = allocator.alloc();
        if (slot === -1) assert.equal(used.length + allocator.reserved, allocator.capacity);
        else {
          assert.ok(!used.includes(slot) && !bad.includes(slot));
          used.push(slot);
        }
      };
      for (let step = 0; step < steps; step++) {
        if (prng.oneIn(40)) reservedAt = toggleHold(prng, map, allocator, reservedAt);
        else if (prng.below(1000) < 500 + 400 * Math.sin(step / 300)) take();
        else if (used.length > 0) {
          const at = prng.below(used.length);
          const slot = used[at]!;
          used[at] = used.at(-1)!;
          used.pop();
          const cluster = giveUp(map, allocator, slot);
          const alone = !used.some((other) => other >>> 8 === slot >>> 8);
          if (cluster !== -1) assert.ok(alone && cluster === slot >>> 8);
        }
        assert.equal(allocator.inUse, used.length);
        if (step % 16 === 0) allocator.verify();
      }
    },
  );
}

for (const kind of kinds) {
  test(`${kind}: an area with only bad slots has none to allocate`, () => {
    const { allocator } = made(4, kind, [1, 2, 3]);
    assert.equal(allocator.capacity, 0);
    assert.equal(allocator.alloc(), -1);
    allocator.verify();
  });

  test(`${kind}: the last slot is allocated before lower freed ones`, () => {
    const { map, allocator } = made(10, kind);
    for (let slot = 1; slot <= 8; slot++) assert.equal(allocator.alloc(), slot);
    giveUp(map, allocator, 2);
    assert.deepEqual([allocator.alloc(), allocator.alloc(), allocator.alloc()], [9, 2, -1]);
  });
}

/** Reserves a run of free slots, or unreserves the reserved one. Returns its start, 0 = none. */
function toggleHold(
  prng: Prng,
  map: SwapMap,
  allocator: SlotAllocator,
  reservedAt: number,
): number {
  if (reservedAt !== 0) {
    allocator.unreserve(reservedAt, 4);
    return 0;
  }
  const start = 4 + 4 * prng.below(250);
  if (![0, 1, 2, 3].every((i) => map.isFree(start + i))) return 0;
  allocator.reserve(start, 4);
  return start;
}

test('rotating: slots are allocated in order, and after 256 of them from a free cluster', () => {
  const { map, allocator } = made(4 * CLUSTER_SLOTS, 'rotating');
  const first = Array.from({ length: 300 }, () => allocator.alloc());
  // No cluster is empty below 1: slot 0 is the header. The jump is to cluster 1.
  assert.deepEqual(
    first.slice(0, 256),
    Array.from({ length: 256 }, (_, i) => 256 + i),
  );
  for (let slot = 256; slot < 512; slot += 2) giveUp(map, allocator, slot);
  assert.equal(allocator.alloc(), 512 + 44, 'freed slots behind the cursor are not reused yet');
});

test('solid: the cluster free longest is taken, without a search', () => {
  const { map, allocator } = made(4 * CLUSTER_SLOTS, 'solid');
  for (let i = 0; i < 3 * CLUSTER_SLOTS; i++) allocator.alloc();
  for (let slot = 512; slot < 768; slot++) giveUp(map, allocator, slot);
  for (let slot = 256; slot < 512; slot++) giveUp(map, allocator, slot);
  assert.equal(allocator.freeClusters, 2);
  assert.equal(allocator.alloc(), 512);
  const scanned = allocator.scanned;
  for (let i = 1; i < CLUSTER_SLOTS; i++) assert.equal(allocator.alloc(), 512 + i);
  assert.equal(allocator.alloc(), 256);
  assert.ok(allocator.scanned - scanned <= CLUSTER_SLOTS * CLUSTER_SLOTS);
});
