/**
 * Gives what malloc has freed back to the system: malloc_trim(3) of glibc, over all arenas. A runtime's compilers and
 * collectors run in threads of their own and leave a mebibyte or two in each one's arena after a burst of work.
 *
 * Cost: a millisecond or so; for when nobody is waiting.
 */
import { loadKoffi } from './koffi.ts';

/** Calls malloc_trim; does nothing where the C library has none (musl, not Linux, no FFI). */
export function systemHeapTrim(platform: NodeJS.Platform): () => void {
  const koffi = platform === 'linux' ? loadKoffi() : null;
  try {
    const trim = koffi?.load(null).func('int malloc_trim(size_t)');
    return trim === undefined ? () => {} : () => void trim(0);
  } catch {
    return () => {};
  }
}
