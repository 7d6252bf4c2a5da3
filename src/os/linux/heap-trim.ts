/**
 * Releases freed malloc memory to the system (glibc: mallopt(3), malloc_trim(3)). The compiler and collector threads of the
 * runtime each have a malloc arena. After a burst of work, about 1 MiB is free at the top of each arena, and malloc_trim does
 * not release it. With a fixed trim threshold, free() releases it; glibc's default threshold grows with the largest block ever
 * freed.
 *
 * Cost: malloc_trim takes about 1 ms; call it while idle.
 */
import { loadLibC } from './libc.ts';

/** malloc.h */
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const THRESHOLD_BYTES = 128 * 1024;

/**
 * Sets fixed malloc thresholds for the process.
 * @returns malloc_trim; without effect if the C library lacks it (musl, not Linux, no FFI)
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
