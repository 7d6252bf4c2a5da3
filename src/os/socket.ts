/**
 * Two ways to get bytes out of an accepted socket.
 *
 * Shared buffer: Node reads straight into one buffer of ours (the `onread` option, which Node documents for
 * sockets that connect). For an accepted one the handle is moved into a new Socket. Nothing is
 * allocated for an event, and the bytes land where the session wants them.
 * Chunks: plain 'data' events, a fresh buffer each and one copy. Works for every stream; used where the first way does not.
 */
import { Socket, type SocketConstructorOpts } from 'node:net';

/** What the handle of an accepted socket must be able to do for its bytes to go into a buffer of ours. */
interface BufferHandle {
  useUserBuffer(buffer: Uint8Array): void;
}

interface OnReadOptions extends SocketConstructorOpts {
  readonly handle: BufferHandle;
  readonly onread: { buffer: Uint8Array; callback(count: number): boolean };
}

/**
 * Moves an accepted, paused socket's handle into a socket that reads into `buffer` and calls `received` with the
 * count. Null when this Node offers no such handle; the accepted socket is untouched then.
 */
export function withSharedBuffer(
  accepted: Socket,
  buffer: Uint8Array,
  received: (count: number) => void,
): Socket | null {
  const holder = accepted as unknown as { _handle: Partial<BufferHandle> | null };
  const handle = holder._handle;
  if (typeof handle?.useUserBuffer !== 'function') return null;
  holder._handle = null;
  const options: OnReadOptions = {
    handle: handle as BufferHandle,
    onread: {
      buffer,
      callback: (count) => {
        received(count);
        return true; // pause() stops reading, not this answer
      },
    },
  };
  const socket = new Socket(options);
  // The server counts the accepted one until it closes.
  socket.once('close', () => accepted.destroy());
  return socket;
}

/** File descriptor of a connected socket; -1 where this Node does not tell it. */
export function descriptorOf(socket: Socket): number {
  const { _handle } = socket as unknown as { _handle: { readonly fd?: number } | null };
  return _handle?.fd ?? -1;
}
