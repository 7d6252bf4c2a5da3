/**
 * The state machine of one NBD connection: bytes in, bytes out, without sockets, clocks or promises.
 *
 *   open() ─▶ Handshake ──GO or EXPORT_NAME──▶ Transmission ─▶ ended
 *
 * The caller passes a range of input bytes and an Output. receive() processes all complete units, writes the replies to
 * the output, and sets `stop` to the reason why it returned (state.ts). The caller passes the unprocessed rest, at most
 * CARRY_BYTES_MAX bytes when the reason is `input`, again at the start of a longer range.
 *
 * Invariants
 * - Between calls the session keeps no reference to input or output and no copy of their bytes except a cookie; only bios
 *   in flight (SessionStop.disk) refer to the output.
 * - Every call takes bounded time: BUDGET_BYTES of disk range, one output, one input range.
 * - Invalid input ends only its own session.
 * Cost: nothing is allocated after the handshake.
 */
import { assert } from '../../base/assert.ts';
import type { Admit, NbdExport, NbdExports } from './exports.ts';
import { Handshake, OPTION_DATA_BYTES_MAX } from './handshake.ts';
import type { Output } from './output.ts';
import { type Input, SessionEnd, SessionStop } from './state.ts';
import { Transmission } from './transmission.ts';
import { OptionHead } from './wire.ts';

/** Maximum unprocessed input when a session needs more: an incomplete option. */
export const CARRY_BYTES_MAX: number = OptionHead.bytes + OPTION_DATA_BYTES_MAX;
/** Minimum capacity of an Output: the longest reply to an option fits. */
export const OUTPUT_BYTES_MIN = 0x1_1000;

export class Session {
  /** Why the last receive() returned. */
  stop: SessionStop = SessionStop.input;
  #handshake: Handshake | null;
  #transmission: Transmission | null = null;
  #end: SessionEnd = SessionEnd.none;
  readonly #counters: Float64Array;

  /**
   * @param counters COUNTER_COUNT numbers, shared by all sessions of a server
   * @param admit decides whether the client may open an export; default: always
   */
  constructor(exports: NbdExports, counters: Float64Array, admit: Admit = () => null) {
    this.#handshake = new Handshake(exports, admit);
    this.#counters = counters;
  }

  /** The open export; null during negotiation. */
  get export(): NbdExport | null {
    return this.#transmission?.export ?? null;
  }

  get end(): SessionEnd {
    return this.#end;
  }

  /** True while a request or its reply is incomplete. */
  get isInsideRequest(): boolean {
    return this.#transmission?.isInsideRequest ?? false;
  }

  /** Writes the greeting to `out`. Must be the first call. */
  open(out: Output): void {
    assert(this.#handshake !== null, 'open() is the first call');
    this.#handshake.open(out);
  }

  /** From now on new requests and options fail with a shutdown error. Requests in progress are completed. */
  shutDown(): void {
    this.#handshake?.shutDown();
    this.#transmission?.shutDown();
  }

  /** Processes units from [at, end) of the input. Returns the end of the processed input; `stop` is the reason. */
  receive(input: Input, at: number, end: number, out: Output): number {
    assert(this.#end === SessionEnd.none, 'the session is open');
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
    assert(handshake !== null, 'the session is in negotiation');
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
