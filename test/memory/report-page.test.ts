/** The page of a report: units of the axes, rates by interval, also of runs without samples. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeReport, type Report } from '../../src/memory/report.ts';
import { renderReport } from '../../src/memory/report-page.ts';
import { Column, SAMPLE_COLUMNS, SampleLog } from '../../src/memory/sample-log.ts';
import { reportFacts } from './report-facts.ts';

/** A run of which each sample is `ms` after the one before, with `faults` more. */
function reportOf(ms: number, faults: number, samples: number): Report {
  const log = new SampleLog();
  const row = new Float64Array(SAMPLE_COLUMNS);
  for (let i = 0; i < samples; i++) {
    row[Column.atMs] = i * ms;
    row[Column.faults] = i * faults;
    log.add(row);
  }
  return makeReport(log, reportFacts);
}

const units: readonly (readonly [number, string])[] = [
  [50, 'seconds'],
  [60_000, 'minutes'],
  [3_600_000, 'hours'],
];
for (const [ms, unit] of units)
  test(`the time of samples ${ms} ms apart is in ${unit}`, () => {
    const html = renderReport(reportOf(ms, 1, 5));
    assert.equal(html.match(new RegExp(`>${unit}<`, 'g'))?.length, 4);
  });

test('rates are per second of their interval, with short labels', () => {
  const html = renderReport(reportOf(50, 60_000, 3));
  assert.match(html, /Faults per second over time; highest 1200000\./);
  assert.match(html, /class="tick">1M</);
  assert.match(html, /class="tick">500k</);
});

test('a page of one sample, or none, has plots without lines', () => {
  for (const samples of [0, 1]) {
    const html = renderReport(reportOf(50, 1, samples));
    assert.equal(html.match(/<svg /g)?.length, 4);
    assert.doesNotMatch(html, /NaN|Infinity|undefined/);
  }
});
