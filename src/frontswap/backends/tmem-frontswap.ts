/**
 * A frontswap backend on a persistent tmem pool.
 *
 * A swap area is an object whose id has the area's number as its first word; a slot is a page index. So invalidateArea() is
 * one FLUSH_OBJECT, at the cost of the pages stored. (Xen's shim used 16 objects per area to spread their locks.)
 */

import { SwapError } from '../../base/errors.ts';
import { SWAP_AREAS_MAX } from '../../base/units.ts';
import { TmemGetResult, TmemPutResult } from '../../tmem/results.ts';
import type { Tmem } from '../../tmem/tmem.ts';
import { type FrontswapBackend, LoadResult } from '../ops.ts';

/** A frontswap backend that stores swapped-out pages in one persistent tmem pool. */
export class TmemFrontswap implements FrontswapBackend {
  readonly name = 'tmem';
  readonly #tmem: Tmem;
  readonly #client: number;
  readonly #pool: number;
  readonly #oid = new Uint32Array(6);
  /** 1 = the area is on. */
  readonly #isOn = new Uint8Array(SWAP_AREAS_MAX);

  /**
   * Creates one of the client's 16 pools.
   * @throws SwapError ERR_ARG_VALUE
   */
  constructor(tmem: Tmem, client: number) {
    this.#tmem = tmem;
    this.#client = client;
    this.#pool = tmem.newPool(client, { persistent: true });
    if (this.#pool >= 0) return;
    const text = `tmem client ${client} does not exist or has all of its 16 pools in use`;
    throw new SwapError('ERR_ARG_VALUE', text, { client, answer: this.#pool });
  }

  init(type: number, _slots: number): void {
    this.invalidateArea(type);
    this.#isOn[type] = 1;
  }

  store(type: number, offset: number, page: Uint8Array, at: number): boolean {
    if (this.#isOn[type] === 0) return false;
    const oid = this.#object(type);
    return this.#tmem.put(this.#client, this.#pool, oid, offset, page, at) === TmemPutResult.stored;
  }

  load(type: number, offset: number, page: Uint8Array, at: number): LoadResult {
    const oid = this.#object(type);
    const answer = this.#tmem.get(this.#client, this.#pool, oid, offset, page, at);
    if (answer === TmemGetResult.found) return LoadResult.loaded;
    return answer === TmemGetResult.corrupt ? LoadResult.corrupt : LoadResult.absent;
  }

  invalidatePage(type: number, offset: number): void {
    this.#tmem.flushPage(this.#client, this.#pool, this.#object(type), offset);
  }

  invalidateArea(type: number): void {
    this.#tmem.flushObject(this.#client, this.#pool, this.#object(type));
    this.#isOn[type] = 0;
  }

  #object(type: number): Uint32Array {
    this.#oid[0] = type;
    return this.#oid;
  }
}
