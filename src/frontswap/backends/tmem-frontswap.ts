/**
 * Frontswap on tmem: a client's persistent pool behind the hook of the swap core.
 *
 * Each swap area is an object, its number the first word of the id, and a slot is an index: so giving up an area is one
 * FLUSH_OBJECT, whose cost is the pages that are there. (Xen's shim spread an area over 16 objects, for their locks' sake.)
 */

import { assert } from '../../base/assert.ts';
import { SwapError } from '../../base/errors.ts';
import { SWAP_AREAS_MAX } from '../../base/units.ts';
import { TmemGetResult, TmemPutResult } from '../../tmem/results.ts';
import type { Tmem } from '../../tmem/tmem.ts';
import { type FrontswapBackend, LoadResult } from '../ops.ts';

export class TmemFrontswap implements FrontswapBackend {
  readonly name = 'tmem';
  readonly #tmem: Tmem;
  readonly #client: number;
  readonly #pool: number;
  readonly #oid = new Uint32Array(6);
  /** Slots of each area, 0 = the area is off. */
  readonly #slots = new Float64Array(SWAP_AREAS_MAX);

  /** Takes one of the client's 16 pools. */
  constructor(tmem: Tmem, client: number) {
    this.#tmem = tmem;
    this.#client = client;
    this.#pool = tmem.newPool(client, { persistent: true });
    if (this.#pool >= 0) return;
    const text = `tmem client ${client} has no pool left for frontswap, or does not exist`;
    throw new SwapError('ERR_ARG_VALUE', text, { client, answer: this.#pool });
  }

  init(type: number, slots: number): void {
    this.invalidateArea(type);
    this.#slots[type] = slots;
  }

  store(type: number, offset: number, page: Uint8Array, at: number): boolean {
    if (offset >= this.#slots[type]!) return false;
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
    this.#slots[type] = 0;
  }

  #object(type: number): Uint32Array {
    assert(type >= 0 && type < SWAP_AREAS_MAX, 'a swap area has a number from 0 to 31');
    this.#oid[0] = type;
    return this.#oid;
  }
}
