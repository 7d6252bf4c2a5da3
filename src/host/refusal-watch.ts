/**
 * Reports once that a counter of failures has increased, and again only after a period without an increase: a guest at
 * the limit keeps retrying, and a log line per attempt would hide the first.
 *
 *   failures       0 0 7 9 9 9 … 9 (QUIET_CHECKS times) 12
 *   check() true       ▲                                 ▲
 */

/** After this many checks without an increase, the next increase is reported again. */
export const QUIET_CHECKS = 60;

export class RefusalWatch {
  #seen = 0;
  #quietChecks: number = QUIET_CHECKS;

  /** @returns true if the counter has just begun to increase */
  check(failures: number): boolean {
    if (failures === this.#seen) {
      this.#quietChecks++;
      return false;
    }
    const begins = this.#quietChecks >= QUIET_CHECKS;
    this.#seen = failures;
    this.#quietChecks = 0;
    return begins;
  }
}
