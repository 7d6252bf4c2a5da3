/**
 * Maps a file over the memory of a WebAssembly.Memory: its stores are stores into the file from then on, and outlive the process.
 *
 *   WebAssembly.Memory ──base──▶ [ pages of the file: MAP_SHARED | MAP_FIXED ][ V8's guard region, as before ]
 *
 * V8 neither moves the memory nor sees the difference, also when the memory grows (tested on Node 20, 22 and 24). Freed
 * pages of a shared mapping are released by MADV_REMOVE, which punches a hole in the file; MADV_DONTNEED would keep them.
 *
 * A store to a page for which the file system has no space ends the process by SIGBUS: the caller checks the space.
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

/** Whether this machine can map images; if not, why. */
export const whyNoImages = (): string => loadLinux().reason;

/**
 * Maps a file over a memory that no one has written to yet.
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
  mapping.advise(address, bytes.length, Advice.noHugePage); // else a hole may not release its page
  return {
    release: (at, length) =>
      shared && at + length <= bytes.length && mapping.advise(address + at, length, Advice.remove),
  };
}
