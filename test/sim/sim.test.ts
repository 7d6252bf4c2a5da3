/**
 * The simulator with fakes: a disk with random delays and failures, a frontswap that refuses and damages pages. Every page
 * swapped in is compared; every counter is checked after every step.
 *
 *   STEPS=1000000 SEED=7 node scripts/run-tests.mjs unit sim
 */
import assert from 'node:assert/strict';
import type { Prng } from '../../src/base/prng.ts';
import { NaiveFront } from '../support/fakes/naive-front.ts';
import { SimDisk } from '../support/fakes/sim-disk.ts';
import { randomTest } from '../support/fixtures/replay.ts';
import { type Parts, walk } from './walk.ts';

function standIns(prng: Prng): Parts {
  const front = new NaiveFront();
  const problem = { faults: false, vanished: false };
  front.accepts = () => prng.below(3) === 0;
  front.damaged = () => problem.faults && prng.oneIn(10);
  front.exclusiveGets = prng.oneIn(3);
  front.writethrough = !front.exclusiveGets && prng.oneIn(4);
  return {
    front,
    problem,
    pressure: { usedBytes: () => front.pages.size, limitBytes: 60 },
    makeDisk(slots, synchronous) {
      const disk = new SimDisk(slots, synchronous);
      disk.delay = () => prng.below(4);
      disk.fails = () => problem.vanished || (problem.faults && prng.oneIn(20));
      return disk;
    },
    diskGone: (disk) =>
      assert.equal((disk as SimDisk).waiting, 0, 'an area that is off has no bio in flight'),
    shrink: () => front.onShrink?.(prng.below(2), prng.below(6)),
    tend: () => undefined,
    check: ({ swap }) => {
      assert.equal(front.writtenBackPages, swap.counters.get('writebackPages'));
      assert.equal(
        front.hits,
        swap.counters.get('frontswapIn') + swap.counters.get('writebackBios'),
        'a page is loaded from frontswap for a swap-in or a writeback',
      );
    },
    verify: () => undefined,
    atEnd: () => assert.equal(front.pages.size, 0, 'no page remains after its slot is freed'),
  };
}

for (const discard of ['off', 'once', 'pages', 'scan'] as const)
  for (const synchronous of [true, false])
    randomTest(
      `no page is lost and every counter is exact: discard ${discard}, ${synchronous ? 'synchronous' : 'slow'} disks`,
      2500,
      (prng, steps) => walk(prng, steps, standIns(prng), synchronous, discard),
    );
