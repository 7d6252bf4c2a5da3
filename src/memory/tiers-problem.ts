/** Problems of a swap's tiers that the engine reports to the program, and which of them are new. */

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

/**
 * A problem that is absent for less than this time counts as continuing. A program that rewrites its pages frees slots just
 * before it fills them again, and a check may happen in between.
 */
const ENDED_MS = 1000;
const BITS = 3;

/** Distinguishes problems that start from problems that continue. */
export class ProblemHistory {
  /** Problems that have started and have not ended. */
  #current = 0;
  /** Time of the first check that found each of #current absent, by bit; Infinity: the last check found it. */
  readonly #absentSince = new Float64Array(BITS).fill(Infinity);

  readonly #nowMs: () => number;

  /** @param nowMs monotonic; called only while there are problems */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /**
   * Records a check.
   * @param now problems that the check found, a mask of Problem
   * @returns those of `now` that start, a mask
   */
  update(now: number): number {
    if (now === 0 && this.#current === 0) return 0; // the usual case; also checked at each fault of an array
    const ms = this.#nowMs();
    for (let bit = 0; bit < BITS; bit++) {
      const isPresent = (now & (1 << bit)) !== 0;
      const since = isPresent ? Infinity : Math.min(this.#absentSince[bit]!, ms);
      this.#absentSince[bit] = since;
      if (ms - since >= ENDED_MS) this.#current &= ~(1 << bit);
    }
    const fresh = now & ~this.#current;
    this.#current |= now;
    return fresh;
  }
}
