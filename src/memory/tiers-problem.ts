/** What is wrong with the tiers of a swap, on its way from the engine to the program. */

/** A mask. */
export const Problem = {
  /** Compressed RAM and the files are full. */
  full: 1,
  /** Pages do not compress, and no file takes them. */
  poor: 2,
  /** More is in memory than a budget says. */
  over: 4,
} as const;

export interface LostPage {
  /** The id of the region's handle. */
  readonly region: number;
  readonly page: number;
  readonly reason: 'checksum' | 'device';
}

/** What the fault thread posts. */
export interface ProblemNews {
  /** Of Problem: what has begun since the last news. */
  readonly fresh: number;
  /** Of Problem: what is wrong now. */
  readonly now: number;
  readonly lost: readonly LostPage[];
}
