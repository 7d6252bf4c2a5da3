/**
 * Futexes on words of shared memory, without V8: Atomics.wait() and notify() take a process-wide lock, and a thread may hold
 * that lock while it waits for a page (docs/design/memory.md).
 *
 * worker.terminate() cannot end a thread in wait() before its timeout, so wait in slices.
 * Cost: one system call, no allocation. Sources: futex(2), asm-generic/unistd.h, linux/futex.h.
 */
import { assert } from '../../base/assert.ts';
import type { NativeCall } from '../koffi.ts';
import { Errno } from './errno.ts';
import { type Linux, Struct } from './system-call.ts';

/** FUTEX_WAIT and FUTEX_WAKE, both with FUTEX_PRIVATE_FLAG. */
const WAIT = 0 | 128;
const WAKE = 1 | 128;
const ALL = 2 ** 31 - 1;

/** The words of one shared memory. Create one object per thread. */
export class Futex {
  readonly #linux: Linux;
  readonly #call: NativeCall;
  readonly #address: number;
  readonly #words: number;
  /** struct timespec: seconds, nanoseconds. */
  readonly #time: Struct;

  constructor(linux: Linux, memory: SharedArrayBuffer) {
    this.#linux = linux;
    this.#call = linux.bind(
      'int64_t syscall(int64_t number, uintptr_t word, int64_t op, uint64_t value, uintptr_t time)',
    );
    this.#address = linux.addressOf(new Uint8Array(memory));
    this.#words = memory.byteLength >>> 2;
    this.#time = new Struct(linux, 16);
  }

  /**
   * Sleeps while the word is `value`, at most `milliseconds`. May return early: check the word again.
   * @returns false on timeout
   */
  wait(word: number, value: number, milliseconds: number): boolean {
    this.#time.set64(0, Math.floor(milliseconds / 1000));
    this.#time.set64(8, Math.floor((milliseconds % 1000) * 1e6));
    const { futex } = this.#linux.numbers;
    const result = this.#call(futex, this.#at(word), WAIT, value, this.#time.address);
    if (result === 0) return true;
    const errno = this.#linux.errno();
    if (errno === Errno.ETIMEDOUT) return false;
    if (errno === Errno.EAGAIN || errno === Errno.EINTR) return true;
    return this.#linux.fail('futex', { word });
  }

  /** Wakes all threads that wait for the word. */
  wake(word: number): void {
    this.#call(this.#linux.numbers.futex, this.#at(word), WAKE, ALL, 0);
  }

  #at(word: number): number {
    assert(word >= 0 && word < this.#words, 'word < words');
    return this.#address + word * 4;
  }
}
