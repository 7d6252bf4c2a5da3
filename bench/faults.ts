/**
 * The native fault path alone (fault-child.ts), by both modes and by where the native thread runs, next to the kernel's
 * swap to zram in the same rounds: random reads of a cold region within the budget, and random writes. No engine runs, so
 * these are the lowest figures that the memory interface could have.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadNativeFaults } from '../src/os/native-faults.ts';
import { type BenchOptions, ofRounds, type Table } from './measure.ts';
import { heapPagesOf, measure, rowsOf } from './memory.ts';
import { loadPages } from './pages.ts';
import { kernelSwaps } from './peers/kernel-swap.ts';
import { runPagerProgram } from './peers/pager-program.ts';
import { undoLater } from './peers/undo.ts';
import { checkPlan, type PagerContender, type Plan } from './touches.ts';

const MIB = 2 ** 20;
const SEED = 2010;
const patterns = ['fill-seq', 'rand-read', 'rand-write'];
const modes = ['signal', 'thread', 'thread-follow', 'thread-spin'];
const child = fileURLToPath(new URL('./fault-child.js', import.meta.url));

function native(mode: string): PagerContender {
  const { native, reason } = loadNativeFaults();
  return {
    name: mode,
    missing: native === null ? reason : null,
    run: (wanted, plan) =>
      runPagerProgram([process.execPath, child], mode, wanted, plan, () => undefined),
  };
}

export async function faults({
  regionMib,
  budgetMib,
  rounds,
  corpus,
}: BenchOptions): Promise<Table> {
  const folder = mkdtempSync(join(tmpdir(), 'frontswap-faults-'));
  using _folder = undoLater(() => rmSync(folder, { recursive: true, force: true }));
  const pages = await loadPages(corpus);
  const plan: Plan = {
    regionBytes: regionMib * MIB,
    budgetBytes: budgetMib * MIB,
    pagesFile: join(folder, 'pages'),
    touches: (regionMib * MIB) / 4096 / 4,
    seed: SEED,
  };
  checkPlan(plan);
  writeFileSync(plan.pagesFile, heapPagesOf(pages));
  const kernel = kernelSwaps();
  const contenders = [...modes.map(native), ...kernel];
  const all = await measure(
    contenders.filter(({ missing }) => missing === null),
    patterns,
    plan,
    rounds,
  );
  return {
    title: `faults: random touches of ${regionMib} MiB in ${budgetMib} MiB, us per touch`,
    columns: [
      ...['pattern', 'served by', 'us/touch', 'of kernel', 'cpu us/touch', 'of kernel '],
      ...['touch p50 us', 'p99 us'],
    ],
    rows: rowsOf(
      all,
      kernel.map(({ name }) => name),
      patterns.slice(1),
    ),
    notes: [`${ofRounds(rounds)}; in turn. Load average ${loadavg()[0]!.toFixed(2)}.`],
  };
}
