/**
 * Which processors a thread may run on, and on which it runs. A thread that serves faults on the core of the thread that
 * faults answers several times quicker in a virtual machine: nobody has to be woken on another core.
 *
 * Cost: `current` a vDSO call; `processorOf` reads a /proc file, tens of microseconds.
 * Sources: sched_setaffinity(2), sched_getcpu(3), proc_pid_stat(5).
 */
import { readFileSync } from 'node:fs';
import { assert } from '../../base/assert.ts';
import type { NativeCall } from '../koffi.ts';
import { Errno } from './errno.ts';
import { type Linux, Struct } from './system-call.ts';

/** Bits of a cpu_set_t of glibc; kernels for more processors are not served. */
const SET_BITS = 1024;
const SET_BYTES = SET_BITS / 8;

/** Field 39 of /proc/PID/stat, counted from the one after the name, which is the second. */
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
   * The thread runs only on these from now on.
   * @param threadId 0 for the calling thread
   * @returns false when none of them can be had (EINVAL), or there is no such thread (ESRCH)
   */
  pin(processors: readonly number[], threadId: number = 0): boolean {
    const { bytes, address } = this.#mask;
    bytes.fill(0);
    for (const n of processors) {
      assert(n >= 0 && n < SET_BITS, 'a processor is a bit of the set');
      bytes[n >>> 3]! |= 1 << (n & 7);
    }
    if (this.#set(threadId, SET_BYTES, address) === 0) return true;
    const errno = this.#linux.errno();
    if (errno === Errno.EINVAL || errno === Errno.ESRCH) return false;
    return this.#linux.fail('sched_setaffinity', { threadId });
  }

  /** The processors that the thread may run on, in order; none when there is no such thread (ESRCH). */
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

  /** The processor that this thread runs on at this moment. */
  current(): number {
    const processor = this.#current();
    if (processor < 0) this.#linux.fail('sched_getcpu');
    return processor;
  }
}

/** The processor that a thread of this process ran on last; -1 when there is no such thread. */
export function processorOf(threadId: number): number {
  let stat: string;
  try {
    stat = readFileSync(`/proc/self/task/${threadId}/stat`, 'utf8');
  } catch {
    return -1;
  }
  return processorIn(stat);
}

/** The same of the text of a stat file. The name is in brackets and may hold any of them. */
export function processorIn(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[PROCESSOR_AFTER_NAME] ?? -1);
}
