/**
 * Paged memory: a region four times its resident budget, filled, read and written sequentially and at random, and
 * evicted; compared with the kernel's swap on zram and with a mapped file, both in a memory control group of that
 * budget. bench/touches.ts specifies the patterns. A round runs every contender once; the order rotates.
 *
 * To add a pager, add a PagerContender to `contenders` whose run() starts a program through peers/pager-program.ts that
 * fills, touches and reports as bench/reference/pager.c does.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BenchOptions, median, ofRounds, type Table } from './measure.ts';
import type { PageSet } from './page-set.ts';
import { loadPages } from './pages.ts';
import { kernelSwaps, mappedFile } from './peers/kernel-swap.ts';
import { ownRegion } from './peers/own-region.ts';
import { undoLater } from './peers/undo.ts';
import {
  checkPlan,
  type PagerContender,
  type PhaseResult,
  type Plan,
  patterns,
} from './touches.ts';

const PAGE_BYTES = 4096;
const MIB = 2 ** 20;
const SEED = 2010;
/** Classes that are not typical of heaps: same-filled pages cost nothing, random ones do not compress. */
const LEFT_OUT = ['same', 'random'];

/** The pages of all other classes. */
export function heapPagesOf(pages: PageSet): Uint8Array {
  const kept = Array.from(pages.classOfPage.keys()).filter(
    (i) => !LEFT_OUT.includes(pages.classes[pages.classOfPage[i]!]!),
  );
  const bytes = new Uint8Array(kept.length * PAGE_BYTES);
  for (const [to, from] of kept.entries())
    bytes.set(pages.bytes.subarray(from * PAGE_BYTES, (from + 1) * PAGE_BYTES), to * PAGE_BYTES);
  return bytes;
}

/** The runs of one contender, each a list of phases. */
export interface Runs {
  readonly name: string;
  readonly runs: readonly (readonly PhaseResult[])[];
}

type MemoryOptions = Pick<BenchOptions, 'corpus' | 'rounds' | 'regionMib' | 'budgetMib'>;

type Figure = (phase: PhaseResult) => number;

/** Median of a figure of a pattern over the runs. */
function over({ runs }: Runs, pattern: string, figure: Figure): number {
  return median(runs.map((phases) => figure(phases.find((p) => p.phase === pattern)!)));
}

const usPerPage: Figure = ({ wallNs, pages }) => wallNs / pages / 1000;

const cpuUsPerPage: Figure = ({ cpuNs, pages }) => cpuNs / pages / 1000;

/** One row per pattern and contender; ratios are to the best of `anchors` at that pattern. */
export function rowsOf(
  all: readonly Runs[],
  anchors: readonly string[],
  shown: readonly string[],
): (string | number)[][] {
  return shown.flatMap((pattern) => {
    const kernel = all.filter(({ name }) => anchors.includes(name));
    const best = (figure: Figure): number =>
      Math.min(...kernel.map((runs) => over(runs, pattern, figure)));
    const [wall, cpu] = [best(usPerPage), best(cpuUsPerPage)];
    return all.map((runs) => [
      ...[pattern, runs.name],
      ...[over(runs, pattern, usPerPage), over(runs, pattern, usPerPage) / wall],
      ...[over(runs, pattern, cpuUsPerPage), over(runs, pattern, cpuUsPerPage) / cpu],
      over(runs, pattern, ({ p50Ns }) => (p50Ns ?? Number.NaN) / 1000),
      over(runs, pattern, ({ p99Ns }) => (p99Ns ?? Number.NaN) / 1000),
    ]);
  });
}

/** Runs each contender once a round, in turn. */
export async function measure(
  contenders: readonly PagerContender[],
  wanted: readonly string[],
  plan: Plan,
  rounds: number,
): Promise<Runs[]> {
  const all = contenders.map(({ name }) => ({ name, runs: [] as (readonly PhaseResult[])[] }));
  for (let round = 0; round < rounds; round++)
    for (let turn = 0; turn < contenders.length; turn++) {
      const at = (round + turn) % contenders.length;
      all[at]!.runs.push(await contenders[at]!.run(wanted, plan));
    }
  return all;
}

interface Measured {
  readonly all: readonly Runs[];
  readonly kernel: readonly PagerContender[];
  /** Source of the pages in the region. */
  readonly pages: string;
  /** Contenders that were not measured, and why. */
  readonly unable: readonly string[];
}

/** Runs the selected contenders that can run on this machine. */
export async function measureMemory(
  options: MemoryOptions,
  isSelected: (name: string) => boolean = () => true,
): Promise<Measured> {
  const { regionMib, budgetMib, rounds } = options;
  const pages = await loadPages(options.corpus);
  const folder = mkdtempSync(join(tmpdir(), 'frontswap-memory-'));
  using _folder = undoLater(() => rmSync(folder, { recursive: true, force: true }));
  const heap = heapPagesOf(pages);
  const plan: Plan = {
    regionBytes: regionMib * MIB,
    budgetBytes: budgetMib * MIB,
    pagesFile: join(folder, 'pages'),
    touches: (regionMib * MIB) / PAGE_BYTES / 8,
    seed: SEED,
  };
  checkPlan(plan);
  writeFileSync(plan.pagesFile, heap);
  const kernel = kernelSwaps();
  const contenders = [
    ownRegion('copy'),
    ownRegion('one'),
    ownRegion('thread'),
    ownRegion('thread-one'),
    ownRegion('signal'),
    ownRegion('memfd'),
    ...kernel,
    mappedFile(),
  ].filter(({ name }) => isSelected(name));
  const able = contenders.filter(({ missing }) => missing === null);
  const all = await measure(able, patterns, plan, rounds);
  const unable = contenders.filter(({ missing }) => missing !== null);
  return {
    all,
    kernel,
    pages: `${pages.origin}; of those ${heap.length / PAGE_BYTES} that are neither same-filled nor random`,
    unable: unable.map(({ name, missing }) => `${name}: not measured, ${missing}.`),
  };
}

export async function memory(options: BenchOptions): Promise<Table> {
  const before = loadavg()[0]!;
  const { all, kernel, pages, unable } = await measureMemory(options);
  return {
    title: `memory: ${options.regionMib} MiB of pages in ${options.budgetMib} MiB, us per page`,
    columns: [
      ...['pattern', 'pager', 'us/page', 'of kernel', 'cpu us/page', 'of kernel '],
      ...['touch p50 us', 'p99 us'],
    ],
    rows: rowsOf(
      all,
      kernel.map(({ name }) => name),
      patterns.filter((pattern) => pattern !== 'check'),
    ),
    notes: [
      `Pages: ${pages}, each tagged and compared. ${ofRounds(options.rounds)}; pagers in turn; "of kernel": relative to the better zram swap at that pattern. Load average ${before.toFixed(2)} before, ${loadavg()[0]!.toFixed(2)} after.`,
      ...unable,
    ],
  };
}
