/**
 * Save: writes a client's pools and persistent pages to a byte stream while the client keeps running.
 *
 *   step(sink, pages)  sends pages not sent yet, including new ones, until `isCaughtUp`
 *   finish(sink)       freezes the client, sends the remaining pages, and marks which sent pages are still valid
 *
 * Each page row stores the number under which it was sent (PageTable's mark). A page that is flushed or replaced loses its
 * row and with it its number. Nothing needs to be logged while the client runs: the pages invalidated during the copy
 * are those whose numbers no row has at the end.
 *
 * finish() alone is a plain save. step() until it returns little, then finish(), is a live handover: the client is frozen
 * only during finish(), which sends the remaining pages and scans every row. A client that is frozen from the start needs
 * little of finish(): the host of a tmem socket saves in steps that way.
 *
 * Memory: one record, and in finish() one bit per page sent.
 */
import { SwapError } from '../base/errors.ts';
import type { Client, Pool } from './client.ts';
import { POOLS_PER_CLIENT } from './results.ts';
import * as stream from './stream.ts';
import type { Tmem } from './tmem.ts';

/** Receives the next bytes of the stream; they are valid only during the call. */
export type Sink = (chunk: Uint8Array) => void;

/** Mark of a page that was read, found damaged and not sent. */
const DAMAGED = -1;

/** Writes one client to a byte stream, in one step or while the client keeps running. */
export class Save implements Disposable {
  /** Pages sent so far, including those no longer valid. */
  sentPages = 0;
  /** Damaged pages, which were not sent: must stay 0. */
  damagedPages = 0;
  readonly #tmem: Tmem;
  readonly #client: Client;
  readonly #record = new Uint8Array(stream.PAGE_RECORD_BYTES);
  readonly #view = new DataView(this.#record.buffer);
  readonly #words = new Uint32Array(6);
  /** By pool number: the serial of the pool that the stream announced, 0 = none. */
  readonly #announced = new Float64Array(POOLS_PER_CLIENT);
  readonly #isSaved: (pool: number) => boolean;
  /** By the number of a pool in the host: the client's number of it plus 1, 0 = it is not saved. */
  readonly #savedBy: Int8Array;
  #row = 1;
  /** Rows visited since the last one with a page to send, or since the client's last put. */
  #idleRows = 0;
  /** Puts of the client that #idleRows takes into account. */
  #puts: number;
  #hasHeader = false;
  #live = true;

  /**
   * @param isSaved whether to save the pool with this number; may change from true to false. Default: all pools
   * @throws SwapError ERR_ARG_UNKNOWN: no such client; ERR_ARG_CONFLICT: it is being saved
   */
  constructor(tmem: Tmem, client: number, isSaved: (pool: number) => boolean = () => true) {
    const saved = tmem.clientOf(client);
    if (saved === null)
      throw new SwapError('ERR_ARG_UNKNOWN', `tmem client ${client} does not exist`, { client });
    if (saved.isBeingSaved) {
      const text = `tmem client ${client} is already being saved; dispose of that Save first`;
      throw new SwapError('ERR_ARG_CONFLICT', text, { client });
    }
    saved.isBeingSaved = true;
    this.#tmem = tmem;
    this.#client = saved;
    this.#isSaved = isSaved;
    this.#puts = saved.counters.get('goodPersistentPuts');
    this.#savedBy = new Int8Array(tmem.index.pools.length);
    this.#findPools();
    const { pages } = tmem.index;
    for (let row = 1; row < pages.end; row++) if (this.#poolOf(row) >= 0) pages.setMark(row, 0);
  }

  /** Ends the save, finished or not. The client is unchanged. */
  [Symbol.dispose](): void {
    if (!this.#live) return;
    this.#live = false;
    this.#client.isBeingSaved = false;
  }

  /** The same as `[Symbol.dispose]()`. */
  close(): void {
    this[Symbol.dispose]();
  }

  /** Whether every page was sent: step() has visited each row since the last page that it sent, and nothing was put since. */
  get isCaughtUp(): boolean {
    const isQuiet = this.#puts === this.#client.counters.get('goodPersistentPuts');
    return isQuiet && this.#idleRows >= this.#tmem.index.pages.end - 1;
  }

  /**
   * Sends up to `pagesMax` pages; returns how many.
   * @param rowsMax maximum number of rows to visit: it bounds the time of the call
   */
  step(sink: Sink, pagesMax: number, rowsMax: number = Number.MAX_SAFE_INTEGER): number {
    this.#begin(sink);
    this.#findPools();
    const { pages } = this.#tmem.index;
    const puts = this.#client.counters.get('goodPersistentPuts');
    if (puts !== this.#puts) this.#idleRows = 0;
    this.#puts = puts;
    let sent = 0;
    for (let left = Math.min(rowsMax, pages.end - 1); left > 0 && sent < pagesMax; left--) {
      if (this.#row >= pages.end) this.#row = 1;
      const row = this.#row++;
      const pool = this.#poolOf(row);
      this.#idleRows++;
      if (pool < 0 || pages.markOf(row) !== 0 || !this.#sendPage(sink, row, pool)) continue;
      sent++;
      this.#idleRows = 0;
    }
    return sent;
  }

  /** Freezes the client and ends the stream; returns the number of valid pages in it. The client may then be destroyed. */
  finish(sink: Sink): number {
    const wasFrozen = this.#client.frozen;
    this.#client.frozen = true;
    this.#begin(sink);
    this.#findPools();
    if (!this.isCaughtUp) this.step(sink, Number.MAX_SAFE_INTEGER);
    for (let local = 0; local < POOLS_PER_CLIENT; local++) {
      const pool = this.#client.pools[local]!;
      if (pool !== null && this.#isSaved(local)) this.#announce(sink, local, pool);
      else if (this.#announced[local] !== 0) {
        this.#view.setUint32(4, local, true);
        this.#send(sink, stream.RecordType.dropPool);
      }
    }
    const valid = this.#sendValid(sink);
    this.#view.setUint32(4, valid, true);
    this.#view.setUint32(8, wasFrozen ? 1 : 0, true);
    this.#send(sink, stream.RecordType.end);
    this[Symbol.dispose]();
    return valid;
  }

  #begin(sink: Sink): void {
    if (!this.#live) throw new SwapError('ERR_ARG_CONFLICT', 'this save has ended; create another');
    if (this.#hasHeader) return;
    this.#hasHeader = true;
    const { weight, cap } = this.#client;
    for (const [i, word] of [stream.MAGIC, stream.VERSION, weight, cap].entries())
      this.#view.setUint32(4 * i, word, true);
    sink(this.#record.subarray(0, stream.HEADER_BYTES));
  }

  /** Finds the persistent pools of the client that are saved. They may change between two calls of step(). */
  #findPools(): void {
    this.#savedBy.fill(0);
    for (let local = 0; local < POOLS_PER_CLIENT; local++) {
      const pool = this.#client.pools[local]!;
      if (pool?.persistent && this.#isSaved(local)) this.#savedBy[pool.number] = local + 1;
    }
  }

  /** The client's number of the row's pool, if it is saved; else -1. */
  #poolOf(row: number): number {
    const { pages, objects } = this.#tmem.index;
    const object = pages.objectOf(row);
    return object === 0 ? -1 : this.#savedBy[objects.poolOf(object)]! - 1;
  }

  #sendPage(sink: Sink, row: number, local: number): boolean {
    const { pages, objects, contents } = this.#tmem.index;
    this.#announce(sink, local, this.#client.pools[local]!);
    if (!contents.read(pages.contentOf(row), this.#record, stream.PageAt.page)) {
      pages.setMark(row, DAMAGED);
      this.damagedPages++;
      return false;
    }
    const view = this.#view;
    view.setUint32(stream.PageAt.pool, local, true);
    objects.copyId(pages.objectOf(row), this.#words, 0);
    for (let i = 0; i < 6; i++) view.setUint32(stream.PageAt.oid + 4 * i, this.#words[i]!, true);
    view.setUint32(stream.PageAt.index, pages.indexOf(row), true);
    view.setInt32(stream.PageAt.checksum, stream.pageChecksum(view), true);
    this.#send(sink, stream.RecordType.page);
    pages.setMark(row, ++this.sentPages);
    return true;
  }

  #announce(sink: Sink, local: number, pool: Pool): void {
    if (this.#announced[local] === pool.serial) return;
    this.#announced[local] = pool.serial;
    const view = this.#view;
    const { PoolFlag } = stream;
    let flags = pool.persistent ? PoolFlag.persistent : 0;
    if (pool.isShared) flags |= PoolFlag.shared;
    if (pool.exclusiveGets) flags |= PoolFlag.exclusiveGets;
    view.setUint32(4, local, true);
    view.setUint32(8, flags, true);
    const uuid = pool.uuid.padEnd(32, '0');
    for (let i = 0; i < 4; i++)
      view.setUint32(12 + 4 * i, Number.parseInt(uuid.slice(8 * i, 8 * i + 8), 16), true);
    this.#send(sink, stream.RecordType.pool);
  }

  /** Sends one bit per page sent; returns the number of bits set. */
  #sendValid(sink: Sink): number {
    const { pages } = this.#tmem.index;
    const records = Math.ceil(this.sentPages / stream.VALID_PAGES);
    const bits = new Uint8Array((records * stream.VALID_PAGES) / 8);
    let valid = 0;
    for (let row = 1; row < pages.end; row++) {
      if (this.#poolOf(row) < 0 || pages.markOf(row) <= 0) continue;
      const number = pages.markOf(row) - 1;
      bits[number >>> 3]! |= 1 << (number & 7);
      valid++;
    }
    for (let first = 0; first < this.sentPages; first += stream.VALID_PAGES) {
      this.#view.setUint32(4, first, true);
      const from = first / 8;
      this.#record.set(bits.subarray(from, from + stream.VALID_PAGES / 8), stream.VALID_AT);
      this.#send(sink, stream.RecordType.valid);
    }
    return valid;
  }

  #send(sink: Sink, type: number): void {
    this.#view.setUint32(0, type, true);
    sink(this.#record.subarray(0, stream.recordBytes(type)));
  }
}
