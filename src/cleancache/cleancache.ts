/**
 * cleancache: the hook between filesystems and a backend that caches clean file pages beyond the page cache. A
 * filesystem gets a handle when it is mounted. It puts a clean page when reclaim evicts the page from the page cache,
 * and tries a get before it reads a page from disk.
 *
 *   mount ──initFs──▶ handle 1000 + row, or 2000 + row when shared ──▶ table: row ▶ pool of the backend
 *   reclaim ──put──▶         read ──get──▶         write, truncate, unlink, umount ──invalidate──▶
 *
 * A handle is not a pool number, so a filesystem can be mounted before a backend registers: until then no page is
 * cached; register() creates its pool. Calls with a handle below 0, which a filesystem without a row has, do nothing.
 *
 * Invariants
 * - put-put-get: after a second put the first page is not found. If the backend refuses it, the page is invalidated.
 * - Every invalidate reaches the backend, even for pages that it should not have.
 * - There is one backend; it cannot be unregistered. Each row in use has a pool unless the backend had none.
 *
 * Cost: one table read plus the backend; one comparison without a backend. put, get and invalidate allocate nothing.
 * Left out: locks. The caller serialises calls for the same page, as the kernel does with the page lock.
 *
 * Sources: Linux mm/cleancache.c (3.0, 3.10), Documentation/vm/cleancache.txt.
 */
import { checkInteger, checkPage } from '../base/arguments.ts';
import { type CounterSpec, Counters } from '../base/counters.ts';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type CleancacheBackend, FILE_KEY_WORDS, UUID_BYTES } from './ops.ts';

/** Maximum number of mounted filesystems, private and shared together. */
export const FILESYSTEMS_MAX = 32;
/** A handle is one of these plus its row. */
export const PRIVATE_HANDLES = 1000;
export const SHARED_HANDLES = 2000;

/** The handle of a filesystem without a row: every call with it does nothing. */
export const NO_FILESYSTEM = -1;

const INDEX_MAX = 0xffff_ffff;

/** In the pool table: the row has no pool yet, or the backend had none. */
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
  failedGets: pagesOf('gets that missed, including those without a backend'),
  puts: pagesOf('pages put, cached or not'),
  refusedPuts: pagesOf('of these: not cached'),
  invalidates: { unit: 'calls', mustStayZero: false, help: 'of page, inode or filesystem' },
  refusedFilesystems: {
    unit: 'filesystems',
    mustStayZero: false,
    help: 'mounted without a row or without a pool',
  },
};

/**
 * Writes the file key of an inode number (0 .. 2^53 - 1) to key[0 .. 5].
 * @throws SwapError ERR_ARG_VALUE
 */
export function inodeKey(inode: number, key: Uint32Array): void {
  checkInteger('inode', inode, 0, Number.MAX_SAFE_INTEGER);
  key[0] = inode; // modulo 2^32
  key[1] = Math.floor(inode / 2 ** 32);
  for (let i = 2; i < FILE_KEY_WORDS; i++) key[i] = 0;
}

/** The cleancache front end: filesystems put and get clean file pages, a backend stores them. */
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

  /**
   * Registers the backend permanently and creates a pool for every mounted filesystem.
   * @throws SwapError ERR_ARG_CONFLICT: a backend is already registered
   */
  register(backend: CleancacheBackend): void {
    if (this.#backend !== null) {
      const text = `cleancache already has a backend: ${this.#backend.name}`;
      throw new SwapError('ERR_ARG_CONFLICT', text);
    }
    this.#backend = backend;
    for (let row = 0; row < FILESYSTEMS_MAX; row++)
      if (this.#handles[row] !== 0) this.#makePool(backend, row);
  }

  /** Mounts a filesystem; returns its handle, or NO_FILESYSTEM if no row is free or its block size is not 4096 bytes. */
  initFs(blockBytes: number): number {
    return this.#init(blockBytes, PRIVATE_HANDLES, null);
  }

  /** Mounts a cluster filesystem: all clients that mount it share the pool with this 16-byte uuid. */
  initSharedFs(uuid: Uint8Array, blockBytes: number): number {
    checkInteger('uuid.length', uuid.length, UUID_BYTES, UUID_BYTES);
    return this.#init(blockBytes, SHARED_HANDLES, uuid.slice());
  }

  /**
   * Offers a clean page that is evicted from the page cache. Drops the page previously put with this key and index.
   * @throws SwapError ERR_ARG_VALUE; ERR_ARG_UNKNOWN: `fs` is not mounted. All calls below throw the same
   */
  put(fs: number, key: Uint32Array, index: number, page: Uint8Array, at: number): void {
    checkPage(page, at);
    const pool = this.#poolOf(fs, key);
    this.#count[this.#at.puts]! += 1;
    if (isIndex(index) && pool !== NO_POOL) {
      if (this.#backend!.put(pool, key, index, page, at)) return;
      this.#backend!.invalidatePage(pool, key, index);
    }
    this.#count[this.#at.refusedPuts]! += 1;
  }

  /** Returns true if the page is at page[at .. at + 4096), false if it must be read from the disk. */
  get(fs: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean {
    checkPage(page, at);
    const pool = this.#poolOf(fs, key);
    const hit =
      isIndex(index) && pool !== NO_POOL && this.#backend!.get(pool, key, index, page, at);
    this.#count[hit ? this.#at.succGets : this.#at.failedGets]! += 1;
    return hit;
  }

  /** The page was or will be modified: later gets miss. */
  invalidatePage(fs: number, key: Uint32Array, index: number): void {
    const pool = this.#poolOf(fs, key);
    if (!isIndex(index) || pool === NO_POOL) return;
    this.#count[this.#at.invalidates]! += 1;
    this.#backend!.invalidatePage(pool, key, index);
  }

  /** The file was truncated or deleted: later gets of its pages miss. */
  invalidateInode(fs: number, key: Uint32Array): void {
    const pool = this.#poolOf(fs, key);
    if (pool === NO_POOL) return;
    this.#count[this.#at.invalidates]! += 1;
    this.#backend!.invalidateInode(pool, key);
  }

  /** The filesystem was unmounted: drops its pool. The handle is not valid afterwards. */
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

  /** The row of a handle; -1 for NO_FILESYSTEM. */
  #rowOf(fs: number): number {
    if (fs < 0) return -1;
    const row = fs - (fs >= SHARED_HANDLES ? SHARED_HANDLES : PRIVATE_HANDLES);
    if (this.#handles[row] === fs) return row;
    throw new SwapError(
      'ERR_ARG_UNKNOWN',
      `cleancache: no filesystem with handle ${fs} is mounted`,
    );
  }

  #poolOf(fs: number, key: Uint32Array): number {
    if (key.length < FILE_KEY_WORDS)
      checkInteger('key.length', key.length, FILE_KEY_WORDS, INDEX_MAX);
    const row = this.#rowOf(fs);
    return row < 0 ? NO_POOL : this.#pools[row]!;
  }
}

/** False above 2^32 - 1 (16 TiB into a file): backends have 32-bit indexes, so such pages are not cached. */
function isIndex(index: number): boolean {
  if (index >>> 0 === index) return true;
  checkInteger('index', index, 0, Number.MAX_SAFE_INTEGER);
  return false;
}
