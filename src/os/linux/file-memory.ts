/**
 * A part of a memory file that another process shares, mapped into this process.
 *
 * The file is mapped over the bytes of a WebAssembly.Memory: V8 owns the address space, and frees it when no view is left.
 * unmap() replaces the file with private zeros, so a view that is still used reads zeros, and its writes reach no other
 * process.
 *
 * The peer can change the bytes at any moment, but must not be able to make an access fail: an access past the end of a file
 * raises SIGBUS, which ends this process. So whyUnsafe() accepts only a file that can no longer shrink (F_SEAL_SHRINK) and
 * always has its pages (no huge pages, because these can run out).
 *
 * Sources: memfd_create(2), fcntl(2) F_GET_SEALS, fstat(2), mmap(2).
 */
import { fstatSync, readlinkSync } from 'node:fs';
import { assert } from '../../base/assert.ts';
import { SwapError } from '../../base/errors.ts';
import { createMemory, type LinearMemory } from '../../codec/linear-memory.ts';
import type { NativeCall } from '../koffi.ts';
import { Advice, Mapping } from './mapping.ts';
import type { Linux } from './system-call.ts';

/** Longest piece: indices of its bytes are small integers. */
export const PIECE_BYTES_MAX: number = 2 ** 30;

const WASM_PAGE_BYTES = 65536;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const Seal = { seal: 1, shrink: 2, grow: 4 } as const;
/** MFD_CLOEXEC | MFD_ALLOW_SEALING */
const MEMORY_FILE_FLAGS = 3;

const fcntlOf = (linux: Linux): NativeCall =>
  linux.bind('int fcntl(int fd, int command, int value)');

/** What is wrong with a memory file, as text for people; null: the `bytes` from `position` on can be mapped. */
export function whyUnsafe(
  linux: Linux,
  fd: number,
  position: number,
  bytes: number,
): string | null {
  const seals = fcntlOf(linux)(fd, F_GET_SEALS, 0);
  if (seals === -1 || (seals & Seal.shrink) === 0)
    return 'the file of the memory may shrink, which would end the host: use a memory file with F_SEAL_SHRINK (QEMU: -object memory-backend-memfd, which has seal=on by default)';
  const { size, blksize } = fstatSync(fd);
  if (blksize > linux.pageBytes)
    return `the memory has huge pages of ${blksize} bytes, which can run out: use hugetlb=off`;
  if (position % linux.pageBytes !== 0)
    return `its offset ${position} is not a multiple of ${linux.pageBytes}`;
  if (position + bytes > size)
    return `it ends at ${position + bytes}, but its file has ${size} bytes`;
  return null;
}

/** Whether a descriptor is an eventfd. */
export function isEventFd(fd: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[eventfd]';
  } catch {
    return false;
  }
}

/** Creates a memory file with a fixed size. @returns its descriptor */
export function createSealedFile(linux: Linux, name: string, bytes: number): number {
  const text = new TextEncoder().encode(`${name}\0`.padEnd(128, '\0'));
  const { systemCall, numbers } = linux;
  const fd = systemCall(numbers.memfdCreate, linux.addressOf(text), MEMORY_FILE_FLAGS, 0);
  if (fd === -1) linux.fail('memfd_create', { bytes });
  try {
    new Mapping(linux).resizeFile(fd, bytes);
    const seals = Seal.shrink | Seal.grow | Seal.seal;
    if (fcntlOf(linux)(fd, F_ADD_SEALS, seals) !== 0) linux.fail('fcntl F_ADD_SEALS');
    return fd;
  } catch (error) {
    linux.close(fd);
    throw error;
  }
}

function memoryOf(bytes: number): LinearMemory {
  try {
    return createMemory(bytes);
  } catch (cause) {
    throw new SwapError(
      'ERR_IO_UNSUPPORTED',
      `no address space is left to map ${bytes} bytes (10 GiB for each GiB of the guest): raise ulimit -v`,
      { reason: 'address space', bytes },
      { cause },
    );
  }
}

export class FileMemory {
  /** Referenced to keep the address space. */
  readonly #memory: LinearMemory;
  readonly #mapping: Mapping;
  readonly #mappedBytes: number;
  readonly bytes: Uint8Array;
  #isMapped = true;

  /**
   * Maps `bytes` of a file that whyUnsafe() accepts. The descriptor can be closed afterwards.
   * @throws SwapError ERR_IO_SYSTEM; ERR_IO_UNSUPPORTED: no address space is left
   */
  constructor(linux: Linux, fd: number, position: number, bytes: number) {
    assert(bytes > 0 && bytes <= PIECE_BYTES_MAX, '0 < bytes <= 1 GiB');
    const { pageBytes } = linux;
    this.#mapping = new Mapping(linux);
    this.#memory = memoryOf(Math.ceil(bytes / WASM_PAGE_BYTES) * WASM_PAGE_BYTES);
    this.#mappedBytes = Math.ceil(bytes / pageBytes) * pageBytes;
    this.bytes = new Uint8Array(this.#memory.buffer, 0, bytes);
    const address = this.#mapping.addressOf(this.bytes);
    this.#mapping.mapFile(this.#mappedBytes, { fd, position, address });
    this.#mapping.advise(address, this.#mappedBytes, Advice.dontDump);
  }

  /** From now on the bytes read as zeros. */
  unmap(): void {
    if (!this.#isMapped) return;
    this.#isMapped = false;
    this.#mapping.mapAnonymous(this.#mapping.addressOf(this.bytes), this.#mappedBytes);
  }
}
