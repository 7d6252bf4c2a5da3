/**
 * Information about this process and its kernel: thread ids, capabilities, limits, resident memory; and calls that write to
 * stderr or end the process without Node (while the main thread is blocked, other threads can use neither console nor
 * process.exit).
 *
 * Cost: reading a /proc file takes tens of microseconds; smaps_rollup walks the page tables, milliseconds per GiB.
 * Sources: gettid(2), tgkill(2), getrlimit(2), dup(2), write(2), _exit(2), abort(3); proc_pid_status(5),
 * proc_pid_smaps(5), capabilities(7), proc_sys_vm(5).
 */
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { assert } from '../../base/assert.ts';
import type { NativeCall } from '../koffi.ts';
import { type Linux, Struct } from './system-call.ts';

/** capabilities(7): the bits for userfaultfd, affinities, limits and locked memory. */
export const Capability = { sysPtrace: 19, sysNice: 23, sysResource: 24, ipcLock: 14 } as const;

/** getrlimit(2): RLIMIT_*. */
export const Limit = { data: 2, stack: 3, openFiles: 7, addressSpace: 9, lockedMemory: 8 } as const;

/** RLIM_INFINITY (all 64 bits set) as a Number. */
const NO_LIMIT = 2 ** 64;
const STDERR = 2;
/** The same number on x86-64 and arm64. */
const O_CLOEXEC = 0o2000000;
/** Maximum bytes per writeStderr(); longer text is truncated. */
const TEXT_BYTES_MAX = 1024;

export class Process {
  readonly #linux: Linux;
  readonly #write: NativeCall;
  readonly #dup3: NativeCall;
  readonly #exit: NativeCall;
  readonly #abort: NativeCall;
  readonly #getrlimit: NativeCall;
  readonly #text: Struct;
  readonly #encoder = new TextEncoder();

  constructor(linux: Linux) {
    this.#linux = linux;
    this.#write = linux.bind('int64_t write(int fd, uintptr_t buffer, size_t count)');
    this.#dup3 = linux.bind('int dup3(int from, int to, int flags)');
    this.#exit = linux.bind('void _exit(int status)');
    this.#abort = linux.bind('void abort()');
    this.#getrlimit = linux.bind('int getrlimit(int resource, uintptr_t limits)');
    this.#text = new Struct(linux, TEXT_BYTES_MAX);
  }

  /** Thread id of the calling thread, as in /proc/self/task and userfaultfd messages. */
  threadId(): number {
    return this.#linux.systemCall(this.#linux.numbers.gettid, 0, 0, 0);
  }

  /** Whether this process has a thread with this id. tgkill(2) with signal 0. The kernel reuses ids. */
  hasThread(id: number): boolean {
    return this.#linux.systemCall(this.#linux.numbers.tgkill, process.pid, id, 0) === 0;
  }

  /** Writes text to stderr immediately, from any thread. Truncated to 1024 bytes; errors of write(2) are ignored. */
  writeStderr(text: string): void {
    const { written } = this.#encoder.encodeInto(text, this.#text.bytes);
    this.#write(STDERR, this.#text.address, written);
  }

  /** Makes `to` a duplicate of `from`, with close-on-exec; closes the previous `to`. dup3(2). */
  duplicate(from: number, to: number): void {
    if (this.#dup3(from, to, O_CLOEXEC) === -1) this.#linux.fail('dup3', { from, to });
  }

  /** Ends the process immediately, without exit handlers and without waiting for other threads. _exit(2). */
  exitNow(status: number): never {
    this.#exit(status);
    throw new Error('_exit returned');
  }

  /** Ends the process with SIGABRT, and a core dump if enabled. abort(3). */
  abort(): never {
    this.#abort();
    throw new Error('abort returned');
  }

  /** Soft and hard limit of a resource of `Limit`; Infinity if unlimited. */
  limit(resource: number): { readonly soft: number; readonly hard: number } {
    const pair = new Struct(this.#linux, 16);
    if (this.#getrlimit(resource, pair.address) !== 0) this.#linux.fail('getrlimit', { resource });
    const numberOf = (value: number): number =>
      value >= NO_LIMIT ? Number.POSITIVE_INFINITY : value;
    return { soft: numberOf(pair.get64(0)), hard: numberOf(pair.get64(8)) };
  }
}

/** True if this process has the effective capability, one of `Capability`. */
export function hasCapability(bit: number): boolean {
  return isInCapabilities(readFileSync('/proc/self/status', 'utf8'), bit);
}

/** The same for the text of a status file. @returns false without a CapEff line */
export function isInCapabilities(status: string, bit: number): boolean {
  assert(bit >= 0 && bit < 64, 'bit: 0 .. 63');
  const digits = /^CapEff:\s*([0-9a-f]{16})$/m.exec(status)?.[1];
  if (digits === undefined) return false;
  const half = Number.parseInt(bit < 32 ? digits.slice(8) : digits.slice(0, 8), 16);
  return ((half >>> (bit & 31)) & 1) === 1;
}

export interface KernelRelease {
  readonly major: number;
  readonly minor: number;
  readonly text: string;
}

/** uname(2). @param text for tests */
export function kernelRelease(text: string = release()): KernelRelease {
  const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(text) ?? [];
  return { major: Number(major), minor: Number(minor), text };
}

/** vm.unprivileged_userfaultfd: 1 if unprivileged users can also handle kernel faults. Null if the kernel lacks it. */
export function unprivilegedUserfaultfd(): number | null {
  try {
    return Number(readFileSync('/proc/sys/vm/unprivileged_userfaultfd', 'utf8'));
  } catch {
    return null;
  }
}

/** Resident bytes of this process: VmRSS, fast but inaccurate by up to a few hundred pages (proc_pid_status(5)). */
export function residentBytes(): number {
  return kibibytesOf(readFileSync('/proc/self/status', 'utf8'), 'VmRSS');
}

export interface ExactMemory {
  readonly residentBytes: number;
  /** Pss: each shared page divided by its number of users. */
  readonly proportionalBytes: number;
  readonly anonymousBytes: number;
  readonly swappedBytes: number;
}

/** Exact figures, from the page tables: smaps_rollup. */
export function exactMemory(): ExactMemory {
  const text = readFileSync('/proc/self/smaps_rollup', 'utf8');
  return {
    residentBytes: kibibytesOf(text, 'Rss'),
    proportionalBytes: kibibytesOf(text, 'Pss'),
    anonymousBytes: kibibytesOf(text, 'Anonymous'),
    swappedBytes: kibibytesOf(text, 'Swap'),
  };
}

/** The value of a line `name:  1234 kB`, in bytes; 0 without such a line. */
function kibibytesOf(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024;
}
