/**
 * Messages with descriptors over a connected Unix stream socket: recvmsg(2) and sendmsg(2) with SCM_RIGHTS, without waiting.
 *
 * Every received descriptor is close-on-exec and belongs to the caller. If a message has more than DESCRIPTORS_MAX, the kernel
 * closes the others, and isTruncated is set.
 *
 * Cost: one system call; an array if there are descriptors.
 * Sources: recvmsg(2), sendmsg(2), cmsg(3), unix(7).
 */
import { assert } from '../../base/assert.ts';
import type { NativeCall } from '../koffi.ts';
import { Errno } from './errno.ts';
import { type Linux, Struct } from './system-call.ts';

/** Descriptors of one recvmsg(2). */
const DESCRIPTORS_MAX = 16;

/** Results of receive() and send() that are not a number of bytes. */
export const CLOSED = 0;
export const NOTHING_NOW = -1;

/** struct msghdr, 64-bit. */
const Header = { vector: 16, vectorCount: 24, control: 32, controlBytes: 40, flags: 48, bytes: 56 };
/** struct cmsghdr. */
const Control = { length: 0, level: 8, type: 12, data: 16 };
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 0x08;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const BUFFER_BYTES = 4096;

const none: readonly number[] = [];

export class UnixMessages {
  /** The descriptors of the last receive(); they belong to the caller. */
  fds: readonly number[] = none;
  /** The last message had more descriptors than fit. */
  isTruncated = false;
  readonly #linux: Linux;
  readonly #recvmsg: NativeCall;
  readonly #sendmsg: NativeCall;
  readonly #header: Struct;
  readonly #vector: Struct;
  readonly #control: Struct;
  readonly #buffer: Struct;

  constructor(linux: Linux) {
    this.#linux = linux;
    this.#recvmsg = linux.bind('int64_t recvmsg(int fd, uintptr_t message, int flags)');
    this.#sendmsg = linux.bind('int64_t sendmsg(int fd, uintptr_t message, int flags)');
    this.#header = new Struct(linux, Header.bytes + 64);
    this.#vector = new Struct(linux, 128);
    this.#control = new Struct(linux, Control.data + 4 * DESCRIPTORS_MAX + 64);
    this.#buffer = new Struct(linux, BUFFER_BYTES);
  }

  /** Receives into `to[at .. at + length)`. @returns 1 .. length, CLOSED, or NOTHING_NOW */
  receive(fd: number, to: Uint8Array, at: number, length: number): number {
    assert(length > 0 && length <= BUFFER_BYTES, '0 < length <= 4096');
    assert(at + length <= to.length, 'at + length <= to.length');
    this.#prepare(length, Control.data + 4 * DESCRIPTORS_MAX);
    this.fds = none;
    this.isTruncated = false;
    const flags = MSG_DONTWAIT | MSG_CMSG_CLOEXEC;
    const got = this.#recvmsg(fd, this.#header.address, flags);
    if (got === -1) return this.#failed('recvmsg');
    this.#takeDescriptors();
    to.set(this.#buffer.bytes.subarray(0, got), at);
    return got;
  }

  /**
   * Sends all of `bytes` with descriptors; the caller keeps the descriptors. @returns bytes.length, less, CLOSED, or
   * NOTHING_NOW
   */
  send(fd: number, bytes: Uint8Array, fds: readonly number[] = none): number {
    assert(bytes.length > 0 && bytes.length <= BUFFER_BYTES, '0 < bytes.length <= 4096');
    assert(fds.length <= DESCRIPTORS_MAX, 'fds.length <= 16');
    this.#buffer.bytes.set(bytes);
    const controlBytes = Control.data + 4 * fds.length;
    this.#prepare(bytes.length, fds.length === 0 ? 0 : Math.ceil(controlBytes / 8) * 8);
    this.#control.set64(Control.length, controlBytes);
    this.#control.set32(Control.level, SOL_SOCKET);
    this.#control.set32(Control.type, SCM_RIGHTS);
    for (const [i, each] of fds.entries()) this.#control.set32(Control.data + 4 * i, each);
    const sent = this.#sendmsg(fd, this.#header.address, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent === -1 ? this.#failed('sendmsg') : sent;
  }

  #prepare(length: number, controlBytes: number): void {
    const header = this.#header;
    header.bytes.fill(0);
    this.#vector.set64(0, this.#buffer.address);
    this.#vector.set64(8, length);
    header.set64(Header.vector, this.#vector.address);
    header.set64(Header.vectorCount, 1);
    header.set64(Header.control, this.#control.address);
    header.set64(Header.controlBytes, controlBytes);
  }

  #takeDescriptors(): void {
    const end = this.#header.get64(Header.controlBytes);
    this.isTruncated = (this.#header.get32(Header.flags) & MSG_CTRUNC) !== 0;
    const control = this.#control;
    if (end < Control.data) return;
    // One message only: SO_PASSCRED is not set, and the kernel puts all descriptors into one.
    const isRights =
      control.get32(Control.level) === SOL_SOCKET && control.get32(Control.type) === SCM_RIGHTS;
    if (!isRights) return;
    const count = Math.floor((control.get64(Control.length) - Control.data) / 4);
    assert(count <= DESCRIPTORS_MAX, 'count <= 16');
    this.fds = Array.from({ length: count }, (_, i) => control.get32(Control.data + 4 * i));
  }

  #failed(call: string): number {
    const errno = this.#linux.errno();
    if (errno === Errno.EAGAIN || errno === Errno.EINTR) return NOTHING_NOW;
    if (errno === Errno.EPIPE || errno === Errno.ECONNRESET) return CLOSED;
    return this.#linux.fail(call);
  }
}
