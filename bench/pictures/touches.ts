/**
 * Distribution of the access times to paged memory, over all touches of the read patterns of `npm run bench -- memory`,
 * with a quarter of the region resident; with the kernel's swap to zram for comparison where the bench can run it.
 */

import { median } from '../measure.ts';
import { measureMemory } from '../memory.ts';

const REGION_MIB = 256;
const BUDGET_MIB = 64;
const PATTERNS = ['rand-read', 'seq-read'];

/** A mapped file is not comparable, and read-ahead changes little on zram. */
const isShown = (pager: string): boolean =>
  !/page-cluster [1-9]/.test(pager) && !pager.startsWith('mapped file');

interface Distribution {
  readonly pattern: string;
  readonly pager: string;
  /** Microseconds per page, over the entire pattern. */
  readonly meanUs: number;
  /** Evenly spaced quantiles, medians over the rounds, µs. */
  readonly quantilesUs: readonly number[];
}

export interface TouchTimes {
  readonly rounds: number;
  readonly regionMib: number;
  readonly budgetMib: number;
  readonly pages: string;
  readonly unable: readonly string[];
  readonly distributions: readonly Distribution[];
}

const us = (ns: number): number => Number((ns / 1000).toPrecision(3));

export async function measureTouchTimes(rounds: number, corpus?: string): Promise<TouchTimes> {
  const options = { rounds, regionMib: REGION_MIB, budgetMib: BUDGET_MIB };
  const file = corpus === undefined ? {} : { corpus };
  const { all, pages, unable } = await measureMemory({ ...options, ...file }, isShown);
  const distributions = PATTERNS.flatMap((pattern) =>
    all.map(({ name, runs }): Distribution => {
      const phases = runs.map((run) => run.find(({ phase }) => phase === pattern)!);
      const count = phases[0]!.quantilesNs!.length;
      return {
        pattern,
        pager: name,
        meanUs: us(median(phases.map(({ wallNs, pages }) => wallNs / pages))),
        quantilesUs: Array.from({ length: count }, (_, i) =>
          us(median(phases.map(({ quantilesNs }) => quantilesNs![i]!))),
        ),
      };
    }),
  );
  return { ...options, pages, unable, distributions };
}
