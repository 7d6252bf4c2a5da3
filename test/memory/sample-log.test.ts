/** The log of samples: bounded, halved when full, silent after it was closed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SwapStat } from '../../src/memory/control-block.ts';
import { lineAfter, lineOf } from '../../src/memory/engine-watch.ts';
import { makeReport } from '../../src/memory/report.ts';
import {
  Column,
  SAMPLE_COLUMNS,
  SAMPLE_MS_MIN,
  SAMPLES_MAX,
  SampleLog,
  Summary,
} from '../../src/memory/sample-log.ts';
import { swapStatsOf } from '../../src/memory/stats.ts';
import { reportFacts } from './report-facts.ts';

function row(values: Partial<Record<keyof typeof Column, number>>): Float64Array {
  const made = new Float64Array(SAMPLE_COLUMNS);
  for (const [name, value] of Object.entries(values))
    made[Column[name as keyof typeof Column]] = value;
  return made;
}

/** A log of `count` samples: counters rise by one, each size is high in every other sample. */
function logOf(count: number): SampleLog {
  const log = new SampleLog();
  for (let i = 1; i <= count; i++) {
    const [first, second] = i % 2 === 0 ? [4096, 8192] : [8192, 4096];
    const sizes = { residentBytes: first!, storedBytes: second!, usedBytes: first! + 1 };
    log.add(row({ atMs: i * 50, faults: i, stalledMs: i, pageIns: i, pageOuts: i, ...sizes }));
  }
  return log;
}

test('a full log keeps its samples, and one more halves them', () => {
  const full = logOf(SAMPLES_MAX);
  assert.equal(full.count, SAMPLES_MAX);
  assert.equal(full.summary[Summary.intervalMs], SAMPLE_MS_MIN);
  full.add(row({ atMs: (SAMPLES_MAX + 1) * 50, faults: SAMPLES_MAX + 1 }));
  assert.equal(full.count, SAMPLES_MAX / 2 + 1);
  assert.equal(full.summary[Summary.intervalMs], SAMPLE_MS_MIN * 2);
});

test('merged samples have the later counters and the larger sizes', () => {
  const samples = logOf(SAMPLES_MAX + 1).samples();
  const merged = samples.slice(0, SAMPLES_MAX / 2);
  for (const column of [Column.faults, Column.stalledMs, Column.pageIns, Column.pageOuts])
    assert.deepEqual(
      merged.map((sample) => sample[column]),
      merged.map((_, i) => 2 * i + 2),
    );
  const sizes = merged.map((sample) => sample.slice(Column.residentBytes, Column.faults).join());
  assert.deepEqual(new Set(sizes), new Set(['8192,8192,8193']));
  assert.ok(samples.every((sample, i) => i === 0 || sample[Column.atMs]! > samples[i - 1]![0]!));
});

test('a log of many samples stays bounded and keeps the peaks', () => {
  const log = logOf(20_000);
  assert.ok(log.count <= SAMPLES_MAX && log.count > SAMPLES_MAX / 2, String(log.count));
  assert.equal(log.samples().at(-1)?.[Column.faults], 20_000);
  assert.equal(log.summary[Summary.peakResidentBytes], 8192);
});

test('a report whose last sample halves the log has the new interval', () => {
  const stats = swapStatsOf(new Float64Array(Object.keys(SwapStat).length));
  const nowMs = (SAMPLES_MAX + 1) * 50;
  const { samples } = makeReport(logOf(SAMPLES_MAX), {
    ...reportFacts,
    stats: { ...stats, residentBytes: 1 },
    nowMs,
  });
  assert.equal(samples.intervalMs, SAMPLE_MS_MIN * 2);
  assert.equal(samples.rows.length, SAMPLES_MAX / 2 + 1);
  assert.deepEqual(samples.rows.at(-1)?.slice(0, 2), [nowMs, 1]);
});

test('the peak of RAM is that of a single sample', () => {
  const log = new SampleLog();
  log.add(row({ residentBytes: 100, usedBytes: 1 }));
  log.add(row({ residentBytes: 10, usedBytes: 50 }));
  assert.equal(log.summary[Summary.peakRamBytes], 101);
});

test('a closed log admits no writer', () => {
  const log = new SampleLog();
  const other = new SampleLog(log.shared);
  assert.equal(log.enter(), true);
  log.leave();
  other.close(() => 0);
  assert.equal(log.enter(), false);
});

test('close() waits for a writer, but not without limit for one that has ended', () => {
  const log = new SampleLog();
  assert.equal(log.enter(), true);
  let reads = 0;
  new SampleLog(log.shared).close(() => {
    if (++reads === 3) log.leave();
    return 0;
  });
  assert.equal(log.enter(), false);
  const ended = new SampleLog();
  ended.enter();
  let ms = 0;
  ended.close(() => (ms += 50));
  assert.ok(ms > 0);
});

test('a line has the current state, and rates since the previous line', () => {
  const before = row({ atMs: 1000, faults: 10, stalledMs: 5, pageOuts: 7 });
  const now = row({
    ...{ atMs: 1500, residentBytes: 2 ** 20, storedBytes: 3 * 2 ** 20, usedBytes: 2 ** 19 },
    ...{ faults: 110, stalledMs: 55, pageIns: 9, pageOuts: 20 },
  });
  assert.equal(
    lineOf(before, now),
    'frontswap: 1M resident, 3M stored in 512K, 200 faults/s, 10.0% stalled, 13 pages out\n',
  );
});

test('a late line does not shift the next ones; after a pause the interval starts again', () => {
  assert.equal(lineAfter(1000, 1040, 300), 1300);
  assert.equal(lineAfter(1000, 1300, 300), 1600);
  assert.equal(lineAfter(1000, 5000, 300), 5300);
});
