/**
 * A cache of file contents in compressed RAM: reads go through it, and a file that has changed is read again.
 *
 * ```ts
 * using cache = new FileCache({ limitBytes: 64 * 2 ** 20 });
 * const bytesRead = cache.read(fd, buffer, 0, buffer.length, 0);
 * ```
 */
export {
  FileCache,
  type FileCacheOptions,
  type FileCacheStats,
} from '../memory/file-cache.ts';
