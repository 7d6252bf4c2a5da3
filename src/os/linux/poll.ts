/**
 * Waits for descriptors, with a time limit: poll(2) over a table made once. A thread that serves faults waits so, for the
 * userfaultfd and for an eventfd that ends it: a thread stuck in read(2) would hold up process.exit() for ever.
 *
 * Cost: one system call, nothing allocated.
 * Sources: poll(2); asm-generic/poll.h.
 */
import { assert } from '../../base/assert.ts';
import type { NativeCall } from '../koffi.ts';
import { Errno } from './errno.ts';
import { type Linux, Struct } from './system-call.ts';

/** What `Poller.wait` answers when it is not the number of descriptors that are ready. */
export const Poll = { timedOut: 0, interrupted: -1 } as const;

/** poll(2): POLL*. Error and hang-up are reported always. */
export const Ready = {
  readable: 0x01,
  writable: 0x04,
  error: 0x08,
  hangUp: 0x10,
  invalid: 0x20,
} as const;

/** struct pollfd: int fd; short events; short revents. */
const ENTRY_BYTES = 8;

export class Poller {
  readonly #linux: Linux;
  readonly #poll: NativeCall;
  readonly #table: Struct;
  readonly #count: number;

  /** @param events of `Ready`, the same for all */
  constructor(linux: Linux, fds: readonly number[], events: number = Ready.readable) {
    this.#linux = linux;
    this.#poll = linux.bind('int poll(uintptr_t table, unsigned long count, int milliseconds)');
    this.#count = fds.length;
    this.#table = new Struct(linux, Math.max(1, fds.length) * ENTRY_BYTES);
    fds.forEach((fd, i) => {
      this.#table.set32(i * ENTRY_BYTES, fd);
      this.#table.set32(i * ENTRY_BYTES + 4, events);
    });
  }

  /**
   * @param milliseconds 0 looks and returns, -1 waits for ever
   * @returns how many are ready; Poll.timedOut, Poll.interrupted (a signal: ask again)
   */
  wait(milliseconds: number): number {
    const ready = this.#poll(this.#table.address, this.#count, milliseconds);
    if (ready >= 0) return ready;
    if (this.#linux.errno() === Errno.EINTR) return Poll.interrupted;
    return this.#linux.fail('poll');
  }

  /** What the last wait found for descriptor `i` of the list: a mask of `Ready`, 0 for nothing. */
  readiness(i: number): number {
    assert(i >= 0 && i < this.#count, 'the descriptor is in the list');
    return this.#table.get32(i * ENTRY_BYTES + 4) >>> 16;
  }
}
