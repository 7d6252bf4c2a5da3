/**
 * The simulator: virtual pages touched, written, forked, evicted and ended at random over two areas, a disk that answers
 * when it likes and sometimes fails, a frontswap that refuses, damage, shrinks and swapoffs in between. Every page that
 * comes back is compared; every counter is checked after every step.
 *
 *   STEPS=1000000 SEED=7 node scripts/run-tests.mjs unit sim
 */
import assert from 'node:assert/strict';
import type { Prng } from '../../src/base/prng.ts';
import type { AreaOptions, DiscardMode } from '../../src/swap/areas.ts';
import { In } from '../../src/swap/swap.ts';
import { Off, swapOff, swapOn } from '../../src/swap/swapon.ts';
import { randomTest } from '../model/replay.ts';
import { headerPage, SimDisk } from './sim-disk.ts';
import { checkCounters, checkWorld, makeWorld, type World } from './world.ts';

const FRAMES = 24;
const PAGES = 500;

interface Sim extends World {
  readonly prng: Prng;
  readonly disks: SimDisk[];
  readonly options: AreaOptions;
  /** Area being switched off, -1 = none. */
  leaving: number;
  faults: boolean;
  vanished: boolean;
}

function addDisk(sim: Sim, synchronous: boolean): void {
  const { prng } = sim;
  const slots = prng.oneIn(2) ? 1000 + prng.below(300) : 310 + prng.below(40);
  const disk = new SimDisk(slots, synchronous);
  disk.delay = () => prng.below(4);
  disk.fails = () => sim.vanished || (sim.faults && prng.oneIn(20));
  const type = swapOn(sim.swap, disk, headerPage(slots, [3, 300]), sim.options);
  sim.disks[type] = disk;
}

function stepOff(sim: Sim): void {
  const { swap, prng } = sim;
  if (sim.leaving === -1) {
    const on = swap.areas.filter((area) => area?.writeOk);
    if (on.length === 2 && prng.oneIn(20)) sim.leaving = on[prng.below(2)]!.type;
    return;
  }
  const disk = sim.disks[sim.leaving]!;
  const answer = swapOff(swap, sim.leaving, 1 + prng.below(200));
  if (answer === Off.again) return;
  if (answer === Off.done) {
    assert.equal(disk.waiting, 0, 'an area that is off has no bio under way');
    addDisk(sim, disk.synchronous);
  }
  sim.leaving = -1;
}

function makeRoom(sim: Sim): void {
  const { mm, prng } = sim;
  for (let tries = 0; mm.free.length < 4 && tries < 40; tries++) mm.evict(prng.below(FRAMES));
}

function step(sim: Sim): void {
  const { mm, prng, swap, front } = sim;
  const vpn = prng.below(PAGES);
  const kind = prng.below(100);
  if (kind < 80) makeRoom(sim);
  if (kind < 35) mm.write(vpn, prng.oneIn(4) ? 0 : 1 + prng.below(1_000_000));
  else if (kind < 65) {
    const answer = mm.touch(vpn);
    if (!sim.faults && !sim.vanished) assert.ok(answer !== In.ioError && answer !== In.corrupt);
    assert.notEqual(answer, In.absent);
  } else if (kind < 75) mm.fork(vpn, prng.below(PAGES));
  else if (kind < 83) mm.exit(vpn);
  else if (kind < 88) mm.evict(prng.below(FRAMES));
  else if (kind < 92) swap.tick();
  else if (kind < 94) swap.scanDiscard(1 + prng.below(5));
  else if (kind < 96) stepOff(sim);
  else if (kind < 97) front.onShrink?.(prng.below(2), prng.below(6));
  else if (kind < 98) sweep(sim, vpn);
  else if (prng.oneIn(2)) swap.reclaimCacheOnly(3);
  else if (prng.oneIn(10)) sim.faults = !sim.faults;
  else if (sim.vanished || prng.oneIn(20)) sim.vanished = !sim.vanished;
}

/** Neighbours go in order and come in order: what read-ahead is for. */
function sweep(sim: Sim, first: number): void {
  const { mm, swap } = sim;
  const last = Math.min(first + 16, PAGES);
  for (let vpn = first; vpn < last; vpn++) {
    const frame = mm.pages[vpn]?.frame ?? -1;
    if (frame !== -1) mm.evict(frame);
  }
  for (let vpn = first; vpn < last; vpn++) {
    makeRoom(sim);
    mm.touch(vpn);
    swap.tick();
  }
}

/** Everything heals, and every page is asked for a last time. */
function finish(sim: Sim): void {
  const { mm, swap } = sim;
  sim.faults = false;
  sim.vanished = false;
  for (let tries = 0; sim.leaving !== -1; tries++) {
    assert.ok(tries < 2000, 'a swapoff that was begun ends');
    makeRoom(sim);
    stepOff(sim);
    swap.tick();
  }
  for (let vpn = 0; vpn < PAGES; vpn++) {
    if (mm.pages[vpn] === null) continue;
    let answer: In = In.pending;
    for (let tries = 0; answer !== In.ready && tries < 300; tries++) {
      makeRoom(sim);
      answer = mm.touch(vpn);
      swap.tick();
    }
    assert.equal(answer, In.ready, `page ${vpn} can be had`);
  }
  for (let vpn = 0; vpn < PAGES; vpn++) mm.exit(vpn);
  for (let tries = 0; tries < 50; tries++) swap.tick();
  checkWorld(sim);
  assert.equal(sim.front.pages.size, 0, 'no page outlives its slot');
  const c = swap.counters.snapshot();
  assert.equal(c.slotsTaken, c.slotsFreed, 'every slot came back');
  assert.equal(sim.mm.free.length, FRAMES, 'every frame came back');
}

function run(prng: Prng, steps: number, synchronous: boolean, discard: DiscardMode): void {
  const world = makeWorld(FRAMES, PAGES, { bios: 6, discardBios: 2 });
  const options: AreaOptions = {
    discard,
    allocator: prng.oneIn(2) ? 'solid' : 'rotating',
    ...(prng.oneIn(2) ? { priority: 5 } : {}),
  };
  const sim: Sim = {
    ...world,
    prng,
    options,
    disks: [],
    leaving: -1,
    faults: false,
    vanished: false,
  };
  sim.front.accepts = () => prng.below(3) === 0;
  sim.mm.keepsSlot = () => prng.oneIn(2);
  sim.front.damaged = () => sim.faults && prng.oneIn(10);
  sim.front.exclusiveGets = prng.oneIn(3);
  sim.front.writethrough = !sim.front.exclusiveGets && prng.oneIn(4);
  addDisk(sim, synchronous);
  addDisk(sim, synchronous && prng.oneIn(2));
  for (let at = 0; at < steps; at++) {
    step(sim);
    checkCounters(sim);
    if (at % 64 === 0) checkWorld(sim);
  }
  finish(sim);
}

for (const discard of ['off', 'once', 'pages', 'scan'] as const)
  for (const synchronous of [true, false])
    randomTest(
      `no page is lost and every counter is exact: discard ${discard}, ${synchronous ? 'synchronous' : 'slow'} disks`,
      2500,
      (prng, steps) => run(prng, steps, synchronous, discard),
    );
