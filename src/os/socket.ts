/**
 * Reads an accepted socket into a shared buffer: Node reads directly into it (the `onread` option, which Node documents
 * for connecting sockets). The handle of the accepted socket is moved into a new Socket for that. An event allocates
 * nothing. Without such a handle the caller uses 'data' events, with a new buffer and a copy each.
 */
import { Socket, type SocketConstructorOpts } from 'node:net';

/** The method that the handle of an accepted socket needs. */
interface BufferHandle {
  useUserBuffer(buffer: Uint8Array): void;
}

interface OnReadOptions extends SocketConstructorOpts {
  readonly handle: BufferHandle;
  readonly onread: { buffer: Uint8Array; callback(count: number): boolean };
}

/**
 * Moves the handle of an accepted, paused socket into a socket that reads into `buffer` and calls `received` with the
 * count. Returns null, and leaves the accepted socket unchanged, if this Node has no such handle.
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
        return true; // only pause() stops reading
      },
    },
  };
  const socket = new Socket(options);
  // The net.Server counts the accepted socket until it closes.
  socket.once('close', () => accepted.destroy());
  return socket;
}

/** File descriptor of a connected socket; -1 if this Node does not expose it. */
export function descriptorOf(socket: Socket): number {
  const { _handle } = socket as unknown as { _handle: { readonly fd?: number } | null };
  return _handle?.fd ?? -1;
}
