/** swapon and swapoff: priorities, steps, failures, shrink, wrong arguments. Ids are those of docs/design/contract-tests.md. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AreaOptions } from '../../src/swap/areas.ts';
import { typeOf } from '../../src/swap/entry.ts';
import { Swap, SwapInResult } from '../../src/swap/swap.ts';
import { SwapOffResult, swapOff, swapOn } from '../../src/swap/swapon.ts';
import { Writeback } from '../../src/swap/writeback.ts';
import { headerPage, isRead, SimDisk } from '../support/fakes/sim-disk.ts';
import { checkWorld, makeWorld } from '../support/fixtures/swap-world.ts';
import { entryAt, fill, rig } from './rig.ts';

test('areas fill by priority, equal ones in turn, those without a priority last and in order', () => {
  const world = makeWorld(32, 60);
  const priorities = [undefined, 10, undefined, 10, 20];
  for (const priority of priorities)
    swapOn(
      world.swap,
      new SimDisk(11, true),
      headerPage(11),
      priority === undefined ? {} : { priority },
    );
  assert.deepEqual(
    world.swap.areas.slice(0, 5).map((area) => area?.priority),
    [-1, 10, -2, 10, 20],
  );
  fill(world, 50);
  const types = Array.from({ length: 50 }, (_, vpn) => typeOf(entryAt(world, vpn)));
  assert.deepEqual(types.slice(0, 10), new Array(10).fill(4));
  assert.deepEqual(
    types.slice(10, 30),
    Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? 1 : 3)),
  );
  assert.deepEqual(types.slice(30), [...new Array(10).fill(0), ...new Array(10).fill(2)]);
});

test('priority 0 is above areas without a priority', () => {
  const { swap } = makeWorld(8, 8);
  for (const options of [{}, { priority: 0 }, { priority: 32767 }])
    swapOn(swap, new SimDisk(11, true), headerPage(11), options);
  assert.deepEqual(
    [1, 2, 3].map(() => typeOf(swap.order.alloc())),
    [2, 2, 2],
  );
  swap.areas[2]!.writeOk = false;
  assert.equal(typeOf(swap.order.alloc()), 1);
});

test('C20 swapoff reads every page back, then the area is off', () => {
  for (const synchronous of [true, false]) {
    const r = rig(synchronous);
    let at = 0;
    r.front.accepts = () => at++ % 2 === 0;
    fill(r, 16, (vpn) => (vpn % 5 === 0 ? 0 : vpn));
    r.mm.fork(3, 20);
    let off: SwapOffResult = SwapOffResult.again;
    for (let i = 0; off === SwapOffResult.again && i < 500; i++) {
      off = swapOff(r.swap, 0, 50);
      r.swap.tick();
    }
    assert.equal(off, SwapOffResult.done);
    assert.equal(r.front.pages.size, 0);
    assert.equal(r.front.areas[0], undefined, 'invalidateArea was called');
    assert.equal(r.swap.areas[0], null);
    for (let vpn = 0; vpn < 16; vpn++) assert.notEqual(r.mm.pages[vpn]!.frame, -1);
    checkWorld(r);
  }
});

test('C20 a swapoff that fails midway loses no page, and the area is on again', () => {
  for (const why of ['disk', 'frames', 'damage'] as const) {
    const r = rig(true, {}, 600, why === 'frames' ? 8 : 32);
    r.front.accepts = () => why === 'damage';
    fill(r, 16);
    let reads = 0;
    if (why === 'disk') r.disk.fails = (bio) => isRead(bio) && ++reads > 5;
    if (why === 'damage') r.front.damaged = () => ++reads > 5;
    const answer = swapOff(r.swap, 0, 600);
    assert.equal(answer, why === 'frames' ? SwapOffResult.noFrame : SwapOffResult.ioError);
    assert.ok(r.swap.areas[0]!.writeOk);
    checkWorld(r);
    r.disk.fails = () => false;
    r.front.damaged = () => false;
    for (let vpn = 0; vpn < 16; vpn++) {
      if (r.mm.free.length === 0) assert.ok(r.mm.evict(r.mm.mapped.findIndex((m) => m.size > 0)));
      assert.equal(r.mm.touch(vpn), SwapInResult.done);
    }
    checkWorld(r);
  }
});

test('C20 a reference that the memory manager leaves stops the swapoff; the page stays', () => {
  const r = rig(true);
  fill(r, 4);
  r.mm.takesHome = false;
  assert.equal(swapOff(r.swap, 0, 600), SwapOffResult.refused);
  assert.ok(r.swap.areas[0]!.writeOk);
  checkWorld(r);
  r.mm.takesHome = true;
  assert.equal(swapOff(r.swap, 0, 600), SwapOffResult.done);
  checkWorld(r);
});

test('no slot is allocated from an area in swapoff', () => {
  const r = rig(false);
  r.front.accepts = () => false;
  fill(r, 4);
  r.disk.delay = () => 2;
  assert.equal(swapOff(r.swap, 0, 600), SwapOffResult.again);
  assert.equal(r.mm.write(10, 1), SwapInResult.done);
  assert.equal(r.mm.evict(r.mm.pages[10]!.frame), false);
  assert.equal(r.swap.counters.get('noSlot'), 1);
});

test('C11 shrink reads back the requested number of pages, unchanged', () => {
  const r = rig(true);
  fill(r, 12);
  assert.equal(r.front.onShrink?.(0, 5), 5);
  assert.equal(r.front.pages.size, 7);
  assert.equal(r.swap.counters.get('pagesUnused'), 5);
  checkWorld(r);
  assert.equal(r.front.onShrink?.(0, 100), 7);
  assert.equal(r.front.onShrink?.(9, 1), 0, 'no such area');
});

test('swapon and swapoff refuse wrong arguments', () => {
  const r = rig(true);
  const code = { code: 'ERR_ARG_AREA' };
  assert.throws(() => swapOn(r.swap, r.disk, headerPage(600)), code);
  const bad = Array.from({ length: 10 }, (_, i) => i + 1);
  assert.throws(() => swapOn(r.swap, new SimDisk(11, true), headerPage(11, bad)), code);
  for (const priority of [-1, 0.5, 32768])
    assert.throws(() => swapOn(r.swap, new SimDisk(11, true), headerPage(11), { priority }), {
      code: 'ERR_ARG_VALUE',
      message: `swapOn(options).priority is ${priority}; use an integer from 0 to 32767`,
    });
  const readOnly = Object.assign(Object.create(r.disk), { readOnly: true });
  assert.throws(() => swapOn(r.swap, readOnly, headerPage(600)), code);
  for (let i = 1; i < 32; i++) swapOn(r.swap, new SimDisk(11, true), headerPage(11));
  assert.throws(() => swapOn(r.swap, new SimDisk(11, true), headerPage(11)), code);
  assert.throws(() => swapOn(r.swap, new SimDisk(11, true), headerPage(12)), {
    code: 'ERR_IO_SWAP_HEADER',
  });
  assert.equal(swapOff(r.swap, 5, 100), SwapOffResult.done);
  assert.throws(() => swapOff(r.swap, 5, 100), code);
  assert.equal(swapOn(r.swap, new SimDisk(11, true), headerPage(11)), 5, 'the type is free again');
});

test('options of swapOn, Swap and Writeback are checked', () => {
  const r = rig(true);
  const wrong = [
    { pageCluster: 9 },
    { pageCluster: -1 },
    { allocator: 'random' },
    { discard: 'always' },
    { writeback: 1 },
  ];
  for (const options of wrong)
    assert.throws(
      () => swapOn(r.swap, new SimDisk(11, true), headerPage(11), options as AreaOptions),
      { code: 'ERR_ARG_VALUE' },
      JSON.stringify(options),
    );
  const misspelt = { prioritty: 1 } as AreaOptions;
  assert.throws(() => swapOn(r.swap, new SimDisk(11, true), headerPage(11), misspelt), {
    code: 'ERR_ARG_UNKNOWN',
    message: /'prioritty'.*priority/,
  });
  for (const options of [{ bios: 0 }, { discardBios: 0 }])
    assert.throws(() => new Swap(r.front, r.mm, options), { code: 'ERR_ARG_VALUE' });
  const limits = { usedBytes: () => 0, limitBytes: 100 };
  for (const options of [{ bios: 0 }, { acceptPercent: 96 }, { startPercent: 101 }])
    assert.throws(() => new Writeback(r.swap, { ...limits, ...options }), {
      code: 'ERR_ARG_VALUE',
    });
});
