/**
 * A cleancache backend on the ephemeral pools of a tmem client.
 *
 *   filesystem ─▶ pool, private or shared by its uuid      file key ─▶ object id      index ─▶ index
 *
 * A file is an object, so invalidateInode() is one FLUSH_OBJECT, whose cost is proportional to the pages stored.
 *
 * Invariants
 * - A hit removes the page from a private pool; in a shared pool the page stays and becomes its paying client's newest.
 * - A page that tmem finds damaged is dropped and reported as a miss: the file on disk has the data.
 * - A shared filesystem uses the pool of its uuid, or none. If tmem creates a private pool instead, because the client is
 *   not authorised or the uuid is all ones, the pool is destroyed: invalidates by other users would not reach it.
 *
 * Cost: that of tmem. Only initFs(), initSharedFs() and invalidateFs() allocate.
 */
import { SwapError } from '../../base/errors.ts';
import { PAGE_BYTES } from '../../base/units.ts';
import type { PoolOptions } from '../../tmem/options.ts';
import { TmemGetResult, TmemPutResult } from '../../tmem/results.ts';
import type { Tmem } from '../../tmem/tmem.ts';
import type { CleancacheBackend } from '../ops.ts';

const NO_POOL = -1;

/** A cleancache backend that stores file pages in ephemeral pools of one tmem client. */
export class TmemCleancache implements CleancacheBackend {
  readonly name = 'tmem';
  readonly #tmem: Tmem;
  readonly #client: number;

  /**
   * Each mounted filesystem uses one of the client's 16 pools.
   * @throws SwapError ERR_ARG_UNKNOWN
   */
  constructor(tmem: Tmem, client: number) {
    if (tmem.clientOf(client) === null)
      throw new SwapError('ERR_ARG_UNKNOWN', `tmem client ${client} does not exist`, { client });
    this.#tmem = tmem;
    this.#client = client;
  }

  initFs(pageBytes: number): number {
    return this.#newPool(pageBytes, {});
  }

  initSharedFs(uuid: Uint8Array, pageBytes: number): number {
    const pool = this.#newPool(pageBytes, { shared: hexOf(uuid) });
    if (pool === NO_POOL || this.#tmem.poolOf(this.#client, pool)!.isShared) return pool;
    this.#tmem.destroyPool(this.#client, pool);
    return NO_POOL;
  }

  put(pool: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean {
    return this.#tmem.put(this.#client, pool, key, index, page, at) === TmemPutResult.stored;
  }

  get(pool: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean {
    return this.#tmem.get(this.#client, pool, key, index, page, at) === TmemGetResult.found;
  }

  invalidatePage(pool: number, key: Uint32Array, index: number): void {
    this.#tmem.flushPage(this.#client, pool, key, index);
  }

  invalidateInode(pool: number, key: Uint32Array): void {
    this.#tmem.flushObject(this.#client, pool, key);
  }

  invalidateFs(pool: number): void {
    this.#tmem.destroyPool(this.#client, pool);
  }

  #newPool(pageBytes: number, options: PoolOptions): number {
    if (pageBytes !== PAGE_BYTES) return NO_POOL;
    return Math.max(NO_POOL, this.#tmem.newPool(this.#client, options));
  }
}

/** Formats 16 bytes as 32 hex digits. */
const hexOf = (uuid: Uint8Array): string =>
  Array.from(uuid, (byte) => byte.toString(16).padStart(2, '0')).join('');
