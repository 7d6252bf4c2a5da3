/**
 * Maps a file over the memory of a WebAssembly.Memory: from then on, stores to the memory go to the file and outlive the
 * process.
 *
 *   WebAssembly.Memory ──base──▶ [ pages of the file: MAP_SHARED | MAP_FIXED ][ V8's guard region, as before ]
 *
 * V8 neither moves the memory nor notices the difference, even when the memory grows (tested on Node 20, 22 and 24).
 * MADV_REMOVE releases freed pages of a shared mapping by punching a hole in the file; MADV_DONTNEED would keep them.
 *
 * If the file system has no space for a page, a store to it ends the process with SIGBUS: the caller must check the space.
 * Sources: mmap(2), madvise(2), tmpfs(5).
 */
import type { PageRelease } from '../../arena/ops.ts';
import { SwapError } from '../../base/errors.ts';
import type { LinearMemory } from '../../codec/linear-memory.ts';
import { Advice, Mapping } from './mapping.ts';
import { loadLinux } from './system-call.ts';

export interface ImageFile {
  readonly fd: number;
  /** Offset of the image in the file, bytes, a multiple of 4096. */
  readonly position: number;
  /** False: a private copy; the file does not change. */
  readonly shared: boolean;
}

/** Whether this machine can map images, and if not, why. */
export const whyNoImages = (): string => loadLinux().reason;

/**
 * Maps a file over a memory that has not been written yet.
 * @throws SwapError ERR_IO_UNSUPPORTED, ERR_IO_SYSTEM
 */
export function mapImage(memory: LinearMemory, { fd, position, shared }: ImageFile): PageRelease {
  const { linux, reason } = loadLinux();
  if (linux === null)
    throw new SwapError('ERR_IO_UNSUPPORTED', `images cannot be mapped here: ${reason}`, {
      reason,
    });
  const mapping = new Mapping(linux);
  const bytes = new Uint8Array(memory.buffer); // referenced below: the address is valid while the memory lives
  const address = mapping.addressOf(bytes);
  mapping.mapFile(bytes.length, { fd, position, shared, address });
  mapping.advise(address, bytes.length, Advice.noHugePage); // otherwise a hole might not release its page
  return {
    release: (at, length) =>
      shared && at + length <= bytes.length && mapping.advise(address + at, length, Advice.remove),
  };
}
