/**
 * The three designs of the 2010 debate over one swap core and one compressed store: a direct call (frontswap), a bio
 * that is completed synchronously (ramzswap), and a bio through a request queue. Measures the cost of swapping a page
 * out, in, and freeing it; the cost of a free as swap grows; and the bytes that dead pages occupy with each method of
 * discard. docs/design/three-ways.md explains what is measured and why.
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
import type { PageSet } from './page-set.ts';
import { loadPages } from './pages.ts';
import { freeAlone } from './swap-free.ts';
import {
  direct,
  Frames,
  headerPage,
  heapPerOperation,
  type Parts,
  ramzswap,
  shuffled,
  withCallback,
} from './swap-rig.ts';
import { staleBytes } from './swap-stale.ts';

const SLOTS = 16_384;
/** Fewest pages: the corpus is repeated up to it. */
const PAGES_MIN = 6_000;
/** Pages per reclaim batch, after which maintenance runs (kernel: SWAP_CLUSTER_MAX). */
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
  const queue = queuedDisk(withCallback(disk, false), options);
  return {
    disk: queue,
    queue,
    compact: () => disk.compactIdle(),
    options: { discard: 'pages' },
    storesData: true,
  };
}

function atOnce(callback: boolean): Parts {
  const disk = ramzswap(SLOTS);
  return {
    disk: withCallback(disk, callback),
    compact: () => disk.compactIdle(),
    storesData: true,
  };
}

const designs: readonly (readonly [name: string, parts: () => Parts])[] = [
  ['a  frontswap, store', () => direct(SLOTS)],
  ['b  bio, synchronous', () => atOnce(false)],
  ['c  queue, merged, discard', () => queued(32)],
  ['c1 queue, one page per request, discard', () => queued(1)],
  ['d  bio, slot-free callback', () => atOnce(true)],
  [
    'e  null disk, refusing backend',
    () => ({ disk: nullDisk(SLOTS * PAGE_BYTES), backend: refuser, storesData: false }),
  ],
  ['f  null disk, no backend', () => ({ disk: nullDisk(SLOTS * PAGE_BYTES), storesData: false })],
];

/** One design, and the pages that are swapped through it. */
class Design {
  readonly swap: Swap;
  readonly count: number;
  readonly parts: Parts;
  readonly #frames: Frames;
  readonly #pages: PageSet;
  readonly #order: Int32Array;
  readonly #entries: Int32Array;
  readonly #frameOf: Int32Array;

  constructor(parts: Parts, pages: PageSet, copies: number) {
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

  /** Puts every page into the frame with its number. */
  reset(): void {
    const { bytes, classOfPage } = this.#pages;
    const corpus = classOfPage.length * PAGE_BYTES;
    for (let at = 0; at < this.count * PAGE_BYTES; at += corpus)
      this.#frames.memory.set(bytes.subarray(0, corpus), at);
    for (let page = 0; page < this.count; page++) this.#frameOf[page] = page;
    this.#frames.reset(this.count);
  }

  /** Throws if a page that was swapped in differs from the original. */
  check(): void {
    if (!this.parts.storesData) return;
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
      assert(differs === 0, 'a page is swapped in unchanged');
    }
  }

  /** Swaps out pages [from, to), in order. */
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
      this.#maintain();
    }
  }

  /** Swaps the pages in, in random order. */
  in(from: number, to: number): void {
    const { swap } = this;
    for (let i = from; i < to; i++) {
      const page = this.#order[i]!;
      const answer = swap.swapIn(this.#entries[page] as SwapEntry);
      assert(
        answer === SwapInResult.done || answer === SwapInResult.pending,
        'every page can be read',
      );
      const { frame } = swap;
      while (swap.isBusy(frame)) swap.tick();
      this.#frameOf[page] = frame;
      if (i % TOGETHER === 0) this.#maintain();
    }
  }

  /** Frees their slots, in the same random order. */
  free(from: number, to: number): void {
    for (let i = from; i < to; i++) {
      this.swap.freeAndCache(this.#entries[this.#order[i]!] as SwapEntry);
    }
  }

  /** Work that a free defers: discards, compaction, release of memory. */
  after(): void {
    const { swap, parts } = this;
    const disk = swap.areas[0]!;
    do swap.tick();
    while (disk.discardCount > 0 || disk.allocator.reserved > 0);
    while (parts.compact?.() === true);
  }

  #maintain(): void {
    this.swap.tick();
    this.parts.store?.maintain(TOGETHER);
  }
}

const PHASES = ['out', 'in', 'free'] as const;
type Phases = Record<(typeof PHASES)[number] | 'after', number>;

/** ns of processor time per page and phase, over CYCLES cycles. */
function timed(design: Design): Phases {
  const ns: Phases = { out: 0, in: 0, free: 0, after: 0 };
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    design.reset();
    for (const phase of PHASES) {
      const start = cpuNs();
      design[phase](0, design.count);
      ns[phase] += (cpuNs() - start) / (CYCLES * design.count);
    }
    const start = cpuNs();
    design.after();
    ns.after += (cpuNs() - start) / (CYCLES * design.count);
    design.check();
  }
  return ns;
}

function allocated(design: Design): Phases {
  const bytes: Phases = { out: 0, in: 0, free: 0, after: 0 };
  design.reset();
  for (const phase of PHASES)
    bytes[phase] = heapPerOperation((from, to) => design[phase](from, to), design.count);
  design.after();
  design.check();
  return bytes;
}

const sum = (p: Phases): number => p.out + p.in + p.free + p.after;

function threeDesigns(pages: PageSet, rounds: number): Table {
  const copies = Math.ceil(PAGES_MIN / pages.classOfPage.length);
  const all = designs.map(([name, parts]) => ({
    name,
    design: new Design(parts(), pages, copies),
  }));
  const times = all.map((): Phases[] => []);
  const heaps = all.map((): Phases[] => []);
  for (let round = 0; round <= rounds; round++)
    for (const [i, { design }] of all.entries()) {
      const [ns, bytes] = [timed(design), allocated(design)];
      if (round === 0) continue; // round 0 warms up
      times[i]!.push(ns);
      heaps[i]!.push(bytes);
    }
  const of = (from: readonly Phases[][], i: number, what: (p: Phases) => number): number =>
    median(from[i]!.map(what));
  const total = (i: number): number => of(times, i, sum);
  const at = (letter: string): number => all.findIndex(({ name }) => name.startsWith(`${letter} `));
  const hook = total(at('e')) - total(at('f'));
  return {
    title:
      'swap: a page swapped out, in and freed, ns of processor time and bytes of heap per page',
    columns: ['design', ...PHASES, 'after', 'together', 'of a', 'heap out', 'heap in', 'heap free'],
    rows: all.map(({ name }, i) => [
      name,
      ...PHASES.map((phase) => of(times, i, (p) => p[phase])),
      of(times, i, (p) => p.after),
      total(i),
      total(i) / total(at('a')),
      ...PHASES.map((phase) => Math.round(of(heaps, i, (p) => p[phase]))),
    ]),
    notes: [
      `Pages: ${pages.origin}, ${all[0]!.design.count} of them, swapped out in order, ${TOGETHER} at a time; swapped in and freed in random order. ${ofRounds(rounds, 'interleaved')}; ${CYCLES} cycles per round; every page compared. together: measured by itself, not the sum of the four; after: the work that a free defers (discards, compaction, release of memory).`,
      `The hook, e minus f, together: ${hook.toFixed(0)} ns per page, ${((100 * hook) / total(at('b'))).toFixed(1)} % of b.`,
      ...all.flatMap(({ name, design }) => queueNote(name, design)),
    ],
  };
}

function queueNote(name: string, design: Design): string[] {
  if (design.parts.queue === undefined) return [];
  const { bios, requests, bouncedBytes } = design.parts.queue.counters.snapshot();
  return [
    `${name}: ${(bios / requests).toFixed(2)} bios per request, ${(bouncedBytes / bios).toFixed(0)} bytes copied per bio to merge it.`,
  ];
}

export async function swap(options: BenchOptions): Promise<readonly Table[]> {
  const pages = await loadPages(options.corpus);
  return [
    threeDesigns(pages, options.rounds),
    freeAlone(pages, options.rounds),
    staleBytes(pages, 1, options.rounds),
    staleBytes(pages, 512, options.rounds),
  ];
}
