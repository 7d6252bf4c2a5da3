/**
 * System calls by number, ioctl, and structs in memory that the kernel reads and writes: what the files of os/linux/
 * are built on, over the C library of libc.ts.
 *
 * A call is bound once, by a fixed prototype, also those that C declares with `...` (syscall, ioctl): on x86-64 and on
 * arm64 Linux integer arguments go in the same registers either way.
 *
 * Arguments that are structs lie in memory of a `Struct`, made once, its address taken once: `new ArrayBuffer` does not
 * move, and the object that knows the address holds the buffer.
 *
 * Rules: an errno that the manual page lists as a state of the world is an answer of the method; any other is a
 * SwapError ERR_IO_SYSTEM whose facts name call and errno. One object a thread: loadLinux() in each worker.
 *
 * Left out: architectures other than x86-64 and arm64 (both little-endian, which Struct relies on).
 * Sources: syscall(2), errno(3), sysconf(3); Linux arch/x86/entry/syscalls/syscall_64.tbl, asm-generic/unistd.h.
 */
import { assert } from '../../base/assert.ts';
import { SwapError } from '../../base/errors.ts';
import type { NativeCall } from '../koffi.ts';
import { Errno, errnoName } from './errno.ts';
import { type LibC, loadLibC } from './libc.ts';

/** Numbers of system calls that older C libraries have no function for. */
export interface SystemCallNumbers {
  readonly userfaultfd: number;
  readonly memfdCreate: number;
  readonly gettid: number;
  readonly tgkill: number;
  readonly futex: number;
}

const numbersOf: Readonly<Record<string, SystemCallNumbers>> = {
  x64: { userfaultfd: 323, memfdCreate: 319, gettid: 186, tgkill: 234, futex: 202 },
  arm64: { userfaultfd: 282, memfdCreate: 279, gettid: 178, tgkill: 131, futex: 98 },
};

/** sysconf(3): _SC_PAGESIZE of glibc and of musl. */
const SC_PAGESIZE = 30;

export interface LinuxAnswer {
  /** Null when this machine has none; `reason` says why. */
  readonly linux: Linux | null;
  /** Empty when there is one. */
  readonly reason: string;
}

/** The C library of this process, or null and a reason where there is none that we know how to call. */
export function loadLinux(
  platform: NodeJS.Platform = process.platform,
  architecture: string = process.arch,
): LinuxAnswer {
  if (platform !== 'linux')
    return { linux: null, reason: `the platform is ${platform}, not linux` };
  const numbers = numbersOf[architecture];
  if (numbers === undefined)
    return { linux: null, reason: `no system call numbers for the architecture ${architecture}` };
  try {
    const libc = loadLibC(platform);
    if (libc === null) return { linux: null, reason: 'koffi does not load here' };
    return { linux: new Linux(libc, numbers), reason: '' };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { linux: null, reason: `the C library lacks a function: ${why}` };
  }
}

/** The C library of this process. */
export class Linux {
  readonly numbers: SystemCallNumbers;
  /** Bytes of a page of this kernel: 4096 on x86-64; 4096, 16384 or 65536 on arm64. */
  readonly pageBytes: number;
  /** syscall(2): the number of the call, and three arguments. -1 and errno when it fails. */
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
    assert(this.pageBytes >= 4096, 'the system has pages');
  }

  /** A function of the C library by its prototype. Throws where the library has none. */
  bind(prototype: string): NativeCall {
    return this.#libc.bind(prototype);
  }

  /** errno(3) of the last call that returned -1. */
  errno(): number {
    return this.#libc.errno();
  }

  /** Throws the last call that returned -1 as an error. */
  fail(call: string, facts: SwapError['facts'] = {}): never {
    throw systemError(call, this.errno(), facts);
  }

  /** See LibC.addressOf. */
  addressOf(memory: ArrayBufferLike | ArrayBufferView): number {
    return this.#libc.addressOf(memory);
  }

  /** For mapping.ts, which checks both arguments first: a wrong one ends the process. */
  view(address: number, bytes: number): ArrayBuffer {
    return this.#libc.view(address, bytes);
  }

  /** close(2). The descriptor is gone also when the answer is an error, so that EINTR is none. */
  close(fd: number): void {
    // EINTR: on Linux the descriptor is closed by then; closing it again might close another thread's.
    if (this.#close(fd) !== 0 && this.errno() !== Errno.EINTR) this.fail('close', { fd });
  }
}

/** A call that failed with `errno`, as an error. */
export function systemError(
  call: string,
  errno: number,
  facts: SwapError['facts'] = {},
): SwapError {
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
 * Memory that the kernel reads and writes: words of 32 bits, and of 64 as two of them (a BigInt would be allocated).
 * Offsets are in bytes, as in the kernel's headers, and multiples of four.
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

  /** An unsigned number of 64 bits; exact below 2^53, which addresses and lengths of ours are. */
  get64(at: number): number {
    return this.#words[at >>> 2]! + this.#words[(at >>> 2) + 1]! * TWO_32;
  }

  /** A signed one. */
  getSigned64(at: number): number {
    return this.#words[at >>> 2]! + (this.#words[(at >>> 2) + 1]! | 0) * TWO_32;
  }

  /** @param value 0 .. 2^53 - 1 */
  set64(at: number, value: number): void {
    this.#words[at >>> 2] = value; // modulo 2^32, as every store to a Uint32Array
    this.#words[(at >>> 2) + 1] = value / TWO_32;
  }
}
