/**
 * The outputs that a connection keeps: one that its socket has not accepted yet, and one of an unfinished batch. The server
 * replaces a kept output (buffers.ts), and gets it back later.
 */
import type { Output } from '../protocol/output.ts';
import type { NbdBuffers } from './buffers.ts';

export class KeptOutputs {
  /** The output that the socket has not accepted yet. */
  unsent: Output | null = null;
  /** The output of an unfinished batch. */
  pending: Output | null = null;
  readonly #buffers: NbdBuffers;

  constructor(buffers: NbdBuffers) {
    this.#buffers = buffers;
  }

  /** Whether nothing waits for the socket and no bio is in flight. */
  get isEmpty(): boolean {
    return this.unsent === null && this.pending === null;
  }

  /** Keeps the output because bios use it. Returns whether it is newly kept. */
  keepPending(out: Output): boolean {
    if (this.pending !== null || !out.isOpen) return false;
    this.pending = out;
    return true;
  }

  /** Keeps the output because the socket has not accepted all of it. Returns whether it is newly kept. */
  keepUnsent(out: Output): boolean {
    const isNew = this.pending === null;
    this.unsent = out;
    this.pending = null;
    return isNew;
  }

  /** The socket has accepted the output, or is closed. */
  sent(out: Output): void {
    if (this.pending === null) out.clear();
    else this.returnPending();
  }

  returnPending(): void {
    if (this.pending === null) return;
    this.pending.discard();
    this.#buffers.returnOutput(this.pending);
    this.pending = null;
  }

  /** Returns false if there is none. */
  returnUnsent(): boolean {
    if (this.unsent === null) return false;
    this.#buffers.returnOutput(this.unsent);
    this.unsent = null;
    return true;
  }
}
