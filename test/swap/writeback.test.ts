/** Writeback. C18 enumerates every order of events while a page is being written; the other tests check one promise each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { offsetOf } from '../../src/swap/entry.ts';
import { SwapInResult, SwapOutResult } from '../../src/swap/swap.ts';
import { SwapOffResult, swapOff, swapOn } from '../../src/swap/swapon.ts';
import { Writeback, type WritebackOptions } from '../../src/swap/writeback.ts';
import { headerPage, isWrite, SimDisk } from '../support/fakes/sim-disk.ts';
import { checkWorld, makeWorld, type World } from '../support/fixtures/swap-world.ts';
import { entryAt, fill, type Rig, rig } from './rig.ts';

const PAGES = 7;
/** Ages that make every page cold. */
const turn = ({ front }: World): void => {
  for (let age = 0; age < 3; age++) front.age(0, 1, 600);
};

/** Touches a page until it is resident; an asynchronous disk needs ticks. */
function have(r: Rig, vpn: number): void {
  for (let i = 0; i < 9; i++) {
    const answer = r.mm.touch(vpn);
    if (answer === SwapInResult.done) return;
    assert.equal(answer, SwapInResult.pending);
    r.swap.tick();
  }
  assert.fail(`page ${vpn} is not swapped in`);
}

/** A writeback of page 0 is in flight and does not complete. */
function sentOff(exclusive: boolean): { r: Rig; release: (ok: boolean) => void } {
  const r = rig(false, { pageCluster: 0 }, 10, 10);
  let isHeld = true;
  r.front.exclusiveGets = exclusive;
  fill(r, PAGES);
  turn(r);
  r.disk.holds = (bio) => isWrite(bio) && isHeld;
  assert.equal(r.back.write(0, 1), 1);
  assert.equal(r.disk.seen.at(-1)!.slot, offsetOf(entryAt(r, 0)));
  return {
    r,
    release(ok) {
      isHeld = false;
      r.disk.fails = (bio) => isWrite(bio) && !ok;
      r.swap.tick();
      r.disk.fails = () => false;
    },
  };
}

let stamp = 100;
/** The events that can happen to the page, its slot and its frame during the writeback. */
const happenings: Readonly<Record<string, (r: Rig) => void>> = {
  load: ({ mm }) => assert.notEqual(mm.touch(0), SwapInResult.ioError),
  overwrite: ({ mm }) => mm.write(0, ++stamp),
  overwriteInPlace({ mm }) {
    mm.keepsSlot = () => true;
    mm.write(0, ++stamp);
  },
  sendAway({ mm }) {
    const frame = mm.pages[0]?.frame ?? -1;
    if (frame !== -1) mm.evict(frame);
  },
  sendAwayRefused(r) {
    r.front.accepts = () => false;
    happenings['sendAway']!(r);
  },
  free: ({ mm }) => mm.exit(0),
  reuse({ mm }) {
    const vpn = mm.pages.indexOf(null);
    mm.write(vpn, ++stamp);
    const { frame } = mm.pages[vpn]!;
    if (frame !== -1) mm.evict(frame);
  },
  share: ({ mm }) => mm.fork(0, mm.pages.indexOf(null)),
  again: (r) => turn(r) ?? r.back.write(0, 1),
};

/** Every sequence of `length` events, with repetition. */
function* orders(length: number): Generator<string[]> {
  if (length === 0) yield [];
  else
    for (const before of orders(length - 1))
      for (const name of Object.keys(happenings)) yield [...before, name];
}

/** A schedule is a sequence of events with the completion of the bio inserted at one position. */
function* schedules(): Generator<{ before: string[]; after: string[] }> {
  for (const length of [1, 2, 3])
    for (const names of orders(length))
      for (let end = length < 3 ? 0 : 2; end <= length; end++)
        yield { before: names.slice(0, end), after: names.slice(end) };
}

function tell(r: Rig, names: readonly string[]): void {
  for (const name of names) happenings[name]!(r);
}

/** Every page reads as last written; after exit no page is left. */
function conclude(r: Rig): void {
  for (let i = 0; i < 4; i++) r.swap.tick();
  checkWorld(r);
  for (const [vpn, page] of r.mm.pages.entries()) if (page !== null) have(r, vpn);
  for (let vpn = 0; vpn < r.mm.pages.length; vpn++) r.mm.exit(vpn);
  for (let i = 0; i < 4; i++) r.swap.tick();
  checkWorld(r);
  assert.equal(r.front.pages.size, 0, 'no page remains after its slot is freed');
  assert.equal(r.swap.counters.get('slotsTaken'), r.swap.counters.get('slotsFreed'));
  assert.equal(r.mm.free.length, 10, 'every frame is free');
}

test('C18 no order of events during a writeback makes a stale write valid', () => {
  let stale = 0;
  let failed = 0;
  let gone = 0;
  for (const { before, after } of schedules())
    for (const exclusive of before.length + after.length < 3 ? [false, true] : [false])
      for (const ok of [true, false]) {
        const { r, release } = sentOff(exclusive);
        try {
          tell(r, before);
          release(ok);
          tell(r, after);
          conclude(r);
        } catch (cause) {
          const end = ok ? 'the bio ends' : 'the bio fails';
          const schedule = [...before, end, ...after].join(', ');
          throw new Error(`${schedule}, exclusive ${exclusive}: ${String(cause)}`, { cause });
        }
        stale += r.swap.counters.get('writebackStale');
        failed += r.swap.counters.get('writebackErrors');
        gone += r.swap.counters.get('writebackPages');
      }
  assert.ok(stale > 500 && failed > 500 && gone > 500, `${stale}, ${failed}, ${gone}`);
});

test('C18 a slot freed during its writeback stays allocated until the bio has completed', () => {
  const { r, release } = sentOff(false);
  const slot = offsetOf(entryAt(r, 0));
  r.mm.exit(0);
  const { allocator, map } = r.swap.areas[0]!;
  assert.ok(!map.isFree(slot));
  assert.deepEqual(r.disk.freed, []);
  const inUse = allocator.inUse;
  release(true);
  assert.ok(map.isFree(slot) && !r.front.has(0, slot));
  assert.deepEqual(r.disk.freed, [slot]);
  assert.equal(allocator.inUse, inUse - 1);
  assert.equal(r.swap.counters.get('writebackStale'), 1);
});

test('C18 a page modified during its writeback is dirty and is swapped out again', () => {
  const { r, release } = sentOff(false);
  happenings['overwriteInPlace']!(r);
  const { frame } = r.mm.pages[0]!;
  const slot = r.swap.cache.entryAt(frame);
  assert.ok(!r.mm.evict(frame), 'the frame cannot be evicted while the bio is in flight');
  assert.equal(r.swap.swapOut(frame), SwapOutResult.busy);
  release(true);
  assert.ok(r.swap.isDirty(frame));
  assert.ok(r.front.has(0, offsetOf(slot)), 'the stale write is ignored');
  assert.ok(r.mm.reclaim(frame));
  have(r, 0);
  checkWorld(r);
});

test('a page that was written back is dropped from frontswap and read from the disk', () => {
  for (const synchronous of [true, false]) {
    const r = rig(synchronous);
    fill(r, 20);
    const free = r.mm.free.length;
    turn(r);
    assert.equal(r.back.write(0, 3), 3);
    if (!synchronous) r.swap.tick();
    assert.equal(r.front.pages.size, 17);
    assert.equal(r.swap.counters.get('writebackPages'), 3);
    assert.equal(r.mm.free.length, free, 'the frames are free');
    for (let vpn = 0; vpn < 20; vpn++) have(r, vpn);
    assert.equal(r.swap.counters.get('frontswapIn'), 17);
    checkWorld(r);
  }
});

test('the oldest pages are written first; a page used since the clock hand passed gets a second chance', () => {
  const r = rig(true);
  fill(r, 8);
  const slots = r.mm.pages.slice(0, 8).map((page) => offsetOf(page!.entry));
  r.front.age(0, slots[4]!, slots[4]! + 2); // 4 and 5 are of age 2
  r.front.age(0, slots[4]!, slots[4]! + 2);
  r.front.age(0, slots[2]!, slots[2]! + 1); // 2 of age 1
  assert.equal(r.back.write(0, 3), 3);
  const written = (): number[] =>
    r.disk.seen.filter((bio) => bio.op === 1).map((bio) => slots.indexOf(bio.slot));
  assert.deepEqual(written(), [4, 5, 2]);
  // The clock hand has passed 0 and 1 and reaches them again; 1 and the last page are used before it does.
  r.front.age(0, slots[6]!, slots[7]! + 1);
  r.front.peek(0, slots[1]!, new Uint8Array(4096), 0);
  assert.equal(r.back.write(0, 4), 4);
  assert.equal(r.back.write(0, 4), 1);
  assert.deepEqual(written().slice(3), [6, 7, 0, 3, 1]);
});

test('each round of the clock hand starts with the oldest pages', () => {
  const r = rig(true);
  fill(r, 4);
  const slots = r.mm.pages.slice(0, 4).map((page) => offsetOf(page!.entry));
  const area = r.swap.areas[0]!;
  area.writebackAge = 1;
  area.writebackAt = area.map.slots - 1;
  for (let age = 0; age < 2; age++) r.front.age(0, slots[1]!, slots[1]! + 1);
  for (let age = 0; age < 3; age++) r.front.age(0, slots[3]!, slots[3]! + 1);
  assert.equal(r.back.write(0, 2), 2);
  assert.deepEqual(
    r.disk.seen.map(({ slot }) => slots.indexOf(slot)),
    [3, 1],
  );
});

test('a call checks 16384 slots, and the next call continues there', () => {
  const r = rig(true, {}, 20_000);
  fill(r, 2);
  turn(r);
  const [first, second] = r.mm.pages.slice(0, 2).map((page) => offsetOf(page!.entry));
  assert.deepEqual([first, second], [256, 257]);
  const area = r.swap.areas[0]!;
  area.writebackAt = 300;
  assert.equal(r.back.write(0, 1), 0);
  assert.equal(area.writebackAt, 300 + 16_384);
  assert.equal(r.back.write(0, 1), 1);
});

test('with incompressibleOnly only incompressible pages are written', () => {
  const r = rig(true);
  fill(r, 12);
  r.back.incompressibleOnly = true;
  const sent = r.back.write(0, 12);
  assert.equal(sent, 4);
  for (const { slot } of r.disk.seen) assert.equal(slot % 3, 0);
});

test('each bio costs one page of the budget, failed ones too; at 0 writeback stops', () => {
  const r = rig(true);
  fill(r, 12);
  turn(r);
  r.back.budget = 5;
  r.disk.fails = () => true;
  assert.equal(r.back.write(0, 3), 3);
  assert.equal(r.back.budget, 2);
  assert.equal(r.front.pages.size, 12, 'pages whose write failed are still in frontswap');
  assert.equal(r.swap.counters.get('writebackErrors'), 3);
  r.disk.fails = () => false;
  assert.equal(r.back.write(0, 12), 2);
  assert.equal(r.back.budget, 0);
  assert.equal(r.back.write(0, 12), 0);
  r.back.budget = 1;
  assert.equal(r.back.write(0, 12), 1);
  assert.equal(r.front.pages.size, 9);
  for (let vpn = 0; vpn < 12; vpn++) have(r, vpn);
});

test('no page is written back to an area with writeback off, in swapoff, or off', () => {
  const r = rig(true, { writeback: false });
  fill(r, 6);
  turn(r);
  assert.equal(r.back.write(0, 6), 0);
  const area = r.swap.areas[0]!;
  area.writeback = true;
  area.writeOk = false;
  assert.equal(r.back.write(0, 6), 0);
  area.writeOk = true;
  assert.equal(r.back.write(0, 1), 1);
  assert.equal(r.back.write(5, 1), 0);
});

test('pages in the swap cache and pages of zeros are not written', () => {
  const r = rig(true);
  fill(r, 6, (vpn) => (vpn < 2 ? 0 : vpn + 1));
  r.mm.fork(5, 6); // two users: read through the cache
  have(r, 5);
  turn(r);
  const before = r.disk.seen.length;
  assert.equal(r.back.write(0, 6), 3);
  assert.equal(r.disk.seen.length - before, 3);
  checkWorld(r);
});

test('a damaged page stays in frontswap and is counted', () => {
  const r = rig(true);
  fill(r, 3);
  turn(r);
  r.front.damaged = () => true;
  assert.equal(r.back.write(0, 1), 0);
  assert.ok(r.swap.counters.get('writebackDamaged') > 0);
  assert.equal(r.front.pages.size, 3);
  assert.equal(r.mm.free.length, 32);
});

test('without a free frame or bio the page waits and is the next one written', () => {
  const r = rig(false, {}, 600, 8);
  fill(r, 6);
  turn(r);
  const lent = r.mm.free.splice(0, r.mm.free.length);
  assert.equal(r.back.write(0, 3), 0);
  assert.equal(r.swap.counters.get('writebackWaits'), 1);
  r.mm.free.push(...lent);
  assert.equal(r.back.write(0, 6), 4, 'one page per bio');
  assert.equal(r.back.inFlight, 4);
  r.swap.tick();
  assert.equal(r.back.inFlight, 0);
  assert.equal(r.back.write(0, 6), 2);
  assert.deepEqual(
    r.disk.seen.map((bio) => bio.slot),
    r.mm.pages.slice(0, 6).map((page) => offsetOf(page!.entry)),
  );
});

test('a swapoff waits for a writeback in flight, then reads the page back', () => {
  const { r, release } = sentOff(false);
  assert.equal(swapOff(r.swap, 0, 40), SwapOffResult.again);
  assert.equal(r.back.write(0, 1), 0, 'nothing is written to an area in swapoff');
  release(true);
  for (let i = 0; swapOff(r.swap, 0, 40) !== SwapOffResult.done; i++) {
    assert.ok(i < 20);
    r.swap.tick();
  }
  for (let vpn = 0; vpn < PAGES; vpn++) r.mm.check(vpn);
  checkWorld(r);
});

function shrinking(
  count: number,
  options: Partial<WritebackOptions>,
): { world: World; back: Writeback } {
  const world = makeWorld(16, 300);
  swapOn(world.swap, new SimDisk(600, true), headerPage(600));
  fill(world, count);
  const usedBytes = (): number => world.front.pages.size * 4096;
  return {
    world,
    back: new Writeback(world.swap, { usedBytes, limitBytes: 100 * 4096, ...options }),
  };
}

test('the shrinker starts above the start mark and stops at the accept mark', () => {
  const { world, back } = shrinking(96, { bios: 4 });
  assert.equal(back.tick(), 4, '96 of 100');
  assert.ok(back.isShrinking);
  assert.equal(world.front.pages.size, 92, 'below the start mark');
  assert.equal(back.tick(), 4);
  assert.equal(world.front.pages.size, 88);
  assert.equal(back.tick(), 0, 'below the accept mark');
  assert.ok(!back.isShrinking);
  assert.equal(shrinking(95, {}).back.tick(), 0, 'between the marks it does not start');
});

test('the shrinker does not run at the accept mark itself', () => {
  const { world, back } = shrinking(98, { bios: 4 });
  assert.deepEqual([back.tick(), back.tick(), back.tick()], [4, 4, 0]);
  assert.equal(world.front.pages.size, 90);
  assert.ok(!back.isShrinking);
});

test('a refused store starts the shrinker below the start mark', () => {
  let isRequested = false;
  const { back } = shrinking(96, {
    startPercent: 99,
    bios: 8,
    isRequested: () => isRequested,
  });
  assert.equal(back.tick(), 0);
  isRequested = true;
  assert.equal(back.tick(), 8);
  assert.equal(back.tick(), 0);
});
