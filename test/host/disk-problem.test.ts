/** Log lines about disks that refuse writes, or whose backing is full, fails or is damaged. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DiskProblem } from '../../src/host/disk-problem.ts';
import type { DiskStats } from '../../src/host/parts.ts';
import { QUIET_CHECKS } from '../../src/host/refusal-watch.ts';
import { StandInDisk } from '../support/fakes/stand-in.ts';

const still: DiskStats = new StandInDisk({ sizeBytes: 2 ** 20, limitBytes: 0, codec: 'lz4' })
  .stats_;
const whyFull = (): string => 'its limit of 1M is reached';

/** The new log lines of each step; its figures replace those of the step before. */
function newsOf(path: string | undefined, ...steps: readonly Partial<DiskStats>[]): string[][] {
  const problem = new DiskProblem(path);
  let stats = still;
  return steps.map((step) => {
    stats = { ...stats, ...step };
    return problem.check(stats, whyFull);
  });
}

const refusesByLimit =
  'refuses writes: its limit of 1M is reached; the guest keeps those pages in its own memory';
const bothFull =
  'refuses writes: its backing /b has no space left and its limit of 1M is reached; the guest keeps those pages in its own memory';
const full =
  'its backing /b has no space left; its pages stay in memory as long as the limit allows: ' +
  'free space there, or raise the limit';
const failing = 'its backing /b fails requests: clients get I/O errors';

test('without a backing a refused write is due to the limit', () => {
  assert.deepEqual(newsOf(undefined, {}, { failedWrites: 1 }, { failedWrites: 2 }), [
    [],
    [refusesByLimit],
    [],
  ]);
});

test('a full backing is named while pages stay in memory, and with the limit once that is reached', () => {
  assert.deepEqual(
    newsOf(
      '/b',
      { backingFailures: 1, backingNoSpace: 1 },
      { backingFailures: 5, backingNoSpace: 5 },
      { backingFailures: 6, backingNoSpace: 6, failedWrites: 1 },
      { backingFailures: 7, backingNoSpace: 7, failedWrites: 2 },
    ),
    [[full], [], [bothFull], []],
  );
});

test('a full backing and a full memory are reported in one line', () => {
  assert.deepEqual(newsOf('/b', { backingFailures: 2, backingNoSpace: 2, failedWrites: 1 }), [
    [bothFull],
  ]);
});

test('a write that failed at the backing is not due to a limit', () => {
  assert.deepEqual(
    newsOf('/b', { backingFailures: 1, failedWrites: 1 }, { backingFailures: 2, failedWrites: 2 }),
    [[failing], []],
  );
});

test('a write refused for lack of memory is due to memory, also after earlier failures of the backing', () => {
  assert.deepEqual(newsOf('/b', { backingFailures: 1 }, { failedWrites: 1 }), [
    [failing],
    [refusesByLimit],
  ]);
});

test('the number of damaged pages is in the line', () => {
  const [first = [], second] = newsOf(
    '/b',
    { failedReads: 1, backingMismatches: 3 },
    { failedReads: 2, backingMismatches: 4 },
  );
  assert.equal(first.length, 1);
  assert.match(
    first[0] ?? '',
    /^its backing \/b returned 3 page\(s\) with other contents than were written/,
  );
  assert.deepEqual(second, []);
});

test('each kind of problem is reported again after its own quiet period', () => {
  const quiet = Array.from({ length: QUIET_CHECKS }, () => ({}));
  const news = newsOf(
    '/b',
    { backingMismatches: 1 },
    ...quiet,
    { backingMismatches: 2, backingFailures: 1 },
    { backingFailures: 2 },
  );
  assert.deepEqual(
    news.slice(-2).map((lines) => lines.length),
    [2, 0],
  );
});
