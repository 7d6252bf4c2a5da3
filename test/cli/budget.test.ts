/** The search for a budget, with programs modelled as curves: pages read back by budget. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  findBudget,
  type Measured,
  RUNS_MAX,
  roundBudget,
  type Trial,
} from '../../src/cli/budget.ts';

const MIB = 2 ** 20;
const peakBytes = 256 * MIB;

const measuredOf = (pageIns: number): Measured => ({
  ...{ durationMs: 100, maxRssBytes: 0, stalledMs: 0, faults: 0, pageIns, pageOuts: 0 },
  ...{ peakResidentBytes: peakBytes, peakStoredBytes: 0 },
});
const trialOf = (residentBytes: number, pageIns: number): Trial => ({
  ...{ residentBytes, outcome: 'ok', measured: measuredOf(pageIns) },
});
const full = { residentBytes: 8 * 2 ** 30, outcome: 'ok', measured: measuredOf(0) } as const;

/** Scans its data; reads it back a hundred times, or is too slow, if its working set does not fit. */
const programWith =
  (workingSetBytes: number, scannedPages: number) =>
  async (residentBytes: number): Promise<Trial> => {
    if (residentBytes >= workingSetBytes) return trialOf(residentBytes, scannedPages);
    return residentBytes >= peakBytes / 2
      ? { residentBytes, outcome: 'slow', measured: null }
      : trialOf(residentBytes, scannedPages + (peakBytes / 4096) * 100);
  };

const sizes = [1, 5, 20, 33, 64, 100, 128, 129, 192, 255] as const;
for (const mib of sizes)
  for (const scans of [0, 3])
    test(`a working set of ${mib} MiB of 256 is found from above, with ${scans} scans`, async () => {
      const run = programWith(mib * MIB, (scans * peakBytes) / 4096);
      const { workingSet, trials } = await findBudget(full, run);
      assert.ok(trials.length <= RUNS_MAX, String(trials.length));
      const small = trials.filter(({ residentBytes }) => residentBytes < mib * MIB);
      const lower = Math.max(0, ...small.map(({ residentBytes }) => residentBytes));
      const found = workingSet?.residentBytes ?? peakBytes;
      assert.ok(found >= mib * MIB, `${found / MIB} MiB is at least the working set`);
      // Within a factor of two of the largest budget that is too small, unless the runs ended first.
      if (small.length > 0) assert.ok(found <= lower * 2, `${lower / MIB} .. ${found / MIB} MiB`);
    });

test('a budget is too small when a run swaps in more than 1.5 times the pages of the program', async () => {
  const pages = peakBytes / 4096;
  const below = 16 * MIB;
  const curve = (pageIns: number) => async (bytes: number) =>
    trialOf(bytes, bytes < below ? pageIns : 9);
  const few = await findBudget(full, curve(pages * 1.5));
  assert.equal(few.workingSet?.residentBytes, 4 * MIB);
  const more = await findBudget(full, curve(pages * 1.5 + 1));
  assert.ok(more.workingSet!.residentBytes >= 8 * MIB);
});

test('a run that failed or was stopped does not fit the working set', async () => {
  for (const outcome of ['slow', 'failed'] as const) {
    const { workingSet, trials } = await findBudget(full, async (residentBytes) =>
      residentBytes < 100 * MIB
        ? { residentBytes, outcome, measured: null }
        : trialOf(residentBytes, 0),
    );
    assert.equal(workingSet?.residentBytes, 128 * MIB);
    assert.ok(trials.some((trial) => trial.outcome === outcome));
  }
});

test('a program with less memory than two budgets is not run again', async () => {
  const small = { ...full, measured: { ...measuredOf(0), peakResidentBytes: 64 * 1024 } };
  const { trials, workingSet } = await findBudget(small, async () => assert.fail('no run'));
  assert.deepEqual([trials.length, workingSet], [1, null]);
});

test('budgets are multiples of a MiB, and below one MiB multiples of the smallest budget', () => {
  assert.deepEqual(
    [100.4, 1, 0.6, 0.2, 0.1].map((mib) => roundBudget(mib * MIB)),
    [100 * MIB, MIB, 512 * 1024, 128 * 1024, 0],
  );
});
