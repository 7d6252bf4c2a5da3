/**
 * Address space: reserve, map, advise, protect, query.
 *
 *   reserve(64 GiB) ──▶ address ──viewOf──▶ ArrayBuffer (does not own the memory: access after unmap is SIGSEGV)
 *                          └─ mapAnonymous / mapFile at a fixed address replace any part of it
 *
 * Reserved memory is private, anonymous, readable and writable, and MAP_NORESERVE: it costs only address space until it is
 * touched. Addresses and lengths must be multiples of the page size; otherwise EINVAL is thrown. The caller must not unmap
 * memory that has a view. Instead, map new memory over it (mapAnonymous at its address), so that stale views read zeros.
 *
 * `advise` returns false for EINVAL (this kernel does not support the advice for this memory), EAGAIN and ENOMEM; `viewOf`
 * throws RangeError above Node's limit. All other errors are ERR_IO_SYSTEM.
 * Cost: one system call each; madvise of one page about 2 us.
 * Sources: mmap(2), munmap(2), mremap(2), madvise(2), mprotect(2), mincore(2), memcpy(3), memfd_create(2),
 * ftruncate(2).
 */
import { constants } from 'node:buffer';
import { assert } from '../../base/assert.ts';
import type { NativeCall } from '../koffi.ts';
import { Errno } from './errno.ts';
import { callError, type Linux } from './system-call.ts';

/** mmap(2): PROT_*. */
export const Protection = { none: 0, read: 1, write: 2, readWrite: 3 } as const;

/** mmap(2): MAP_*; asm-generic, the same on x86-64 and arm64. */
const MapFlag = { shared: 0x01, private: 0x02, fixed: 0x10, anonymous: 0x20, noReserve: 0x4000 };

/** madvise(2): MADV_*; asm-generic. */
export const Advice = {
  dontNeed: 4,
  free: 8,
  remove: 9,
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

/** End of user addresses: 2^47 on x86-64, 2^48 on arm64. */
const ADDRESS_END = 2 ** 48;

export interface FileMapping {
  readonly fd: number;
  /** Offset in the file, a multiple of the page size. */
  readonly position?: number;
  /** True: writes reach the file and all its mappings. False: copy-on-write. Default true. */
  readonly shared?: boolean;
  readonly protection?: number;
  /** Replaces the mapping at this address. Default: the kernel chooses the address. */
  readonly address?: number;
}

export class Mapping {
  /** Maximum size of a view, bytes: 2^32 on Node 20, 2^53 - 1 on 22.3 and later. */
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

  /** Reserves address space: private, zeroed, MAP_NORESERVE. @returns its address */
  reserve(bytes: number, protection: number = Protection.readWrite): number {
    const flags = MapFlag.private | MapFlag.anonymous | MapFlag.noReserve;
    return this.#map(0, bytes, protection, flags, -1, 0);
  }

  /** Replaces the mapping at `address` with zeroed memory (MAP_FIXED). Ends its userfaultfd registrations. */
  mapAnonymous(address: number, bytes: number, protection: number = Protection.readWrite): void {
    const flags = MapFlag.private | MapFlag.anonymous | MapFlag.noReserve | MapFlag.fixed;
    this.#map(address, bytes, protection, flags, -1, 0);
  }

  /** Maps a file or memfd. @returns its address */
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
   * Grows, shrinks or moves a mapping. @param flags of `Remap`; `target` is used with Remap.fixed
   * @returns its new address
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
   * madvise(2). Returns false if this kernel does not support the advice (EINVAL), cannot apply it now (EAGAIN), or if part of
   * the range is not mapped (ENOMEM); it may have been applied to part of the range.
   */
  advise(address: number, bytes: number, advice: Advice): boolean {
    assertRange(address, bytes);
    if (this.#madvise(address, bytes, advice) === 0) return true;
    const errno = this.#linux.errno();
    const isAligned = address % this.#linux.pageBytes === 0;
    if (errno === Errno.EAGAIN || errno === Errno.ENOMEM || (errno === Errno.EINVAL && isAligned))
      return false;
    return this.#linux.fail('madvise', { address, bytes, advice });
  }

  /** Copies bytes between addresses without creating views, because V8 counts the full size of each view as external memory. */
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
   * Writes a byte per page to `out`, with bit 0 set if the page is resident. Pages that are swapped or were never touched are
   * not resident.
   * @returns the number of resident pages
   */
  resident(address: number, bytes: number, out: Uint8Array): number {
    assertRange(address, bytes);
    const pages = Math.ceil(bytes / this.#linux.pageBytes);
    assert(out.length >= pages, 'out has a byte per page');
    if (this.#mincore(address, bytes, this.#linux.addressOf(out)) !== 0)
      this.#linux.fail('mincore', { address, bytes });
    let count = 0;
    for (let page = 0; page < pages; page++) count += out[page]! & 1;
    return count;
  }

  /** Creates a memfd of `bytes` bytes. The name appears in /proc. @returns its descriptor */
  createMemoryFile(name: string, bytes: number): number {
    const text = new TextEncoder().encode(`${name}\0`);
    const { systemCall, numbers } = this.#linux;
    const fd = systemCall(numbers.memfdCreate, this.#linux.addressOf(text), MFD_CLOEXEC, 0);
    if (fd === -1) this.#linux.fail('memfd_create', { bytes });
    try {
      this.resizeFile(fd, bytes);
      return fd;
    } catch (error) {
      this.#linux.close(fd);
      throw error;
    }
  }

  /** Sets the size of a file. */
  resizeFile(fd: number, bytes: number): void {
    if (this.#ftruncate(fd, bytes) !== 0)
      throw callError('ftruncate', this.#linux.errno(), { bytes });
  }

  /**
   * An ArrayBuffer over memory at an address. It does not own the memory and cannot be transferred; each thread creates its
   * own. Throws RangeError above Node's limit, because koffi would abort the process.
   */
  viewOf(address: number, bytes: number): ArrayBuffer {
    assertRange(address, bytes);
    assert(address > 0 && address + bytes <= ADDRESS_END, 'address > 0 and end <= 2^48');
    if (bytes > this.viewLimitBytes)
      throw new RangeError(
        `a view of ${bytes} bytes exceeds the limit of ${this.viewLimitBytes} bytes of Node ${process.version}`,
      );
    return this.#linux.view(address, bytes);
  }

  /** The address of a buffer, valid while the buffer is referenced. */
  addressOf(memory: ArrayBufferLike | ArrayBufferView): number {
    return this.#linux.addressOf(memory);
  }
}

function assertRange(address: number, bytes: number): void {
  assert(Number.isSafeInteger(address) && address >= 0, 'address is a whole number, at least 0');
  assert(Number.isSafeInteger(bytes) && bytes >= 0, 'bytes is a whole number, at least 0');
}
