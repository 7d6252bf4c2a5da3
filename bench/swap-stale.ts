/** The bytes that dead pages occupy, for each method of reporting them to the disk. */
import { Budget } from '../src/arena/budget.ts';
import { assert } from '../src/base/assert.ts';
import { Prng } from '../src/base/prng.ts';
import { PAGE_BYTES, slot } from '../src/base/units.ts';
import type { Ramzswap } from '../src/block/disks/ramzswap/ramzswap.ts';
import { Frontswap } from '../src/frontswap/frontswap.ts';
import { CounterAt } from '../src/store/results.ts';
import { Store } from '../src/store/store.ts';
import type { AreaOptions } from '../src/swap/areas.ts';
import { NO_ENTRY, type SwapEntry } from '../src/swap/entry.ts';
import { Swap } from '../src/swap/swap.ts';
import { swapOn } from '../src/swap/swapon.ts';
import { cpuNs, median, ofRounds, type Table } from './measure.ts';
import type { PageSet } from './page-set.ts';
import { Frames, headerPage, ramzswap, withCallback } from './swap-rig.ts';

const CHURN_SLOTS = 32_768;
const CHURN_PAGES = 300_000;
/** Only times differ between rounds; the bytes do not. */
const ROUNDS_MAX = 3;

interface Policy {
  readonly name: string;
  readonly callback: boolean;
  readonly discard: NonNullable<AreaOptions['discard']>;
  /** Pages written between two passes of the scan over the whole area. */
  readonly periodPages?: number;
}

const policies: readonly Policy[] = [
  { name: 'callback', callback: true, discard: 'off' },
  { name: 'discard per free cluster', callback: false, discard: 'pages' },
  { name: 'scan every 4096 pages out', callback: false, discard: 'scan', periodPages: 4096 },
  { name: 'scan every 32768 pages out', callback: false, discard: 'scan', periodPages: 32_768 },
  { name: 'none: until overwritten', callback: false, discard: 'off' },
];

/** Compressed bytes of each page of the corpus. */
function payloads(pages: PageSet): Int32Array {
  const store = new Store({ slots: 1, budget: new Budget(0) });
  return Int32Array.from(pages.classOfPage, (_, page) => {
    store.put(slot(0), pages.bytes, page * PAGE_BYTES);
    return store.counter(CounterAt.storedBytes);
  });
}

/** Objects of `unit` pages, swapped out and freed together in random order. */
class Churn {
  /** Compressed bytes of pages in use. */
  liveBytes = 0;
  ns = 0;
  readonly disk: Ramzswap = ramzswap(CHURN_SLOTS);
  readonly swap: Swap;
  readonly #policy: Policy;
  readonly #payload: Int32Array;
  readonly #unit: number;
  /** By page of each object: entry or NO_ENTRY, and page of the corpus. */
  readonly #entries: Int32Array;
  readonly #contents: Int32Array;
  readonly #prng = new Prng(11);
  #scansDue = 0;

  constructor(policy: Policy, pages: PageSet, payload: Int32Array, unit: number) {
    this.#policy = policy;
    this.#payload = payload;
    this.#unit = unit;
    const objects = Math.floor((CHURN_SLOTS * 0.75) / unit);
    this.#entries = new Int32Array(objects * unit);
    this.#contents = new Int32Array(objects * unit);
    const frames = new Frames(payload.length);
    frames.memory.set(pages.bytes.subarray(0, frames.memory.length));
    // The dead slots of a cluster form up to 128 runs, one bio each.
    this.swap = new Swap(new Frontswap(), frames, { discardBios: 128 });
    swapOn(this.swap, withCallback(this.disk, policy.callback), headerPage(CHURN_SLOTS), {
      discard: policy.discard,
    });
  }

  get staleBytes(): number {
    return this.disk.stats().compressedBytes - this.liveBytes;
  }

  /** Frees and swaps out objects until `pages` more pages have been swapped out. */
  run(pages: number): void {
    const start = cpuNs();
    const unit = this.#unit;
    for (let written = 0; written < pages; ) {
      const first = this.#prng.below(this.#entries.length / unit) * unit;
      for (let at = first; at < first + unit; at++) this.#free(at);
      if (!this.#prng.oneIn(4)) {
        for (let at = first; at < first + unit; at++) this.#out(at);
        written += unit;
        this.#scan(unit);
      }
      this.swap.tick();
    }
    this.ns += cpuNs() - start;
  }

  #free(at: number): void {
    const entry = this.#entries[at]! as SwapEntry;
    if (entry === NO_ENTRY) return;
    this.swap.free(entry);
    this.#entries[at] = NO_ENTRY;
    this.liveBytes -= this.#payload[this.#contents[at]!]!;
  }

  #out(at: number): void {
    const { swap } = this;
    const frame = this.#prng.below(this.#payload.length);
    const entry = swap.addToSwap(frame);
    assert(entry !== NO_ENTRY, 'the area has a free slot');
    swap.duplicate(entry);
    swap.swapOut(frame);
    swap.dropFromCache(frame);
    this.#entries[at] = entry;
    this.#contents[at] = frame;
    this.liveBytes += this.#payload[frame]!;
  }

  /** Scans the whole area if the period is over. */
  #scan(written: number): void {
    const { periodPages } = this.#policy;
    if (periodPages === undefined) return;
    this.#scansDue += written;
    if (this.#scansDue < periodPages) return;
    this.#scansDue -= periodPages;
    for (let cluster = 0; cluster < CHURN_SLOTS / 256; cluster++) {
      this.swap.scanDiscard(1);
      this.swap.tick();
    }
  }
}

/** The bytes that dead pages occupy, per method. */
export function staleBytes(pages: PageSet, unit: number, rounds: number): Table {
  const payload = payloads(pages);
  const cpu = policies.map((): number[] => []);
  const results = policies.map((): (string | number)[] => []);
  const turns = Math.min(rounds, ROUNDS_MAX);
  for (let round = 0; round < turns; round++) {
    for (const [i, policy] of policies.entries()) {
      const churn = new Churn(policy, pages, payload, unit);
      const [live, stale]: [number[], number[]] = [[], []];
      churn.run(CHURN_PAGES / 3);
      const before = churn.ns;
      for (let sample = 0; sample < 50; sample++) {
        churn.run((CHURN_PAGES * 2) / 3 / 50);
        live.push(churn.liveBytes);
        stale.push(churn.staleBytes);
      }
      cpu[i]!.push((churn.ns - before) / ((CHURN_PAGES * 2) / 3));
      const mean = (values: readonly number[]): number =>
        values.reduce((a, b) => a + b, 0) / values.length;
      const most = Math.max(...stale);
      const scanned = churn.swap.counters.get('discardScanned') / CHURN_PAGES;
      const share = (mean(stale) / mean(live)).toFixed(3);
      results[i] = [mean(live) / 2 ** 20, mean(stale) / 2 ** 20, most / 2 ** 20, scanned, share];
      churn.disk[Symbol.dispose]();
    }
  }
  const what = unit === 1 ? 'single pages' : `${unit} pages together`;
  return {
    title: `swap: payload of free slots; ${what} freed and swapped out at random`,
    columns: [
      'method',
      'live MiB',
      'stale MiB',
      'most',
      'slots scanned per page',
      'stale/live',
      'ns/page',
    ],
    rows: policies.map(({ name }, i) => [name, ...results[i]!, median(cpu[i]!)]),
    notes: [
      `${CHURN_SLOTS} slots, about 56 % in use, ${CHURN_PAGES} pages swapped out; the first third is not counted. Same seed for all; ns: processor time per page swapped out. ${ofRounds(turns)}.`,
    ],
  };
}
