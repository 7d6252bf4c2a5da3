/**
 * Receives the next requests of a client that sends one at a time, before the thread goes back to the event loop. The loop
 * would sleep, be woken and call back: more than the request costs.
 *
 *   event ─▶ served ─▶ begins(connection)? ─▶ receive() ─▶ served ─▶ receive() ─▶ ... ─▶ event loop
 *
 * Invariant: other connections wait for at most SERVED_MAX short requests, or the work of a turn, and only after an event of
 * this connection that directly followed another event of it.
 */
import { type BusyPoll, POLLS_MAX } from '../../os/linux/busy-poll.ts';

/** Requests, or groups of them, that are served without a look at the event loop. */
export const SERVED_MAX = 8;

export class BusyReader {
  readonly #receive: (fd: number) => number;
  readonly #poll: BusyPoll;
  /** The connection of the last event. */
  #last: object | null = null;

  /** @param receive without waiting: the count; 0: the peer has closed; -1: nothing */
  constructor(receive: (fd: number) => number, poll: BusyPoll) {
    this.#receive = receive;
    this.#poll = poll;
  }

  /** Records an event of the connection. @returns whether the event before was also one of it */
  begins(connection: object): boolean {
    const isAgain = this.#last === connection;
    this.#last = connection;
    return isAgain;
  }

  /** A connection has ended. */
  forget(connection: object): void {
    if (this.#last === connection) this.#last = null;
  }

  /** Polls for input. @returns its length; 0: none, and the event loop continues */
  receive(fd: number): number {
    if (fd < 0 || !this.#poll.begins()) return 0;
    let count = -1;
    for (let left = POLLS_MAX; left > 0 && count < 0; left--) count = this.#receive(fd);
    this.#poll.ends(count >= 0);
    return Math.max(0, count);
  }
}
