/**
 * The buffers of an NBD server, shared by all its connections: a connection needs them only while one of its events is
 * processed.
 *
 *   input    [ lead: carry of a connection, right-aligned │ bytes just received ]
 *   output   the replies of one batch; the connection keeps it if the socket does not accept all of it at once
 *   carries  unprocessed input: the start of a request (small), or input that waits for its turn (large)
 *
 * Invariants
 * - `input` holds the bytes of one connection during one event.
 * - An output is in `out`, in the spare list, or with one connection: stalled, or with bios in flight.
 * Memory: one input, one output, at most one carry per connection, and one output per connection that is stalled or waits
 * for a disk; the server limits their number.
 */
import { type BioPools, Output } from '../protocol/output.ts';
import { CARRY_BYTES_MAX } from '../protocol/session.ts';
import type { Input } from '../protocol/state.ts';

/** Maximum bytes per read of a socket. */
export const RECEIVE_BYTES = 131072;
/** Maximum bytes of replies per write. */
const OUTPUT_BYTES = 262144;
/** Position of received bytes in the input. */
export const LEAD_BYTES: number = CARRY_BYTES_MAX;
const INPUT_BYTES = LEAD_BYTES + RECEIVE_BYTES;
/** Maximum number of outputs kept for reuse. */
const SPARE_OUTPUTS_MAX = 8;
/** Maximum number of carries kept for reuse, of each size. */
const SPARE_CARRIES_MAX = 16;

export class NbdBuffers {
  readonly input: Input;
  /** The part of the input that sockets read into. */
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

  /** Replaces the current output, which a connection keeps for now. */
  replaceOutput(): void {
    this.out = this.#spareOutputs.pop() ?? this.#makeOutput();
  }

  /** Clears the output of a connection and keeps it for reuse. */
  returnOutput(out: Output): void {
    out.clear();
    if (this.#spareOutputs.length < SPARE_OUTPUTS_MAX) this.#spareOutputs.push(out);
  }

  /** A buffer of at least `length` bytes, at most INPUT_BYTES. */
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
