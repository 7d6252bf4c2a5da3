/**
 * A read cache that keeps the pages of files compressed in RAM. A file that has changed is read again.
 *
 * ```ts
 * using cache = new FileCache({ limitBytes: 64 * 2 ** 20 });
 * const bytes = cache.read('/srv/data.json', 0, 4096); // a Buffer, as fs.readSync would fill it
 * ```
 */
export {
  FileCache,
  type FileCacheOptions,
  type FileCacheStats,
} from '../memory/file-cache.ts';
