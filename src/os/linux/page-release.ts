/**
 * Releases pages of a WebAssembly memory to the system: madvise(2) with MADV_DONTNEED on anonymous memory. The pages
 * then read as zeros and use no RAM until they are written again. Node itself can release neither a WebAssembly memory
 * nor part of an ArrayBuffer.
 *
 * Cost: one system call, about 2 us for one page, 0.1 to 0.2 us per page in runs of 32; one heap number per call.
 */
import { keepPages, type PageRelease, type PageReleaseFactory } from '../../arena/ops.ts';
import { assert } from '../../base/assert.ts';
import type { LinearMemory } from '../../codec/linear-memory.ts';
import { loadLibC } from './libc.ts';

/** asm-generic/mman-common.h; the same number on every Linux architecture. */
const MADV_DONTNEED = 4;
const MADV_NOHUGEPAGE = 15;

/** Page release of this system; keepPages if there is none (not Linux, no FFI). */
export function systemPageRelease(platform: NodeJS.Platform): PageReleaseFactory {
  const libc = loadLibC(platform);
  if (libc === null) return keepPages;
  const madvise = libc.bind('int madvise(uintptr_t addr, size_t length, int advice)');
  return (memory: LinearMemory): PageRelease => {
    // A WebAssembly memory does not move, and user addresses are below 2^47. The view keeps the memory from being collected
    // while the address is in use.
    const bytes = new Uint8Array(memory.buffer);
    const base = libc.addressOf(bytes);
    // Otherwise khugepaged would fill the released pages again if huge pages are always enabled.
    madvise(base, bytes.length, MADV_NOHUGEPAGE);
    return {
      release(at, length) {
        assert(at >= 0 && at + length <= bytes.length, 'at + length <= memory length');
        return madvise(base + at, length, MADV_DONTNEED) === 0;
      },
    };
  };
}
