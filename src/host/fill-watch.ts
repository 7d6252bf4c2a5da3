/**
 * Reports once that the usage of a disk is near its limit, while there is time to act. It reports again only after the usage
 * was well below the limit.
 *
 *   usedBytes / limitBytes   0.89 0.90 0.95 0.85 0.91 … 0.79 0.90
 *   check() true                  ▲                          ▲
 */

/** A report is due at the first share of the limit, and possible again below the second. */
const NEAR = 0.9;
const CLEAR = 0.8;

export class FillWatch {
  #isNear = false;

  /**
   * @param limitBytes 0: no limit
   * @returns true if the usage has just reached the reported share
   */
  check(usedBytes: number, limitBytes: number): boolean {
    if (limitBytes === 0 || usedBytes < limitBytes * CLEAR) this.#isNear = false;
    if (limitBytes === 0 || this.#isNear || usedBytes < limitBytes * NEAR) return false;
    this.#isNear = true;
    return true;
  }
}
