/**
 * A frontswap backend on a persistent tmem pool, either of a Tmem in this process or of a host over its tmem socket
 * (BlockingPool). If the host of a pool does not reply, stores are refused and loads return `corrupt`: an I/O error,
 * never zeros.
 *
 * A swap area is an object whose id has the area's number as its first word; a slot is a page index. So
 * invalidateArea() is one FLUSH_OBJECT, whose cost is proportional to the pages stored. (Xen's shim used 16 objects
 * per area to spread their locks.)
 */

import { SwapError } from '../../base/errors.ts';
import { SWAP_AREAS_MAX } from '../../base/units.ts';
import { TmemFlushResult, TmemGetResult, TmemPutResult } from '../../tmem/results.ts';
import type { Tmem } from '../../tmem/tmem.ts';
import { type FrontswapBackend, LoadResult } from '../ops.ts';

/** A slot without a page; a load of it sends no request. */
const empty = 0;
const stored = 1;
/** A put or flush had no reply: the pool may have a page, old or new. It is flushed and never loaded. */
const unsure = 2;

/** The verbs of one persistent pool. */
export interface SwapPool {
  put(oid: Uint32Array, index: number, page: Uint8Array, at: number): TmemPutResult;
  get(oid: Uint32Array, index: number, page: Uint8Array, at: number): TmemGetResult;
  flushPage(oid: Uint32Array, index: number): TmemFlushResult;
  flushObject(oid: Uint32Array): TmemFlushResult;
}

/** A frontswap backend that stores swapped-out pages in one persistent tmem pool. */
export class TmemFrontswap implements FrontswapBackend {
  readonly name = 'tmem';
  readonly #pool: SwapPool;
  readonly #oid = new Uint32Array(6);
  /** By area, two bits for each slot: empty, stored or unsure; null: the area is off. */
  readonly #areas: (Uint8Array | null)[] = new Array<Uint8Array | null>(SWAP_AREAS_MAX).fill(null);

  /** Creates one of the client's 16 pools. @throws SwapError ERR_ARG_VALUE */
  constructor(tmem: Tmem, client: number);
  /** Uses the pool of a host; see BlockingPool. */
  constructor(pool: SwapPool);
  constructor(from: Tmem | SwapPool, client?: number) {
    this.#pool = client === undefined ? (from as SwapPool) : poolOf(from as Tmem, client);
  }

  init(type: number, slots: number): void {
    this.invalidateArea(type);
    this.#areas[type] = new Uint8Array(Math.ceil(slots / 4));
  }

  store(type: number, offset: number, page: Uint8Array, at: number): boolean {
    if (this.#areas[type] === null) return false;
    const answer = this.#pool.put(this.#object(type), offset, page, at);
    // A refused put has dropped the old page; one without a reply may have stored the new page or left the old one.
    const isStored = answer === TmemPutResult.stored;
    this.#set(type, offset, isStored ? stored : answer === TmemPutResult.down ? unsure : empty);
    return isStored;
  }

  load(type: number, offset: number, page: Uint8Array, at: number): LoadResult {
    if (this.#slot(type, offset) !== stored) return LoadResult.absent;
    const answer = this.#pool.get(this.#object(type), offset, page, at);
    if (answer === TmemGetResult.found) return LoadResult.loaded;
    return answer === TmemGetResult.corrupt || answer === TmemGetResult.down
      ? LoadResult.corrupt
      : LoadResult.absent;
  }

  invalidatePage(type: number, offset: number): void {
    if (this.#slot(type, offset) === empty) return;
    const answer = this.#pool.flushPage(this.#object(type), offset);
    this.#set(type, offset, answer === TmemFlushResult.down ? unsure : empty);
  }

  invalidateArea(type: number): void {
    this.#pool.flushObject(this.#object(type));
    this.#areas[type] = null;
  }

  #slot(type: number, offset: number): number {
    const slots = this.#areas[type]!;
    return slots === null ? empty : (slots[offset >>> 2]! >>> (2 * (offset & 3))) & 3;
  }

  #set(type: number, offset: number, state: number): void {
    const slots = this.#areas[type]!;
    const shift = 2 * (offset & 3);
    slots[offset >>> 2] = (slots[offset >>> 2]! & ~(3 << shift)) | (state << shift);
  }

  #object(type: number): Uint32Array {
    this.#oid[0] = type;
    return this.#oid;
  }
}

function poolOf(tmem: Tmem, client: number): SwapPool {
  const pool = tmem.newPool(client, { persistent: true });
  if (pool < 0) {
    const text = `tmem client ${client} does not exist or has all of its 16 pools in use`;
    throw new SwapError('ERR_ARG_VALUE', text, { client, answer: pool });
  }
  return {
    put: (oid, index, page, at) => tmem.put(client, pool, oid, index, page, at),
    get: (oid, index, page, at) => tmem.get(client, pool, oid, index, page, at),
    flushPage: (oid, index) => tmem.flushPage(client, pool, oid, index),
    flushObject: (oid) => tmem.flushObject(client, pool, oid),
  };
}
