/**
 * tmem over the page store, compared with the store alone: the cost that keys, pools, charging and dedup add to a put,
 * a get and a flush.
 */
import { Budget } from '../src/arena/budget.ts';
import { assert } from '../src/base/assert.ts';
import { Prng } from '../src/base/prng.ts';
import { PAGE_BYTES, slot } from '../src/base/units.ts';
import { GetResult, PutResult } from '../src/store/results.ts';
import { Store } from '../src/store/store.ts';
import type { Dedup } from '../src/tmem/page-index.ts';
import { Tmem } from '../src/tmem/tmem.ts';
import { tmemStore } from '../src/tmem/tmem-store.ts';
import { type BenchOptions, cpuNs, median, ofRounds, type Table } from './measure.ts';
import { pageViews } from './page-set.ts';
import { loadPages } from './pages.ts';
import { heapPerOperation, shuffled } from './swap-rig.ts';

/** Minimum number of pages: the corpus is repeated, and each copy changed, until there are as many. */
const PAGES_MIN = 6_000;
const CYCLES = 3;
const PHASES = ['put', 'get', 'flush'] as const;
type Phases = Record<(typeof PHASES)[number], number>;

/** One implementation of put, get and flush by page number. */
interface Contender {
  readonly name: string;
  put(page: number, source: Uint8Array): boolean;
  get(page: number, target: Uint8Array): boolean;
  flush(page: number): void;
}

function bare(slots: number): Contender {
  const store = new Store({ slots, budget: new Budget(0) });
  return {
    name: 'store alone',
    put: (page, source) => store.put(slot(page), source, 0) !== PutResult.refused,
    get: (page, target) => store.get(slot(page), target, 0) === GetResult.found,
    flush: (page) => void store.drop(slot(page)),
  };
}

function tmemContender(name: string, slots: number, dedup: Dedup, persistent: boolean): Contender {
  const store = new Store({ slots, budget: new Budget(0) });
  const tmem = new Tmem({ store: tmemStore(store), dedup, seed: 9 });
  const client = tmem.addClient();
  const pool = tmem.newPool(client, { persistent });
  const oid = new Uint32Array(6);
  return {
    name,
    put: (page, source) => tmem.put(client, pool, oid, page, source, 0) === 0,
    get: (page, target) => tmem.get(client, pool, oid, page, target, 0) === 0,
    flush: (page) => void tmem.flushPage(client, pool, oid, page),
  };
}

export async function tmem(options: BenchOptions): Promise<Table> {
  const corpus = await loadPages(options.corpus);
  const views: Uint8Array[] = [];
  while (views.length < PAGES_MIN) views.push(...pageViews(corpus));
  for (const [i, view] of views.entries()) new DataView(view.buffer).setUint32(PAGE_BYTES - 4, i);
  const count = views.length;
  const order = shuffled(count, new Prng(3));
  const into = new Uint8Array(PAGE_BYTES);
  const all = [
    bare(count),
    tmemContender('persistent, no dedup', count, 'off', true),
    tmemContender('persistent, dedup', count, 'client', true),
    tmemContender('ephemeral, dedup', count, 'client', false),
  ];
  const work = (
    contender: Contender,
  ): Record<keyof Phases, (from: number, to: number) => void> => ({
    put(from, to) {
      for (let i = from; i < to; i++) assert(contender.put(i, views[i]!), 'every page is accepted');
    },
    get(from, to) {
      for (let i = from; i < to; i++) assert(contender.get(order[i]!, into), 'every page is found');
    },
    flush(from, to) {
      for (let i = from; i < to; i++) contender.flush(order[i]!);
    },
  });
  const works = all.map(work);
  const times = all.map((): Phases[] => []);
  const heaps = all.map((): Phases[] => []);
  for (let round = 0; round <= options.rounds; round++)
    for (const [i, phases] of works.entries()) {
      const ns: Phases = { put: 0, get: 0, flush: 0 };
      for (let cycle = 0; cycle < CYCLES; cycle++)
        for (const phase of PHASES) {
          const start = cpuNs();
          phases[phase](0, count);
          ns[phase] += (cpuNs() - start) / (CYCLES * count);
        }
      const heap: Phases = { put: 0, get: 0, flush: 0 };
      for (const phase of PHASES) heap[phase] = heapPerOperation(phases[phase], count);
      if (round === 0) continue; // round 0 warms up
      times[i]!.push(ns);
      heaps[i]!.push(heap);
    }
  const of = (from: readonly Phases[][], i: number, phase: keyof Phases): number =>
    median(from[i]!.map((p) => p[phase]));
  return {
    title: 'tmem: put, get and flush of a page, ns of processor time and bytes of heap per page',
    columns: ['contender', ...PHASES, 'put over store', 'heap put', 'heap get', 'heap flush'],
    rows: all.map(({ name }, i) => [
      name,
      ...PHASES.map((phase) => of(times, i, phase)),
      of(times, i, 'put') / of(times, 0, 'put'),
      ...PHASES.map((phase) => Math.round(of(heaps, i, phase))),
    ]),
    notes: [
      `Pages: ${corpus.origin}, ${count} of them, all different; put in order, got and flushed in random order; a get removes an ephemeral page, so its flush finds nothing. ${ofRounds(options.rounds, 'interleaved')}; ${CYCLES} cycles per round.`,
    ],
  };
}
