/**
 * This process and its kernel, as far as the memory door asks: who we are, what we may, how much is resident, how to say
 * something and end without Node's help (a thread whose main thread is stuck can use neither console nor process.exit).
 *
 * Cost: /proc files are read whole, tens of microseconds; smaps_rollup walks the page tables, milliseconds a gibibyte.
 * Sources: gettid(2), tgkill(2), getrlimit(2), dup(2), write(2), _exit(2), abort(3); proc_pid_status(5), proc_pid_smaps(5),
 * capabilities(7), proc_sys_vm(5).
 */
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { assert } from '../../base/assert.ts';
import type { NativeCall } from '../koffi.ts';
import { type Linux, Struct } from './system-call.ts';

/** capabilities(7): the bits that decide who may have a userfaultfd, and who may set affinities and limits. */
export const Capability = { sysPtrace: 19, sysNice: 23, sysResource: 24, ipcLock: 14 } as const;

/** getrlimit(2): RLIMIT_*. */
export const Limit = { data: 2, stack: 3, openFiles: 7, addressSpace: 9, lockedMemory: 8 } as const;

/** RLIM_INFINITY, all 64 bits set, as a Number. */
const NO_LIMIT = 2 ** 64;
const STDERR = 2;
/** The same number on x86-64 and arm64. */
const O_CLOEXEC = 0o2000000;
/** Bytes that one note to stderr has at most; what is longer is cut. */
const NOTE_BYTES = 1024;

export class Process {
  readonly #linux: Linux;
  readonly #write: NativeCall;
  readonly #dup3: NativeCall;
  readonly #exit: NativeCall;
  readonly #abort: NativeCall;
  readonly #getrlimit: NativeCall;
  readonly #note: Struct;
  readonly #encoder = new TextEncoder();

  constructor(linux: Linux) {
    this.#linux = linux;
    this.#write = linux.bind('int64_t write(int fd, uintptr_t buffer, size_t count)');
    this.#dup3 = linux.bind('int dup3(int from, int to, int flags)');
    this.#exit = linux.bind('void _exit(int status)');
    this.#abort = linux.bind('void abort()');
    this.#getrlimit = linux.bind('int getrlimit(int resource, uintptr_t limits)');
    this.#note = new Struct(linux, NOTE_BYTES);
  }

  /** The calling thread, by the number that /proc/self/task and the messages of a userfaultfd use. */
  threadId(): number {
    return this.#linux.systemCall(this.#linux.numbers.gettid, 0, 0, 0);
  }

  /** Whether this process has a thread of the number. tgkill(2) with no signal; a number is used again some day. */
  hasThread(id: number): boolean {
    return this.#linux.systemCall(this.#linux.numbers.tgkill, process.pid, id, 0) === 0;
  }

  /** Writes text to descriptor 2 at once, from any thread. Cut after 1024 bytes; an error of write(2) is nobody's to hear. */
  note(text: string): void {
    const { written } = this.#encoder.encodeInto(text, this.#note.bytes);
    this.#write(STDERR, this.#note.address, written);
  }

  /** `to` becomes another name of `from`, and no child's; what `to` was is closed. */
  duplicate(from: number, to: number): void {
    if (this.#dup3(from, to, O_CLOEXEC) === -1) this.#linux.fail('dup3', { from, to });
  }

  /** Ends the process now, without handlers and without waiting for other threads. _exit(2). */
  exitNow(status: number): never {
    this.#exit(status);
    throw new Error('_exit returned');
  }

  /** Ends the process by SIGABRT, with a core dump where they are on. abort(3). */
  abort(): never {
    this.#abort();
    throw new Error('abort returned');
  }

  /** Soft and hard limit of a resource of `Limit`; Infinity for none. */
  limit(resource: number): { readonly soft: number; readonly hard: number } {
    const pair = new Struct(this.#linux, 16);
    if (this.#getrlimit(resource, pair.address) !== 0) this.#linux.fail('getrlimit', { resource });
    const numberOf = (value: number): number =>
      value >= NO_LIMIT ? Number.POSITIVE_INFINITY : value;
    return { soft: numberOf(pair.get64(0)), hard: numberOf(pair.get64(8)) };
  }
}

/** True when the effective set of this process has a capability of `Capability`. */
export function hasCapability(bit: number): boolean {
  return isInCapabilities(readFileSync('/proc/self/status', 'utf8'), bit);
}

/** The same of the text of a status file. @returns false where it has no CapEff line */
export function isInCapabilities(status: string, bit: number): boolean {
  assert(bit >= 0 && bit < 64, 'a capability is a bit of 64');
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

/** vm.unprivileged_userfaultfd: 1 when anybody may have the kernel's faults too. Null where the kernel has no such thing. */
export function unprivilegedUserfaultfd(): number | null {
  try {
    return Number(readFileSync('/proc/sys/vm/unprivileged_userfaultfd', 'utf8'));
  } catch {
    return null;
  }
}

/** Bytes of this process that are in memory: VmRSS, quick and up to some hundred pages behind (proc_pid_status(5)). */
export function residentBytes(): number {
  return kibibytesOf(readFileSync('/proc/self/status', 'utf8'), 'VmRSS');
}

export interface ExactMemory {
  readonly residentBytes: number;
  /** Shared pages by their share. */
  readonly proportionalBytes: number;
  readonly anonymousBytes: number;
  readonly swappedBytes: number;
}

/** The same exactly, from the page tables: smaps_rollup. */
export function exactMemory(): ExactMemory {
  const text = readFileSync('/proc/self/smaps_rollup', 'utf8');
  return {
    residentBytes: kibibytesOf(text, 'Rss'),
    proportionalBytes: kibibytesOf(text, 'Pss'),
    anonymousBytes: kibibytesOf(text, 'Anonymous'),
    swappedBytes: kibibytesOf(text, 'Swap'),
  };
}

/** The value of a line `name:  1234 kB`, in bytes; 0 where there is no such line. */
function kibibytesOf(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024;
}
