/**
 * What a cleancache backend must be. The front end (cleancache.ts) owns this contract; tmem's ephemeral pools implement
 * it (kernel: struct cleancache_ops).
 *
 * Everything held is a clean copy of what is in a file: it may be dropped at any time without a word. What must never
 * happen is that it is found after it was invalidated, replaced or missed.
 *
 * A page is named by pool, file key and index. A file key is six 32-bit words, at key[0 .. 5]: an inode number in the
 * first two, or a file handle as exported; see inodeKey(). A page is 4096 bytes at page[at .. at + 4096).
 */

/** Words of a file key. */
export const FILE_KEY_WORDS = 6;

/** Bytes of a shared filesystem's uuid. */
export const UUID_BYTES = 16;

export interface CleancacheBackend {
  readonly name: string;
  /** Makes a private pool for a filesystem of such pages; its number, or -1 when there is none for it. */
  initFs(pageBytes: number): number;
  /**
   * Joins the pool that all users of the filesystem with this uuid share, making it for the first; its number, or -1.
   * Each call adds one user, each invalidateFs() takes one away.
   */
  initSharedFs(uuid: Uint8Array, pageBytes: number): number;
  /** Takes a copy of the page, in place of any that it has, or refuses, answering false. */
  put(pool: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean;
  /**
   * Fills the page, or answers false and leaves it alone. From a private pool the page goes with the answer, in a shared
   * one it stays and counts as used just now. After a miss all gets miss until the next put.
   */
  get(pool: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean;
  /** Gives up the page; of one that is not held it is no error. */
  invalidatePage(pool: number, key: Uint32Array, index: number): void;
  /** Gives up all pages of the file. */
  invalidateInode(pool: number, key: Uint32Array): void;
  /** Ends this user's use of the pool. Its pages go with the last user; private pools have one. */
  invalidateFs(pool: number): void;
}
