/**
 * A blocking stream socket, TCP or Unix, for synchronous callers: loading a page from another machine must complete
 * before the call returns, and Node's sockets work only through the event loop.
 *
 *   open(address, memory)   socket(2), setsockopt(2), connect(2)
 *   send(at, length)        sends from memory[at ..], as much as the kernel accepts within the timeout
 *   receive(at, length)     receives into memory[at ..], at least one byte within the timeout
 *
 * The memory is passed once and its address is read once, so no call allocates. The memory must not be resizable, and must be
 * longer than 64 bytes (the runtime moves smaller arrays).
 *
 * On a Unix socket, whose peer is on this machine, receive() polls before it sleeps, while that is faster: see busy-poll.ts.
 *
 * Cost: 15 to 25 us per round trip on loopback, including about 0.5 us for the foreign calls; about half of it if both sides poll.
 * Left out: host names (resolve them first), TLS, and systems other than 64-bit Linux with the generic kernel constants.
 *
 * Sources: Linux man-pages socket(2), connect(2), send(2), recv(2), setsockopt(2), close(2); socket(7) for SO_RCVTIMEO
 * and SO_SNDTIMEO, which bound connect(2) as well; tcp(7), ip(7), ipv6(7), unix(7) for the addresses. Numbers:
 * asm-generic/socket.h, asm-generic/errno.h, linux/tcp.h.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { assert } from '../../base/assert.ts';
import { SwapError } from '../../base/errors.ts';
import { type BusyPoll, POLLS_MAX, systemBusyPoll } from './busy-poll.ts';
import { Errno } from './errno.ts';
import { type LibC, loadLibC } from './libc.ts';

/** The address of the peer: the path of a Unix socket, or a numeric IPv4 or IPv6 address and a port. */
export type StreamAddress =
  | { readonly path: string }
  | { readonly host: string; readonly port: number };

/** Results of send() and receive() if no byte was moved: the connection is closed, or the timeout expired. */
const CLOSED = 0;
const TIMED_OUT = -1;

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
/** No SIGPIPE if the peer has closed the connection. */
const MSG_NOSIGNAL = 0x4000;
const MSG_DONTWAIT = 0x40;
/** sun_path of unix(7), including the terminating zero. */
const UNIX_PATH_BYTES = 108;
const TIMEOUT_MS_MAX = 2 ** 31 - 1;
const PLATFORMS = ['x64', 'arm64', 'riscv64', 'loong64'];

type Call = (...args: number[]) => number;
interface Calls {
  readonly socket: Call;
  readonly connect: Call;
  readonly send: Call;
  readonly recv: Call;
  readonly setsockopt: Call;
  readonly close: Call;
  readonly errno: () => number;
  readonly busyPoll: BusyPoll;
  /** Small structures for the kernel: an address, a timeval, an int. */
  readonly scratch: DataView;
  readonly scratchAt: number;
}

/** Connects a TCP or Unix socket that sends from `memory` and receives into it; calls block for at most `timeoutMs`. */
export type OpenStreamSocket = (
  address: StreamAddress,
  memory: Uint8Array,
  timeoutMs: number,
) => StreamSocket;

/** Opens stream sockets; null if not supported (not 64-bit Linux, no FFI). */
export function streamSockets(platform: NodeJS.Platform): OpenStreamSocket | null {
  const libc = PLATFORMS.includes(process.arch) ? loadLibC(platform) : null;
  if (libc === null) return null;
  const calls = callsOf(libc);
  return (address, memory, timeoutMs) => {
    assert(memory.length > 64, 'memory.length > 64');
    return new StreamSocket(calls, address, memory, libc.addressOf(memory), timeoutMs);
  };
}

function callsOf(libc: LibC): Calls {
  const scratch = new Uint8Array(256);
  return {
    socket: libc.bind('int socket(int domain, int type, int protocol)'),
    connect: libc.bind('int connect(int fd, uintptr_t address, uint32_t length)'),
    send: libc.bind('int64_t send(int fd, uintptr_t bytes, size_t length, int flags)'),
    recv: libc.bind('int64_t recv(int fd, uintptr_t bytes, size_t length, int flags)'),
    setsockopt: libc.bind(
      'int setsockopt(int fd, int level, int name, uintptr_t value, uint32_t length)',
    ),
    close: libc.bind('int close(int fd)'),
    errno: () => libc.errno(),
    busyPoll: systemBusyPoll(libc),
    scratch: new DataView(scratch.buffer),
    scratchAt: libc.addressOf(scratch),
  };
}

class StreamSocket implements Disposable {
  readonly #calls: Calls;
  /** Keeps the memory from being collected while its address is used. */
  readonly #memory: Uint8Array;
  readonly #memoryAt: number;
  /** -1 once closed. */
  #fd: number;
  readonly #isLocal: boolean;
  #sendTimeoutMs = 0;
  #receiveTimeoutMs = 0;

  /** @throws SwapError ERR_ARG_VALUE: invalid address; ERR_IO_SYSTEM: no connection within `timeoutMs` */
  constructor(
    calls: Calls,
    address: StreamAddress,
    memory: Uint8Array,
    memoryAt: number,
    timeoutMs: number,
  ) {
    this.#calls = calls;
    this.#memory = memory;
    this.#memoryAt = memoryAt;
    const length = writeAddress(calls.scratch, address);
    const family = calls.scratch.getUint16(0, true);
    this.#fd = calls.socket(family, SOCK_STREAM_CLOEXEC, 0);
    this.#isLocal = family === AF_UNIX;
    if (this.#fd < 0) this.#fail('socket', calls.errno());
    this.#connect(address, length, timeoutMs);
    if (this.#isLocal) return;
    calls.scratch.setInt32(0, 1, true);
    this.#setOption('setsockopt TCP_NODELAY', IPPROTO_TCP, TCP_NODELAY, 4);
  }

  /** Sends from memory[at .. at + length). Returns the bytes sent, 1 .. length; 0: connection closed; -1: timed out. */
  send(at: number, length: number, timeoutMs: number): number {
    this.#checkRange(at, length);
    if (timeoutMs !== this.#sendTimeoutMs) {
      this.#setTimeout('setsockopt SO_SNDTIMEO', SO_SNDTIMEO, timeoutMs);
      this.#sendTimeoutMs = timeoutMs;
    }
    for (let endMs = 0; ; ) {
      const sent = this.#calls.send(this.#fd, this.#memoryAt + at, length, MSG_NOSIGNAL);
      if (sent > 0) return sent;
      const errno = this.#calls.errno();
      if (errno !== Errno.EINTR) return this.#endOf('send', errno);
      endMs = interruptedUntil(endMs, timeoutMs);
      if (endMs < 0) return TIMED_OUT;
    }
  }

  /** Receives into memory[at ..]. Returns the bytes received, 1 .. length; 0: connection closed; -1: timed out. */
  receive(at: number, length: number, timeoutMs: number): number {
    this.#checkRange(at, length);
    if (this.#isLocal && this.#calls.busyPoll.begins()) {
      const polled = this.#poll(at, length);
      this.#calls.busyPoll.ends(polled >= 0);
      if (polled >= 0) return polled;
    }
    if (timeoutMs !== this.#receiveTimeoutMs) {
      this.#setTimeout('setsockopt SO_RCVTIMEO', SO_RCVTIMEO, timeoutMs);
      this.#receiveTimeoutMs = timeoutMs;
    }
    for (let endMs = 0; ; ) {
      const got = this.#calls.recv(this.#fd, this.#memoryAt + at, length, 0);
      if (got >= 0) return got;
      const errno = this.#calls.errno();
      if (errno !== Errno.EINTR) return this.#endOf('recv', errno);
      endMs = interruptedUntil(endMs, timeoutMs);
      if (endMs < 0) return TIMED_OUT;
    }
  }

  /** Tries to receive without sleeping. Returns the bytes received; 0: connection closed; -1: nothing yet. */
  #poll(at: number, length: number): number {
    const { recv, errno } = this.#calls;
    for (let left = POLLS_MAX; left > 0; left--) {
      const got = recv(this.#fd, this.#memoryAt + at, length, MSG_DONTWAIT);
      if (got >= 0) return got;
      if (errno() !== Errno.EAGAIN && errno() !== Errno.EINTR) return this.#endOf('recv', errno());
    }
    return TIMED_OUT;
  }

  /** close(2). The socket must not be used afterwards; closing twice is allowed. */
  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    this.#calls.close(this.#fd);
    this.#fd = -1;
  }

  #connect(address: StreamAddress, length: number, timeoutMs: number): void {
    // Setting the timeout overwrites the address in the scratch: write it again.
    this.#setTimeout('setsockopt SO_SNDTIMEO', SO_SNDTIMEO, timeoutMs);
    this.#sendTimeoutMs = timeoutMs;
    writeAddress(this.#calls.scratch, address);
    if (this.#calls.connect(this.#fd, this.#calls.scratchAt, length) === 0) return;
    const errno = this.#calls.errno();
    // A connect that times out fails with EINPROGRESS (TCP) or EAGAIN (Unix).
    this.#fail(
      'connect',
      errno === Errno.EINPROGRESS || errno === Errno.EAGAIN ? Errno.ETIMEDOUT : errno,
    );
  }

  #checkRange(at: number, length: number): void {
    assert(this.#fd >= 0, 'the socket is open');
    assert(length > 0, 'length > 0');
    assert(at >= 0 && at + length <= this.#memory.length, 'at + length <= memory.length');
  }

  #setTimeout(call: string, name: number, timeoutMs: number): void {
    assert(Number.isInteger(timeoutMs) && timeoutMs > 0, 'timeoutMs is a whole number, above 0');
    assert(timeoutMs <= TIMEOUT_MS_MAX, 'timeoutMs < 2^31');
    // struct timeval: two 64-bit numbers; their upper halves are zero.
    const { scratch } = this.#calls;
    scratch.setUint32(0, Math.floor(timeoutMs / 1000), true);
    scratch.setUint32(4, 0, true);
    scratch.setUint32(8, (timeoutMs % 1000) * 1000, true);
    scratch.setUint32(12, 0, true);
    this.#setOption(call, SOL_SOCKET, name, 16);
  }

  /** Sets an option to the first `length` bytes of the scratch. */
  #setOption(call: string, level: number, name: number, length: number): void {
    const { setsockopt, scratchAt, errno } = this.#calls;
    if (setsockopt(this.#fd, level, name, scratchAt, length) !== 0) this.#fail(call, errno());
  }

  #endOf(call: string, errno: number): typeof CLOSED | typeof TIMED_OUT {
    if (errno === Errno.EAGAIN) return TIMED_OUT;
    if (errno === Errno.EPIPE || errno === Errno.ECONNRESET || errno === Errno.ETIMEDOUT)
      return CLOSED;
    return this.#fail(call, errno);
  }

  #fail(call: string, errno: number): never {
    this[Symbol.dispose]();
    const name = getSystemErrorName(-errno);
    throw new SwapError('ERR_IO_SYSTEM', `${call}: ${name}`, { call, errno: name });
  }
}

/**
 * The time at which a call that signals interrupt times out, ms; -1: now. The kernel restarts its timeout after each signal, so
 * without this limit a profiler's signals would make a wait endless. A wait takes at most three timeouts.
 * @param endMs result after the previous interruption; 0: this is the first one
 */
function interruptedUntil(endMs: number, timeoutMs: number): number {
  const nowMs = performance.now();
  if (endMs === 0) return nowMs + timeoutMs;
  return nowMs < endMs ? endMs : -1;
}

/** Writes a struct sockaddr. Returns its length. */
function writeAddress(out: DataView, address: StreamAddress): number {
  const bytes = new Uint8Array(out.buffer);
  bytes.fill(0);
  if ('path' in address) {
    const path = new TextEncoder().encode(address.path);
    if (path.length === 0 || path.length >= UNIX_PATH_BYTES || path.includes(0))
      throw new SwapError(
        'ERR_ARG_VALUE',
        `${address.path}: invalid path of a Unix socket; use 1 to 107 bytes without NUL`,
        { path: address.path },
      );
    out.setUint16(0, AF_UNIX, true);
    bytes.set(path, 2);
    return 2 + path.length + 1;
  }
  const { host, port } = address;
  const isPort = Number.isInteger(port) && port > 0 && port < 65536;
  if (isPort && isIPv4(host)) {
    out.setUint16(0, AF_INET, true);
    out.setUint16(2, port);
    bytes.set(host.split('.').map(Number), 4);
    return 16;
  }
  if (isPort && isIPv6(host) && !/[.%]/.test(host)) {
    out.setUint16(0, AF_INET6, true);
    out.setUint16(2, port);
    writeIPv6(out, 8, host);
    return 28;
  }
  const text = `${host}:${port}: invalid address; give a numeric IPv4 or IPv6 address and a port from 1 to 65535`;
  throw new SwapError('ERR_ARG_VALUE', text, { host, port });
}

/** Writes the eight groups of a valid address, around its `::`. */
function writeIPv6(out: DataView, at: number, host: string): void {
  const [head = '', tail] = host.split('::');
  const groups = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
  const front = groups(head);
  const back = tail === undefined ? [] : groups(tail);
  for (const [i, group] of front.entries()) out.setUint16(at + 2 * i, group);
  for (const [i, group] of back.entries()) out.setUint16(at + 2 * (8 - back.length + i), group);
}
