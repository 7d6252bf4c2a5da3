/**
 * The random walk of the simulator: touches, writes, forks, evicts and exits virtual pages over two areas, with shrinks and
 * swapoffs in between. The caller supplies the parts around the swap core: fakes or the real ones.
 */
import assert from 'node:assert/strict';
import type { Prng } from '../../src/base/prng.ts';
import type { AreaOptions } from '../../src/swap/areas.ts';
import type { FrontEnd, SwapDisk } from '../../src/swap/ops.ts';
import { SwapInResult } from '../../src/swap/swap.ts';
import { SwapOffResult, swapOff, swapOn } from '../../src/swap/swapon.ts';
import type { WritebackOptions } from '../../src/swap/writeback.ts';
import { headerPage } from '../support/fakes/sim-disk.ts';
import {
  checkCounters,
  checkWorld,
  makeWorldOf,
  type World,
} from '../support/fixtures/swap-world.ts';

const FRAMES = 24;
const PAGES = 500;

/** The faults that are active now; disks and backends read this. */
export interface Problem {
  /** Single bios and loads fail. */
  faults: boolean;
  /** Every bio fails. */
  vanished: boolean;
}

/** The interface to the parts, for any front end. */
export type AnyWorld = World<FrontEnd>;

/** The parts around the swap core. */
export interface Parts {
  readonly front: FrontEnd;
  readonly problem: Problem;
  /** What the shrinker watches. */
  readonly pressure: WritebackOptions;
  makeDisk(slots: number, synchronous: boolean): SwapDisk;
  /** The area is off: asserts that no bio is in flight and no page stored. */
  diskGone(disk: SwapDisk): void;
  shrink(world: AnyWorld): void;
  /** Advances time and does maintenance, before every step. */
  tend(): void;
  /** Cheap checks, after every step. */
  check(world: AnyWorld): void;
  /** Full checks, every 64 steps. */
  verify(world: AnyWorld): void;
  /** Checks after the last page is freed. */
  atEnd(): void;
}

interface Sim extends AnyWorld {
  readonly prng: Prng;
  readonly parts: Parts;
  readonly options: AreaOptions;
  /** Area being switched off, -1 = none. */
  leaving: number;
}

function addDisk({ prng, parts, swap, options }: Sim, synchronous: boolean): void {
  const slots = prng.oneIn(2) ? 1000 + prng.below(300) : 310 + prng.below(40);
  const disk = parts.makeDisk(slots, synchronous);
  swapOn(swap, disk, headerPage(slots, [3, 300]), options);
}

function stepOff(sim: Sim, isPatient: boolean): void {
  const { swap, prng, parts } = sim;
  if (sim.leaving === -1) {
    const on = swap.areas.filter((area) => area?.writeOk);
    if (on.length === 2 && prng.oneIn(5)) sim.leaving = on[prng.below(2)]!.type;
    return;
  }
  const { disk } = swap.areas[sim.leaving]!;
  makeRoom(sim);
  const answer = swapOff(swap, sim.leaving, 1 + prng.below(prng.oneIn(20) ? 200 : 4));
  if (
    answer === SwapOffResult.again ||
    (answer === SwapOffResult.noFrame && isPatient && !prng.oneIn(64))
  )
    return;
  if (answer === SwapOffResult.done) {
    parts.diskGone(disk);
    addDisk(sim, disk.synchronous);
  }
  sim.leaving = -1;
}

function makeRoom({ mm, prng }: Sim): void {
  for (let tries = 0; mm.free.length < 4 && tries < 40; tries++) mm.evict(prng.below(FRAMES));
}

function step(sim: Sim): void {
  const { mm, prng, swap, parts } = sim;
  const { problem } = parts;
  const vpn = prng.below(PAGES);
  const kind = prng.below(100);
  if (sim.leaving !== -1 && prng.oneIn(2)) stepOff(sim, true);
  if (kind < 80) makeRoom(sim);
  if (kind < 35) mm.write(vpn, prng.oneIn(4) ? 0 : 1 + prng.below(1_000_000));
  else if (kind < 65) {
    const answer = mm.touch(vpn);
    if (!problem.faults && !problem.vanished)
      assert.ok(answer !== SwapInResult.ioError && answer !== SwapInResult.corrupt);
    assert.notEqual(answer, SwapInResult.badEntry);
  } else if (kind < 75) mm.fork(vpn, prng.below(PAGES));
  else if (kind < 83) mm.exit(vpn);
  else if (kind < 87) writeBack(sim);
  else if (kind < 89) mm.evict(prng.below(FRAMES));
  else if (kind < 92) swap.tick();
  else if (kind < 94) swap.scanDiscard(1 + prng.below(5));
  else if (kind < 96) stepOff(sim, true);
  else if (kind < 97) parts.shrink(sim);
  else if (kind < 98) {
    if (prng.oneIn(6)) endMany(sim);
    else sweep(sim, vpn);
  } else if (prng.oneIn(2)) swap.reclaimCacheOnly(3);
  else if (prng.oneIn(problem.faults ? 2 : 5)) problem.faults = !problem.faults;
  else if (problem.vanished || prng.oneIn(20)) problem.vanished = !problem.vanished;
}

/** Writes cold pages back, or does a step of the shrinker; sometimes changes the limits of writeback. */
function writeBack(sim: Sim): void {
  const { swap, back, prng } = sim;
  const type = prng.below(2);
  const area = swap.areas[type] ?? null;
  makeRoom(sim);
  const { writebackBios } = swap.counters.snapshot();
  const before = back.budget;
  const sent = prng.oneIn(4) ? back.tick() : back.write(type, 1 + prng.below(6));
  assert.equal(swap.counters.get('writebackBios') - writebackBios, sent, 'one bio per page');
  if (before !== Number.POSITIVE_INFINITY)
    assert.equal(before - back.budget, sent, 'one page of the budget per bio');
  assert.ok(back.budget >= 0);
  if (!area?.writeback) assert.equal(back.write(type, 1), 0, 'writeback of the area is off');
  if (prng.oneIn(8)) back.budget = prng.oneIn(4) ? prng.below(9) : Number.POSITIVE_INFINITY;
  if (prng.oneIn(8)) back.incompressibleOnly = prng.oneIn(4);
  if (area !== null && prng.oneIn(8)) area.writeback = !prng.oneIn(4);
}

/** A large process exits; otherwise swap stays too full for a swapoff. */
function endMany({ mm, prng }: Sim): void {
  const kept = prng.below(PAGES);
  for (let vpn = 0; vpn < PAGES; vpn++) if (vpn < kept || vpn > kept + 100) mm.exit(vpn);
}

/** Swaps adjacent pages out and in, in order: the case for read-ahead. */
function sweep(sim: Sim, first: number): void {
  const { mm, swap, parts } = sim;
  const last = Math.min(first + 16, PAGES);
  for (let vpn = first; vpn < last; vpn++) {
    const frame = mm.pages[vpn]?.frame ?? -1;
    if (frame !== -1) mm.evict(frame);
  }
  for (let vpn = first; vpn < last; vpn++) {
    makeRoom(sim);
    mm.touch(vpn);
    parts.tend();
    swap.tick();
  }
}

function pass(sim: Sim): void {
  sim.parts.tend();
  sim.swap.tick();
}

/** Clears all faults and reads every page once more. */
function finish(sim: Sim): void {
  const { mm, swap, parts } = sim;
  parts.problem.faults = false;
  parts.problem.vanished = false;
  for (let tries = 0; sim.leaving !== -1; tries++) {
    assert.ok(tries < 2000, 'a swapoff in progress completes');
    makeRoom(sim);
    stepOff(sim, false);
    pass(sim);
  }
  for (let vpn = 0; vpn < PAGES; vpn++) {
    if (mm.pages[vpn] === null) continue;
    let answer: SwapInResult = SwapInResult.pending;
    for (let tries = 0; answer !== SwapInResult.done && tries < 300; tries++) {
      makeRoom(sim);
      answer = mm.touch(vpn);
      pass(sim);
    }
    assert.equal(answer, SwapInResult.done, `page ${vpn} can be swapped in`);
  }
  for (let vpn = 0; vpn < PAGES; vpn++) mm.exit(vpn);
  for (let tries = 0; tries < 200; tries++) pass(sim);
  checkWorld(sim);
  parts.check(sim);
  parts.verify(sim);
  parts.atEnd();
  const c = swap.counters.snapshot();
  assert.equal(c.slotsTaken, c.slotsFreed, 'every slot is free');
  assert.equal(sim.back.inFlight, 0, 'no writeback bio is in flight');
  assert.equal(mm.free.length, FRAMES, 'every frame is free');
}

export function walk(
  prng: Prng,
  steps: number,
  parts: Parts,
  synchronous: boolean,
  discard: AreaOptions['discard'],
): void {
  const world = makeWorldOf(
    parts.front,
    FRAMES,
    PAGES,
    { bios: 6, discardBios: 2 },
    { ...parts.pressure, bios: 3 },
  );
  const options: AreaOptions = {
    discard: discard ?? 'off',
    allocator: prng.oneIn(2) ? 'solid' : 'rotating',
    ...(prng.oneIn(2) ? { priority: 5 } : {}),
  };
  const sim: Sim = { ...world, prng, parts, options, leaving: -1 };
  world.mm.keepsSlot = () => prng.oneIn(2);
  addDisk(sim, synchronous);
  addDisk(sim, synchronous && prng.oneIn(2));
  for (let at = 0; at < steps; at++) {
    parts.tend();
    step(sim);
    checkCounters(sim);
    parts.check(sim);
    if (at % 64 !== 0) continue;
    checkWorld(sim);
    parts.verify(sim);
  }
  finish(sim);
}
