/**
 * The buffers of a server, shared by all its connections: a connection needs them only while one of its events is
 * processed.
 *
 *   input    [ lead: carry of a connection, right-aligned │ bytes just received ]
 *   output   the replies of one batch; the connection keeps it if the socket does not accept all of it at once
 *   carries  unprocessed input: the start of a request (small), or input that waits for its turn (large)
 *
 * Invariants
 * - `input` holds the bytes of one connection during one event.
 * - An output is in `out`, in the spare list, or with one connection: stalled, or with requests in progress.
 * Memory: one input, one output, at most one carry per connection, and one output per connection that keeps one; the
 * server limits their number.
 */
import type { Input } from '../base/input.ts';

/** Maximum bytes per read of a socket. */
export const RECEIVE_BYTES = 131072;
/** Maximum number of outputs kept for reuse. */
const SPARE_OUTPUTS_MAX = 8;
/** Maximum number of carries kept for reuse, of each size. */
const SPARE_CARRIES_MAX = 16;

/** The replies of one batch. */
export interface ClearedOutput {
  clear(): void;
}

function makeInput(length: number): Input {
  const bytes = new Uint8Array(length); // a Buffer makes views more slowly
  return { bytes, view: new DataView(bytes.buffer) };
}

export class SocketBuffers<Output extends ClearedOutput> {
  readonly input: Input;
  /** The part of the input that sockets read into. */
  readonly received: Uint8Array;
  /** Position of received bytes in the input: the longest carry that a request in progress needs. */
  readonly leadBytes: number;
  /** The output in use. */
  out: Output;
  readonly #makeOutput: () => Output;
  readonly #spareOutputs: Output[] = [];
  readonly #spareSmall: Input[] = [];
  readonly #spareLarge: Input[] = [];

  /** @param leadBytes maximum length of unprocessed input that is the start of a request */
  constructor(leadBytes: number, makeOutput: () => Output) {
    this.leadBytes = leadBytes;
    this.input = makeInput(leadBytes + RECEIVE_BYTES);
    this.received = this.input.bytes.subarray(leadBytes);
    this.#makeOutput = makeOutput;
    this.out = makeOutput();
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

  /** A buffer of at least `length` bytes, at most those of the input. */
  takeCarry(length: number): Input {
    return length <= this.leadBytes
      ? (this.#spareSmall.pop() ?? makeInput(this.leadBytes))
      : (this.#spareLarge.pop() ?? makeInput(this.input.bytes.length));
  }

  returnCarry(carry: Input): void {
    const spare = this.isLargeCarry(carry) ? this.#spareLarge : this.#spareSmall;
    if (spare.length < SPARE_CARRIES_MAX) spare.push(carry);
  }

  /** Whether a carry is one of those for input that waits for its turn. */
  isLargeCarry({ bytes }: Input): boolean {
    return bytes.length > this.leadBytes;
  }
}
