/** The replies of one batch, with a direct way to the socket. */
import type { DirectIo } from '../../os/linux/direct-io.ts';
import { OUTPUT_BYTES, TmemOutput } from '../protocol/output.ts';

export class SocketOutput extends TmemOutput {
  readonly #send: ((fd: number, length: number) => number) | null;

  /** @param io null: all bytes go through the stream */
  constructor(io: DirectIo | null) {
    super(new Uint8Array(OUTPUT_BYTES));
    this.#send = io?.sender(this.bytes) ?? null;
  }

  /** Sends as much as the socket accepts now. @returns the number of bytes */
  sendNow(fd: number): number {
    return this.#send === null || fd < 0 ? 0 : Math.max(0, this.#send(fd, this.length));
  }
}
