/** Problems of a swap's tiers, as the engine reports them to the program. */

/** Bits of a mask. */
export const Problem = {
  /** Compressed RAM and the files are full. */
  full: 1,
  /** Incompressible pages stay in memory: no file takes them. */
  incompressible: 2,
  /** More pages are resident than a budget allows. */
  overBudget: 4,
} as const;

export interface LostPage {
  /** The id of the region's handle. */
  readonly region: number;
  readonly page: number;
  readonly reason: 'checksum' | 'device';
}

/** A message of the fault thread. */
export interface ProblemReport {
  /** Problems that started since the last report, a mask of Problem. */
  readonly fresh: number;
  /** Problems now, a mask of Problem. */
  readonly now: number;
  readonly lost: readonly LostPage[];
}
