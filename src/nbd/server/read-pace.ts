/**
 * How a connection reads: how often in one turn of the event loop, and when to check whether its client is still connected
 * while it does not read.
 */

/** Maximum reads that fill the buffer, 128 KiB each, in one turn of a connection that is served alone. */
const FULL_READS_MAX = 4;
/** Turns between checks of whether the client is still connected, while the connection does not read. */
const TURNS_PER_CHECK = 4;

export class ReadPace {
  /** Turns since the last read event, -1 after it; 0: the next one checks. */
  #turnsWithoutRead = 0;
  /** Number of reads in succession that filled the buffer. */
  #fullReads = 0;

  /** Call at a read event: most are served in their first turn. */
  hasRead(): void {
    this.#turnsWithoutRead = -1;
  }

  /** The next turn checks whether the client has disconnected. */
  checkNext(): void {
    this.#turnsWithoutRead = 0;
  }

  /** Call in each turn. Returns whether to check now. */
  isCheckDue(): boolean {
    return this.#turnsWithoutRead++ % TURNS_PER_CHECK === 0;
  }

  /** Call when a read did not fill the buffer. */
  endFullReads(): void {
    this.#fullReads = 0;
  }

  /**
   * Call when a read has filled the buffer: libuv would read again in this turn. Returns whether it may.
   * @param isAlone no other flow is served
   */
  mayReadOn(isAlone: boolean): boolean {
    this.#fullReads++;
    return isAlone && this.#fullReads % FULL_READS_MAX !== 0;
  }
}
