/** The pager's contract, one rule per test, over a frontswap that refuses and damages on demand and slots without a device. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refusingDisk } from '../../src/block/disks/refusing-disk.ts';
import { FRAME_COUNT } from '../../src/pager/loader.ts';
import { RangeResult, Touch } from '../../src/pager/ops.ts';
import { Pager } from '../../src/pager/pager.ts';
import { PageState, type Region } from '../../src/pager/region.ts';
import { ResidentSet } from '../../src/pager/resident-set.ts';
import { swapOn } from '../../src/swap/swapon.ts';
import { NaiveFront } from '../support/fakes/naive-front.ts';
import { headerPage } from '../support/fakes/sim-disk.ts';
import { SimMemory, SimWorld } from './sim-memory.ts';

interface Rig {
  readonly front: NaiveFront;
  readonly memory: SimMemory;
  readonly pager: Pager;
  readonly region: Region;
  /** take() and drop() calls of the memory: name, page, count. */
  readonly calls: string[];
}

function rig(pages = 200, limit = 64): Rig {
  const world = new SimWorld(FRAME_COUNT);
  const memory = new SimMemory(world, pages);
  const front = new NaiveFront();
  const onLost = (_region: Region, page: number): void => {
    memory.lost[page] = 1;
  };
  const pager = new Pager({ frames: world.frames, front, onLost });
  const slots = Math.max(512, pages + 1);
  swapOn(pager.swap, refusingDisk(slots * 4096), headerPage(slots));
  const calls: string[] = [];
  const take = memory.take.bind(memory);
  const drop = memory.drop.bind(memory);
  memory.take = (page, count, frame) => {
    calls.push(`take ${page} ${count}`);
    return take(page, count, frame);
  };
  memory.drop = (page, count) => {
    calls.push(`drop ${page} ${count}`);
    drop(page, count);
  };
  return { front, memory, pager, region: pager.add(memory, new ResidentSet(limit)), calls };
}

function touch({ memory, pager, region }: Rig, page: number, tag = 0): void {
  if (memory.present[page] === 0) pager.fault(region, page, tag === 0 ? Touch.read : Touch.write);
  if (tag !== 0 && memory.isProtected[page] === 1)
    pager.fault(region, page, Touch.write | Touch.protected);
  if (tag === 0) memory.read(page);
  else memory.write(page, tag);
}

/** Adopts resident pages in this order, so that no fault and no prefetch is involved. */
function adoptAll({ memory, pager, region }: Rig, pages: readonly number[]): void {
  for (const page of pages) {
    memory.present[page] = 1;
    memory.write(page, page + 1);
    pager.adopt(region, page);
  }
}

const clean = (r: Rig, page: number): void => {
  touch(r, page, page + 1);
  r.pager.evict(r.region, page, page + 1);
  touch(r, page);
  assert.equal(r.region.state[page], PageState.clean);
};

test('neighbouring pages are evicted together, in whatever order they were swapped in', () => {
  const r = rig();
  adoptAll(r, [7, 4, 6, 5, 20, 21]);
  r.calls.length = 0;
  assert.equal(r.pager.evictor.reclaim(r.region.set, 32), 6);
  assert.deepEqual(r.calls, ['take 4 4', 'take 20 2']);
  for (const page of [4, 5, 6, 7, 20, 21]) touch(r, page);
  r.pager.verify();
});

/** The protect() calls of a batch that evicts `pages`. */
function protectedBy(r: Rig, pages: readonly number[]): string[] {
  const calls: string[] = [];
  const protect = r.memory.protect.bind(r.memory);
  r.memory.protect = (page, count) => {
    calls.push(`${page} ${count}`);
    protect(page, count);
  };
  assert.equal(r.pager.evictor.reclaim(r.region.set, pages.length), pages.length);
  return calls;
}

const everyOther = (count: number): number[] => Array.from({ length: count }, (_, i) => 2 * i);

test('eight runs of a chunk are protected in one call, seven run by run', () => {
  for (const count of [7, 8]) {
    const r = rig();
    adoptAll(r, everyOther(count));
    const calls = protectedBy(r, everyOther(count));
    assert.deepEqual(calls, count === 8 ? ['0 15'] : everyOther(7).map((page) => `${page} 1`));
    r.pager.verify();
  }
});

test('runs spread over more than 32 times their pages are protected run by run', () => {
  for (const last of [255, 256]) {
    const r = rig(512);
    const pages = [...everyOther(7), last];
    adoptAll(r, pages);
    const calls = protectedBy(r, pages);
    assert.deepEqual(calls, last === 255 ? ['0 256'] : pages.map((page) => `${page} 1`));
    r.pager.verify();
  }
});

test('a pinned page between the pages of a batch is never protected, not even briefly', () => {
  const r = rig();
  adoptAll(r, [...everyOther(8), 5]);
  assert.equal(r.pager.pin(r.region, 5, 6), RangeResult.done);
  assert.deepEqual(
    protectedBy(r, everyOther(8)),
    everyOther(8).map((page) => `${page} 1`),
  );
  r.pager.unpin(r.region, 5, 6);
  const later = everyOther(8).map((page) => 20 + page);
  adoptAll(r, later);
  assert.deepEqual(protectedBy(r, [5, ...later]), ['5 30'], 'without pins: in one call');
  r.pager.verify();
});

test('a clean page is evicted without being compressed', () => {
  const r = rig();
  clean(r, 9);
  const out = r.pager.swap.counters.get('pagesOut');
  r.calls.length = 0;
  assert.equal(r.pager.evict(r.region, 0, 200), 1);
  assert.deepEqual(r.calls, ['drop 9 1']);
  assert.equal(r.pager.swap.counters.get('pagesOut'), out);
  touch(r, 9);
});

test('a refused page stays and becomes the newest; then only one call in 32 tries to compress', () => {
  const r = rig(200, 32);
  for (let i = 0; i < 32; i++) touch(r, i * 3, i + 1);
  let stores = 0;
  r.front.accepts = () => ++stores < 0;
  const first = r.region.oldest(0);
  for (let i = 0; i < 64; i++) touch(r, 100 + ((i * 37) % 64), 5);
  assert.ok(stores > 0 && stores <= 4, `${stores} pages compressed in vain`);
  assert.equal(r.region.resident, 96);
  assert.notEqual(r.region.oldest(0), first);
  assert.equal(r.pager.counters.get('overBudget'), 64);
  for (let i = 0; i < 32; i++) assert.equal(r.memory.tags[i * 3], i + 1);
  r.pager.verify();
});

test('when every tier is full, clean pages are evicted', () => {
  const r = rig(200, 32);
  for (let i = 0; i < 16; i++) clean(r, i * 5);
  for (let i = 0; i < 16; i++) touch(r, i * 5 + 1, 9);
  r.front.accepts = () => false;
  for (let i = 0; i < 16; i++) touch(r, i * 5 + 2, 9);
  assert.equal(r.pager.counters.get('overBudget'), 0);
  assert.ok(r.region.resident <= 32);
});

test('pages are evicted even if all were referenced', () => {
  const r = rig(400, 200);
  for (let i = 0; i < 150; i++) clean(r, (i * 7) % 400);
  for (let page = 0; page < 400; page++) r.region.markReferenced(page);
  assert.equal(r.pager.evictor.reclaim(r.region.set, 32), 32);
  r.pager.verify();
});

test('a batch has at most 128 dirty pages, one per frame, and 512 pages in all', () => {
  const r = rig(700, 700);
  const pages = Array.from({ length: 700 }, (_, page) => page);
  adoptAll(r, pages.slice(0, 140));
  assert.equal(r.pager.evictor.reclaim(r.region.set, 700), 128);
  assert.equal(r.pager.evict(r.region, 0, 700), 12);
  adoptAll(r, pages.slice(140, 270));
  assert.equal(r.pager.evictor.evictRange(r.region, 140, 270), 268, 'where to continue');
  r.pager.verify();
  const cleanOnes = rig(520, 2000);
  for (let page = 0; page < 520; page++) clean(cleanOnes, page);
  assert.equal(cleanOnes.pager.evictor.evictRange(cleanOnes.region, 0, 520), 512);
  cleanOnes.pager.verify();
});

test('every region of a set is scanned for clean pages', () => {
  const r = rig();
  const other = new SimMemory(r.memory.world, 10);
  const second = { ...r, memory: other, region: r.pager.add(other, r.region.set) };
  touch(r, 1, 2);
  clean(second, 4);
  assert.equal(r.pager.evictor.reclaimClean(r.region.set, 8), 1);
  assert.deepEqual([r.region.resident, second.region.resident], [1, 0]);
});

test('a set that was idle while other sets evicted 2^31 pages still evicts', () => {
  const r = rig();
  adoptAll(r, [1, 3, 5]);
  r.pager.evictor.clock = 2 ** 31 + 7;
  assert.equal(r.pager.evictor.reclaim(r.region.set, 2), 2);
  touch(r, 1);
});

test('the region with the least recently used page is evicted from', () => {
  const r = rig();
  const other = new SimMemory(r.memory.world, 10);
  const young = r.pager.add(other, r.region.set);
  adoptAll(r, [1, 3]);
  r.pager.evictor.clock += 100;
  r.pager.fault(young, 2, Touch.write);
  assert.equal(r.pager.evictor.reclaim(r.region.set, 32), 2);
  assert.deepEqual([r.region.resident, young.resident], [0, 1]);
});

test('a region that was idle for 2^31 evictions has the least recently used page', () => {
  const r = rig();
  const young = r.pager.add(new SimMemory(r.memory.world, 10), r.region.set);
  adoptAll(r, [1, 3]);
  r.pager.evictor.clock = 2 ** 31 + 7;
  r.pager.fault(young, 2, Touch.write);
  assert.equal(r.pager.evictor.reclaim(r.region.set, 32), 2);
  assert.deepEqual([r.region.resident, young.resident], [0, 1]);
});

test('only a page that faults is lost: one that fails in a prefetch or a pin stays stored', () => {
  const r = rig();
  for (let page = 10; page < 30; page++) touch(r, page, page);
  r.pager.evict(r.region, 0, 200);
  touch(r, 10);
  let loads = 0;
  r.front.damaged = () => ++loads === 2;
  touch(r, 11); // a stream: the prefetch of page 12 fails
  assert.equal(r.pager.counters.get('pagesLost'), 0);
  r.front.damaged = () => true;
  assert.equal(r.pager.prefetch(r.region, 15, 20), 0);
  assert.equal(r.pager.pin(r.region, 16, 17), RangeResult.lost);
  assert.equal(r.pager.swapInAll(r.region), RangeResult.lost);
  r.front.damaged = () => false;
  for (let page = 10; page < 29; page++) touch(r, page);
  assert.equal(r.pager.counters.get('pagesLost'), 0);
});

test('a window that ends early at a bad page and cannot be installed loses no page', () => {
  const r = rig();
  for (let page = 10; page < 30; page++) touch(r, page, page);
  r.pager.evict(r.region, 0, 200);
  touch(r, 10);
  let loads = 0;
  r.front.damaged = () => ++loads === 2;
  r.memory.world.failures = { isTakeBusy: () => false, isInstallBusy: () => true };
  r.pager.fault(r.region, 11, Touch.read);
  assert.equal(r.pager.counters.get('pagesLost'), 0);
  r.memory.world.failures = { isTakeBusy: () => false, isInstallBusy: () => false };
  touch(r, 11);
});

test('a pinned page can be written without a fault', () => {
  const r = rig();
  clean(r, 4);
  touch(r, 6, 7);
  r.pager.evict(r.region, 6, 7);
  assert.equal(r.pager.pin(r.region, 4, 8), RangeResult.done);
  for (let page = 4; page < 8; page++)
    assert.deepEqual([r.memory.present[page], r.memory.isProtected[page]], [1, 0]);
  r.pager.evict(r.region, 0, 200);
  assert.equal(r.region.resident, 4);
  assert.equal(r.pager.pin(r.region, 0, 200), RangeResult.noSpace);
});

test('three quarters of a small set can be pinned, and no more', () => {
  const r = rig(200, 64);
  assert.equal(r.region.set.pinLimit, 48);
  assert.equal(r.pager.pin(r.region, 0, 49), RangeResult.noSpace);
  assert.equal(r.region.pinned, 0, 'all or nothing');
  assert.equal(r.pager.pin(r.region, 0, 47), RangeResult.done);
  assert.equal(r.pager.pin(r.region, 47, 49), RangeResult.noSpace);
  assert.equal(r.pager.pin(r.region, 40, 48), RangeResult.done, 'one page is not pinned yet');
  assert.equal(r.region.pinned, 48);
});

test('a page that faults before half a set was evicted after it counts as referenced', () => {
  for (const left of [32, 33]) {
    const r = rig(200, 64);
    touch(r, 7, 8);
    r.pager.evict(r.region, 7, 8);
    r.pager.evictor.clock = r.region.stamp[7]! + left;
    touch(r, 7);
    assert.equal(
      r.pager.counters.get('pagesActivated'),
      left === 32 ? 1 : 0,
      `${left} pages evicted`,
    );
  }
});

test('a region in which half of the clean pages are written keeps no clean copies', () => {
  for (const rewritten of [127, 128]) {
    const r = rig();
    touch(r, 3, 8);
    r.pager.evict(r.region, 3, 4);
    r.region.rewritten = rewritten;
    touch(r, 3);
    assert.equal(r.region.state[3], rewritten === 127 ? PageState.clean : PageState.dirty);
  }
});

test('prefetch() fills at most three quarters of the set', () => {
  const r = rig(200, 64);
  for (let page = 0; page < 100; page++) touch(r, page, page + 1);
  r.pager.evict(r.region, 0, 200);
  assert.equal(r.pager.prefetch(r.region, 0, 100), 48);
  assert.equal(r.region.resident, 48);
});

test('C14 a slot is freed in the call in which its page is written or discarded, or its region ends', () => {
  const r = rig();
  const inUse = (): number =>
    r.pager.swap.counters.get('slotsTaken') - r.pager.swap.counters.get('slotsFreed');
  for (const page of [1, 5, 9]) clean(r, page);
  assert.equal(inUse(), 3);
  touch(r, 1, 8);
  assert.deepEqual([inUse(), r.front.pages.size], [2, 2]);
  r.memory.discardTo = 6;
  r.pager.discard(r.region, 0, 6);
  assert.deepEqual([inUse(), r.front.pages.size], [1, 1]);
  r.pager.remove(r.region);
  assert.deepEqual([inUse(), r.front.pages.size], [0, 0]);
});

test('a page that its owner dropped is zero-filled', () => {
  const r = rig();
  touch(r, 3, 8);
  clean(r, 5);
  for (const page of [3, 5]) r.memory.dropByOwner(page);
  for (const page of [3, 5]) {
    r.pager.fault(r.region, page, Touch.read);
    assert.deepEqual([r.memory.present[page], r.memory.tags[page]], [1, 0]);
  }
  assert.equal(r.front.pages.size, 0);
});

test('background reclaim starts above the high mark and stops at the low mark', () => {
  const r = rig(200, 64);
  for (let i = 0; i < 61; i++) touch(r, i * 3, i + 1);
  assert.equal(r.region.set.high, 60);
  const atMark = rig(200, 64);
  for (let i = 0; i < 60; i++) touch(atMark, i * 3, i + 1);
  assert.equal(atMark.pager.background(), false, 'at the mark nothing is evicted');
  assert.equal(atMark.region.resident, 60);
  while (r.pager.background());
  assert.equal(r.region.resident, r.region.set.low);
  assert.equal(r.pager.background(), false);
  assert.equal(r.region.resident, 56);
});

test('a thread whose fault cannot be resolved now is woken and retries', () => {
  const r = rig();
  const { world } = r.memory;
  touch(r, 3, 8);
  r.memory.dropByOwner(3);
  const thread = { memory: r.memory, page: 3, isWrite: false, tag: 0, isWaiting: false };
  world.threads.push(thread);
  world.step(thread);
  world.failures = { isTakeBusy: () => false, isInstallBusy: () => true };
  r.pager.fault(r.region, 3, Touch.read);
  assert.equal(thread.isWaiting, false);
});
