/**
 * The process at the other end of a Unix socket: SO_PEERCRED of getsockopt(2).
 *
 * Source: unix(7), "Socket options"; struct ucred of sys/socket.h: pid, uid and gid, 32 bits each.
 */
import { loadLibC } from './libc.ts';

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const UCRED_BYTES = 12;

/** The peer at the time of its connect(2). */
export interface PeerCredentials {
  /** 0: not visible, as in another pid namespace. */
  readonly pid: number;
  /** Effective user and group. An id that the user namespace does not map is the overflow id, 65534. */
  readonly uid: number;
  readonly gid: number;
}

/** Credentials of the peer of a connected Unix socket; null if unknown: another kind of socket, no FFI, or not Linux. */
export function systemPeerCredentials(
  platform: NodeJS.Platform,
): (fd: number) => PeerCredentials | null {
  const libc = loadLibC(platform);
  if (libc === null) return () => null;
  const getsockopt = libc.bind(
    'int getsockopt(int fd, int level, int option, uintptr_t value, uintptr_t length)',
  );
  const value = new Uint32Array(UCRED_BYTES / 4);
  const length = new Uint32Array(1);
  const valueAt = libc.addressOf(value);
  const lengthAt = libc.addressOf(length);
  return (fd) => {
    length[0] = UCRED_BYTES;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, valueAt, lengthAt) !== 0) return null;
    const [pid = 0, uid = NO_ID, gid = NO_ID] = value;
    // The kernel returns this for a socket without a peer.
    return uid === NO_ID || gid === NO_ID ? null : { pid, uid, gid };
  };
}

/** (uid_t)-1: no user. */
const NO_ID = 0xffff_ffff;

/** Process id of the peer of a connected Unix socket; 0 if unknown. */
export function systemPeerPid(platform: NodeJS.Platform): (fd: number) => number {
  const credentialsOf = systemPeerCredentials(platform);
  return (fd) => credentialsOf(fd)?.pid ?? 0;
}
