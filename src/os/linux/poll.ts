/**
 * Waits for descriptors with a timeout: poll(2) on a table allocated once. The fault thread waits for its userfaultfd
 * and for an eventfd that stops it: a thread blocked in read(2) would block process.exit().
 *
 * Cost: one system call, no allocation.
 * Sources: poll(2); asm-generic/poll.h.
 */
import { assert } from '../../base/assert.ts';
import type { NativeCall } from '../koffi.ts';
import { Errno } from './errno.ts';
import { type Linux, Struct } from './system-call.ts';

/** Results of `Poller.wait` that are not a number of ready descriptors. */
export const PollResult = { timedOut: 0, interrupted: -1 } as const;

/** poll(2): POLL*. Error, hang-up and invalid are always reported. */
export const Ready = {
  readable: 0x01,
  writable: 0x04,
  error: 0x08,
  hangUp: 0x10,
  invalid: 0x20,
  readHangUp: 0x2000,
} as const;

/** struct pollfd: int fd; short events; short revents. */
const ENTRY_BYTES = 8;

export class Poller {
  readonly #linux: Linux;
  readonly #poll: NativeCall;
  readonly #table: Struct;
  readonly #capacity: number;
  readonly #events: number;
  #count: number;

  /**
   * @param events of `Ready`, the same for all descriptors
   * @param capacity of the table; set() fills the entries after `fds`
   */
  constructor(
    linux: Linux,
    fds: readonly number[],
    events: number = Ready.readable,
    capacity: number = fds.length,
  ) {
    this.#linux = linux;
    this.#poll = linux.bind('int poll(uintptr_t table, unsigned long count, int milliseconds)');
    this.#count = 0;
    this.#capacity = capacity;
    this.#events = events;
    this.#table = new Struct(linux, Math.max(1, capacity) * ENTRY_BYTES);
    for (const [i, fd] of fds.entries()) this.set(i, fd);
  }

  /** Puts a descriptor into entry `i`; entries below it that are not set are ignored. */
  set(i: number, fd: number): void {
    assert(i >= 0 && i < this.#capacity, 'i < capacity');
    for (; this.#count <= i; this.#count++) this.clear(this.#count);
    this.#table.set32(i * ENTRY_BYTES, fd);
    this.#table.set32(i * ENTRY_BYTES + 4, this.#events);
  }

  /** Empties entry `i`: poll(2) ignores a negative descriptor. */
  clear(i: number): void {
    this.#table.set32(i * ENTRY_BYTES, -1);
    this.#table.set32(i * ENTRY_BYTES + 4, 0);
  }

  /**
   * @param milliseconds 0 returns immediately, -1 waits without limit
   * @returns the number of ready descriptors, PollResult.timedOut, or PollResult.interrupted (a signal: call again)
   */
  wait(milliseconds: number): number {
    const ready = this.#poll(this.#table.address, this.#count, milliseconds);
    if (ready >= 0) return ready;
    if (this.#linux.errno() === Errno.EINTR) return PollResult.interrupted;
    return this.#linux.fail('poll');
  }

  /** The state of descriptor `i` of the list after the last wait: a mask of `Ready`, 0 if not ready. */
  readiness(i: number): number {
    assert(i >= 0 && i < this.#count, 'i < descriptors');
    return this.#table.get32(i * ENTRY_BYTES + 4) >>> 16;
  }
}
