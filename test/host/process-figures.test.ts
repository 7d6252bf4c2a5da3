/** Figures of the process and of its event loop. */
import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { delayQuantiles, EventLoopWatch, readProcess } from '../../src/host/process-figures.ts';
import { until } from '../support/fixtures/until.ts';

/** A watchdog. */
const timeout = 60_000;

test('memory, processor time and start of the process are those of Node', () => {
  const figures = readProcess();
  assert.ok(figures.residentBytes > figures.heapBytes && figures.heapBytes > 1_000_000);
  assert.ok(figures.cpuSeconds > 0 && figures.cpuSeconds <= readProcess().cpuSeconds);
  const now = Date.now() / 1000;
  assert.ok(Math.abs(now - process.uptime() - figures.startSeconds) < 60);
});

test('an open descriptor is counted, the descriptor used for counting is not', {
  skip: process.platform !== 'linux',
}, () => {
  const before = readProcess();
  const entries = readdirSync('/proc/self/fd').filter((name) =>
    existsSync(`/proc/self/fd/${name}`),
  );
  assert.equal(before.openDescriptors, entries.length);
  const descriptor = openSync('/proc/self/limits', 'r');
  const { openDescriptors, maxDescriptors } = readProcess();
  closeSync(descriptor);
  assert.equal(openDescriptors, before.openDescriptors! + 1);
  assert.equal(readProcess().openDescriptors, before.openDescriptors);
  assert.ok(maxDescriptors! > openDescriptors!);
});

test('before the first sample the delays are unknown', () => {
  using watch = new EventLoopWatch();
  const { quantiles, sumSeconds, count } = watch.figures();
  assert.deepEqual(
    quantiles,
    delayQuantiles.map(() => NaN),
  );
  assert.deepEqual([sumSeconds, count], [0, 0]);
});

test('a blocked event loop is measured as a delay of that length', { timeout }, async () => {
  using watch = new EventLoopWatch(1_000_000);
  await until('a sample', () => !Number.isNaN(watch.figures().quantiles[0]));
  const end = performance.now() + 300;
  while (performance.now() < end);
  await until('the sample of the delay', () => watch.figures().quantiles.at(-1)! > 0.2);
  const { quantiles, count } = watch.figures();
  assert.ok(quantiles.every((value, i) => i === 0 || value >= quantiles[i - 1]!));
  assert.equal(count, 0, 'only complete windows are counted');
});

test('a prompt event loop has a delay below the resolution of the monitor', {
  timeout,
}, async () => {
  using watch = new EventLoopWatch(200);
  await until('a window without load', () => watch.figures().quantiles[0]! < 0.015);
});

test('sum and count of complete windows never decrease', { timeout }, async () => {
  using watch = new EventLoopWatch(50);
  let last = watch.figures();
  for (let windows = 0; windows < 5; windows++) {
    await until('the end of a window', () => watch.figures().count > last.count);
    const next = watch.figures();
    assert.ok(next.sumSeconds >= last.sumSeconds);
    last = next;
  }
});
