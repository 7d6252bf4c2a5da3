/** freeMany() equals as many free() calls: real frontswap and page stores, two areas, more slots than it reads ahead. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { keepPages } from '../../src/arena/ops.ts';
import { Prng } from '../../src/base/prng.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { type StoreBackend, storeBackend } from '../../src/frontswap/backends/store-backend.ts';
import { Frontswap } from '../../src/frontswap/frontswap.ts';
import { CounterAt } from '../../src/store/results.ts';
import type { SwapEntry } from '../../src/swap/entry.ts';
import type { MemoryManager } from '../../src/swap/ops.ts';
import { Swap } from '../../src/swap/swap.ts';
import { swapOn } from '../../src/swap/swapon.ts';
import { headerPage, SimDisk } from '../support/fakes/sim-disk.ts';
import { makePage, pageKinds } from '../support/fixtures/pages.ts';

const FRAMES = 16;
const PAGES = 300;

function setUp(): { swap: Swap; front: Frontswap; store: StoreBackend; entries: Int32Array } {
  const unused = (): void => undefined;
  const mm: MemoryManager = {
    memory: new Uint8Array(FRAMES * 4096),
    allocFrame: () => -1,
    freeFrame: unused,
    removedFromCache: unused,
    readDone: unused,
    writeDone: unused,
    unuse: unused,
  };
  const prng = new Prng(4);
  for (let frame = 0; frame < FRAMES; frame++) {
    const page = mm.memory.subarray(frame * 4096, (frame + 1) * 4096);
    makePage(pageKinds[frame % pageKinds.length]!, prng, page);
    page[0] = 255; // no page of zeros: those go to no backend
  }
  const front = new Frontswap();
  const store = storeBackend(new Budget(0), lz4, keepPages);
  front.register(store);
  const swap = new Swap(front, mm);
  // Of equal priority: slots are taken in turns, so the list changes areas at every entry.
  for (let i = 0; i < 2; i++)
    swapOn(swap, new SimDisk(400, true), headerPage(400), { priority: 5 });
  const entries = new Int32Array(PAGES);
  for (let i = 0; i < PAGES; i++) {
    const frame = i % FRAMES;
    entries[i] = swap.addToSwap(frame);
    for (let k = i % 3; k >= 0; k--) swap.duplicate(entries[i] as SwapEntry);
    swap.swapOut(frame);
    swap.dropFromCache(frame);
  }
  return { swap, front, store, entries };
}

test('C14 C15 freeMany has the effect and the counts of as many single calls of free', () => {
  const one = setUp();
  const many = setUp();
  assert.deepEqual(many.entries, one.entries);
  assert.equal(one.store.counter(CounterAt.storedPages), PAGES);
  const list = [0, 1, 2].flatMap((k) => [...one.entries].filter((_, i) => i % 3 >= k));
  const entries = Int32Array.from(list);
  for (let from = 0, step = 1; from < list.length; from += step, step = 1 + ((step * 7) % 150)) {
    const to = Math.min(from + step, list.length);
    for (let i = from; i < to; i++) one.swap.free(entries[i] as SwapEntry);
    many.swap.freeMany(entries, from, to);
    assert.deepEqual(many.swap.counters.snapshot(), one.swap.counters.snapshot());
    assert.deepEqual(many.front.counters.snapshot(), one.front.counters.snapshot());
    for (let at = 0; at < CounterAt.count; at++)
      assert.equal(many.store.counter(at), one.store.counter(at), `counter ${at}`);
    many.front.verify();
    many.store.verify();
  }
  assert.equal(many.store.counter(CounterAt.storedPages), 0);
  assert.equal(many.front.currPages(), 0);
});
