/**
 * Cleancache on tmem: a client's ephemeral pools behind the hook of the filesystems.
 *
 *   filesystem ─▶ pool, private or shared by its uuid      file key ─▶ object id      index ─▶ index
 *
 * A file is an object, so giving one up is one FLUSH_OBJECT, whose cost is the pages that are there.
 *
 * Invariants
 * - What a private pool gives it has no more; what a shared one gives stays and is its payer's newest.
 * - A page that tmem finds damaged is a miss, and gone: the file is on its disk.
 * - A shared filesystem has the pool that its uuid names, or none. Where tmem makes a private pool instead, because the client
 *   is not authorised or the uuid is all ones, it is given back: other users' invalidates would not reach it.
 *
 * Cost: tmem's own work. No garbage but in the calls that begin and end a filesystem.
 */
import { SwapError } from '../../base/errors.ts';
import { PAGE_BYTES } from '../../base/units.ts';
import { TmemGetResult, TmemPutResult } from '../../tmem/results.ts';
import type { PoolOptions, Tmem } from '../../tmem/tmem.ts';
import type { CleancacheBackend } from '../ops.ts';

const NO_POOL = -1;

export class TmemCleancache implements CleancacheBackend {
  readonly name = 'tmem';
  readonly #tmem: Tmem;
  readonly #client: number;

  /** Takes pools of the client as filesystems come: 16 at a time, those that it has for other things included. */
  constructor(tmem: Tmem, client: number) {
    if (tmem.clientOf(client) === null)
      throw new SwapError('ERR_ARG_UNKNOWN', `there is no tmem client ${client}`, { client });
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

/** 32 hex digits of 16 bytes. */
const hexOf = (uuid: Uint8Array): string =>
  Array.from(uuid, (byte) => byte.toString(16).padStart(2, '0')).join('');
