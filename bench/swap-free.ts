/** What a free alone costs on the direct way, and how much of that is the store's. */
import { freemem } from 'node:os';
import { Budget } from '../src/arena/budget.ts';
import { assert } from '../src/base/assert.ts';
import { Prng } from '../src/base/prng.ts';
import { PAGE_BYTES, slot } from '../src/base/units.ts';
import { Frontswap } from '../src/frontswap/frontswap.ts';
import { CounterAt } from '../src/store/results.ts';
import { Store } from '../src/store/store.ts';
import { offsetOf, type SwapEntry } from '../src/swap/entry.ts';
import { Swap } from '../src/swap/swap.ts';
import { swapOn } from '../src/swap/swapon.ts';
import { cpuNs, median, type Table } from './measure.ts';
import type { Pages } from './pages.ts';
import { direct, Frames, headerPage, heapPerOperation, shuffled } from './swap-rig.ts';

/** What a free alone costs on the direct way, as what is swapped out grows. */
export function freeAlone(pages: Pages, rounds: number): Table {
  const rows: (string | number)[][] = [];
  for (const count of [10_000, 100_000, 1_000_000, 10_000_000]) {
    if (count === 10_000_000 && rounds < 3) rows.push([count, 'needs --rounds 3', '-', '-']);
    else if (count * 1700 > 0.8 * freemem()) rows.push([count, 'not enough memory', '-', '-']);
    else {
      // A round of few frees is too short to be timed well: more of them.
      const enough = rounds * Math.max(1, 1e5 / count);
      rows.push(freeAt(pages, count, Math.max(1, Math.min(enough, 3e6 / count))));
    }
  }
  return {
    title: 'swap: the free of a slot alone, on the direct way, ns of processor time',
    columns: ['pages', 'free', 'store.drop', 'heap bytes a free'],
    rows,
    notes: [
      'swap.free() of the last reference: map, bit, frontswap, store, slot. In random order; store.drop: the same slots of a store by themselves. Goal: 150 ns, 0.',
    ],
  };
}

function freeAt(pages: Pages, count: number, rounds: number): (string | number)[] {
  const frames = new Frames(pages.classOfPage.length);
  frames.memory.set(pages.bytes.subarray(0, frames.memory.length));
  const { disk, store } = direct(count + 1);
  const front = new Frontswap();
  front.register(store);
  const swap = new Swap(front, frames);
  const type = swapOn(swap, disk, headerPage(count + 1), { allocator: 'solid' });
  const entries = new Int32Array(count);
  const order = shuffled(count, new Prng(5));
  const fill = (): void => {
    for (let i = 0; i < count; i++) {
      const frame = i % pages.classOfPage.length;
      const entry = swap.addToSwap(frame);
      swap.duplicate(entry);
      swap.swapOut(frame);
      swap.dropFromCache(frame);
      entries[i] = entry;
    }
  };
  const free = (from: number, to: number): void => {
    for (let i = from; i < to; i++) swap.free(entries[order[i]!] as SwapEntry);
  };
  const alone = count > 1e6 ? null : new Store({ slots: count + 1, budget: new Budget(0) });
  const dropped: number[] = [];
  const times: number[] = [];
  // The first round warms up; for the largest it would take minutes, and a small one did it before.
  for (let round = count > 1e6 ? 1 : 0; round <= rounds; round++) {
    fill();
    const start = cpuNs();
    free(0, count);
    if (round > 0) times.push((cpuNs() - start) / count);
    if (alone === null) continue;
    const ns = dropAll(alone, entries, order, frames.memory);
    if (round > 0) dropped.push(ns);
  }
  let heap = Number.NaN;
  if (count <= 1e6) {
    fill();
    heap = heapPerOperation(free, count);
  }
  assert(store.counter(CounterAt.storedPages) === 0, 'every free reached the store');
  front.invalidateArea(type);
  return [count, median(times), median(dropped), Number.isNaN(heap) ? '-' : heap.toFixed(2)];
}

/** The same pages in a store by themselves, under the same slots, dropped in the same order; ns each. */
function dropAll(store: Store, entries: Int32Array, order: Int32Array, memory: Uint8Array): number {
  for (let i = 0; i < entries.length; i++)
    store.put(slot(offsetOf(entries[i]! as SwapEntry)), memory, (i * PAGE_BYTES) % memory.length);
  const start = cpuNs();
  for (let i = 0; i < order.length; i++)
    store.drop(slot(offsetOf(entries[order[i]!]! as SwapEntry)));
  return (cpuNs() - start) / order.length;
}
