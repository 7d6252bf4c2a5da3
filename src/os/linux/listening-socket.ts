/**
 * The address of a listening socket that another process opened and passed on as a descriptor. Node's server.address() does not
 * know the path of such a Unix socket, and a descriptor that is not a listening socket fails only at accept.
 *
 * Sources: getsockname(2), getsockopt(2); socket(7) for SO_TYPE and SO_ACCEPTCONN; unix(7), ip(7), ipv6(7) for the
 * addresses.
 */
import { Errno } from './errno.ts';
import { callError, type Linux, Struct } from './system-call.ts';

type ListenerAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

export interface FoundListener {
  /** Null if the descriptor is not a listening stream socket with a path or an IP address; `reason` says why. */
  readonly address: ListenerAddress | null;
  /** Why address is null; empty otherwise. */
  readonly reason: string;
}

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SO_ACCEPTCONN = 30;
const SOCK_STREAM = 1;
/** sockaddr_un, the longest of the three. */
const ADDRESS_BYTES = 110;

const not = (reason: string): FoundListener => ({ address: null, reason });

/** @throws SwapError ERR_IO_SYSTEM */
export function findListener(linux: Linux, fd: number): FoundListener {
  const getsockopt = linux.bind(
    'int getsockopt(int fd, int level, int option, uintptr_t value, uintptr_t length)',
  );
  const value = new Struct(linux, 8);
  const option = (name: number): number => {
    value.set32(4, 4); // the length
    return getsockopt(fd, SOL_SOCKET, name, value.address, value.address + 4);
  };
  if (option(SO_TYPE) === -1) {
    if (linux.errno() === Errno.EBADF) return not('is not open');
    if (linux.errno() === Errno.ENOTSOCK) return not('is not a socket');
    linux.fail('getsockopt SO_TYPE', { fd });
  }
  if (value.get32(0) !== SOCK_STREAM) return not('is not a stream socket');
  if (option(SO_ACCEPTCONN) === -1) linux.fail('getsockopt SO_ACCEPTCONN', { fd });
  if (value.get32(0) === 0) return not('is a socket that does not listen');
  return nameOf(linux, fd);
}

function nameOf(linux: Linux, fd: number): FoundListener {
  const name = new Struct(linux, ADDRESS_BYTES);
  const length = new Struct(linux, 4);
  length.set32(0, ADDRESS_BYTES);
  const getsockname = linux.bind('int getsockname(int fd, uintptr_t address, uintptr_t length)');
  if (getsockname(fd, name.address, length.address) === -1)
    throw callError('getsockname', linux.errno(), { fd });
  return parseAddress(name.bytes.subarray(0, Math.min(length.get32(0), ADDRESS_BYTES)));
}

/** A sockaddr of getsockname(2). Exported for tests. */
export function parseAddress(bytes: Uint8Array): FoundListener {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const family = bytes.length < 2 ? 0 : view.getUint16(0, true);
  if (family === AF_UNIX) {
    if (bytes.length === 2) return not('is a Unix socket without a path');
    if (bytes[2] === 0) return not('is an abstract Unix socket, which NBD URIs cannot name');
    const end = bytes.indexOf(0, 2);
    const path = Buffer.from(bytes.subarray(2, end === -1 ? bytes.length : end)).toString();
    return { address: { kind: 'unix', path }, reason: '' };
  }
  if (family === AF_INET) {
    const host = bytes.subarray(4, 8).join('.');
    return { address: { kind: 'tcp', host, port: view.getUint16(2) }, reason: '' };
  }
  if (family !== AF_INET6) return not('is neither a Unix nor a TCP socket');
  const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(8 + 2 * i).toString(16));
  const shortest = new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
  const scope = view.getUint32(24, true); // interface number; set for link-local addresses
  const host = scope === 0 ? shortest : `${shortest}%${scope}`;
  return { address: { kind: 'tcp', host, port: view.getUint16(2) }, reason: '' };
}
