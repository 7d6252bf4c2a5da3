/** The contract of the swap core, one promise per test. Ids are those of docs/design/contract-tests.md. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BioOp } from '../../src/block/bio.ts';
import { offsetOf, typeOf } from '../../src/swap/entry.ts';
import { SwapInResult, SwapOutResult } from '../../src/swap/swap.ts';
import { swapOn } from '../../src/swap/swapon.ts';
import { headerPage, isRead, isWrite, SimDisk } from '../support/fakes/sim-disk.ts';
import { checkWorld, makeWorld } from '../support/fixtures/swap-world.ts';
import { entryAt, fill, type Rig, rig } from './rig.ts';

test('C1 a page is swapped in as it was last swapped out', () => {
  for (const synchronous of [true, false])
    for (const accepts of [true, false]) {
      const r = rig(synchronous);
      r.front.accepts = () => accepts;
      fill(r, 10);
      for (const stamp of [70, 0, 71]) {
        for (let i = 0; r.mm.write(4, stamp) !== SwapInResult.done && i < 9; i++) r.swap.tick();
        const { frame } = r.mm.pages[4]!;
        if (!r.mm.evict(frame)) r.swap.tick();
        r.mm.reclaim(frame);
        for (let i = 0; r.mm.touch(4) !== SwapInResult.done && i < 9; i++) r.swap.tick();
        r.mm.check(4);
      }
      checkWorld(r);
    }
});

/** Modifies page 0, which keeps its slot, and swaps it out to the same slot. */
function rewrite(r: Rig, stamp: number): void {
  r.mm.keepsSlot = () => true;
  for (let i = 0; r.mm.write(0, stamp) !== SwapInResult.done && i < 9; i++) r.swap.tick();
  const { frame } = r.mm.pages[0]!;
  const slot = r.swap.cache.entryAt(frame);
  if (!r.mm.evict(frame)) r.swap.tick();
  r.mm.reclaim(frame);
  assert.equal(entryAt(r, 0), slot, 'the slot is the same');
}

test('C2 a page that frontswap refuses the second time is read from the disk, not the old one', () => {
  const r = rig(false);
  fill(r, 1);
  r.front.accepts = () => false;
  rewrite(r, 99);
  assert.equal(r.front.pages.size, 0);
  assert.equal(r.disk.count(BioOp.write), 1);
  for (let i = 0; r.mm.touch(0) !== SwapInResult.done && i < 9; i++) r.swap.tick();
  r.mm.check(0);
});

test("C1 C2 a slot's page is in one place: zero bit, frontswap or disk, in every order", () => {
  const r = rig(false);
  fill(r, 1);
  const { zero } = r.swap.areas[0]!;
  const slot = offsetOf(entryAt(r, 0));
  const owners = (): boolean[] => [zero.has(slot), r.front.has(0, slot)];
  for (const [stamp, accepts, want] of [
    [0, true, [true, false]],
    [3, true, [false, true]],
    [0, false, [true, false]],
    [6, false, [false, false]],
    [1, true, [false, true]],
    [4, false, [false, false]],
    [0, false, [true, false]],
  ] as const) {
    r.front.accepts = () => accepts;
    rewrite(r, stamp);
    assert.deepEqual(owners(), want);
    checkWorld(r);
  }
});

test('a page stored in frontswap needs no bio, a page of zeros neither frontswap nor a bio', () => {
  const r = rig(true);
  fill(r, 20, (vpn) => (vpn % 2 === 0 ? 0 : vpn));
  assert.equal(r.disk.seen.length, 0);
  assert.equal(r.front.pages.size, 10);
  assert.equal(r.swap.counters.get('zeroOut'), 10);
  for (let vpn = 0; vpn < 20; vpn++) assert.equal(r.mm.touch(vpn), SwapInResult.done);
  assert.equal(r.disk.seen.length, 0);
});

test('C14 every copy of a freed slot is dropped before the slot can be allocated again', () => {
  const r = rig(true);
  fill(r, 3);
  const entry = entryAt(r, 1);
  const area = r.swap.areas[typeOf(entry)]!;
  const taken = area.allocator.inUse;
  const order: string[] = [];
  r.front.onInvalidate = (_type, offset) =>
    order.push(`frontswap ${offset} ${area.allocator.inUse}`);
  r.mm.exit(1);
  const slot = offsetOf(entry);
  assert.deepEqual(
    order,
    [`frontswap ${slot} ${taken}`],
    'frontswap is called while the slot is still in use',
  );
  assert.deepEqual(r.disk.freed, [slot]);
  assert.equal(r.front.has(0, slot), false);
  assert.equal(area.allocator.inUse, taken - 1);
  assert.ok(area.map.isFree(slot));
  checkWorld(r);
});

test('C14 freeing submits no bio', () => {
  const r = rig(false, { discard: 'pages' });
  r.front.accepts = () => false;
  fill(r, 20);
  const sent = r.disk.seen.length;
  for (let vpn = 0; vpn < 20; vpn++) r.mm.exit(vpn);
  assert.equal(r.disk.seen.length, sent);
  assert.equal(r.disk.freed.length, 20);
});

test("C21 a swap-in that bypasses the swap cache keeps frontswap's copy", () => {
  const r = rig(true);
  fill(r, 2);
  const entry = entryAt(r, 0);
  assert.equal(r.swap.swapIn(entry), SwapInResult.done);
  assert.equal(r.swap.counters.get('bypassed'), 1);
  // The reader drops the page, as the loser of a race does: frontswap still has its copy.
  r.mm.freeFrame(r.swap.frame);
  assert.equal(r.mm.touch(0), SwapInResult.done);
});

test("C21 a swap-in that bypasses the swap cache keeps frontswap's copy, even with exclusive gets", () => {
  const r = rig(true);
  r.front.exclusiveGets = true;
  fill(r, 1);
  assert.equal(r.swap.swapIn(entryAt(r, 0)), SwapInResult.done);
  assert.equal(r.swap.counters.get('bypassed'), 1);
  assert.equal(r.front.pages.size, 1, 'the reader does not own the page yet');
  r.mm.freeFrame(r.swap.frame);
  assert.equal(r.mm.touch(0), SwapInResult.done);
  assert.equal(r.front.pages.size, 0, 'dropped with its slot');
});

test('C21 C8 with exclusive gets a shared page is dirty in the swap cache', () => {
  const r = rig(true);
  r.front.exclusiveGets = true;
  fill(r, 1);
  r.mm.fork(0, 1);
  assert.equal(r.swap.swapIn(entryAt(r, 0)), SwapInResult.done);
  const { frame } = r.swap;
  assert.equal(r.swap.counters.get('bypassed'), 0);
  assert.equal(r.front.pages.size, 0);
  assert.ok(r.swap.isDirty(frame));
  assert.throws(() => r.swap.dropFromCache(frame), { name: 'InvariantError' });
  assert.equal(r.mm.touch(0), SwapInResult.done, 'a second reader finds the page in the cache');
  assert.equal(r.swap.counters.get('cacheHits'), 1);
});

test('C10 writethrough: the disk has every page of frontswap', () => {
  const r = rig(true);
  r.front.writethrough = true;
  fill(r, 3);
  assert.equal(r.disk.count(BioOp.write), 3);
  assert.equal(r.front.pages.size, 3);
  r.front.pages.clear();
  for (let vpn = 0; vpn < 3; vpn++) assert.equal(r.mm.touch(vpn), SwapInResult.done);
});

test('a failed read is reported and affects no other page', () => {
  for (const synchronous of [true, false]) {
    const r = rig(synchronous);
    r.front.accepts = () => false;
    fill(r, 8);
    r.disk.fails = isRead;
    r.disk.delay = () => 1;
    let answer = r.mm.touch(3);
    if (answer === SwapInResult.pending) {
      while (r.disk.waiting > 0) r.swap.tick();
      assert.deepEqual(r.mm.reads, [false]);
      answer = SwapInResult.ioError;
    }
    assert.equal(answer, SwapInResult.ioError);
    checkWorld(r);
    assert.ok(r.swap.counters.violated().includes('readErrors'));
    r.disk.fails = () => false;
    for (let vpn = 0; vpn < 8; vpn++) {
      for (let i = 0; r.mm.touch(vpn) !== SwapInResult.done && i < 9; i++) r.swap.tick();
      r.mm.check(vpn);
    }
  }
});

test('a failed write leaves the page in memory, dirty', () => {
  for (const synchronous of [true, false]) {
    const r = rig(synchronous);
    r.front.accepts = () => false;
    r.disk.fails = isWrite;
    assert.equal(r.mm.write(0, 5), SwapInResult.done);
    const { frame } = r.mm.pages[0]!;
    assert.equal(r.mm.evict(frame), false);
    r.swap.tick();
    if (!synchronous) assert.deepEqual(r.mm.writes, [false]);
    assert.ok(r.swap.isDirty(frame));
    assert.equal(
      r.swap.swapOut(frame),
      synchronous ? SwapOutResult.ioError : SwapOutResult.pending,
    );
    r.swap.tick();
    r.disk.fails = () => false;
    if (!r.mm.reclaim(frame)) r.swap.tick();
    r.mm.reclaim(frame);
    assert.equal(r.mm.pages[0]!.frame, -1);
    checkWorld(r);
  }
});

test('a page that frontswap finds damaged is reported, not returned', () => {
  const r = rig(true);
  fill(r, 2);
  r.front.damaged = () => true;
  assert.equal(r.mm.touch(0), SwapInResult.corrupt);
  assert.deepEqual(r.swap.counters.violated(), ['corruptLoads']);
  r.front.damaged = () => false;
  assert.equal(r.mm.touch(0), SwapInResult.done);
  checkWorld(r);
});

test('a page without references is not written: its slot is freed', () => {
  const r = rig(true);
  assert.equal(r.mm.write(0, 5), SwapInResult.done);
  const { frame } = r.mm.pages[0]!;
  assert.notEqual(r.swap.addToSwap(frame), 0);
  assert.equal(r.swap.swapOut(frame), SwapOutResult.freed);
  assert.equal(r.swap.counters.get('freedOut'), 1);
  assert.equal(r.front.pages.size, 0);
  checkWorld(r);
});

test('without a free bio a page stays in memory and is written later', () => {
  const world = makeWorld(16, 20, { bios: 1 });
  const disk = new SimDisk(600, false);
  swapOn(world.swap, disk, headerPage(600));
  world.front.accepts = () => false;
  for (const vpn of [0, 1]) assert.equal(world.mm.write(vpn, vpn + 1), SwapInResult.done);
  const frames = [0, 1].map((vpn) => world.mm.pages[vpn]!.frame);
  assert.equal(world.mm.evict(frames[0]!), false);
  assert.equal(world.mm.evict(frames[1]!), false);
  assert.equal(world.swap.counters.get('busyOut'), 1);
  world.swap.tick();
  assert.ok(world.mm.reclaim(frames[0]!));
  assert.equal(world.swap.swapOut(frames[1]!), SwapOutResult.pending);
  assert.equal(world.swap.swapIn(world.mm.pages[0]!.entry), SwapInResult.busy);
  world.swap.tick();
  checkWorld(world);
});

test('a disk that disappears loses only the pages on it, and each loss is reported', () => {
  const r = rig(true);
  let at = 0;
  r.front.accepts = () => at++ % 2 === 0;
  fill(r, 10);
  r.disk.fails = () => true;
  const answers = Array.from({ length: 10 }, (_, vpn) => r.mm.touch(vpn));
  assert.deepEqual(
    answers,
    Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? SwapInResult.done : SwapInResult.ioError)),
  );
  assert.equal(r.mm.write(11, 5), SwapInResult.done);
  assert.equal(r.mm.evict(r.mm.pages[11]!.frame), true, 'frontswap still accepts new pages');
  checkWorld(r);
});

test('an entry without references is a bad entry', () => {
  const r = rig(true);
  fill(r, 1);
  const entry = entryAt(r, 0);
  r.mm.exit(0);
  assert.equal(r.swap.swapIn(entry), SwapInResult.badEntry);
});

test('a clean page keeps its slot until more than half of all slots are in use', () => {
  const r = rig(false, {}, 21, 32); // 20 slots
  fill(r, 10);
  assert.equal(r.mm.touch(0), SwapInResult.done);
  assert.equal(r.swap.areas[0]!.allocator.inUse, 10, 'half full: the slot is kept');
  assert.ok(r.mm.evict(r.mm.pages[0]!.frame));
  assert.equal(r.swap.counters.get('frontswapOut'), 10, 'and the clean page is not written again');
  assert.equal(r.mm.write(10, 7), SwapInResult.done);
  r.mm.evict(r.mm.pages[10]!.frame);
  assert.equal(r.mm.touch(1), SwapInResult.done);
  assert.equal(r.swap.areas[0]!.allocator.inUse, 10, 'above half: the slot is freed');
  checkWorld(r);
});

test('without a free slot one is freed from a clean page in memory', () => {
  const r = rig(false, {}, 11, 32); // 10 slots
  fill(r, 5);
  for (let vpn = 0; vpn < 5; vpn++) assert.equal(r.mm.touch(vpn), SwapInResult.done);
  for (let vpn = 5; vpn < 15; vpn++) {
    assert.equal(r.mm.write(vpn, vpn + 1), SwapInResult.done);
    assert.ok(r.mm.evict(r.mm.pages[vpn]!.frame));
  }
  assert.equal(r.swap.counters.get('cacheOnlyReclaimed'), 5);
  assert.equal(r.mm.write(20, 1), SwapInResult.done);
  assert.equal(r.mm.evict(r.mm.pages[20]!.frame), false);
  assert.equal(r.swap.counters.get('noSlot'), 1);
  checkWorld(r);
});

test('read-ahead on an asynchronous disk reads aligned windows into the swap cache', () => {
  const r = rig(false);
  r.front.accepts = () => false;
  fill(r, 20);
  const reads = (): number => r.disk.count(BioOp.read);
  // Slots are 256 up, in order.
  const come = (vpn: number): void => {
    for (let i = 0; r.mm.touch(vpn) !== SwapInResult.done && i < 9; i++) r.swap.tick();
  };
  come(0);
  assert.equal(reads(), 1);
  come(1);
  assert.equal(reads(), 2, 'adjacent: a window of two, one of them cached');
  come(2);
  assert.equal(reads(), 4, 'adjacent again: 2 and 3');
  const before = r.swap.counters.get('readBios');
  come(3);
  assert.equal(r.swap.counters.get('readBios'), before);
  assert.equal(r.swap.counters.get('readAheadHits'), 1);
  come(4);
  assert.equal(reads(), 8, 'a hit: a window of four');
  checkWorld(r);
});

test('read-ahead skips slots that are cached, free, zero or in frontswap', () => {
  const r = rig(false);
  const inFrontswap = new Set([3]);
  let at = 0;
  r.front.accepts = () => inFrontswap.has(at);
  for (at = 0; at < 8; at++) {
    assert.equal(r.mm.write(at, at === 2 ? 0 : at + 1), SwapInResult.done);
    if (r.mm.evict(r.mm.pages[at]!.frame)) continue;
    r.swap.tick();
    assert.ok(r.mm.reclaim(r.swap.lookup(entryAt(r, at))));
  }
  r.mm.fork(1, 20);
  assert.equal(r.mm.touch(1), SwapInResult.done);
  r.mm.exit(4);
  const { readAhead } = r.swap.areas[0]!;
  for (let i = 0; i < 6; i++) readAhead.hit();
  assert.equal(r.mm.touch(0), SwapInResult.done);
  assert.equal(r.swap.counters.get('readAheadBios'), 3, '5, 6 and 7');
  checkWorld(r);
});

test('C14 a slot whose last reference is dropped during a bio is freed when the bio completes', () => {
  const r = rig(false);
  r.front.accepts = () => false;
  fill(r, 1);
  r.disk.delay = () => 2;
  assert.equal(r.mm.touch(0), SwapInResult.pending);
  r.mm.exit(0);
  assert.equal(r.mm.write(1, 5), SwapInResult.done);
  r.mm.evict(r.mm.pages[1]!.frame);
  r.mm.exit(1);
  const { allocator } = r.swap.areas[0]!;
  assert.equal(allocator.inUse, 2, 'the slots are kept until the bios complete');
  assert.deepEqual(r.disk.freed, []);
  for (let i = 0; i < 4; i++) r.swap.tick();
  assert.equal(allocator.inUse, 0);
  assert.equal(r.mm.free.length, 32);
  checkWorld(r);
});

test('two references to one slot find one frame', () => {
  const r = rig(true);
  fill(r, 1);
  r.mm.fork(0, 1);
  assert.equal(r.mm.touch(0), SwapInResult.done);
  assert.equal(r.mm.touch(1), SwapInResult.done);
  assert.equal(r.mm.pages[0]!.frame, r.mm.pages[1]!.frame);
  assert.equal(r.swap.counters.get('bypassed'), 0);
  assert.equal(r.swap.counters.get('cacheHits'), 1);
});
