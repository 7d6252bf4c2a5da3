/** What the remote tier needs from its caller: a way to the other machine. os/ has one over sockets. */

/** An open, blocking connection that works in one memory. */
export interface Stream extends Disposable {
  /**
   * Sends of memory[at .. at + length) what is taken within the time: 1 .. length bytes; 0 when the other side is gone,
   * -1 when nothing was taken in time. Any other failure is a SwapError.
   */
  send(at: number, length: number, timeoutMs: number): number;
  /** Bytes that came to memory[at ..], 1 .. room; 0 when the other side has closed, -1 when nothing came in time. */
  receive(at: number, room: number, timeoutMs: number): number;
}

/** Opens a connection that works in `memory`. Throws a SwapError when there is none within the time. */
export type OpenStream = (memory: Uint8Array, timeoutMs: number) => Stream;
