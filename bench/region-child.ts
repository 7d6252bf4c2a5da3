/**
 * This project's program for bench/memory.ts: it does what bench/reference/pager.c does, touch for touch, on a region
 * of frontswap, with the same arguments and output.
 *
 *   node region-child.js copy|one|thread|thread-one|signal|memfd CORPUS TOTAL BUDGET SEED TOUCHES PATTERN...
 *
 * peers/own-region.ts explains the first argument. The times of touches are those of the main thread; processor time is
 * that of all threads, the fault thread and the runtime's included.
 */
import { readFileSync, readSync } from 'node:fs';
import { openSwap, type SwapRegion } from '../src/index.ts';
import { randomPage } from './touches.ts';

const PAGE = 4096;
const EVICT_PASSES = 4;
const QUANTILES = 200;
const HASH_START = 0x811c9dc5;
const HASH_TIMES = 0x01000193;

const [
  how = 'copy',
  corpusFile = '',
  total = '',
  budget = '',
  seedText = '',
  touchText = '',
  ...patterns
] = process.argv.slice(2);
const pages = Number(total) / PAGE;
const budgetPages = Number(budget) / PAGE;
const seed = Number(seedText);
const touches = Number(touchText);
const corpus = readFileSync(corpusFile);
const corpusPages = Array.from(
  { length: corpus.length / PAGE },
  (_, i) => new Uint8Array(corpus.subarray(i * PAGE, (i + 1) * PAGE)),
);
const writes = new Uint8Array(pages);
/** ns of each touch of a phase. */
const took = new Float64Array(Math.max(touches, pages));

process.stdout.write('{"ready":true}\n');
readSync(0, Buffer.alloc(16));

const native = how.split('-')[0]!;
const faults =
  native === 'thread' || native === 'signal' || native === 'memfd' ? native : 'javascript';
const swap = openSwap({ sameCore: how.endsWith('one'), faults });
const region: SwapRegion = swap.map({ bytes: pages * PAGE, residentBytes: budgetPages * PAGE });
const bytes = new Uint8Array(region.buffer);
const words = new Int32Array(region.buffer);

const tag = (page: number): number => Math.imul(page + 1, 0x9e3779b1) ^ writes[page]!;

function check(page: number): void {
  if (words[page << 10] !== (tag(page) | 0))
    throw new Error(`page ${page} does not contain what was written`);
}

function fill(page: number): void {
  bytes.set(corpusPages[page % corpusPages.length]!, page * PAGE);
  writes[page] = 0;
  words[page << 10] = tag(page);
}

function dirty(page: number): void {
  writes[page]! += 1;
  words[page << 10] = tag(page);
}

interface Clock {
  readonly wall: number;
  readonly cpu: number;
}

function clock(): Clock {
  const { user, system } = process.cpuUsage();
  return { wall: performance.now() * 1e6, cpu: (user + system) * 1000 };
}

function report(
  name: string,
  count: number,
  wall: number,
  cpu: number,
  hash: number,
  timed: number,
): void {
  const sorted = took.slice(0, timed).sort();
  const line = {
    phase: name,
    pages: count,
    wallNs: Math.round(wall),
    cpuNs: Math.round(cpu),
    hash: hash >>> 0,
    ...(timed === 0
      ? {}
      : {
          p50Ns: Math.round(sorted[timed >>> 1]!),
          p99Ns: Math.round(sorted[Math.floor((timed * 99) / 100)]!),
          quantilesNs: Array.from({ length: QUANTILES + 1 }, (_, i) =>
            Math.round(sorted[Math.floor(((timed - 1) * i) / QUANTILES)]!),
          ),
        }),
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function each(
  name: string,
  count: number,
  from: number | null,
  touch: (page: number) => void,
): void {
  let hash = HASH_START;
  const before = clock();
  let last = before.wall;
  for (let i = 0; i < count; i++) {
    const page = from === null ? i : randomPage(from, i, pages);
    touch(page);
    hash = Math.imul(hash ^ page, HASH_TIMES);
    const now = performance.now() * 1e6;
    took[i] = now - last;
    last = now;
  }
  const after = clock();
  report(name, count, after.wall - before.wall, after.cpu - before.cpu, hash, count);
}

/** As in pager.c: writes a quarter of the budget, evicts it (timed), reads it back, and evicts it again. */
function evict(): void {
  const count = Math.floor(budgetPages / EVICT_PASSES);
  let hash = HASH_START;
  let out = 0;
  let wall = 0;
  let cpu = 0;
  for (let pass = 0; pass < EVICT_PASSES; pass++) {
    const first = pass * count;
    for (let page = first; page < first + count; page++) {
      dirty(page);
      hash = Math.imul(hash ^ page, HASH_TIMES);
    }
    const range = { offset: first * PAGE, length: count * PAGE };
    const before = clock();
    out += region.evict(range) / PAGE;
    const after = clock();
    wall += after.wall - before.wall;
    cpu += after.cpu - before.cpu;
    for (let page = first; page < first + count; page++) check(page);
    region.evict(range);
  }
  report('evict', out, wall, cpu, hash, 0);
}

const runs: Readonly<Record<string, () => void>> = {
  'fill-seq': () => each('fill-seq', pages, null, fill),
  'seq-read': () => each('seq-read', pages, null, check),
  'seq-write': () => each('seq-write', pages, null, dirty),
  'rand-read': () => each('rand-read', touches, seed, check),
  'rand-write': () => each('rand-write', touches, seed + 1, dirty),
  check: () => each('check', pages, null, check),
  evict,
};

for (const pattern of patterns) {
  const run = runs[pattern];
  if (run === undefined) throw new Error(`no pattern '${pattern}'`);
  run();
}
process.exit(0);
