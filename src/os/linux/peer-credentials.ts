/**
 * The process at the other end of a Unix socket: SO_PEERCRED of getsockopt(2).
 *
 * Source: unix(7), "Socket options"; struct ucred of sys/socket.h: pid, uid and gid, 32 bits each.
 */
import { loadLibC } from './libc.ts';

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const UCRED_BYTES = 12;

/**
 * Process id of the peer of a connected Unix socket; 0 if unknown: another pid namespace, no FFI, or not Linux.
 */
export function systemPeerPid(platform: NodeJS.Platform): (fd: number) => number {
  const libc = loadLibC(platform);
  if (libc === null) return () => 0;
  const getsockopt = libc.bind(
    'int getsockopt(int fd, int level, int option, uintptr_t value, uintptr_t length)',
  );
  const value = new Uint32Array(UCRED_BYTES / 4);
  const length = new Uint32Array(1);
  const valueAt = libc.addressOf(value);
  const lengthAt = libc.addressOf(length);
  return (fd) => {
    length[0] = UCRED_BYTES;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, valueAt, lengthAt) === 0 ? (value[0] ?? 0) : 0;
  };
}
