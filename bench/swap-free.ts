/** The cost of freeing a slot through frontswap as swap grows, in three orders, and the store's part of it. */
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
import type { PageSet } from './page-set.ts';
import { direct, Frames, headerPage, heapPerOperation, shuffled } from './swap-rig.ts';

/** Pages that compress to 100 to 300 bytes, so that ten million of them fit into memory. */
const SMALL_FRAMES = 1024;
/** Slots per vectored free. */
const TOGETHER = 512;

function smallPages(): Uint8Array {
  const prng = new Prng(17);
  const bytes = new Uint8Array(SMALL_FRAMES * PAGE_BYTES);
  for (let at = 0; at < bytes.length; at += PAGE_BYTES)
    for (let i = 80 + prng.below(200); i > 0; i--) bytes[at + i] = prng.below(256);
  return bytes;
}

interface Sizes {
  readonly name: string;
  readonly count: number;
  readonly memory: Uint8Array;
  /** Approximate bytes of RAM per page. */
  readonly each: number;
}

export function freeAlone(pages: PageSet, rounds: number): Table {
  const small = smallPages();
  const corpus = pages.bytes.subarray(0, pages.classOfPage.length * PAGE_BYTES);
  const sizes: Sizes[] = [10_000, 100_000, 1_000_000, 10_000_000].map((count) => {
    return { name: `${count}`, count, memory: small, each: 300 };
  });
  sizes.splice(3, 0, { name: '1000000, corpus', count: 1e6, memory: corpus, each: 1700 });
  const rows = sizes.map(({ name, count, memory, each }) => {
    if (count * each > 0.8 * freemem()) return [name, 'not enough memory', '-', '-', '-', '-'];
    // A round with few frees is too short to measure: run more rounds.
    const enough = Math.max(1, Math.min(rounds * Math.max(1, 1e5 / count), 1e7 / count));
    return [name, ...new FreeRig(count, memory).measure(Math.ceil(enough))];
  });
  return {
    title: 'swap: freeing a slot through frontswap, ns of processor time',
    columns: ['pages', 'in order', 'random', 'random, together', 'store.drop random', 'heap'],
    rows,
    notes: [
      `swap.free() of the last reference: map, bit, frontswap, store, slot; together: swap.freeMany() of ${TOGETHER}. Pages compress to 100 to 300 bytes, except "corpus". store.drop: the same slots of a store by itself. heap: bytes per free, the largest of the three. Goal: 150 ns, 0.`,
    ],
  };
}

/** An area over the store, and a store by itself, filled and emptied repeatedly. */
class FreeRig {
  readonly #count: number;
  readonly #frames: Frames;
  readonly #swap: Swap;
  readonly #alone: Store;
  readonly #entries: Int32Array;
  readonly #order: Int32Array;
  /** Entries in the order they are freed. */
  readonly #list: Int32Array;
  readonly #end: () => void;

  constructor(count: number, memory: Uint8Array) {
    this.#count = count;
    this.#frames = new Frames(memory.length / PAGE_BYTES);
    this.#frames.memory.set(memory);
    const { disk, store } = direct(count + 1);
    const front = new Frontswap();
    front.register(store);
    this.#swap = new Swap(front, this.#frames);
    const type = swapOn(this.#swap, disk, headerPage(count + 1), { allocator: 'solid' });
    this.#alone = new Store({ slots: count + 1, budget: new Budget(0) });
    this.#entries = new Int32Array(count);
    this.#order = shuffled(count, new Prng(5));
    this.#list = new Int32Array(count);
    this.#end = () => {
      assert(store.counter(CounterAt.storedPages) === 0, 'every free reached the store');
      front.invalidateArea(type);
    };
  }

  measure(rounds: number): (string | number)[] {
    const inOrder: number[] = [];
    const random: number[] = [];
    const together: number[] = [];
    const dropped: number[] = [];
    // Round 0 warms up. The largest size skips it: it would take minutes, and the small sizes have warmed up the code.
    for (let round = this.#count > 1e6 ? 1 : 0; round <= rounds; round++) {
      this.#fill(false);
      const a = this.#time((from, to) => this.#free(from, to));
      this.#fill(true);
      const b = this.#time((from, to) => this.#free(from, to));
      this.#fill(true);
      const c = this.#time((from, to) => this.#freeTogether(from, to));
      const d = this.#dropAll();
      if (round === 0) continue;
      inOrder.push(a);
      random.push(b);
      together.push(c);
      dropped.push(d);
    }
    this.#fill(true);
    const heap = heapPerOperation((from, to) => this.#free(from, to), this.#count);
    this.#fill(true);
    const heapMany = heapPerOperation((from, to) => this.#freeTogether(from, to), this.#count);
    this.#end();
    const times = [inOrder, random, together, dropped].map(median);
    return [...times, Math.max(heap, heapMany).toFixed(2)];
  }

  #fill(isRandom: boolean): void {
    const swap = this.#swap;
    const frames = this.#frames.memory.length / PAGE_BYTES;
    const entries = this.#entries;
    for (let i = 0; i < entries.length; i++) {
      const frame = i % frames;
      const entry = swap.addToSwap(frame);
      swap.duplicate(entry);
      swap.swapOut(frame);
      swap.dropFromCache(frame);
      entries[i] = entry;
    }
    // Gather the list first: random look-ups would add a cold cache line that is not part of a free.
    if (isRandom)
      for (let i = 0; i < entries.length; i++) this.#list[i] = entries[this.#order[i]!]!;
    else this.#list.set(entries.slice().sort());
  }

  #time(work: (from: number, to: number) => void): number {
    const start = cpuNs();
    work(0, this.#count);
    return (cpuNs() - start) / this.#count;
  }

  #free(from: number, to: number): void {
    for (let i = from; i < to; i++) this.#swap.free(this.#list[i]! as SwapEntry);
  }

  #freeTogether(from: number, to: number): void {
    for (let i = from; i < to; i += TOGETHER)
      this.#swap.freeMany(this.#list, i, Math.min(i + TOGETHER, to));
  }

  /** ns per drop of the same slots, in the same order, in a store by itself. */
  #dropAll(): number {
    const store = this.#alone;
    const { memory } = this.#frames;
    for (let i = 0; i < this.#count; i++) {
      const entry = this.#entries[i]! as SwapEntry;
      store.put(slot(offsetOf(entry)), memory, (i * PAGE_BYTES) % memory.length);
    }
    return this.#time((from, to) => {
      for (let i = from; i < to; i++) store.drop(slot(offsetOf(this.#list[i]! as SwapEntry)));
    });
  }
}
