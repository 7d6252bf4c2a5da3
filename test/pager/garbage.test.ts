/** Faults, evictions and writes leave no garbage, over the real frontswap and a page store. */
import assert from 'node:assert/strict';
import { Budget } from '../../src/arena/budget.ts';
import { refusingDisk } from '../../src/block/disks/refusing-disk.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { storeBackend } from '../../src/frontswap/backends/store-backend.ts';
import { Frontswap } from '../../src/frontswap/frontswap.ts';
import { FRAME_COUNT } from '../../src/pager/loader.ts';
import { type PagedMemory, StopReason, Touch } from '../../src/pager/ops.ts';
import { Pager } from '../../src/pager/pager.ts';
import { ResidentSet } from '../../src/pager/resident-set.ts';
import { swapOn } from '../../src/swap/swapon.ts';
import { FakeReturns } from '../support/fakes/fake-returns.ts';
import { headerPage } from '../support/fakes/sim-disk.ts';
import { noGarbageTest } from '../support/fixtures/no-garbage.ts';

const PAGES = 512;

/** All pages have the same bytes. */
const flatMemory = (frames: Uint8Array): PagedMemory => ({
  pages: PAGES,
  shared: null,
  stop: StopReason.none,
  install: (_page, _frame, count) => count,
  installZeros: (_page, count) => count,
  makeWritable: () => undefined,
  take: (_page, count, frame) => {
    frames.fill(7, frame * 4096, frame * 4096 + 100);
    frames.fill(9, frame * 4096 + 100, (frame + count) * 4096);
    return count;
  },
  drop: () => undefined,
  flush: () => undefined,
  protect: () => undefined,
  freeFrames: () => undefined,
  wake: () => undefined,
  poison: () => undefined,
});

noGarbageTest('swapping in, writing and evicting a page makes no garbage', () => {
  const frames = new Uint8Array(FRAME_COUNT * 4096);
  const front = new Frontswap();
  front.register(storeBackend(new Budget(0), lz4, new FakeReturns().factory));
  const pager = new Pager({ frames, front });
  swapOn(pager.swap, refusingDisk(1024 * 4096), headerPage(1024));
  const region = pager.add(flatMemory(frames), new ResidentSet(64));
  let at = 0;
  const run = (i: number): void => {
    at = (at + ((i & 64) === 0 ? 1 : 197)) % PAGES;
    if (!region.isResident(at)) pager.fault(region, at, i % 3 === 0 ? Touch.write : Touch.read);
    else if (i % 5 === 0) pager.fault(region, at, Touch.write | Touch.protected);
    if (i % 16 === 0) pager.background();
  };
  const check = (): void => {
    assert.ok(pager.counters.get('pagesOut') > 20_000);
    assert.ok(pager.counters.get('pagesIn') > 20_000);
  };
  return { run, check };
});
