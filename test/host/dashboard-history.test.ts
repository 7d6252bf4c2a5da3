/** Samples of the dashboard: rates, latencies of frees, and the ring that keeps them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BioOp } from '../../src/block/bio.ts';
import { Histogram } from '../../src/block/filters/histogram.ts';
import { DashboardHistory, SampleRing, Sampler } from '../../src/host/dashboard-history.ts';
import type { MetricsFacts } from '../../src/host/metric-family.ts';
import { type Sample, type SampleColumn, sampleColumns } from '../../src/page/wire.ts';
import { diskReport, metricsFacts } from './metrics-facts.ts';

const figure = ({ values }: Sample, column: SampleColumn): number | null | undefined =>
  values[sampleColumns.indexOf(column)];

test('the ring keeps the latest rows, oldest first, and null as null', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 7 }),
      fc.array(fc.tuple(fc.integer(), fc.option(fc.integer())), { maxLength: 20 }),
      (capacity, rows) => {
        const ring = new SampleRing(2, capacity);
        for (const row of rows) ring.push(row);
        const kept = rows.slice(-capacity);
        assert.equal(ring.length, kept.length);
        assert.deepEqual(ring.columns(), [kept.map(([a]) => a), kept.map(([, b]) => b)]);
      },
    ),
  );
});

test('the first sample has no rates; later ones are differences per second', () => {
  const sampler = new Sampler();
  const first = sampler.sample(metricsFacts(), 1000, 1_700_000_000_000);
  assert.equal(figure(first, 'time'), 1_700_000_000);
  assert.equal(figure(first, 'reads'), 0);
  const disk = diskReport('swap0');
  const later = { ...disk, reads: disk.reads + 30, writes: disk.writes + 4, failedWrites: 110 };
  const second = sampler.sample(metricsFacts({ disks: [later] }), 3000, 1_700_000_002_000);
  assert.equal(figure(second, 'reads'), 15);
  assert.equal(figure(second, 'writes'), 2);
  assert.equal(figure(second, 'refusals'), 1);
  assert.equal(second.disks[0]?.reads, 15);
  assert.equal(second.disks[0]?.refused, 110);
});

test('a disk that is added or replaced adds no rate below 0, and none from before', () => {
  const sampler = new Sampler();
  sampler.sample(metricsFacts(), 0, 0);
  const fewer = { ...diskReport('swap0'), reads: 0, writes: 0, discards: 0 };
  const added = { ...diskReport('new'), reads: 1_000_000 };
  const sample = sampler.sample(metricsFacts({ disks: [fewer, added] }), 1000, 1000);
  assert.equal(figure(sample, 'reads'), 0);
  assert.equal(figure(sample, 'discards'), 0);
});

test('the kinds of pages add up to the pages in memory', () => {
  const disks = [diskReport('a'), diskReport('b')];
  const sample = new Sampler().sample(metricsFacts({ disks }), 0, 0);
  const kinds = ['sameFilledBytes', 'compressiblePagesBytes', 'fullPagesBytes'] as const;
  const sum = kinds.reduce((total, kind) => total + (figure(sample, kind) ?? 0), 0);
  assert.equal(sum, figure(sample, 'dataBytes'));
  assert.equal(figure(sample, 'backingBytes'), 2 * 8192);
});

test('quantiles of frees are of the last interval only, and null without frees', () => {
  const histograms = Object.values(BioOp).map(() => new Histogram());
  const facts = (): MetricsFacts =>
    metricsFacts({
      latencies: new Map([['swap0', { latency: (op: BioOp): Histogram => histograms[op]! }]]),
    });
  const sampler = new Sampler();
  for (let i = 0; i < 100; i++) histograms[BioOp.discard]!.add(5_000_000_000);
  sampler.sample(facts(), 0, 0);
  for (let i = 0; i < 98; i++) histograms[BioOp.discard]!.add(20_000);
  for (let i = 0; i < 2; i++) histograms[BioOp.writeZeroes]!.add(1_000_000);
  histograms[BioOp.read]!.add(9_000_000_000);
  const sample = sampler.sample(facts(), 1000, 1000);
  const median = figure(sample, 'freeP50')!;
  const p99 = figure(sample, 'freeP99')!;
  assert.ok(median >= 20e-6 && median <= 20e-6 * 1.125, `median ${median}`);
  assert.ok(p99 >= 1e-3 && p99 <= 1.125e-3, `p99 ${p99}`);
  const quiet = sampler.sample(facts(), 2000, 2000);
  assert.equal(figure(quiet, 'freeP50'), null);
  assert.equal(figure(quiet, 'freeP99'), null);
});

test('a latency of minutes is not cut off', () => {
  const histograms = Object.values(BioOp).map(() => new Histogram());
  const latencies = new Map([['swap0', { latency: (op: BioOp): Histogram => histograms[op]! }]]);
  const sampler = new Sampler();
  sampler.sample(metricsFacts({ latencies }), 0, 0);
  histograms[BioOp.discard]!.add(100_000_000_000);
  const sample = sampler.sample(metricsFacts({ latencies }), 1000, 1000);
  const seconds = figure(sample, 'freeP50')!;
  assert.ok(seconds >= 100 && seconds <= 112.5, `${seconds}`);
});

test('a history takes a sample at its start, once, and keeps it', (t) => {
  const seen: Sample[] = [];
  const history = new DashboardHistory(
    () => metricsFacts(),
    (sample) => seen.push(sample),
  );
  t.after(() => history[Symbol.dispose]());
  assert.equal(history.latest, null);
  history.start();
  history.start();
  assert.equal(seen.length, 1);
  assert.equal(history.latest, seen[0]);
  assert.deepEqual(
    (JSON.parse(history.text) as number[][]).map(([value]) => value),
    seen[0]?.values,
  );
});
