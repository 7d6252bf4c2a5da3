/**
 * Warns once when a disk nears its limit, while there is still time to act, and again only after its usage was well
 * below the limit.
 *
 *   usedBytes / limitBytes   0.89 0.90 0.95 0.85 0.91 … 0.79 0.90
 *   look() true                   ▲                          ▲
 */

/** Share of the limit at which it is news, and below which it can be news again. */
const NEAR = 0.9;
const CLEAR = 0.8;

export class FillWatch {
  #isNear = false;

  /**
   * @param limitBytes 0: none, and nothing is near it
   * @returns whether the disk has just come near its limit
   */
  look(usedBytes: number, limitBytes: number): boolean {
    if (limitBytes === 0 || usedBytes < limitBytes * CLEAR) this.#isNear = false;
    if (limitBytes === 0 || this.#isNear || usedBytes < limitBytes * NEAR) return false;
    this.#isNear = true;
    return true;
  }
}
