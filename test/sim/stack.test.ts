/**
 * The simulator with the real parts: frontswap over page stores and tmem, request queues, delays and faults over ramzswap
 * and memory disks. Every page swapped in is compared, the counters of swap core, frontswap and backends agree after every
 * step, and a freed slot has no byte anywhere.
 *
 *   STEPS=1000000 SEED=7 node scripts/run-tests.mjs unit sim/stack
 */
import type { Prng } from '../../src/base/prng.ts';
import { randomTest } from '../support/fixtures/replay.ts';
import { type DiskKind, RealDisks } from './real-disks.ts';
import { type BackendKind, RealFront } from './real-front.ts';
import { type Parts, walk } from './walk.ts';

function realParts(prng: Prng, backends: BackendKind, kind: DiskKind, synchronous: boolean): Parts {
  const problem = { faults: false, vanished: false };
  const front = new RealFront(prng, problem, backends);
  const disks = new RealDisks(kind, prng, problem);
  let areAllSynchronous = true;
  return {
    front: front.front,
    problem,
    pressure: front.pressure,
    makeDisk(slots, isSynchronous) {
      if (!isSynchronous) areAllSynchronous = false;
      return disks.make(slots, isSynchronous);
    },
    diskGone: (disk) => disks.gone(disk),
    shrink: (world) => front.shrink(world, synchronous && areAllSynchronous),
    tend() {
      disks.tend();
      front.tend();
    },
    check: (world) => front.check(world),
    verify(world) {
      front.verify();
      disks.verify(world);
    },
    atEnd: () => front.atEnd(),
  };
}

const discards = { ramzswap: ['off', 'once', 'pages', 'scan'], memory: ['pages', 'scan'] } as const;

for (const kind of ['ramzswap', 'memory'] as const)
  for (const synchronous of [true, false])
    for (const discard of discards[kind])
      randomTest(
        `the full stack over ${synchronous ? 'a synchronous' : 'a slow'} ${kind} disk, discard ${discard}: no page is lost and all counters agree`,
        1000,
        (prng, steps) => {
          const parts = realParts(prng, 'stores before tmem', kind, synchronous);
          walk(prng, steps, parts, synchronous, discard);
        },
      );

for (const backends of ['stores', 'tmem'] as const)
  for (const synchronous of [true, false])
    randomTest(
      `swap core and frontswap over ${backends} and ${synchronous ? 'a synchronous' : 'a slow'} disk: no page is lost and all counters agree`,
      1000,
      (prng, steps) => {
        const parts = realParts(prng, backends, 'memory', synchronous);
        walk(prng, steps, parts, synchronous, 'off');
      },
    );
