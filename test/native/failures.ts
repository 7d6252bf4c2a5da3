/** Makes system calls of native code fail, by words of its control block; native/calls.h. */
import { controlStruct, NativeCallName } from '../../src/native/layout.ts';

export type FailingCall = keyof typeof NativeCallName;
export const failingCalls: readonly FailingCall[] = Object.keys(NativeCallName) as FailingCall[];

/** Linux's numbers, which are the same on x86-64 and arm64. */
export const Errno = { ENOENT: 2, EINTR: 4, EBADF: 9, EAGAIN: 11, ENOMEM: 12 } as const;

export class Failures {
  readonly #words: Int32Array;

  /** @param words the control block, from its start */
  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** Makes one call in `every` fail, 0: none. Returns how many calls there were since the last time, while some failed. */
  set(call: FailingCall, errno: number, every: number): number {
    Atomics.store(this.#words, at('failErrno', call), errno);
    Atomics.store(this.#words, at('failEvery', call), every);
    return Atomics.exchange(this.#words, at('failCalls', call), 0);
  }
}

const at = (field: 'failEvery' | 'failErrno' | 'failCalls', call: FailingCall): number =>
  (controlStruct.at[field] >>> 2) + NativeCallName[call];
