/**
 * An eventfd: a counter that wakes a thread in poll(2). Descriptors belong to the process: one thread opens it, other threads
 * adopt it by number (`new EventFd(linux, fd)`), and one of them closes it.
 *
 * Cost: one system call, no allocation.
 * Sources: eventfd(2).
 */
import type { NativeCall } from '../koffi.ts';
import { Errno } from './errno.ts';
import { type Linux, Struct } from './system-call.ts';

/** O_CLOEXEC and O_NONBLOCK, the same numbers on x86-64 and arm64. */
const EFD_FLAGS = 0o2000000 | 0o4000;

/** Opens an eventfd with counter 0, non-blocking and close-on-exec. */
export function openEventFd(linux: Linux): EventFd {
  const fd = linux.bind('int eventfd(unsigned int count, int flags)')(0, EFD_FLAGS);
  if (fd === -1) linux.fail('eventfd');
  return new EventFd(linux, fd);
}

export class EventFd {
  readonly fd: number;
  readonly #linux: Linux;
  readonly #read: NativeCall;
  readonly #write: NativeCall;
  readonly #count: Struct;

  constructor(linux: Linux, fd: number) {
    this.#linux = linux;
    this.fd = fd;
    this.#read = linux.bind('int64_t read(int fd, uintptr_t buffer, size_t count)');
    this.#write = linux.bind('int64_t write(int fd, uintptr_t buffer, size_t count)');
    this.#count = new Struct(linux, 8);
  }

  /** Adds 1 to the counter and wakes waiting threads. False if the counter is full (EAGAIN): the threads are already awake. */
  signal(): boolean {
    this.#count.set64(0, 1);
    if (this.#write(this.fd, this.#count.address, 8) === 8) return true;
    if (this.#linux.errno() === Errno.EAGAIN) return false;
    return this.#linux.fail('write', { fd: this.fd });
  }

  /** Resets the counter to 0. @returns its value, the number of signals since the last take */
  take(): number {
    if (this.#read(this.fd, this.#count.address, 8) === 8) return this.#count.get64(0);
    if (this.#linux.errno() === Errno.EAGAIN) return 0;
    return this.#linux.fail('read', { fd: this.fd });
  }

  close(): void {
    this.#linux.close(this.fd);
  }
}
