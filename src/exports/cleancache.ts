/**
 * Cleancache: a second chance for clean file pages. A file system puts the pages that it evicts, and asks for them
 * again before it reads the disk; the cache may drop any page at any time.
 *
 * Source: Linux mm/cleancache.c, Documentation/vm/cleancache.txt (3.0).
 */
export { TmemCleancache } from '../cleancache/backends/tmem-cleancache.ts';
export { Cleancache, inodeKey, NO_FILESYSTEM } from '../cleancache/cleancache.ts';
export type { CleancacheBackend } from '../cleancache/ops.ts';
