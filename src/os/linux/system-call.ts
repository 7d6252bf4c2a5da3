/**
 * System calls by number, ioctl, and structs in memory that the kernel reads and writes. The other files of os/linux/ use this
 * file, which uses libc.ts.
 *
 * A call is bound once, with a fixed prototype. This includes calls that C declares with `...` (syscall, ioctl): on x86-64 and
 * arm64 Linux, integer arguments use the same registers either way.
 *
 * Struct arguments are in a `Struct` that is allocated once; its address is read once, because an ArrayBuffer does not move and
 * the object that knows the address references the buffer.
 *
 * Rules: an errno that describes an expected state is a result of the method; any other is a SwapError ERR_IO_SYSTEM with the
 * call and the errno in its facts. Create one object per thread: call loadLinux() in each worker.
 *
 * Left out: architectures other than x86-64 and arm64 (both little-endian, which Struct relies on).
 * Sources: syscall(2), errno(3), sysconf(3); Linux arch/x86/entry/syscalls/syscall_64.tbl, asm-generic/unistd.h.
 */
import { assert } from '../../base/assert.ts';
import { SwapError } from '../../base/errors.ts';
import type { NativeCall } from '../koffi.ts';
import { Errno, errnoName } from './errno.ts';
import { type LibC, loadLibC } from './libc.ts';

/** Numbers of system calls that have no function in older C libraries. */
export interface SystemCallNumbers {
  readonly userfaultfd: number;
  readonly memfdCreate: number;
  readonly gettid: number;
  readonly tgkill: number;
  readonly futex: number;
  readonly ioSetup: number;
  readonly ioDestroy: number;
  readonly ioGetEvents: number;
  readonly ioSubmit: number;
  readonly ioCancel: number;
}

const numbersOf: Readonly<Record<string, SystemCallNumbers>> = {
  x64: {
    ...{ userfaultfd: 323, memfdCreate: 319, gettid: 186, tgkill: 234, futex: 202 },
    ...{ ioSetup: 206, ioDestroy: 207, ioGetEvents: 208, ioSubmit: 209, ioCancel: 210 },
  },
  arm64: {
    ...{ userfaultfd: 282, memfdCreate: 279, gettid: 178, tgkill: 131, futex: 98 },
    ...{ ioSetup: 0, ioDestroy: 1, ioGetEvents: 4, ioSubmit: 2, ioCancel: 3 },
  },
};

/** sysconf(3): _SC_PAGESIZE of glibc and of musl. */
const SC_PAGESIZE = 30;

export interface LoadedLinux {
  /** Null if not supported; `reason` says why. */
  readonly linux: Linux | null;
  /** Why linux is null; empty otherwise. */
  readonly reason: string;
}

/** The system calls of this process, or null and the reason if they are not supported. */
export function loadLinux(
  platform: NodeJS.Platform = process.platform,
  architecture: string = process.arch,
): LoadedLinux {
  if (platform !== 'linux')
    return { linux: null, reason: `the platform is ${platform}, not linux` };
  const numbers = numbersOf[architecture];
  if (numbers === undefined)
    return { linux: null, reason: `no system call numbers for the architecture ${architecture}` };
  try {
    const libc = loadLibC(platform);
    if (libc === null) return { linux: null, reason: 'koffi does not load on this machine' };
    return { linux: new Linux(libc, numbers), reason: '' };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { linux: null, reason: `the C library lacks a function: ${why}` };
  }
}

/** System calls of this process, for one thread. */
export class Linux {
  readonly numbers: SystemCallNumbers;
  /** Page size of this kernel, bytes: 4096 on x86-64; 4096, 16384 or 65536 on arm64. */
  readonly pageBytes: number;
  /** syscall(2): number and three arguments. Returns -1 and sets errno on failure. */
  readonly systemCall: NativeCall;
  /** ioctl(2): descriptor, request, address of the argument. */
  readonly ioctl: NativeCall;
  readonly #libc: LibC;
  readonly #close: NativeCall;

  constructor(libc: LibC, numbers: SystemCallNumbers) {
    this.#libc = libc;
    this.numbers = numbers;
    this.systemCall = this.bind(
      'int64_t syscall(int64_t number, uintptr_t a, uintptr_t b, uintptr_t c)',
    );
    this.ioctl = this.bind('int ioctl(int fd, unsigned long request, uintptr_t argument)');
    this.#close = this.bind('int close(int fd)');
    this.pageBytes = this.bind('int64_t sysconf(int name)')(SC_PAGESIZE);
    assert(this.pageBytes >= 4096, 'pageBytes >= 4096');
  }

  /** See LibC.bind. */
  bind(prototype: string): NativeCall {
    return this.#libc.bind(prototype);
  }

  /** errno(3) of the last call that returned -1. */
  errno(): number {
    return this.#libc.errno();
  }

  /** Throws an error for the last call that returned -1. */
  fail(call: string, facts: SwapError['facts'] = {}): never {
    throw callError(call, this.errno(), facts);
  }

  /** See LibC.addressOf. */
  addressOf(memory: ArrayBufferLike | ArrayBufferView): number {
    return this.#libc.addressOf(memory);
  }

  /** For mapping.ts, which checks both arguments first: wrong ones abort the process. */
  view(address: number, bytes: number): ArrayBuffer {
    return this.#libc.view(address, bytes);
  }

  /** close(2). */
  close(fd: number): void {
    // On Linux the descriptor is closed even after EINTR; closing it again could close a descriptor of another thread.
    if (this.#close(fd) !== 0 && this.errno() !== Errno.EINTR) this.fail('close', { fd });
  }

  /**
   * close(2) of a descriptor that a peer sent. Errors are ignored: its file (on FUSE or NFS, for example) may fail close(2)
   * with any error, and the descriptor is closed nevertheless.
   */
  closeReceived(fd: number): void {
    this.#close(fd);
  }
}

/** The error for a call that failed with `errno`. */
export function callError(call: string, errno: number, facts: SwapError['facts'] = {}): SwapError {
  const name = errnoName(errno);
  const said = Object.entries(facts).map(([key, value]) => ` ${key} ${value}`);
  return new SwapError('ERR_IO_SYSTEM', `${call} failed: ${name}${said.join(',')}`, {
    ...facts,
    call,
    errno: name,
  });
}

const TWO_32 = 0x1_0000_0000;

/**
 * Memory that the kernel reads and writes. 64-bit fields are accessed as two 32-bit words, because a BigInt would be allocated.
 * Offsets are in bytes, as in the kernel headers, and multiples of 4.
 */
export class Struct {
  readonly bytes: Uint8Array;
  readonly address: number;
  readonly #words: Uint32Array;

  constructor(linux: Linux, length: number) {
    const buffer = new ArrayBuffer(Math.ceil(length / 8) * 8);
    this.bytes = new Uint8Array(buffer);
    this.#words = new Uint32Array(buffer);
    this.address = linux.addressOf(buffer);
  }

  get32(at: number): number {
    return this.#words[at >>> 2]!;
  }

  set32(at: number, value: number): void {
    this.#words[at >>> 2] = value;
  }

  /** An unsigned 64-bit field; exact below 2^53, as all addresses and lengths are. */
  get64(at: number): number {
    return this.#words[at >>> 2]! + this.#words[(at >>> 2) + 1]! * TWO_32;
  }

  /** A signed 64-bit field. */
  getSigned64(at: number): number {
    return this.#words[at >>> 2]! + (this.#words[(at >>> 2) + 1]! | 0) * TWO_32;
  }

  /** @param value 0 .. 2^53 - 1 */
  set64(at: number, value: number): void {
    this.#words[at >>> 2] = value; // modulo 2^32, as any store to a Uint32Array
    this.#words[(at >>> 2) + 1] = value / TWO_32;
  }
}
