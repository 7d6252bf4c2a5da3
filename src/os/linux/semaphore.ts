/**
 * A counting semaphore of the C library in shared memory. A thread waits for it in native code; see exit-hooks.ts.
 *
 * Cost: one call of a C function, no allocation.
 * Sources: sem_overview(7), sem_init(3), sem_post(3), sem_wait(3).
 */
import type { NativeCall } from '../koffi.ts';
import { Errno } from './errno.ts';
import type { Linux } from './system-call.ts';

/** sizeof(sem_t) of glibc and of musl on 64-bit systems. */
export const SEMAPHORE_BYTES = 32;

/** The semaphores of a table: number i is at `offset + i * SEMAPHORE_BYTES`. Create one object per thread. */
export class Semaphores {
  readonly memory: SharedArrayBuffer;
  readonly #linux: Linux;
  readonly #address: number;
  readonly #init: NativeCall;
  readonly #post: NativeCall;
  readonly #tryWait: NativeCall;

  /** @param offset a multiple of 8 */
  constructor(linux: Linux, memory: SharedArrayBuffer, offset: number) {
    this.memory = memory;
    this.#linux = linux;
    this.#address = linux.addressOf(new Uint8Array(memory)) + offset;
    this.#init = linux.bind('int sem_init(uintptr_t semaphore, int shared, unsigned int value)');
    this.#post = linux.bind('int sem_post(uintptr_t semaphore)');
    this.#tryWait = linux.bind('int sem_trywait(uintptr_t semaphore)');
  }

  /** For exit-hooks.ts. */
  addressOf(i: number): number {
    return this.#address + i * SEMAPHORE_BYTES;
  }

  init(i: number, value: number): void {
    if (this.#init(this.addressOf(i), 0, value) === -1) this.#linux.fail('sem_init');
  }

  post(i: number): void {
    if (this.#post(this.addressOf(i)) === -1) this.#linux.fail('sem_post');
  }

  /** Subtracts 1. False: the value is 0. */
  tryWait(i: number): boolean {
    if (this.#tryWait(this.addressOf(i)) === 0) return true;
    const errno = this.#linux.errno();
    return errno === Errno.EAGAIN ? false : this.#linux.fail('sem_trywait');
  }
}
