/**
 * The interface of a cleancache backend. The front end (cleancache.ts) owns it; tmem's ephemeral pools implement
 * it (kernel: struct cleancache_ops).
 *
 * Every cached page is a clean copy of file data, so a backend may drop it at any time. After a page was invalidated,
 * replaced or missed, it must not be found again.
 *
 * The key of a page is pool, file key and index. A file key is six 32-bit words at key[0 .. 5]: an inode number in the
 * first two (see inodeKey()), or an exported file handle. A page is 4096 bytes at page[at .. at + 4096).
 */

/** Words of a file key. */
export const FILE_KEY_WORDS = 6;

/** Length of a shared filesystem's uuid, bytes. */
export const UUID_BYTES = 16;

/** Stores clean file pages in pools, one per filesystem or shared filesystem; may drop a page at any time. */
export interface CleancacheBackend {
  readonly name: string;
  /** Creates a private pool for a filesystem with this page size; returns its number, or -1 on failure. */
  initFs(pageBytes: number): number;
  /**
   * Joins the pool that all users of the filesystem with this uuid share, creating it for the first; returns its number,
   * or -1. Each call adds a user, each invalidateFs() removes one.
   */
  initSharedFs(uuid: Uint8Array, pageBytes: number): number;
  /** Copies the page, replacing the one cached before. Returns false if it is refused. */
  put(pool: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean;
  /**
   * Fills the page. Returns false on a miss; the page is then unchanged. A hit removes the page from a private pool,
   * and makes it the most recently used in a shared one. After a miss, every get misses until the next put.
   */
  get(pool: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean;
  /** Drops the page. A page that is not cached is not an error. */
  invalidatePage(pool: number, key: Uint32Array, index: number): void;
  /** Drops all pages of the file. */
  invalidateInode(pool: number, key: Uint32Array): void;
  /** Removes a user of the pool; the last one destroys it. A private pool has one user. */
  invalidateFs(pool: number): void;
}
