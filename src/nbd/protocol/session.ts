/**
 * One NBD connection as a machine: bytes in, bytes out, no socket, no clock, no promise.
 *
 *   open() ─▶ Handshake ──GO or EXPORT_NAME──▶ Transmission ─▶ ended
 *
 * The caller gives input as a range of one buffer and an Output; receive() takes as many whole units as
 * there are, answers into the output, and says why it stopped (state.ts). What it did not take the
 * caller shows again, at the start of a longer range: at most CARRY_BYTES_MAX bytes of it.
 *
 * Invariants
 * - The session keeps no reference to input or output between calls and no copy of their bytes but a cookie; only bios
 *   under way (Stop.disk) refer to the output.
 * - Every call takes bounded time: BUDGET_BYTES of disk range, one output, one input range.
 * - Whatever the bytes are, only this session ends.
 * Cost: nothing is allocated after the handshake.
 */
import { assert } from '../../base/assert.ts';
import type { Admit, NbdExport, NbdExports } from './exports.ts';
import { Handshake, OPTION_DATA_BYTES_MAX } from './handshake.ts';
import type { Output } from './output.ts';
import { type Input, SessionEnd, SessionStop } from './state.ts';
import { Transmission } from './transmission.ts';
import { OptionHead } from './wire.ts';

/** The largest rest of input a session leaves when it asks for more: an option it wants to see whole. */
export const CARRY_BYTES_MAX: number = OptionHead.bytes + OPTION_DATA_BYTES_MAX;
/** Room that an Output must have when it is empty: the longest answer to an option fits. */
export const OUTPUT_BYTES_MIN = 0x1_1000;

export class Session {
  /** Why the last receive() came back. */
  stop: SessionStop = SessionStop.input;
  #handshake: Handshake | null;
  #transmission: Transmission | null = null;
  #end: SessionEnd = SessionEnd.none;
  readonly #counters: Float64Array;

  /**
   * @param counters COUNTER_COUNT numbers, shared by all sessions of a server
   * @param admit whether the client may open an export; default: each
   */
  constructor(exports: NbdExports, counters: Float64Array, admit: Admit = () => null) {
    this.#handshake = new Handshake(exports, admit);
    this.#counters = counters;
  }

  /** The export in use; null until the negotiation is over. */
  get export(): NbdExport | null {
    return this.#transmission?.export ?? null;
  }

  get end(): SessionEnd {
    return this.#end;
  }

  /** Whether the peer owes the rest of a request, or we the rest of a reply. */
  get isInsideRequest(): boolean {
    return this.#transmission?.isInsideRequest ?? false;
  }

  /** Says hello into `out`. Once, first of all. */
  open(out: Output): void {
    assert(this.#handshake !== null, 'a session opens once, first of all');
    this.#handshake.open(out);
  }

  /** From now on requests and options are answered that the server shuts down. What is under way is finished. */
  shutDown(): void {
    this.#handshake?.shutDown();
    this.#transmission?.shutDown();
  }

  /** Takes units from [at, end) of the input; returns where it stopped. See `stop` for what to do then. */
  receive(input: Input, at: number, end: number, out: Output): number {
    assert(this.#end === SessionEnd.none, 'a session that is over receives nothing');
    const next = this.#handshake === null ? at : this.#negotiate(input, at, end, out);
    const transmission = this.#transmission;
    if (transmission === null) return next;
    const rest = transmission.receive(input, next, end, out);
    this.stop = transmission.stop;
    this.#end = transmission.end;
    return rest;
  }

  #negotiate(input: Input, at: number, end: number, out: Output): number {
    const handshake = this.#handshake;
    assert(handshake !== null, 'the negotiation is not over');
    const next = handshake.receive(input, at, end, out);
    this.stop = handshake.stop;
    this.#end = handshake.end;
    const chosen = handshake.chosen;
    if (chosen !== null) {
      this.#transmission = new Transmission(
        chosen,
        handshake.structured,
        handshake.allocationFor === chosen,
        this.#counters,
      );
      if (handshake.isShuttingDown) this.#transmission.shutDown();
      this.#handshake = null;
    }
    return next;
  }
}
