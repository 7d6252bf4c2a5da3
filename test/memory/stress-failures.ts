/** For the stress program: system calls of native code fail in turn, each with each error. */
import type { Prng } from '../../src/base/prng.ts';
import { ControlBlock } from '../../src/memory/control-block.ts';
import { controlStruct, NativePlacement } from '../../src/native/layout.ts';
import { Mapping } from '../../src/os/linux/mapping.ts';
import { loadLinux } from '../../src/os/linux/system-call.ts';
import { Errno, type FailingCall, Failures, failingCalls } from '../native/failures.ts';

const errors = [Errno.EAGAIN, Errno.ENOENT, Errno.ENOMEM, Errno.EINTR];

/** The words of native code's control block. @param control of a swap whose faults native code serves */
export function nativeWords(control: SharedArrayBuffer): Int32Array {
  const { linux } = loadLinux();
  const { nativeAt } = new ControlBlock(linux, control);
  if (linux === null || nativeAt === 0) throw new Error('no native code serves faults');
  return new Int32Array(new Mapping(linux).viewOf(nativeAt, controlStruct.bytes & ~3));
}

/** @param control of a swap whose faults native code serves */
export const failuresOf = (control: SharedArrayBuffer): Failures =>
  new Failures(nativeWords(control));

/** Sets where the native thread runs, for the next faults. */
export function place(words: Int32Array, placement: number): void {
  Atomics.store(words, controlStruct.at.placement >>> 2, placement);
}

/** Steps through every call and error; one call fails at a time. */
export class FailingCalls {
  /** Calls that have failed, by name. */
  readonly calls: Partial<Record<FailingCall, number>> = {};
  readonly #words: Int32Array;
  readonly #failures: Failures;
  readonly #prng: Prng;
  #at = 0;
  #every = 0;

  constructor(control: SharedArrayBuffer, prng: Prng) {
    this.#words = nativeWords(control);
    this.#failures = new Failures(this.#words);
    this.#prng = prng;
  }

  /** Lets the next call fail, now and then, in place of the last. */
  step(): void {
    this.stop();
    this.#at++;
    place(this.#words, this.#at % 2 === 0 ? NativePlacement.measured : NativePlacement.handsOver);
    const errno = errors[Math.floor(this.#at / failingCalls.length) % errors.length]!;
    this.#every = 2 + this.#prng.below(6);
    this.#failures.set(this.#call, errno, this.#every);
  }

  stop(): void {
    const calls = this.#failures.set(this.#call, 0, 0);
    this.calls[this.#call] = (this.calls[this.#call] ?? 0) + Math.ceil(calls / this.#every || 0);
  }

  get #call(): FailingCall {
    return failingCalls[this.#at % failingCalls.length]!;
  }
}
