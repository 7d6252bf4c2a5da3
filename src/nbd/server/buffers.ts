/**
 * The buffers of an NBD server: shared by all its connections, because a connection needs them only while one
 * of its events is being served.
 *
 *   input    [ lead: a connection's carry, right-aligned │ what the socket just gave ]
 *   output   the replies of one batch; goes with the connection if its socket does not take all of it at once
 *   carries  what a session has not taken yet: the start of a request (small), or what waits for its turn (large)
 *
 * Invariants
 * - `input` holds one connection's bytes, for the time of one event.
 * - An output is in `out`, in the spare list, or with exactly one connection: stalled, or with bios under way.
 * Memory: one input, one output, and what connections hold: a carry each at the most, and an output each of those that are
 * stalled or wait for a disk. How many those are is the server's to bound.
 */
import { type BioPools, Output } from '../protocol/output.ts';
import { CARRY_BYTES_MAX } from '../protocol/session.ts';
import type { Input } from '../protocol/state.ts';

/** Bytes taken from a socket at a time. */
export const RECEIVE_BYTES = 131072;
/** Bytes of replies sent at a time. */
const OUTPUT_BYTES = 262144;
/** Where received bytes start in the input. */
export const LEAD_BYTES: number = CARRY_BYTES_MAX;
const INPUT_BYTES = LEAD_BYTES + RECEIVE_BYTES;
/** Outputs kept for reuse. */
const SPARE_OUTPUTS_MAX = 8;
/** Carries kept for reuse, of each size. */
const SPARE_CARRIES_MAX = 16;

export class NbdBuffers {
  readonly input: Input;
  /** The part of the input that a socket fills. */
  readonly received: Uint8Array;
  /** The output in use. */
  out: Output;
  readonly #pools: BioPools;
  readonly #spareOutputs: Output[] = [];
  readonly #spareSmall: Uint8Array[] = [];
  readonly #spareLarge: Uint8Array[] = [];

  constructor(pools: BioPools) {
    const bytes = Buffer.allocUnsafeSlow(INPUT_BYTES);
    this.input = { bytes, view: new DataView(bytes.buffer) };
    this.received = bytes.subarray(LEAD_BYTES);
    this.#pools = pools;
    this.out = this.#makeOutput();
  }

  /** The output in use goes with a connection. */
  replaceOutput(): void {
    this.out = this.#spareOutputs.pop() ?? this.#makeOutput();
  }

  /** A connection's output is free again. */
  returnOutput(out: Output): void {
    out.clear();
    if (this.#spareOutputs.length < SPARE_OUTPUTS_MAX) this.#spareOutputs.push(out);
  }

  /** A buffer of `length` bytes or more, at most INPUT_BYTES. */
  takeCarry(length: number): Uint8Array {
    return length <= CARRY_BYTES_MAX
      ? (this.#spareSmall.pop() ?? Buffer.allocUnsafeSlow(CARRY_BYTES_MAX))
      : (this.#spareLarge.pop() ?? Buffer.allocUnsafeSlow(INPUT_BYTES));
  }

  returnCarry(carry: Uint8Array): void {
    const spare = carry.length === CARRY_BYTES_MAX ? this.#spareSmall : this.#spareLarge;
    if (spare.length < SPARE_CARRIES_MAX) spare.push(carry);
  }

  #makeOutput(): Output {
    return new Output(Buffer.allocUnsafeSlow(OUTPUT_BYTES), this.#pools);
  }
}
