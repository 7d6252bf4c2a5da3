/**
 * Finds a resident budget for a program: measures it without paging, with a budget that holds all its memory, and with smaller
 * budgets.
 *
 *   budget   peak  1/2  1/4  1/8 ...   until more pages are read back, or the program is too slow
 *                     └ one more, between the last that fits the working set and the first that does not
 *
 * A program that scans all its data swaps in every page with any budget below the peak. So the number of pages that it swaps in
 * changes little from half of the peak down to its working set, and rises below that. The working set is the smallest measured
 * budget at which the program swaps in at most PAGE_INS_TIMES times the larger of two numbers: all its pages, and the pages
 * that it swaps in with the largest budget below the peak that is not too slow. All figures are measured.
 */
import { PAGE_BYTES } from '../base/units.ts';
import { SET_PAGES_MIN } from '../pager/resident-set.ts';

const MIB = 2 ** 20;
const BUDGET_BYTES_MIN = SET_PAGES_MIN * PAGE_BYTES;
/** Maximum number of paged runs, including the one with the full budget. */
export const RUNS_MAX = 7;
const PAGE_INS_TIMES = 1.5;

/** Figures of one run. */
export interface Measured {
  readonly durationMs: number;
  /** Peak RSS of the process. */
  readonly maxRssBytes: number;
  readonly stalledMs: number;
  readonly faults: number;
  readonly pageIns: number;
  readonly pageOuts: number;
  /** Peak of resident paged memory, and of swapped-out pages. */
  readonly peakResidentBytes: number;
  readonly peakStoredBytes: number;
}

/** How a run ended. `slow`: stopped, because it took several times as long as the first runs. */
type Outcome = 'ok' | 'slow' | 'failed';

export interface Trial {
  readonly residentBytes: number;
  readonly outcome: Outcome;
  /** Null unless the outcome is ok. */
  readonly measured: Measured | null;
}

export interface Budget {
  /** Of paged memory, in the run with the full budget. */
  readonly peakBytes: number;
  /** Null: it fits no measured budget below the peak. */
  readonly workingSet: Trial | null;
  /** In the order of the runs. */
  readonly trials: readonly Trial[];
}

/** Whole MiB where possible, so that it can be written as an option. */
export const roundBudget = (bytes: number): number =>
  bytes >= MIB
    ? Math.round(bytes / MIB) * MIB
    : Math.floor(bytes / BUDGET_BYTES_MIN) * BUDGET_BYTES_MIN;

/** @param full the run with a budget for all memory */
export async function findBudget(
  full: Trial & { readonly measured: Measured },
  run: (residentBytes: number) => Promise<Trial>,
): Promise<Budget> {
  const { peakResidentBytes, peakStoredBytes } = full.measured;
  const peakBytes = peakResidentBytes + peakStoredBytes;
  const trials: Trial[] = [full];
  let good: Trial | null = null;
  let pageInsMax: number | null = null;
  let upper = peakBytes;
  let lower = 0;
  const next = (): number =>
    roundBudget(lower === 0 ? upper / 2 : Math.round(Math.sqrt(upper * lower)));
  for (let bytes = next(); trials.length < RUNS_MAX; bytes = next()) {
    const isUseful = bytes >= BUDGET_BYTES_MIN && bytes < upper && bytes > lower;
    if (!isUseful) break;
    const trial = await run(bytes);
    trials.push(trial);
    const isBetween = lower > 0;
    const pageIns = trial.measured?.pageIns ?? Number.POSITIVE_INFINITY;
    if (trial.measured !== null)
      pageInsMax ??= PAGE_INS_TIMES * Math.max(peakBytes / PAGE_BYTES, pageIns);
    if (pageInsMax !== null && pageIns <= pageInsMax) {
      good = trial;
      upper = bytes;
    } else lower = bytes;
    if (isBetween) break;
  }
  return { peakBytes, workingSet: good, trials };
}
