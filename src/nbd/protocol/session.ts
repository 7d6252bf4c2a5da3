/**
 * The state machine of one NBD connection: bytes in, bytes out, without sockets, clocks or promises.
 *
 *   open() ─▶ Handshake ──GO or EXPORT_NAME──▶ Transmission ─▶ ended
 *               │     ▲
 *            STARTTLS └ secured(): the caller has completed the TLS handshake
 *
 * If another thread serves the export, that thread processes GO and EXPORT_NAME (SessionStop.handOver): a Session there starts
 * with the state of this one.
 *
 * The caller passes a range of input bytes and an Output. receive() processes all complete units, writes the replies to the
 * output, and sets `stop` to the reason why it returned (state.ts). The caller passes the unprocessed rest again at the start
 * of a longer range; if the reason is `input`, the rest has at most CARRY_BYTES_MAX bytes.
 *
 * Invariants
 * - Between calls the session keeps no reference to input or output, and no copy of their bytes except a cookie. Only bios in
 *   flight (SessionStop.disk) refer to the output.
 * - Every call takes bounded time: at most the work granted (work.ts) plus one step, one output, and one input range.
 * - Invalid input ends only its own session.
 * Cost: nothing is allocated after the handshake.
 */

import { assert } from '../../base/assert.ts';
import type { Input } from '../../base/input.ts';
import type { Admit, NbdExport, NbdExports } from './exports.ts';
import { Handshake, type HandshakeState, OPTION_DATA_BYTES_MAX } from './handshake.ts';
import type { Output } from './output.ts';
import { SessionEnd, SessionStop, type TlsMode } from './state.ts';
import { Transmission } from './transmission.ts';
import { OptionHead } from './wire.ts';
import { GRANT_DEFAULT, OPTION_WORK } from './work.ts';

/** Maximum unprocessed input when a session needs more input: an incomplete option. */
export const CARRY_BYTES_MAX: number = OptionHead.bytes + OPTION_DATA_BYTES_MAX;
/** Minimum capacity of an Output: the longest reply to an option. */
export const OUTPUT_BYTES_MIN = 0x1_1000;

export class Session {
  /** Why the last receive() returned. */
  stop: SessionStop = SessionStop.input;
  /** Work done by the last receive(). */
  work = 0;
  #handshake: Handshake | null;
  #transmission: Transmission | null = null;
  #end: SessionEnd = SessionEnd.none;
  readonly #counters: Float64Array;

  /**
   * @param counters COUNTER_COUNT numbers, shared by all sessions of a server
   * @param admit decides whether the client may open an export; default: always
   * @param begun what another thread has negotiated, instead of open(); default: nothing
   * @param isVisiting the negotiation returns to that thread after one option that opens no export
   */
  constructor(
    exports: NbdExports,
    counters: Float64Array,
    admit: Admit = () => null,
    tls: TlsMode = 'off',
    begun: HandshakeState | null = null,
    isVisiting = false,
  ) {
    this.#handshake = new Handshake(exports, admit, tls, begun, isVisiting);
    this.#counters = counters;
  }

  /** The open export; null during negotiation. */
  get export(): NbdExport | null {
    return this.#transmission?.export ?? null;
  }

  /** The export of another thread that the client requests, when `stop` is handOver. */
  get handOverTo(): NbdExport | null {
    return this.#handshake?.handOverTo ?? null;
  }

  /** What has been negotiated, when `stop` is handOver. */
  get handshakeState(): HandshakeState {
    assert(this.#handshake !== null, 'the session is in negotiation');
    return this.#handshake.state;
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

  /** The TLS handshake is complete: further input is decrypted. Must be the first call after SessionStop.startTls. */
  secured(): void {
    assert(this.#handshake !== null, 'TLS starts during negotiation');
    this.#handshake.secured();
  }

  /** From now on, options fail with a shutdown error. A request in progress is completed; then the session ends. */
  shutDown(): void {
    this.#handshake?.shutDown();
    this.#transmission?.shutDown();
  }

  /**
   * Processes units from [at, end) of the input. Returns the end of the processed input; `stop` is the reason.
   * @param grant it returns after this amount of work; above 0
   */
  receive(
    input: Input,
    at: number,
    end: number,
    out: Output,
    grant: number = GRANT_DEFAULT,
  ): number {
    assert(this.#end === SessionEnd.none, 'the session is open');
    // Return after the handshake, because the caller may delay the first request of an export.
    if (this.#handshake !== null) return this.#negotiate(input, at, end, out);
    const transmission = this.#transmission;
    assert(transmission !== null, 'transmission follows the handshake');
    const rest = transmission.receive(input, at, end, out, grant);
    this.work = grant - transmission.workLeft;
    this.stop = transmission.stop;
    this.#end = transmission.end;
    return rest;
  }

  #negotiate(input: Input, at: number, end: number, out: Output): number {
    const handshake = this.#handshake;
    assert(handshake !== null, 'the session is in negotiation');
    const next = handshake.receive(input, at, end, out);
    this.work = OPTION_WORK;
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
      if (this.#end === SessionEnd.none) this.stop = SessionStop.output;
    }
    return next;
  }
}
