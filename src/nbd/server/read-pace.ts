/** How a connection reads: how often in one turn of the event loop, and whether its client is still there when it does not. */

/** Reads that fill the buffer, 128 KiB each, in a turn of a connection that is served alone. */
const FULL_READS_MAX = 4;
/** Turns of a connection that does not read between checks whether its client is still there. */
const TURNS_PER_CHECK = 4;

export class ReadPace {
  /** Turns since the last read event, -1 after it; 0: the next one checks. */
  #turnsWithoutRead = 0;
  /** Number of reads in succession that filled the buffer. */
  #fullReads = 0;

  /** A read event: most are served in their first turn. */
  hasRead(): void {
    this.#turnsWithoutRead = -1;
  }

  /** The next turn checks whether the client has disconnected. */
  checkNext(): void {
    this.#turnsWithoutRead = 0;
  }

  /** In each turn: whether to check now. */
  isCheckDue(): boolean {
    return this.#turnsWithoutRead++ % TURNS_PER_CHECK === 0;
  }

  /** A read has left space in the buffer. */
  endFullReads(): void {
    this.#fullReads = 0;
  }

  /**
   * A read has filled the buffer, so libuv may read again in this turn: whether it may.
   * @param isAlone no other flow is served
   */
  mayReadOn(isAlone: boolean): boolean {
    this.#fullReads++;
    return isAlone && this.#fullReads % FULL_READS_MAX !== 0;
  }
}
