/**
 * The memory of a region without userfaultfd: a memory file. Its resident pages are mapped at the region's addresses. All other
 * addresses are mapped past the end of the file, where an access raises SIGBUS (native/memfd.h). Native code maps and unmaps
 * pages; this class creates the file, moves adopted memory into it, and ends it.
 *
 *   file    page 0 .. pages - 1 │ end
 *   memory  resident ▶ its page   other ▶ pages + its page
 *
 * Invariant: when the file grows to twice its size, the addresses that were past its end become ordinary memory with zeros and
 * the protection that V8 gave them. So a region can end without accessing its addresses. The file is grown to that size once at
 * the start: if the limit of file sizes (RLIMIT_FSIZE) is too low, the region is refused, and its end cannot fail.
 *
 * Sources: mmap(2), memfd_create(2), ftruncate(2).
 */
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import { formatSize } from '../base/size.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { NativeCall } from '../os/koffi.ts';
import { type Mapping, Protection } from '../os/linux/mapping.ts';
import { callError, type Linux } from '../os/linux/system-call.ts';
import { BATCH_PAGES } from '../pager/evictor.ts';
import type { UffdFrames } from './uffd-memory.ts';

/** @throws SwapError ERR_IO_SYSTEM */
function createFile(mapping: Mapping, bytes: number): number {
  try {
    const fd = mapping.createMemoryFile('frontswap', 2 * bytes);
    mapping.resizeFile(fd, bytes);
    return fd;
  } catch (error) {
    const { facts } = error as SwapError;
    if (facts?.['errno'] !== 'EFBIG') throw error;
    throw new SwapError(
      'ERR_IO_SYSTEM',
      `paging a memory of ${formatSize(bytes)} needs a file of twice that size, which exceeds the limit of file sizes: ` +
        'raise it (ulimit -f unlimited; LimitFSIZE= of systemd)',
      facts,
      { cause: error },
    );
  }
}

export interface MemfdMemoryOptions {
  readonly address: number;
  readonly pages: number;
  readonly linux: Linux;
  readonly mapping: Mapping;
  readonly frames: UffdFrames;
}

export class MemfdMemory {
  readonly address: number;
  readonly pages: number;
  readonly fd: number;
  readonly #linux: Linux;
  readonly #mapping: Mapping;
  readonly #frames: UffdFrames;
  readonly #pread: NativeCall;
  readonly #pwrite: NativeCall;
  #isMapped = false;

  /** Creates the file; the memory does not change until map(). */
  constructor({ address, pages, linux, mapping, frames }: MemfdMemoryOptions) {
    this.address = address;
    this.pages = pages;
    this.#linux = linux;
    this.#mapping = mapping;
    this.#frames = frames;
    this.#pread = linux.bind('int64_t pread(int fd, uintptr_t to, size_t bytes, int64_t position)');
    this.#pwrite = linux.bind(
      'int64_t pwrite(int fd, uintptr_t from, size_t bytes, int64_t position)',
    );
    this.fd = createFile(mapping, pages * PAGE_BYTES);
  }

  /** Copies a page of the memory to the file, before map(). */
  keep(page: number): void {
    assert(!this.#isMapped, 'the memory is not mapped yet');
    const at = page * PAGE_BYTES;
    const done = this.#pwrite(this.fd, this.address + at, PAGE_BYTES, at);
    if (done !== PAGE_BYTES) throw callError('pwrite', this.#linux.errno(), { page });
  }

  /** Replaces the memory: accesses to the first `accessible` pages raise SIGBUS, accesses to other pages SIGSEGV. */
  map(accessible: number): void {
    const { fd, pages } = this;
    const end = pages * PAGE_BYTES;
    this.#isMapped = true;
    const protection = Protection.none;
    this.#mapping.mapFile(end, { fd, address: this.address, position: end, protection });
    if (accessible > 0)
      this.#mapping.protect(this.address, accessible * PAGE_BYTES, Protection.readWrite);
  }

  /** Copies pages to the frames `frame` .. */
  copyOut(page: number, count: number, frame: number): void {
    assert(frame + count <= BATCH_PAGES, 'frame + count <= BATCH_PAGES');
    const bytes = count * PAGE_BYTES;
    const to = this.#frames.addressOf(frame);
    for (let done = 0; done < bytes; ) {
      const read = this.#pread(this.fd, to + done, bytes - done, page * PAGE_BYTES + done);
      if (read <= 0) throw callError('pread', this.#linux.errno(), { page, count });
      done += read;
    }
  }

  /** Makes the range ordinary memory; pages that are not resident read as zeros. */
  unregister(accessible: number): void {
    if (!this.#isMapped) return;
    const { fd, address } = this;
    if (accessible > 0) this.#mapping.mapFile(accessible * PAGE_BYTES, { fd, address });
    this.unregisterFreed();
  }

  /** As unregister(), for memory that may have been unmapped or reused. Does not access it. */
  unregisterFreed(): void {
    this.#mapping.resizeFile(this.fd, 2 * this.pages * PAGE_BYTES);
  }

  wake(): void {}

  poison(): void {}

  close(): void {
    this.#linux.close(this.fd);
  }
}
