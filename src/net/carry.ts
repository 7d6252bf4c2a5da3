/**
 * The unprocessed input of a connection between two events: [from, to) of a buffer that it borrows while there is any.
 * Cost: one copy of the kept bytes.
 */
import type { Input } from '../base/input.ts';
import type { ClearedOutput, SocketBuffers } from './buffers.ts';

export class Carry {
  readonly #buffers: SocketBuffers<ClearedOutput>;
  /** Null if nothing is kept. */
  input: Input | null = null;
  from = 0;
  to = 0;

  constructor(buffers: SocketBuffers<ClearedOutput>) {
    this.#buffers = buffers;
  }

  get count(): number {
    return this.to - this.from;
  }

  /** Copies the bytes to `target` at `at`, and drops them. */
  moveTo(target: Input, at: number): void {
    if (this.input === null) return;
    target.bytes.set(this.input.bytes.subarray(this.from, this.to), at);
    this.drop();
  }

  /** Keeps [at, end) of `input`, which may be the kept one. */
  keep(input: Input, at: number, end: number): void {
    const count = end - at;
    const kept = this.input;
    this.from = at;
    this.to = end;
    if (count === 0) this.drop();
    else if (
      input !== kept ||
      (this.#buffers.isLargeCarry(kept) && count <= this.#buffers.leadBytes)
    ) {
      const taken = this.#buffers.takeCarry(count);
      taken.bytes.set(input.bytes.subarray(at, end));
      this.drop();
      this.input = taken;
      this.to = count;
    }
  }

  /** Keeps bytes that another thread has received; nothing must be kept. */
  keepBytes(bytes: Uint8Array): void {
    const { buffer, byteOffset, length } = bytes;
    this.keep({ bytes, view: new DataView(buffer, byteOffset, length) }, 0, length);
  }

  /** A copy of the kept bytes, for another thread. */
  copy(): Uint8Array {
    return new Uint8Array(this.input?.bytes.subarray(this.from, this.to) ?? []);
  }

  drop(): void {
    if (this.input !== null) this.#buffers.returnCarry(this.input);
    this.input = null;
    this.from = 0;
    this.to = 0;
  }
}
