/**
 * Log lines about clients. Clients can cause a line per connection, so more than LINES_PER_SWEEP lines between two sweeps are
 * counted instead of logged.
 */
const LINES_PER_SWEEP = 100;

export class ClientLog {
  readonly #log: (line: string) => void;
  #linesLeft = LINES_PER_SWEEP;
  #suppressed = 0;

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  line(text: string): void {
    if (this.#linesLeft > 0) this.#log(text);
    else this.#suppressed++;
    this.#linesLeft = Math.max(0, this.#linesLeft - 1);
  }

  sweep(): void {
    if (this.#suppressed > 0)
      this.#log(`nbd: ${this.#suppressed} more messages about clients suppressed`);
    this.#suppressed = 0;
    this.#linesLeft = LINES_PER_SWEEP;
  }
}
