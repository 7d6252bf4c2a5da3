/**
 * cleancache: the hook between filesystems and whoever keeps clean file pages beyond the page cache. A filesystem opts in
 * when it is mounted and gets a handle; pages that reclaim takes from the page cache are put, and before a page is read
 * from disk it is asked for here.
 *
 *   mount ──initFs──▶ handle 1000 + row, or 2000 + row when shared ──▶ table: row ▶ pool of the backend
 *   reclaim ──put──▶         read ──get──▶         write, truncate, unlink, umount ──invalidate──▶
 *
 * Handles stand for pools, so that a filesystem can be mounted before there is a backend: then nothing is kept, and its pool
 * is made when a backend registers. Handles below 0 are of filesystems that got no row, and are no-ops.
 *
 * Invariants
 * - put-put-get: whatever a second put answers, the first page is gone: refused by the backend, it is invalidated here.
 * - An invalidate reaches the backend even for a page that it should not have.
 * - One backend, for good. Its pools exist exactly for the rows in use, but for those it had no pool for.
 *
 * Cost: one table read on top of the backend's work; a test of one reference without it. No garbage.
 * Left out: locks. The caller orders calls about the same page, as it does with the page lock.
 *
 * Sources: Linux mm/cleancache.c (3.0, 3.10), Documentation/vm/cleancache.txt.
 */
import { assert } from '../base/assert.ts';
import { type CounterSpec, Counters } from '../base/counters.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type CleancacheBackend, FILE_KEY_WORDS, UUID_BYTES } from './ops.ts';

/** Filesystems, private and shared, that can be initialised at a time. */
export const FILESYSTEMS_MAX = 32;
/** A private filesystem's handle is this and its row, a shared one's the other. */
export const PRIVATE_HANDLES = 1000;
export const SHARED_HANDLES = 2000;

/** Tells a filesystem that it got no row: every call with it does nothing. */
export const NO_FILESYSTEM = -1;

const INDEX_MAX = 0xffff_ffff;

/** In the pool table: the row is in use, its pool is still to be made or could not be. */
const NO_POOL = -1;

export type CleancacheCounter =
  | 'succGets'
  | 'failedGets'
  | 'puts'
  | 'refusedPuts'
  | 'invalidates'
  | 'refusedFilesystems';

const pagesOf = (help: string): CounterSpec => ({ unit: 'pages', mustStayZero: false, help });

const specs: Readonly<Record<CleancacheCounter, CounterSpec>> = {
  succGets: pagesOf('gets that hit'),
  failedGets: pagesOf('gets that missed, also for want of a backend'),
  puts: pagesOf('pages offered, kept or not'),
  refusedPuts: pagesOf('of these: known not to be kept'),
  invalidates: { unit: 'calls', mustStayZero: false, help: 'of page, inode or filesystem' },
  refusedFilesystems: {
    unit: 'filesystems',
    mustStayZero: false,
    help: 'not initialised: all rows in use, or no pool to be had',
  },
};

/** Writes the file key of an inode number (0 .. 2^53 - 1) to key[0 .. 5]. */
export function inodeKey(inode: number, key: Uint32Array): void {
  assert(Number.isSafeInteger(inode) && inode >= 0, 'an inode number is a whole number');
  key[0] = inode; // modulo 2^32
  key[1] = Math.floor(inode / 2 ** 32);
  for (let i = 2; i < FILE_KEY_WORDS; i++) key[i] = 0;
}

export class Cleancache {
  readonly counters: Counters<CleancacheCounter> = new Counters<CleancacheCounter>(specs);
  readonly #at: Readonly<Record<CleancacheCounter, number>> = this.counters.index;
  readonly #count: Float64Array = this.counters.values;
  #backend: CleancacheBackend | null = null;
  /** By row: the handle, 0 = free. */
  readonly #handles: Int32Array = new Int32Array(FILESYSTEMS_MAX);
  /** By row: the backend's pool, or NO_POOL. */
  readonly #pools: Int32Array = new Int32Array(FILESYSTEMS_MAX);
  /** By row: a shared filesystem's uuid. */
  readonly #uuids: (Uint8Array | null)[] = new Array<Uint8Array | null>(FILESYSTEMS_MAX).fill(null);

  get enabled(): boolean {
    return this.#backend !== null;
  }

  /** The one backend, for good. Pools are made for all filesystems there are, in the order of their rows. */
  register(backend: CleancacheBackend): void {
    assert(this.#backend === null, 'cleancache has one backend');
    this.#backend = backend;
    for (let row = 0; row < FILESYSTEMS_MAX; row++)
      if (this.#handles[row] !== 0) this.#makePool(backend, row);
  }

  /** A mount: the handle of its filesystem, or NO_FILESYSTEM when no row is left or its blocks are not of 4096 bytes. */
  initFs(blockBytes: number): number {
    return this.#init(blockBytes, PRIVATE_HANDLES, null);
  }

  /** A mount of a filesystem that other clients have too: they share the pool of this uuid (16 bytes). */
  initSharedFs(uuid: Uint8Array, blockBytes: number): number {
    assert(uuid.length === UUID_BYTES, 'a uuid has 16 bytes');
    return this.#init(blockBytes, SHARED_HANDLES, uuid.slice());
  }

  /** Offers a clean page that leaves the page cache. What was put under this name before is gone, whatever happens. */
  put(fs: number, key: Uint32Array, index: number, page: Uint8Array, at: number): void {
    assert(at >= 0 && at + PAGE_BYTES <= page.length, 'a source holds its page');
    const pool = this.#poolOf(fs, key);
    this.#count[this.#at.puts]! += 1;
    if (isIndex(index) && pool !== NO_POOL) {
      if (this.#backend!.put(pool, key, index, page, at)) return;
      this.#backend!.invalidatePage(pool, key, index);
    }
    this.#count[this.#at.refusedPuts]! += 1;
  }

  /** True: the page is at page[at .. at + 4096). False: read it from the disk. */
  get(fs: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean {
    assert(at >= 0 && at + PAGE_BYTES <= page.length, 'a target has room for its page');
    const pool = this.#poolOf(fs, key);
    const hit =
      isIndex(index) && pool !== NO_POOL && this.#backend!.get(pool, key, index, page, at);
    this.#count[hit ? this.#at.succGets : this.#at.failedGets]! += 1;
    return hit;
  }

  /** The page has changed, or is about to: later gets miss. */
  invalidatePage(fs: number, key: Uint32Array, index: number): void {
    const pool = this.#poolOf(fs, key);
    if (!isIndex(index) || pool === NO_POOL) return;
    this.#count[this.#at.invalidates]! += 1;
    this.#backend!.invalidatePage(pool, key, index);
  }

  /** The file is truncated or gone: later gets of any of its pages miss. */
  invalidateInode(fs: number, key: Uint32Array): void {
    const pool = this.#poolOf(fs, key);
    if (pool === NO_POOL) return;
    this.#count[this.#at.invalidates]! += 1;
    this.#backend!.invalidateInode(pool, key);
  }

  /** The filesystem is unmounted; its handle is not used afterwards. */
  invalidateFs(fs: number): void {
    const row = this.#rowOf(fs);
    if (row < 0) return;
    const pool = this.#pools[row]!;
    this.#handles[row] = 0;
    this.#uuids[row] = null;
    if (pool === NO_POOL) return;
    this.#count[this.#at.invalidates]! += 1;
    this.#backend!.invalidateFs(pool);
  }

  #init(blockBytes: number, handles: number, uuid: Uint8Array | null): number {
    const row = blockBytes === PAGE_BYTES ? this.#handles.indexOf(0) : -1;
    if (row < 0) {
      this.counters.add('refusedFilesystems', 1);
      return NO_FILESYSTEM;
    }
    this.#handles[row] = handles + row;
    this.#pools[row] = NO_POOL;
    this.#uuids[row] = uuid;
    if (this.#backend !== null) this.#makePool(this.#backend, row);
    return handles + row;
  }

  #makePool(backend: CleancacheBackend, row: number): void {
    const uuid = this.#uuids[row]!;
    const pool =
      uuid === null ? backend.initFs(PAGE_BYTES) : backend.initSharedFs(uuid, PAGE_BYTES);
    if (pool < 0) this.counters.add('refusedFilesystems', 1);
    this.#pools[row] = pool < 0 ? NO_POOL : pool;
  }

  /** The row of a handle; -1 of NO_FILESYSTEM. */
  #rowOf(fs: number): number {
    if (fs < 0) return -1;
    const row = fs - (fs >= SHARED_HANDLES ? SHARED_HANDLES : PRIVATE_HANDLES);
    assert(this.#handles[row] === fs, 'a handle is of a filesystem that is mounted');
    return row;
  }

  #poolOf(fs: number, key: Uint32Array): number {
    assert(key.length >= FILE_KEY_WORDS, 'a file key has six words');
    const row = this.#rowOf(fs);
    return row < 0 ? NO_POOL : this.#pools[row]!;
  }
}

/** False for pages beyond 2^32 - 1 (16 TiB into a file): they are not kept, no backend has names for them. */
function isIndex(index: number): boolean {
  assert(Number.isSafeInteger(index) && index >= 0, 'an index is a whole number');
  return index <= INDEX_MAX;
}
