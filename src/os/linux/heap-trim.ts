/**
 * Keeps what malloc has freed from staying resident (glibc: mallopt(3), malloc_trim(3)). A runtime's compilers and
 * collectors run in threads of their own; each has an arena, and after a burst of work a mebibyte or so of it is free
 * at the top, where malloc_trim does not look. A fixed threshold makes free() itself give such a top back; glibc's
 * own grows with the largest block ever freed.
 *
 * Cost: malloc_trim takes a millisecond or so; it is for when nobody is waiting.
 */
import { loadLibC } from './libc.ts';

/** malloc.h */
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const THRESHOLD_BYTES = 128 * 1024;

/**
 * Fixes malloc's thresholds for the life of the process.
 * @returns malloc_trim; does nothing where the C library has none (musl, not Linux, no FFI)
 */
export function systemHeapTrim(platform: NodeJS.Platform): () => void {
  const libc = loadLibC(platform);
  if (libc === null) return () => {};
  try {
    const mallopt = libc.bind('int mallopt(int option, int value)');
    const trim = libc.bind('int malloc_trim(size_t pad)');
    mallopt(M_TRIM_THRESHOLD, THRESHOLD_BYTES);
    mallopt(M_MMAP_THRESHOLD, THRESHOLD_BYTES);
    return () => void trim(0);
  } catch {
    return () => {};
  }
}
