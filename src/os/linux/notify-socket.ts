/**
 * Sends datagrams to a Unix socket, such as the socket where a service manager receives notifications (sd_notify(3)). Node has
 * no datagram Unix sockets.
 *
 * Each message opens and closes a socket. A full receive queue delays the caller for at most `timeoutMs`, or not at all with 0.
 *
 * Cost: four system calls per message.
 * Sources: socket(2), send(2), setsockopt(2); unix(7) for path names and abstract addresses; socket(7) for SO_SNDTIMEO.
 */
import { SwapError } from '../../base/errors.ts';
import type { NativeCall } from '../koffi.ts';
import { type Linux, Struct } from './system-call.ts';

const AF_UNIX = 1;
/** SOCK_DGRAM and SOCK_CLOEXEC, the same numbers on x86-64 and arm64. */
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDTIMEO = 21;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** sun_path of unix(7). */
const PATH_BYTES = 108;
const FAMILY_BYTES = 2;
const TIMEVAL_BYTES = 16;

export class NotifySocket {
  readonly #linux: Linux;
  readonly #socket: NativeCall;
  readonly #setsockopt: NativeCall;
  readonly #sendto: NativeCall;
  /** A sockaddr_un, and its used length. */
  readonly #to: Struct;
  readonly #toBytes: number;
  readonly #timeout: Struct;

  /**
   * @param address an absolute path, or `@name` for an abstract address
   * @throws SwapError ERR_ARG_VALUE
   */
  constructor(linux: Linux, address: string) {
    const name = Buffer.from(address);
    const isAbstract = address.startsWith('@');
    if (!isAbstract && !address.startsWith('/'))
      throw invalid(address, 'is neither an absolute path nor @NAME');
    // A path is followed by a zero byte; in an abstract address a zero byte replaces the @.
    const used = isAbstract ? name.length : name.length + 1;
    if (used > PATH_BYTES || name.length < 2 || name.includes(0))
      throw invalid(address, 'is not a valid address of a Unix socket');
    this.#linux = linux;
    this.#socket = linux.bind('int socket(int domain, int type, int protocol)');
    this.#setsockopt = linux.bind(
      'int setsockopt(int fd, int level, int option, uintptr_t value, uint32_t length)',
    );
    this.#sendto = linux.bind(
      'int64_t sendto(int fd, uintptr_t bytes, size_t length, int flags, uintptr_t to, uint32_t toLength)',
    );
    this.#timeout = new Struct(linux, TIMEVAL_BYTES);
    this.#to = new Struct(linux, FAMILY_BYTES + PATH_BYTES);
    this.#to.set32(0, AF_UNIX);
    this.#to.bytes.set(name, FAMILY_BYTES);
    if (isAbstract) this.#to.bytes[FAMILY_BYTES] = 0;
    this.#toBytes = FAMILY_BYTES + used;
  }

  /**
   * Sends one datagram.
   * @param timeoutMs waits at most this long for space in the receiver's queue
   * @throws SwapError ERR_IO_SYSTEM
   */
  send(text: string, timeoutMs: number): void {
    const bytes = Buffer.from(text);
    const message = new Struct(this.#linux, bytes.length);
    message.bytes.set(bytes);
    const fd = this.#socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
    if (fd === -1) this.#linux.fail('socket');
    try {
      this.#timeout.set64(0, Math.floor(timeoutMs / 1000));
      this.#timeout.set64(8, (timeoutMs % 1000) * 1000);
      const { address } = this.#timeout;
      if (this.#setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, address, TIMEVAL_BYTES) === -1)
        this.#linux.fail('setsockopt SO_SNDTIMEO');
      const flags = MSG_NOSIGNAL | (timeoutMs === 0 ? MSG_DONTWAIT : 0);
      const { address: from } = message;
      if (this.#sendto(fd, from, bytes.length, flags, this.#to.address, this.#toBytes) === -1)
        this.#linux.fail('sendto');
    } finally {
      this.#linux.close(fd);
    }
  }
}

const invalid = (address: string, why: string): SwapError =>
  new SwapError('ERR_ARG_VALUE', `'${address}' ${why}`, { value: address });
