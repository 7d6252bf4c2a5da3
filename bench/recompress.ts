/**
 * Recompression: how much memory it saves, and what a get costs afterwards. The store's codec is LZ4. Each zstd level
 * has a separate store, filled with the same pages, recompressed, and read in turn with the plain one.
 */
import { Budget } from '../src/arena/budget.ts';
import { slot } from '../src/base/units.ts';
import type { CodecFactory } from '../src/codec/codec.ts';
import { loadNativeZstd } from '../src/os/native-codec.ts';
import { CounterAt } from '../src/store/results.ts';
import { Store } from '../src/store/store.ts';
import {
  type BenchOptions,
  cpuNs,
  median,
  medianRatio,
  medianRatioNote,
  ofRounds,
  type Table,
} from './measure.ts';
import { pageViews } from './page-set.ts';
import { loadPages } from './pages.ts';

const COPIES = 8;
const LEVELS = [1, 3, 6, 12];

interface Tier {
  readonly name: string;
  readonly store: Store;
  /** ns per page tried; NaN for the plain store. */
  readonly recompressNs: number;
  readonly gets: number[];
}

function tier(name: string, views: readonly Uint8Array[], dense: CodecFactory | null): Tier {
  const slots = views.length * COPIES;
  const store = new Store({ slots, budget: new Budget(0), dense });
  for (let s = 0; s < slots; s++) store.put(slot(s), views[s % views.length]!, 0);
  const start = cpuNs();
  const tried = store.recompressIdle(slots, 0);
  const recompressNs = (cpuNs() - start) / tried;
  while (store.compactIdle());
  return { name, store, recompressNs, gets: [] };
}

function getAll(store: Store, into: Uint8Array): number {
  const start = cpuNs();
  for (let s = 0; s < store.slots; s++) store.get(slot(s), into, 0);
  return (cpuNs() - start) / store.slots;
}

/** ns per slot of age(), and of a coldest() that finds nothing, because no page is old yet. */
function walkNs(store: Store): [number, number] {
  const turns = 300;
  const from = slot(0);
  let start = cpuNs();
  for (let i = 0; i < turns; i++) store.coldest(from, store.slots, 1, false);
  const search = (cpuNs() - start) / turns / store.slots;
  start = cpuNs();
  for (let i = 0; i < turns; i++) store.age(from, store.slots);
  return [(cpuNs() - start) / turns / store.slots, search];
}

export async function recompress(options: BenchOptions): Promise<Table> {
  const pages = await loadPages(options.corpus);
  const views = pageViews(pages);
  const native = LEVELS.map((level) => ({ level, factory: loadNativeZstd(level).factory }));
  const tiers = [tier('lz4', views, null)];
  for (const { level, factory } of native)
    if (factory !== null) tiers.push(tier(`lz4, then zstd ${level}`, views, factory));
  const into = new Uint8Array(4096);
  for (let round = 0; round <= options.rounds; round++)
    for (const { store, gets } of tiers) {
      const ns = getAll(store, into);
      if (round > 0) gets.push(ns);
    }
  const plain = tiers[0]!;
  const rows = tiers.map(({ name, store, recompressNs, gets }) => [
    name,
    store.counter(CounterAt.densePages) / store.slots,
    store.counter(CounterAt.storedBytes) / store.slots / 4096,
    store.usedBytes / plain.store.usedBytes,
    recompressNs,
    median(gets),
    medianRatio(gets, plain.gets),
  ]);
  const [older, search] = walkNs(plain.store);
  for (const { store } of tiers) store.verify();
  return {
    title:
      'recompress: payload and get after recompressing all pages, ns of processor time per page',
    columns: ['store', 'dense', 'kept', 'memory x', 'recompress', 'get', 'median x'],
    rows,
    notes: [
      `Pages: ${pages.origin}, ${COPIES} times. "dense": share of all pages; "kept": payload per uncompressed byte; "memory x": memory of the store, relative to lz4.`,
      `«get»: ${ofRounds(options.rounds, 'interleaved')}. ${medianRatioNote('lz4')}`,
      `"recompress": per page tried. Ageing: ${older.toFixed(1)} ns per slot; search for old pages: ${search.toFixed(1)} ns.`,
      ...(tiers.length === 1 ? [loadNativeZstd().reason] : []),
    ],
  };
}
