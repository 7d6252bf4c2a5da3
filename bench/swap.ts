/**
 * The three ways of the 2010 debate, through one swap core and one compressed store: a direct call (frontswap), a bio
 * that is answered at once (ramzswap), a bio through a request queue. What a page costs out, in, and freed; what a
 * free alone costs as swap grows; and what dead pages hold under each way to tell a disk of them.
 * docs/design/three-ways.md says what is measured and why.
 */
import { assert } from '../src/base/assert.ts';
import { Prng } from '../src/base/prng.ts';
import { PAGE_BYTES } from '../src/base/units.ts';
import { nullDisk } from '../src/block/disks/null-disk.ts';
import { queuedDisk } from '../src/block/queued-disk.ts';
import { Frontswap } from '../src/frontswap/frontswap.ts';
import { type FrontswapBackend, LoadResult } from '../src/frontswap/ops.ts';
import { NO_ENTRY, type SwapEntry } from '../src/swap/entry.ts';
import { Swap, SwapInResult } from '../src/swap/swap.ts';
import { swapOn } from '../src/swap/swapon.ts';
import { type BenchOptions, cpuNs, median, ofRounds, type Table } from './measure.ts';
import { loadPages, type Pages } from './pages.ts';
import { freeAlone } from './swap-free.ts';
import {
  direct,
  Frames,
  headerPage,
  heapPerOperation,
  type Parts,
  ramzswap,
  seenThrough,
  shuffled,
} from './swap-rig.ts';
import { staleBytes } from './swap-stale.ts';

const SLOTS = 16_384;
/** Pages that go out and come back: a corpus repeated to at least as many. */
const LEAST_PAGES = 6_000;
/** Pages that reclaim sends off together, and after which housekeeping gets its turn (kernel: SWAP_CLUSTER_MAX). */
const TOGETHER = 32;
const CYCLES = 3;

const refuser: FrontswapBackend = {
  name: 'refuses',
  init: () => undefined,
  store: () => false,
  load: () => LoadResult.absent,
  invalidatePage: () => undefined,
  invalidateArea: () => undefined,
};

function queued(mergePages: number): Parts {
  const options = { requests: 128, depth: 32, mergeBytes: mergePages * PAGE_BYTES };
  const disk = ramzswap(SLOTS);
  const queue = queuedDisk(seenThrough(disk, false), options);
  return {
    disk: queue,
    queue,
    settle: () => disk.compactIdle(),
    options: { discard: 'pages' },
    keeps: true,
  };
}

function atOnce(callback: boolean): Parts {
  const disk = ramzswap(SLOTS);
  return { disk: seenThrough(disk, callback), settle: () => disk.compactIdle(), keeps: true };
}

const ways: readonly (readonly [name: string, parts: () => Parts])[] = [
  ['a  frontswap, store', () => direct(SLOTS)],
  ['b  bio, at once', () => atOnce(false)],
  ['c  queue, merged, discard', () => queued(32)],
  ['c1 queue, a page a request, discard', () => queued(1)],
  ['d  bio, slot-free callback', () => atOnce(true)],
  [
    'e  null disk, refusing backend',
    () => ({ disk: nullDisk(SLOTS * PAGE_BYTES), backend: refuser, keeps: false }),
  ],
  ['f  null disk, no backend', () => ({ disk: nullDisk(SLOTS * PAGE_BYTES), keeps: false })],
];

/** One of the ways, and the pages that go it. */
class Way {
  readonly swap: Swap;
  readonly count: number;
  readonly parts: Parts;
  readonly #frames: Frames;
  readonly #pages: Pages;
  readonly #order: Int32Array;
  readonly #entries: Int32Array;
  readonly #frameOf: Int32Array;

  constructor(parts: Parts, pages: Pages, copies: number) {
    this.parts = parts;
    this.#pages = pages;
    this.count = pages.classOfPage.length * copies;
    this.#frames = new Frames(this.count + 2 * TOGETHER);
    this.#order = shuffled(this.count, new Prng(3));
    this.#entries = new Int32Array(this.count);
    this.#frameOf = new Int32Array(this.count);
    const front = new Frontswap();
    if (parts.backend !== undefined) front.register(parts.backend);
    this.swap = new Swap(front, this.#frames);
    swapOn(this.swap, parts.disk, headerPage(SLOTS), parts.options);
    this.reset();
  }

  /** Every page in the frame of its number. */
  reset(): void {
    const { bytes, classOfPage } = this.#pages;
    const corpus = classOfPage.length * PAGE_BYTES;
    for (let at = 0; at < this.count * PAGE_BYTES; at += corpus)
      this.#frames.memory.set(bytes.subarray(0, corpus), at);
    for (let page = 0; page < this.count; page++) this.#frameOf[page] = page;
    this.#frames.reset(this.count);
  }

  /** Throws when a page that came back is not the one that went. */
  check(): void {
    if (!this.parts.keeps) return;
    const memory = Buffer.from(this.#frames.memory.buffer);
    for (let page = 0; page < this.count; page++) {
      const at = this.#frameOf[page]! * PAGE_BYTES;
      const original = (page % this.#pages.classOfPage.length) * PAGE_BYTES;
      const differs = memory.compare(
        this.#pages.bytes,
        original,
        original + PAGE_BYTES,
        at,
        at + PAGE_BYTES,
      );
      assert(differs === 0, 'a page comes back as it went');
    }
  }

  /** Pages [from, to) leave memory, in order. */
  out(from: number, to: number): void {
    const { swap } = this;
    for (let start = from; start < to; start += TOGETHER) {
      const end = Math.min(start + TOGETHER, to);
      this.parts.queue?.plug();
      for (let page = start; page < end; page++) {
        const frame = this.#frameOf[page]!;
        const entry = swap.addToSwap(frame);
        assert(entry !== NO_ENTRY, 'there is a slot for every page');
        swap.duplicate(entry);
        swap.swapOut(frame);
        this.#entries[page] = entry;
      }
      this.parts.queue?.unplug();
      for (let page = start; page < end; page++) {
        const frame = this.#frameOf[page]!;
        while (swap.isBusy(frame)) swap.tick();
        swap.dropFromCache(frame);
        this.#frames.freeFrame(frame);
      }
      this.#housekeeping();
    }
  }

  /** Pages come back, in random order. */
  in(from: number, to: number): void {
    const { swap } = this;
    for (let i = from; i < to; i++) {
      const page = this.#order[i]!;
      const answer = swap.swapIn(this.#entries[page] as SwapEntry);
      assert(
        answer === SwapInResult.ready || answer === SwapInResult.pending,
        'a page that is asked for comes',
      );
      const { frame } = swap;
      while (swap.isBusy(frame)) swap.tick();
      this.#frameOf[page] = frame;
      if (i % TOGETHER === 0) this.#housekeeping();
    }
  }

  /** Their slots are freed, in the same random order. */
  free(from: number, to: number): void {
    for (let i = from; i < to; i++) {
      this.swap.freeAndCache(this.#entries[this.#order[i]!] as SwapEntry);
    }
  }

  /** What a free leaves for later: discards, moving together, memory back to the system. */
  after(): void {
    const { swap, parts } = this;
    const disk = swap.areas[0]!;
    do swap.tick();
    while (disk.discardCount > 0 || disk.allocator.held > 0);
    while (parts.settle?.() === true);
  }

  #housekeeping(): void {
    this.swap.tick();
    this.parts.store?.maintain(TOGETHER);
  }
}

const PHASES = ['out', 'in', 'free'] as const;
type Phases = Record<(typeof PHASES)[number] | 'after', number>;

/** ns of processor time a page for each phase, over some cycles. */
function timed(way: Way): Phases {
  const ns: Phases = { out: 0, in: 0, free: 0, after: 0 };
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    way.reset();
    for (const phase of PHASES) {
      const start = cpuNs();
      way[phase](0, way.count);
      ns[phase] += (cpuNs() - start) / (CYCLES * way.count);
    }
    const start = cpuNs();
    way.after();
    ns.after += (cpuNs() - start) / (CYCLES * way.count);
    way.check();
  }
  return ns;
}

function allocated(way: Way): Phases {
  const bytes: Phases = { out: 0, in: 0, free: 0, after: 0 };
  way.reset();
  for (const phase of PHASES)
    bytes[phase] = heapPerOperation((from, to) => way[phase](from, to), way.count);
  way.after();
  way.check();
  return bytes;
}

const sum = (p: Phases): number => p.out + p.in + p.free + p.after;

function threeWays(pages: Pages, rounds: number): Table {
  const copies = Math.ceil(LEAST_PAGES / pages.classOfPage.length);
  const all = ways.map(([name, parts]) => ({ name, way: new Way(parts(), pages, copies) }));
  const times = all.map((): Phases[] => []);
  const heaps = all.map((): Phases[] => []);
  for (let round = 0; round <= rounds; round++)
    for (const [i, { way }] of all.entries()) {
      const [ns, bytes] = [timed(way), allocated(way)];
      if (round === 0) continue; // warms everybody up
      times[i]!.push(ns);
      heaps[i]!.push(bytes);
    }
  const of = (from: readonly Phases[][], i: number, what: (p: Phases) => number): number =>
    median(from[i]!.map(what));
  const total = (i: number): number => of(times, i, sum);
  const at = (letter: string): number => all.findIndex(({ name }) => name.startsWith(`${letter} `));
  const hook = total(at('e')) - total(at('f'));
  return {
    title: 'swap: a page out, in and freed, ns of processor time and bytes of heap a page',
    columns: ['way', ...PHASES, 'after', 'together', 'of a', 'heap out', 'heap in', 'heap free'],
    rows: all.map(({ name }, i) => [
      name,
      ...PHASES.map((phase) => of(times, i, (p) => p[phase])),
      of(times, i, (p) => p.after),
      total(i),
      total(i) / total(at('a')),
      ...PHASES.map((phase) => Math.round(of(heaps, i, (p) => p[phase]))),
    ]),
    notes: [
      `Pages: ${pages.origin}, ${all[0]!.way.count} of them, out in order, ${TOGETHER} at a time; in and freed in random order. ${ofRounds(rounds, 'interleaved')}; ${CYCLES} cycles a round; every page compared. together: a figure of its own, not the sum of the four; after: what a free leaves for later (discards, moving together, memory back to the system).`,
      `The hook, e less f, together: ${hook.toFixed(0)} ns a page, ${((100 * hook) / total(at('b'))).toFixed(1)} % of b.`,
      ...all.flatMap(({ name, way }) => queueNote(name, way)),
    ],
  };
}

function queueNote(name: string, way: Way): string[] {
  if (way.parts.queue === undefined) return [];
  const { bios, requests, bouncedBytes } = way.parts.queue.counters.snapshot();
  return [
    `${name}: ${(bios / requests).toFixed(2)} bios a request, ${(bouncedBytes / bios).toFixed(0)} bytes copied for merging a bio.`,
  ];
}

export async function swap(options: BenchOptions): Promise<readonly Table[]> {
  const pages = await loadPages(options.corpus);
  return [
    threeWays(pages, options.rounds),
    freeAlone(pages, options.rounds),
    staleBytes(pages, 1, options.rounds),
    staleBytes(pages, 512, options.rounds),
  ];
}
