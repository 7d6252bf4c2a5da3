/**
 * Reports once that a disk has begun to refuse writes, and again only after a period without refusals: a guest at
 * the limit keeps retrying, and a log line for each attempt would bury the first.
 *
 *   failedWrites   0 0 7 9 9 9 … 9 (QUIET_LOOKS times) 12
 *   look() true        ▲                                ▲
 */

/** Looks without a refusal after which the next one is news. */
export const QUIET_CHECKS = 60;

export class RefusalWatch {
  #seen = 0;
  #quietLooks: number = QUIET_CHECKS;

  /** @returns whether the disk has just begun to refuse */
  look(failedWrites: number): boolean {
    if (failedWrites === this.#seen) {
      this.#quietLooks++;
      return false;
    }
    const begins = this.#quietLooks >= QUIET_CHECKS;
    this.#seen = failedWrites;
    this.#quietLooks = 0;
    return begins;
  }
}
