/** The byte stream that the remote tier needs from its caller. os/ implements it with sockets. */

/** An open, blocking connection; all buffers are ranges of one memory. */
export interface Stream extends Disposable {
  /**
   * Sends bytes of memory[at .. at + length). Returns the number sent, 1 .. length; 0 if the peer has closed; -1 if
   * none were sent within the timeout. Throws a SwapError on any other failure.
   */
  send(at: number, length: number, timeoutMs: number): number;
  /**
   * Receives into memory[at .. at + length). Returns the number of bytes, 1 .. length; 0 if the peer has closed; -1 on
   * timeout.
   */
  receive(at: number, length: number, timeoutMs: number): number;
}

/** Connects, with buffers in `memory`. Throws a SwapError on failure or timeout. */
export type OpenStream = (memory: Uint8Array, timeoutMs: number) => Stream;
