/** Helpers of the listeners of a host. */
import { claimSocketPath, type SocketPath, unixListenError } from '../os/unix-socket.ts';

/** Removes a stale socket and listens at its path. System errors become SwapErrors with advice. */
export async function listenAt<T>(place: SocketPath, listen: () => Promise<T>): Promise<T> {
  await claimSocketPath(place);
  try {
    return await listen();
  } catch (cause) {
    throw unixListenError(place, cause);
  }
}

/** An address that clients can connect to, for a host that listens on all addresses. */
export const connectable = (host: string): string => {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
};
