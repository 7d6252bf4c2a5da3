/**
 * A random walk over the pager: threads that read and write, regions added and removed, pins, discards, swapoffs, memory
 * dropped by its owner, and every failure that can be injected. All invariants and counters are checked after each step.
 *
 *   STEPS=1000000 SEED=7 node scripts/run-tests.mjs unit pager/pager-model
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../src/base/prng.ts';
import { randomTest } from '../support/fixtures/replay.ts';
import { Walk, type WalkOptions } from './walk.ts';

function rangeOf(prng: Prng, pages: number, most: number): [number, number] {
  const from = prng.below(pages);
  return [from, Math.min(pages, from + 1 + prng.below(most))];
}

function regionStep(walk: Walk, prng: Prng, hasFailures: boolean): void {
  const guest = walk.guests[prng.below(walk.guests.length)]!;
  const { memory, region } = guest;
  const [from, to] = rangeOf(prng, memory.pages, 40);
  const before = region.resident;
  const what = prng.below(20);
  if (what < 4) assert.equal(walk.pager.evict(region, from, to), before - region.resident);
  else if (what < 7) walk.discard(guest, from, to);
  else if (what < 10) walk.pager.prefetch(region, from, to);
  else if (what < 12) walk.pin(guest, from, Math.min(to, from + 6));
  else if (what < 15) walk.unpin(guest);
  else if (what === 15) walk.pager.dropCopies(prng.below(8));
  else if (what === 16 && !walk.isPinned(guest, from)) memory.dropByOwner(from);
  else if (what === 17 && hasFailures && prng.oneIn(8) && !walk.isPinned(guest, from)) {
    walk.count('unmap');
    memory.unmap(from);
  }
}

function step(walk: Walk, prng: Prng, { hasFailures }: WalkOptions): void {
  const what = prng.below(100);
  if (what < 40) for (let n = prng.below(8); n > 0; n--) walk.runThread(prng.below(5));
  else if (what < 70) walk.serve(prng.below(3));
  else if (what < 75) walk.pager.background();
  else if (what < 77) walk.swapOffStep();
  else if (walk.isGoingOff && what < 85) walk.swapOffStep();
  else if (what === 85 && hasFailures) walk.faults = !walk.faults && prng.oneIn(2);
  else if (what === 86 && prng.oneIn(8) && walk.guests.length > 1)
    walk.removeRegion(walk.guests[prng.below(walk.guests.length)]!, prng.oneIn(2));
  else if (what === 87 && walk.guests.length < 4) walk.addRegion();
  else if (what === 88) walk.stores.maintain(10);
  else if (walk.guests.length > 0) regionStep(walk, prng, hasFailures);
}

/** Every access ends, and nothing is stored after the last region has been removed. */
function end(walk: Walk): void {
  walk.faults = false;
  walk.world.between = () => {};
  walk.world.after = () => {};
  for (let round = 0; walk.world.threads.some(({ memory }) => memory !== null); round++) {
    assert.ok(round < 1000, 'every access ends');
    walk.serve();
    for (const thread of walk.world.threads) walk.world.step(thread);
  }
  for (const guest of [...walk.guests]) {
    walk.removeRegion(guest, true);
    walk.check();
  }
  for (const set of walk.sets) assert.equal(set.pages + set.pinned, 0);
  assert.equal(walk.front.currPages(), 0, 'no page stays stored after its region is removed');
  walk.stores.verify();
}

/** @param alwaysCovers counters that this walk reaches, and that one in some hundred random walks misses */
function walkOver(
  options: WalkOptions,
  alwaysCovers: readonly string[] = [],
): (prng: Prng, steps: number) => void {
  return (prng, steps) => {
    const walk = new Walk(prng, options);
    walk.addRegion();
    for (let i = 0; i < steps; i++) {
      const before = walk.sets.map((set) => Math.max(set.pages, set.ceiling));
      const { counted } = walk;
      const adopted = walk.totals.adopted;
      step(walk, prng, options);
      walk.check();
      walk.checkLimits(before, counted, adopted);
      if (i % 512 === 0) walk.stores.verify();
    }
    end(walk);
    const c = walk.pager.counters.snapshot();
    if (steps < 5000) return;
    const rare = ['pagesLost', 'lostFaults', 'pagesBusy', 'overBudget'];
    for (const [name, value] of Object.entries(c))
      if (!rare.includes(name) || alwaysCovers.includes(name))
        assert.ok(value > 0, `the walk covers ${name}`);
    assert.equal(c.pagesBusy > 0, options.hasFailures, 'pages are busy only by a failure');
    if (options.hasFailures)
      assert.ok(c.pagesLost + walk.seen('swapoff failed') > 0); // a short walk may miss either
    else assert.equal(c.pagesLost, 0);
    assert.ok(walk.seen('swapoff') > 0 && walk.seen('pin') > 0 && walk.seen('swapped in') > 0);
  };
}

for (const synchronous of [true, false])
  for (const hasFailures of [false, true]) {
    const name = `${synchronous ? 'synchronous disk' : 'slow disk'}, ${hasFailures ? 'failures' : 'no failures'}`;
    randomTest(
      `every read returns the last write: ${name}`,
      8000,
      walkOver({ synchronous, hasFailures }),
    );
  }

test('a walk exceeds the budget, and every read returns the last write', () =>
  walkOver({ synchronous: true, hasFailures: false }, ['overBudget'])(new Prng(1), 8000));
