/**
 * CPU affinity of threads. In a virtual machine, faults are served several times faster when the serving thread runs on
 * the core of the faulting thread: no wake-up on another core is needed.
 *
 * Cost: `current` a vDSO call; `processorOf` reads a /proc file, tens of microseconds.
 * Sources: sched_setaffinity(2), sched_getcpu(3), proc_pid_stat(5).
 */
import { readFileSync } from 'node:fs';
import { assert } from '../../base/assert.ts';
import type { NativeCall } from '../koffi.ts';
import { Errno } from './errno.ts';
import { type Linux, Struct } from './system-call.ts';

/** Bits of glibc's cpu_set_t; kernels with more processors are not supported. */
const SET_BITS = 1024;
const SET_BYTES = SET_BITS / 8;

/** Index of field 39 of /proc/PID/stat among the fields after the name (field 2). */
const PROCESSOR_AFTER_NAME = 39 - 3;

export class Affinity {
  readonly #linux: Linux;
  readonly #set: NativeCall;
  readonly #get: NativeCall;
  readonly #current: NativeCall;
  readonly #mask: Struct;

  constructor(linux: Linux) {
    this.#linux = linux;
    this.#set = linux.bind('int sched_setaffinity(int thread, size_t length, uintptr_t mask)');
    this.#get = linux.bind('int sched_getaffinity(int thread, size_t length, uintptr_t mask)');
    this.#current = linux.bind('int sched_getcpu()');
    this.#mask = new Struct(linux, SET_BYTES);
  }

  /**
   * Restricts a thread to the processors.
   * @param threadId 0 for the calling thread
   * @returns false if none of them is available (EINVAL) or the thread does not exist (ESRCH)
   */
  pin(processors: readonly number[], threadId: number = 0): boolean {
    const { bytes, address } = this.#mask;
    bytes.fill(0);
    for (const n of processors) {
      assert(n >= 0 && n < SET_BITS, 'processor < 1024');
      bytes[n >>> 3]! |= 1 << (n & 7);
    }
    if (this.#set(threadId, SET_BYTES, address) === 0) return true;
    const errno = this.#linux.errno();
    if (errno === Errno.EINVAL || errno === Errno.ESRCH) return false;
    return this.#linux.fail('sched_setaffinity', { threadId });
  }

  /** The processors that the thread may run on, ascending; empty if the thread does not exist (ESRCH). */
  allowed(threadId: number = 0): number[] {
    const { bytes, address } = this.#mask;
    bytes.fill(0);
    if (this.#get(threadId, SET_BYTES, address) !== 0) {
      if (this.#linux.errno() === Errno.ESRCH) return [];
      this.#linux.fail('sched_getaffinity', { threadId });
    }
    const found: number[] = [];
    for (let n = 0; n < SET_BITS; n++) if ((bytes[n >>> 3]! >>> (n & 7)) & 1) found.push(n);
    return found;
  }

  /** The processor that this thread is running on. */
  current(): number {
    const processor = this.#current();
    if (processor < 0) this.#linux.fail('sched_getcpu');
    return processor;
  }
}

/** The processor that a thread of this process last ran on; -1 if the thread does not exist. */
export function processorOf(threadId: number): number {
  let stat: string;
  try {
    stat = readFileSync(`/proc/self/task/${threadId}/stat`, 'utf8');
  } catch {
    return -1;
  }
  return processorIn(stat);
}

/** The processor in the text of a stat file. The name is in parentheses and may contain parentheses. */
export function processorIn(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[PROCESSOR_AFTER_NAME] ?? -1);
}
