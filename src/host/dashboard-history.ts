/**
 * The figures that a dashboard shows: once a second, a sample of the host as a whole and a row for each disk. The samples of
 * the last 15 minutes are kept, so that a page shows them as soon as it is opened. The rows are not kept: with 256 disks they
 * would need 70 MB.
 *
 * Latency of frees: discards and write-zeroes of all disks that ended since the last sample. A quantile is the upper end of a
 * bucket of Histogram, so it is at most 1/8 too high.
 *
 * Cost: docs/design/dashboard.md.
 */
import { BioOp } from '../block/bio.ts';
import { Histogram } from '../block/filters/histogram.ts';
import { type DiskRow, type Sample, type SampleValue, sampleColumns } from '../page/wire.ts';
import { violatedCounters } from './health.ts';
import type { DiskReport } from './list-document.ts';
import type { MetricsFacts } from './metric-family.ts';
import { delayQuantiles } from './process-figures.ts';

/** The latest `capacity` rows of numbers. NaN means null. */
export class SampleRing {
  readonly #width: number;
  readonly #capacity: number;
  readonly #rows: Float64Array;
  #next = 0;
  #length = 0;

  constructor(width: number, capacity: number) {
    this.#width = width;
    this.#capacity = capacity;
    this.#rows = new Float64Array(width * capacity);
  }

  get length(): number {
    return this.#length;
  }

  push(values: readonly SampleValue[]): void {
    for (let i = 0; i < this.#width; i++)
      this.#rows[this.#next * this.#width + i] = values[i] ?? NaN;
    this.#next = (this.#next + 1) % this.#capacity;
    this.#length = Math.min(this.#length + 1, this.#capacity);
  }

  /** One array for each number of a row, oldest first. */
  columns(): SampleValue[][] {
    const first = (this.#next - this.#length + this.#capacity) % this.#capacity;
    return Array.from({ length: this.#width }, (_, column) =>
      Array.from({ length: this.#length }, (_, i) => {
        const value = this.#rows[((first + i) % this.#capacity) * this.#width + column]!;
        return Number.isNaN(value) ? null : value;
      }),
    );
  }
}

const PAGE_BYTES = 4096;
const NS_PER_SECOND = 1e9;
/** Counters of a disk at the last sample. */
interface Before {
  readonly reads: number;
  readonly writes: number;
  readonly discards: number;
  readonly refusals: number;
  /** All frees, and those of each bucket of Histogram; null: none. */
  readonly freeCount: number;
  readonly frees: Float64Array | null;
}

const refusalsOf = ({ failedWrites, invalidIo }: DiskReport): number => failedWrites + invalidIo;
const sumOf = (disks: readonly DiskReport[], of: (disk: DiskReport) => number): number =>
  disks.reduce((sum, disk) => sum + of(disk), 0);
const tenths = (value: number): number => Math.round(value * 10) / 10;

/** Computes samples from the counters of a host. Counters only grow, unless a disk is replaced. */
export class Sampler {
  #before = new Map<string, Before>();
  #lastMs: number | null = null;

  /** @param nowMs a clock that only grows; timeMs: Unix time */
  sample(facts: MetricsFacts, nowMs: number, timeMs: number): Sample {
    const seconds = this.#lastMs === null ? 0 : Math.max(0.001, (nowMs - this.#lastMs) / 1000);
    this.#lastMs = nowMs;
    const { disks } = facts;
    const before = this.#before;
    this.#before = new Map(
      disks.map((disk) => [disk.name, countersOf(disk, facts, before.get(disk.name))]),
    );
    const freed = new Float64Array(Histogram.bucketCount);
    const rows = disks.map((disk) => {
      const now = this.#before.get(disk.name)!;
      const was = before.get(disk.name);
      if (was !== undefined) addDifference(freed, now, was);
      const rate = (key: 'reads' | 'writes' | 'discards' | 'refusals'): number =>
        was === undefined || seconds === 0 ? 0 : tenths(Math.max(0, now[key] - was[key]) / seconds);
      return {
        ...rowOf(disk),
        reads: rate('reads'),
        writes: rate('writes'),
        discards: rate('discards'),
        refusals: rate('refusals'),
      };
    });
    const total = (key: 'reads' | 'writes' | 'discards' | 'refusals'): number =>
      tenths(rows.reduce((sum, row) => sum + row[key], 0));
    return {
      values: [
        Math.round(timeMs / 100) / 10,
        facts.nbd?.connectionCount ?? 0,
        sumOf(disks, (d) => d.dataBytes),
        facts.total.usedBytes,
        facts.total.limitBytes,
        facts.process.residentBytes,
        sumOf(disks, (d) => d.sameFilledPages) * PAGE_BYTES,
        sumOf(disks, (d) => d.storedPages - d.sameFilledPages - d.incompressiblePages) * PAGE_BYTES,
        sumOf(disks, (d) => d.incompressiblePages) * PAGE_BYTES,
        sumOf(disks, (d) => d.backingBytes),
        total('reads'),
        total('writes'),
        total('discards'),
        total('refusals'),
        quantile(freed, 0.5),
        quantile(freed, 0.99),
        finite(facts.eventLoop?.quantiles[delayQuantiles.indexOf(0.99)]),
      ],
      disks: rows.map(({ refusals: _, ...row }) => row),
      violated: violatedCounters(facts),
    };
  }
}

function countersOf(
  disk: DiskReport,
  { latencies }: MetricsFacts,
  was: Before | undefined,
): Before {
  const { name, reads, writes, discards } = disk;
  const filter = latencies.get(name);
  const histograms = [BioOp.discard, BioOp.writeZeroes].flatMap((op) => filter?.latency(op) ?? []);
  const freeCount = histograms.reduce((sum, { count }) => sum + count, 0);
  let frees = was?.frees ?? null;
  if (freeCount !== was?.freeCount) {
    frees = new Float64Array(Histogram.bucketCount);
    for (const histogram of histograms) histogram.addCounts(frees);
  }
  return { reads, writes, discards, refusals: refusalsOf(disk), freeCount, frees };
}

/** Adds the frees of a disk since the last sample to `sum`. */
function addDifference(sum: Float64Array, now: Before, was: Before): void {
  if (now.freeCount === was.freeCount || now.frees === null) return;
  // Fewer than before: this is another disk with the same name.
  const from = now.freeCount < was.freeCount ? null : was.frees;
  for (let i = 0; i < sum.length; i++) sum[i]! += now.frees[i]! - (from?.[i] ?? 0);
}

const rowOf = (disk: DiskReport): Omit<DiskRow, 'reads' | 'writes' | 'discards'> => ({
  name: disk.name,
  isFrozen: disk.isFrozen,
  connections: disk.connections,
  diskSizeBytes: disk.diskSizeBytes,
  dataBytes: disk.dataBytes,
  usedBytes: disk.usedBytes,
  limitBytes: disk.limitBytes,
  rateBytes: disk.rateBytes,
  backingBytes: disk.backingBytes,
  refused: disk.failedWrites,
});

const finite = (value: number | undefined): SampleValue =>
  value === undefined || !Number.isFinite(value) ? null : value;

/** The quantile `q` in seconds, rounded up to the end of a bucket. Null: there are no values. */
function quantile(counts: Float64Array, q: number): number | null {
  const count = counts.reduce((sum, one) => sum + one, 0);
  if (count === 0) return null;
  let left = q * count;
  const bucket = counts.findIndex((one) => {
    left -= one;
    return left <= 0;
  });
  return Histogram.limitOf(bucket) / NS_PER_SECOND;
}

const SAMPLES_MAX = 900;
export const SAMPLE_MS = 1000;

/** Takes a sample every second from start() to stop(), keeps the samples of 15 minutes, and passes each one on. */
export class DashboardHistory implements Disposable {
  readonly #facts: () => MetricsFacts;
  readonly #onSample: (sample: Sample) => void;
  readonly #sampler = new Sampler();
  readonly #ring = new SampleRing(sampleColumns.length, SAMPLES_MAX);
  #latest: Sample | null = null;
  /** Rendered since the latest sample. */
  #text: string | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(facts: () => MetricsFacts, onSample: (sample: Sample) => void) {
    this.#facts = facts;
    this.#onSample = onSample;
  }

  /** Does nothing if it is running. */
  start(): void {
    if (this.#timer !== null) return;
    this.#take();
    this.#timer = setInterval(() => this.#take(), SAMPLE_MS);
    this.#timer.unref();
  }

  /** JSON of an array for each of sampleColumns, oldest first. */
  get text(): string {
    this.#text ??= JSON.stringify(this.#ring.columns());
    return this.#text;
  }

  get latest(): Sample | null {
    return this.#latest;
  }

  [Symbol.dispose](): void {
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  #take(): void {
    const sample = this.#sampler.sample(this.#facts(), performance.now(), Date.now());
    this.#latest = sample;
    this.#ring.push(sample.values);
    this.#text = null;
    this.#onSample(sample);
  }
}
