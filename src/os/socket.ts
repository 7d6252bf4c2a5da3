/**
 * Reads an accepted socket into a shared buffer: Node reads directly into it (the `onread` option, which Node documents only
 * for connecting sockets). For that, the handle of the accepted socket is moved into a new Socket. An event allocates nothing.
 * Without such a handle, the caller uses 'data' events, each with a new buffer and a copy.
 */
import { Socket, type SocketConstructorOpts } from 'node:net';

/** The method that the handle of an accepted socket needs. */
interface BufferHandle {
  useUserBuffer(buffer: Uint8Array): void;
}

interface OnRead {
  readonly onread: { buffer: Uint8Array; callback(count: number): boolean };
}

const onreadOf = (buffer: Uint8Array, received: (count: number) => void): OnRead['onread'] => ({
  buffer,
  callback: (count) => {
    received(count);
    return true; // only pause() stops reading
  },
});

/**
 * Creates a paused socket that takes over the descriptor of a connected socket. It reads into `buffer` and calls `received`
 * with the count. The descriptor may come from another thread, which must have duplicated it, because a Socket cannot be moved.
 */
export function socketOf(
  fd: number,
  buffer: Uint8Array,
  received: (count: number) => void,
): Socket {
  const options: SocketConstructorOpts & OnRead & { readonly manualStart: boolean } = {
    fd,
    manualStart: true,
    onread: onreadOf(buffer, received),
  };
  return new Socket(options);
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
  const options: SocketConstructorOpts & OnRead & { readonly handle: BufferHandle } = {
    handle: handle as BufferHandle,
    onread: onreadOf(buffer, received),
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
