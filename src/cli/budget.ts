/**
 * Finds a resident budget for a program: measures it without paging, with a budget for all its memory, and with smaller
 * budgets.
 *
 *   budget   peak  1/2  1/4  1/8 ...   until pages are read back more often than once on average
 *                     └ one more, between the last that holds the working set and the first that does not
 *
 * The working set is the smallest measured budget at which the program swaps in at most as many pages as it has: each
 * page once on average. All figures are those of runs.
 */
import { PAGE_BYTES } from '../base/units.ts';
import { SET_PAGES_MIN } from '../pager/resident-set.ts';

const MIB = 2 ** 20;
const BUDGET_BYTES_MIN = SET_PAGES_MIN * PAGE_BYTES;
/** Paged runs, the one with the full budget included. */
export const RUNS_MAX = 6;

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

/** How a run ended. `slow`: stopped, because it took a multiple of the time of the first runs. */
export type Outcome = 'ok' | 'slow' | 'failed';

export interface Trial {
  readonly residentBytes: number;
  readonly outcome: Outcome;
  /** Null unless the outcome is ok. */
  readonly measured: Measured | null;
}

export interface Budget {
  /** Of paged memory, in the run with the full budget. */
  readonly peakBytes: number;
  /** Null: no smaller budget holds it. */
  readonly workingSet: Trial | null;
  /** In the order of the runs. */
  readonly trials: readonly Trial[];
}

/** Whole MiB where possible, so that it can be written as an option. */
export const roundBudget = (bytes: number): number =>
  bytes >= MIB
    ? Math.round(bytes / MIB) * MIB
    : Math.floor(bytes / BUDGET_BYTES_MIN) * BUDGET_BYTES_MIN;

const holds = ({ measured }: Trial, peakBytes: number): boolean =>
  measured !== null && measured.pageIns <= peakBytes / PAGE_BYTES;

/** @param full the run with a budget for all memory */
export async function findBudget(
  full: Trial & { readonly measured: Measured },
  run: (residentBytes: number) => Promise<Trial>,
): Promise<Budget> {
  const { peakResidentBytes, peakStoredBytes } = full.measured;
  const peakBytes = peakResidentBytes + peakStoredBytes;
  const trials: Trial[] = [full];
  let good: Trial | null = null;
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
    if (holds(trial, peakBytes)) {
      good = trial;
      upper = bytes;
    } else lower = bytes;
    if (isBetween && good !== null) break;
  }
  return { peakBytes, workingSet: good, trials };
}
