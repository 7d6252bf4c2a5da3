/**
 * Address space: reserve, map, give back, protect, look at.
 *
 *   reserve(64 GiB) ──▶ address ──viewOf──▶ ArrayBuffer over it (owns nothing: unmap it and a touch is SIGSEGV)
 *                          └─ mapAnonymous / mapFile at a fixed address replace any part of it
 *
 * Reserved memory is private, anonymous, readable and writable, and MAP_NORESERVE: it costs address space until it is
 * touched. Addresses and lengths are whole pages; the kernel says EINVAL to others, and that is thrown.
 * Unmapping memory that a view still shows is the caller's fault to avoid: map fresh memory over it instead
 * (mapAnonymous at its address), then stale views read zeros.
 *
 * Answers: `advise` false for EINVAL (this kernel does not know the advice, or not for such memory) and EAGAIN;
 * `viewOf` a RangeError for more than this Node can hold. All else throws ERR_IO_SYSTEM.
 * Cost: one system call each; madvise of one page about 2 us.
 * Sources: mmap(2), munmap(2), mremap(2), madvise(2), mprotect(2), mincore(2), memcpy(3), memfd_create(2), ftruncate(2).
 */
import { constants } from 'node:buffer';
import { assert } from '../../base/assert.ts';
import type { NativeCall } from '../koffi.ts';
import { Errno } from './errno.ts';
import { type Linux, systemError } from './system-call.ts';

/** mmap(2): PROT_*. */
export const Protection = { none: 0, read: 1, write: 2, readWrite: 3 } as const;

/** mmap(2): MAP_*; asm-generic, the same on x86-64 and arm64. */
const MapFlag = { shared: 0x01, private: 0x02, fixed: 0x10, anonymous: 0x20, noReserve: 0x4000 };

/** madvise(2): MADV_*; asm-generic. */
export const Advice = {
  dontNeed: 4,
  free: 8,
  dontFork: 10,
  doFork: 11,
  hugePage: 14,
  noHugePage: 15,
  dontDump: 16,
  cold: 20,
  pageOut: 21,
  populateRead: 22,
  populateWrite: 23,
} as const;
export type Advice = (typeof Advice)[keyof typeof Advice];

/** mremap(2): MREMAP_*. */
export const Remap = { mayMove: 1, fixed: 2, dontUnmap: 4 } as const;

/** memfd_create(2): MFD_*. */
const MFD_CLOEXEC = 1;

/** User addresses end below 2^47 on x86-64 and 2^48 on arm64; more than that no view can have. */
const ADDRESS_END = 2 ** 48;

export interface FileMapping {
  readonly fd: number;
  /** Where in the file; whole pages. */
  readonly position?: number;
  /** True: writes reach the file and everybody who maps it. False: a private copy on write. */
  readonly shared?: boolean;
  readonly protection?: number;
  /** Replace what is mapped there. Without it the kernel chooses the place. */
  readonly address?: number;
}

export class Mapping {
  /** Most bytes that a view may have on this Node: 2^32 on Node 20, 2^53 - 1 on 22.3 and later. */
  readonly viewLimitBytes: number = constants.MAX_LENGTH;
  readonly #linux: Linux;
  readonly #mmap: NativeCall;
  readonly #munmap: NativeCall;
  readonly #mremap: NativeCall;
  readonly #madvise: NativeCall;
  readonly #mprotect: NativeCall;
  readonly #mincore: NativeCall;
  readonly #ftruncate: NativeCall;
  readonly #memcpy: NativeCall;

  constructor(linux: Linux) {
    this.#linux = linux;
    this.#mmap = linux.bind(
      'int64_t mmap(uintptr_t address, size_t length, int protection, int flags, int fd, int64_t offset)',
    );
    this.#munmap = linux.bind('int munmap(uintptr_t address, size_t length)');
    this.#mremap = linux.bind(
      'int64_t mremap(uintptr_t old, size_t oldLength, size_t length, int flags, uintptr_t address)',
    );
    this.#madvise = linux.bind('int madvise(uintptr_t address, size_t length, int advice)');
    this.#mprotect = linux.bind('int mprotect(uintptr_t address, size_t length, int protection)');
    this.#mincore = linux.bind('int mincore(uintptr_t address, size_t length, uintptr_t vector)');
    this.#ftruncate = linux.bind('int ftruncate(int fd, int64_t length)');
    this.#memcpy = linux.bind('uintptr_t memcpy(uintptr_t to, uintptr_t from, size_t length)');
  }

  /** Address space for `bytes`, at an address of the kernel's choice: private, zero, without a reserve of swap. */
  reserve(bytes: number, protection: number = Protection.readWrite): number {
    const flags = MapFlag.private | MapFlag.anonymous | MapFlag.noReserve;
    return this.#map(0, bytes, protection, flags, -1, 0);
  }

  /** Fresh zero memory over whatever is mapped at `address` (MAP_FIXED). Userfault registrations of it end. */
  mapAnonymous(address: number, bytes: number, protection: number = Protection.readWrite): void {
    const flags = MapFlag.private | MapFlag.anonymous | MapFlag.noReserve | MapFlag.fixed;
    this.#map(address, bytes, protection, flags, -1, 0);
  }

  /** A file, or a memfd, in memory. @returns where */
  mapFile(bytes: number, file: FileMapping): number {
    const flags =
      (file.shared === false ? MapFlag.private : MapFlag.shared) |
      MapFlag.noReserve |
      (file.address === undefined ? 0 : MapFlag.fixed);
    const protection = file.protection ?? Protection.readWrite;
    return this.#map(file.address ?? 0, bytes, protection, flags, file.fd, file.position ?? 0);
  }

  #map(
    address: number,
    bytes: number,
    protection: number,
    flags: number,
    fd: number,
    position: number,
  ): number {
    assertRange(address, bytes);
    const at = this.#mmap(address, bytes, protection, flags, fd, position);
    if (at === -1) this.#linux.fail('mmap', { address, bytes });
    return at;
  }

  unmap(address: number, bytes: number): void {
    assertRange(address, bytes);
    if (this.#munmap(address, bytes) !== 0) this.#linux.fail('munmap', { address, bytes });
  }

  /**
   * Grows, shrinks or moves a mapping. @param flags of `Remap`; `target` counts with Remap.fixed
   * @returns where it is now
   */
  remap(
    address: number,
    oldBytes: number,
    bytes: number,
    flags: number,
    target: number = 0,
  ): number {
    assertRange(address, oldBytes);
    assertRange(target, bytes);
    const at = this.#mremap(address, oldBytes, bytes, flags, target);
    if (at === -1) this.#linux.fail('mremap', { address, bytes });
    return at;
  }

  /**
   * Advice about memory; dontNeed and the populates are orders. False: this kernel cannot (EINVAL), or not now
   * (EAGAIN); nothing was done, or only part of it.
   */
  advise(address: number, bytes: number, advice: Advice): boolean {
    assertRange(address, bytes);
    if (this.#madvise(address, bytes, advice) === 0) return true;
    const errno = this.#linux.errno();
    const isAligned = address % this.#linux.pageBytes === 0;
    if (errno === Errno.EAGAIN || (errno === Errno.EINVAL && isAligned)) return false;
    return this.#linux.fail('madvise', { address, bytes, advice });
  }

  /** Copies bytes between addresses: without a view, of which each counts as external memory of its whole size. */
  copy(to: number, from: number, bytes: number): void {
    assertRange(to, bytes);
    assertRange(from, bytes);
    this.#memcpy(to, from, bytes);
  }

  /** @param protection of `Protection` */
  protect(address: number, bytes: number, protection: number): void {
    assertRange(address, bytes);
    if (this.#mprotect(address, bytes, protection) !== 0)
      this.#linux.fail('mprotect', { address, bytes, protection });
  }

  /**
   * Which pages are in memory: a byte a page into `out`, its lowest bit set for those. Swapped pages are not; pages that
   * were never touched are not.
   * @returns how many are
   */
  resident(address: number, bytes: number, out: Uint8Array): number {
    assertRange(address, bytes);
    const pages = Math.ceil(bytes / this.#linux.pageBytes);
    assert(out.length >= pages, 'there is a byte for every page');
    if (this.#mincore(address, bytes, this.#linux.addressOf(out)) !== 0)
      this.#linux.fail('mincore', { address, bytes });
    let count = 0;
    for (let page = 0; page < pages; page++) count += out[page]! & 1;
    return count;
  }

  /** A file in memory alone, `bytes` long, all holes. The name is for /proc. @returns its descriptor */
  createMemoryFile(name: string, bytes: number): number {
    const text = new TextEncoder().encode(`${name}\0`);
    const { systemCall, numbers } = this.#linux;
    const fd = systemCall(numbers.memfdCreate, this.#linux.addressOf(text), MFD_CLOEXEC, 0);
    if (fd === -1) this.#linux.fail('memfd_create', { bytes });
    if (this.#ftruncate(fd, bytes) !== 0) {
      const errno = this.#linux.errno();
      this.#linux.close(fd);
      throw systemError('ftruncate', errno, { bytes });
    }
    return fd;
  }

  /**
   * An ArrayBuffer over memory at an address. It owns nothing, cannot be transferred, and two of one address are two
   * objects over the same bytes; each thread makes its own. A RangeError where this Node cannot hold so many bytes: asked
   * all the same, it would end the process.
   */
  viewOf(address: number, bytes: number): ArrayBuffer {
    assertRange(address, bytes);
    assert(address > 0 && address + bytes <= ADDRESS_END, 'a view lies in the address space');
    if (bytes > this.viewLimitBytes)
      throw new RangeError(
        `a view of ${bytes} bytes is more than the ${this.viewLimitBytes} that Node ${process.version} can hold`,
      );
    return this.#linux.view(address, bytes);
  }

  /** Where the bytes lie, for as long as somebody holds the memory. */
  addressOf(memory: ArrayBufferLike | ArrayBufferView): number {
    return this.#linux.addressOf(memory);
  }
}

function assertRange(address: number, bytes: number): void {
  assert(Number.isSafeInteger(address) && address >= 0, 'an address is a whole number');
  assert(Number.isSafeInteger(bytes) && bytes >= 0, 'a length is a whole number');
}
