/**
 * Gives pages of a WebAssembly memory back to the system: madvise(2) with MADV_DONTNEED on anonymous memory.
 * The pages read as zeros afterwards and cost nothing until they are written again. Without the call neither
 * a WebAssembly memory nor part of an ArrayBuffer can be handed back by Node.
 *
 * Cost: one system call, about 2 us for one page, 0.1 to 0.2 us a page in runs of 32. One number of garbage a call.
 */
import { keepPages, type PageRelease, type PageReleaseFactory } from '../../arena/ops.ts';
import { assert } from '../../base/assert.ts';
import type { LinearMemory } from '../../codec/linear-memory.ts';
import { loadLibC } from './libc.ts';

/** asm-generic/mman-common.h; the same number on every Linux architecture. */
const MADV_DONTNEED = 4;
const MADV_NOHUGEPAGE = 15;

/** The system's way to take memory back; keepPages where there is none (not Linux, no FFI). */
export function systemPageRelease(platform: NodeJS.Platform): PageReleaseFactory {
  const libc = loadLibC(platform);
  if (libc === null) return keepPages;
  const madvise = libc.bind('int madvise(uintptr_t addr, size_t length, int advice)');
  return (memory: LinearMemory): PageRelease => {
    // A WebAssembly memory does not move, and user addresses are below 2^47: a number holds them. The view is held
    // as long as the address is: it keeps the memory from being collected.
    const bytes = new Uint8Array(memory.buffer);
    const base = libc.addressOf(bytes);
    // Where huge pages are always on, the kernel would fill what was given back again with the next pass.
    madvise(base, bytes.length, MADV_NOHUGEPAGE);
    return {
      release(at, length) {
        assert(at >= 0 && at + length <= bytes.length, 'what is given back is inside its memory');
        return madvise(base + at, length, MADV_DONTNEED) === 0;
      },
    };
  };
}
