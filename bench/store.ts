/**
 * The store and the kernel's zram: put and get of 4 KiB pages, processor time, same pages, interleaved rounds; then the
 * cost of a flush, and the store's memory per payload.
 */
import { Budget } from '../src/arena/budget.ts';
import { Prng } from '../src/base/prng.ts';
import { slot } from '../src/base/units.ts';
import { systemPageRelease } from '../src/os/linux/page-release.ts';
import { CounterAt } from '../src/store/results.ts';
import { Store } from '../src/store/store.ts';
import { type BenchOptions, cpuNs, median, ofRounds, type Table } from './measure.ts';
import { type PageSet, pageViews } from './page-set.ts';
import { loadPages } from './pages.ts';
import { Zram, zramMissing } from './peers/zram.ts';

/** Copies of the corpus in store and device, so that each class has some thousand pages. */
const COPIES = 8;

const newStore = (slots: number): Store =>
  new Store({ slots, budget: new Budget(0), release: systemPageRelease(process.platform) });

/** ns per page of each class, of one pass of `visit` over all slots. */
function pass(pages: PageSet, visit: (slotNumber: number, page: number) => void): number[] {
  const count = pages.classOfPage.length;
  return pages.classes.map((_, c) => {
    let n = 0;
    const start = cpuNs();
    for (let copy = 0; copy < COPIES; copy++) {
      for (let i = 0; i < count; i++) {
        if (pages.classOfPage[i] !== c) continue;
        visit(copy * count + i, i);
        n++;
      }
    }
    return (cpuNs() - start) / n;
  });
}

/** Mean over the classes, weighted by their share of the pages. */
function mixed(pages: PageSet, byClass: readonly number[]): number {
  let sum = 0;
  for (const c of pages.classOfPage) sum += byClass[c] ?? 0;
  return sum / pages.classOfPage.length;
}

export async function storeAgainstZram(options: BenchOptions): Promise<Table> {
  const pages = await loadPages(options.corpus);
  const views = pageViews(pages);
  const store = newStore(views.length * COPIES);
  const into = new Uint8Array(4096);
  const missing = zramMissing();
  const zram = missing === null ? new Zram(pages, COPIES) : null;
  const rounds: { put: number[]; get: number[]; write: number[]; read: number[] }[] = [];
  try {
    for (let round = 0; round <= options.rounds; round++) {
      const put = pass(pages, (s, i) => store.put(slot(s), views[i]!, 0));
      const write = zram === null ? [] : await zram.pass('w');
      const get = pass(pages, (s) => store.get(slot(s), into, 0));
      const read = zram === null ? [] : await zram.pass('r');
      if (round > 0) rounds.push({ put, get, write, read }); // round 0 warms up
    }
  } finally {
    zram?.[Symbol.dispose]();
  }
  const at = (kind: 'put' | 'get' | 'write' | 'read', c: number): number =>
    median(rounds.map((r) => (c < 0 ? mixed(pages, r[kind]) : (r[kind][c] ?? Number.NaN))));
  const row = (name: string, c: number): (string | number)[] => {
    const [put, get, write, read] = [at('put', c), at('get', c), at('write', c), at('read', c)];
    return [name, put, write, put / write, get, read, get / read];
  };
  return {
    title: 'store: put and get next to zram, ns of processor time per page',
    columns: ['pages', 'put', 'zram write', 'ratio', 'get', 'zram read', 'ratio '],
    rows: [...pages.classes.map(row), row('mixed', -1)],
    notes: [
      `Pages: ${pages.origin}. zram lz4, 4 KiB O_DIRECT requests from C. ${ofRounds(options.rounds, 'interleaved')}.`,
      ...(missing === null ? [] : [`zram not measured: ${missing}.`]),
    ],
  };
}

/** Shuffled slots 0 .. count - 1. */
function shuffled(count: number, prng: Prng): Int32Array {
  const order = Int32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = prng.below(i + 1);
    const swap = order[i]!;
    order[i] = order[j]!;
    order[j] = swap;
  }
  return order;
}

/** Drops every slot in `order`; ns of processor time each. */
function dropAll(store: Store, order: Int32Array): number {
  const start = cpuNs();
  for (let i = 0; i < order.length; i++) store.drop(slot(order[i]!));
  return (cpuNs() - start) / order.length;
}

/** Gets `count` slots in `order`; ns each. */
function getSome(store: Store, order: Int32Array, count: number): number {
  const into = new Uint8Array(4096);
  const start = cpuNs();
  for (let i = 0; i < count; i++) store.get(slot(order[i]!), into, 0);
  return (cpuNs() - start) / count;
}

/** Puts every slot in `order`; ns each, maintenance included. */
function putAll(store: Store, order: Int32Array, views: readonly Uint8Array[]): number {
  const start = cpuNs();
  for (let i = 0; i < order.length; i++) {
    store.put(slot(order[i]!), views[order[i]! % views.length]!, 0);
    if ((i & 63) === 0) store.maintain(64);
  }
  return (cpuNs() - start) / order.length;
}

/** The cost of put, get and flush as the store grows, in random and in slot order. */
export async function scale(options: BenchOptions): Promise<Table> {
  const pages = await loadPages(options.corpus);
  const views = pageViews(pages);
  const prng = new Prng(1);
  const rows: (string | number)[][] = [];
  for (const count of [10_000, 100_000, 1_000_000, 10_000_000]) {
    if (count * 1700 > 0.8 * (await freeBytes())) {
      rows.push([count, '-', '-', '-', '-', '-', 'not enough memory']);
      continue;
    }
    const store = newStore(count);
    const random = shuffled(count, prng);
    const inOrder = Int32Array.from({ length: count }, (_, i) => i);
    const [put, getR, dropR, getS, dropS]: number[][] = [[], [], [], [], []];
    for (let round = 0; round < Math.max(1, Math.min(options.rounds, 3e6 / count)); round++) {
      put!.push(putAll(store, random, views));
      getR!.push(getSome(store, random, Math.min(count, 500_000)));
      getS!.push(getSome(store, inOrder, Math.min(count, 500_000)));
      dropR!.push(dropAll(store, random));
      putAll(store, random, views);
      dropS!.push(dropAll(store, inOrder));
    }
    const meta = await metadataPerPage(views, Math.min(count, 1_000_000));
    rows.push([count, ...[put, getR, getS, dropR, dropS].map((v) => median(v!)), meta]);
    store.releaseAll();
  }
  return {
    title: 'store: cost as it grows, ns of processor time per page',
    columns: [
      'pages',
      'put random',
      'get random',
      'get in order',
      'flush random',
      'flush in order',
      'bytes per page over payload',
    ],
    rows,
    notes: [
      `Pages: ${pages.origin}. "Bytes per page over payload": memory in use minus compressed payload, divided by the pages.`,
    ],
  };
}

async function freeBytes(): Promise<number> {
  const { readFile } = await import('node:fs/promises');
  const match = /MemAvailable:\s+(\d+) kB/.exec(await readFile('/proc/meminfo', 'utf8'));
  return Number(match?.[1] ?? 0) * 1024;
}

async function metadataPerPage(views: readonly Uint8Array[], count: number): Promise<number> {
  const store = newStore(count);
  for (let s = 0; s < count; s++) store.put(slot(s), views[s % views.length]!, 0);
  const over = store.usedBytes - store.counter(CounterAt.storedBytes);
  store.dropRange(slot(0), count);
  store.releaseAll();
  return over / count;
}

/** Memory in use over payload after random puts and flushes. */
export async function churn(options: BenchOptions): Promise<Table> {
  const pages = await loadPages(options.corpus);
  const views = pageViews(pages);
  const rows: (string | number)[][] = [];
  for (const slots of [30_000, 300_000, 1_000_000]) {
    const prng = new Prng(7);
    const store = newStore(slots);
    const operations = 10_000_000;
    const start = cpuNs();
    for (let i = 0; i < operations; i++) {
      const s = slot(prng.below(slots));
      if (prng.oneIn(3)) store.drop(s);
      else store.put(s, views[prng.below(views.length)]!, 0);
      if ((i & 63) === 0) store.maintain(64);
    }
    const took = (cpuNs() - start) / operations;
    const payload = store.counter(CounterAt.storedBytes);
    rows.push([
      slots,
      store.storedPages,
      payload / 2 ** 20,
      store.usedBytes / 2 ** 20,
      (store.usedBytes / payload).toFixed(4),
      (store.counter(CounterAt.moves) / operations).toFixed(3),
      took,
    ]);
    store.verify();
    store.dropRange(slot(0), slots);
    store.releaseAll();
  }
  return {
    title: 'store: memory after 10^7 random puts and flushes of mixed sizes',
    columns: ['slots', 'stored', 'payload MiB', 'used MiB', 'ratio', 'moves/op', 'ns/op'],
    rows,
    notes: [
      'Two puts per flush at random slots; used memory includes all tables; the store is verified afterwards.',
    ],
  };
}
