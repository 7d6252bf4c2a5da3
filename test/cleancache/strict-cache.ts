/**
 * A naive cleancache backend with a Map per pool. It asserts that every pool it is called with exists, counts the users of
 * shared pools, and can refuse puts (keeping the old page, as faulty backends do) or run out of pools.
 */
import assert from 'node:assert/strict';
import type { CleancacheBackend } from '../../src/cleancache/ops.ts';

interface Pool {
  readonly uuid: string | null;
  users: number;
  /** Oldest first. */
  readonly pages: Map<string, Uint8Array>;
}

const fileOf = (key: Uint32Array): string => key.subarray(0, 6).join('.');

export class StrictCache implements CleancacheBackend {
  readonly name = 'strict';
  readonly pools: Map<number, Pool> = new Map();
  readonly calls: string[] = [];
  accepts = true;
  poolsLeft: number = Number.POSITIVE_INFINITY;
  /** Number of the next pool. */
  next = 7;

  initFs(pageBytes: number): number {
    this.calls.push(`initFs ${pageBytes}`);
    return this.#make(null);
  }

  initSharedFs(uuid: Uint8Array, pageBytes: number): number {
    this.calls.push(`initSharedFs ${uuid[0]} ${pageBytes}`);
    const name = uuid.join('.');
    for (const [number, pool] of this.pools)
      if (pool.uuid === name) {
        pool.users++;
        return number;
      }
    return this.#make(name);
  }

  put(pool: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean {
    const { pages } = this.#called('put', pool);
    if (!this.accepts) return false; // and the old page stays
    pages.delete(`${fileOf(key)}:${index}`);
    pages.set(`${fileOf(key)}:${index}`, page.slice(at, at + 4096));
    return true;
  }

  get(pool: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean {
    const { pages, uuid } = this.#called('get', pool);
    const name = `${fileOf(key)}:${index}`;
    const held = pages.get(name);
    if (held === undefined) return false;
    page.set(held, at);
    pages.delete(name);
    if (uuid !== null) pages.set(name, held);
    return true;
  }

  invalidatePage(pool: number, key: Uint32Array, index: number): void {
    this.#called('invalidatePage', pool).pages.delete(`${fileOf(key)}:${index}`);
  }

  invalidateInode(pool: number, key: Uint32Array): void {
    const { pages } = this.#called('invalidateInode', pool);
    for (const name of pages.keys()) if (name.startsWith(`${fileOf(key)}:`)) pages.delete(name);
  }

  invalidateFs(pool: number): void {
    const found = this.#called('invalidateFs', pool);
    if (--found.users === 0) this.pools.delete(pool);
  }

  #make(uuid: string | null): number {
    if (this.poolsLeft-- <= 0) return -1;
    this.pools.set(this.next, { uuid, users: 1, pages: new Map() });
    return this.next++;
  }

  #called(what: string, pool: number): Pool {
    this.calls.push(what);
    const found = this.pools.get(pool);
    assert.ok(found !== undefined, `pool ${pool} exists`);
    return found;
  }
}
