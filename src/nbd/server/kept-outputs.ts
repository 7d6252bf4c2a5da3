/**
 * The outputs that a connection keeps: the one that its socket has not accepted yet, and the one of an unfinished batch. The
 * server replaces an output that is kept (buffers.ts), and gets it back here.
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

  /** Nothing waits for the socket, and no bio is in flight. */
  get isEmpty(): boolean {
    return this.unsent === null && this.pending === null;
  }

  /** Bios use the output. Returns whether it is newly kept. */
  keepPending(out: Output): boolean {
    if (this.pending !== null || !out.isOpen) return false;
    this.pending = out;
    return true;
  }

  /** The socket has not accepted all of the output. Returns whether it is newly kept. */
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
