/**
 * Save: a client's pools and persistent pages as a stream of bytes, while the client goes on working.
 *
 *   step(sink, pages)  sends pages that were not sent yet, also those put since; 0: nothing is left at this moment
 *   finish(sink)       freezes the client, sends what is left and which of all sent pages are still valid
 *
 * Every page row remembers under which number it was sent (PageTable's mark). A page that is flushed, or put anew,
 * loses its row, and with it the number: so nothing has to be written down while the client works, and what was
 * invalidated during the copy is exactly the numbers that no row has at the end.
 *
 * Calling finish() at once is a plain save. Calling step() until it brings little, then finish(), is a live handover;
 * the client stands still for finish() alone, whose cost is the pages left and a look at every row.
 *
 * Cost in memory: one record, and at the end a bit for each page sent.
 */
import { SwapError } from '../base/errors.ts';
import type { Client, Pool } from './client.ts';
import { POOLS_PER_CLIENT } from './results.ts';
import * as stream from './stream.ts';
import type { Tmem } from './tmem.ts';

/** Takes the next bytes of the stream: they are good for the time of the call. */
export type Sink = (chunk: Uint8Array) => void;

/** Mark of a page whose stored bytes are damaged: it was looked at and cannot be sent. */
const DAMAGED = -1;

export class Save implements Disposable {
  /** Pages sent so far, those that are no longer valid among them. */
  sentPages = 0;
  /** Pages that could not be read, and are not in the stream: must stay 0. */
  damagedPages = 0;
  readonly #tmem: Tmem;
  readonly #client: Client;
  readonly #record = new Uint8Array(stream.PAGE_RECORD_BYTES);
  readonly #view = new DataView(this.#record.buffer);
  readonly #words = new Uint32Array(6);
  /** By pool: the serial of the pool that the stream knows under that number, 0 = none. */
  readonly #announced = new Float64Array(POOLS_PER_CLIENT);
  #row = 1;
  #hasHeader = false;
  #live = true;

  constructor(tmem: Tmem, client: number) {
    const saved = tmem.clientOf(client);
    if (saved === null)
      throw new SwapError('ERR_ARG_UNKNOWN', `there is no tmem client ${client}`, { client });
    if (saved.isBeingSaved) {
      const text = `tmem client ${client} is being saved already; end that first`;
      throw new SwapError('ERR_ARG_CONFLICT', text, { client });
    }
    saved.isBeingSaved = true;
    this.#tmem = tmem;
    this.#client = saved;
    const { pages } = tmem.index;
    for (let row = 1; row < pages.end; row++) if (this.#poolOf(row) !== null) pages.setMark(row, 0);
  }

  /** Ends the saving, finished or not. The client stays as it is. */
  [Symbol.dispose](): void {
    if (!this.#live) return;
    this.#live = false;
    this.#client.isBeingSaved = false;
  }

  /** Sends up to `pagesMax` pages; how many. */
  step(sink: Sink, pagesMax: number): number {
    this.#begin(sink);
    const { pages } = this.#tmem.index;
    let sent = 0;
    for (let looked = 1; looked < pages.end && sent < pagesMax; looked++) {
      if (this.#row >= pages.end) this.#row = 1;
      const row = this.#row++;
      const pool = this.#poolOf(row);
      if (pool !== null && pages.markOf(row) === 0 && this.#sendPage(sink, row, pool)) sent++;
    }
    return sent;
  }

  /** Freezes the client and ends the stream; how many pages are valid in it. Then the client may be destroyed. */
  finish(sink: Sink): number {
    const wasFrozen = this.#client.frozen;
    this.#client.frozen = true;
    this.step(sink, Number.MAX_SAFE_INTEGER);
    for (let local = 0; local < POOLS_PER_CLIENT; local++) {
      const pool = this.#client.pools[local]!;
      if (pool !== null) this.#announce(sink, local, pool);
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
    if (!this.#live)
      throw new SwapError('ERR_ARG_CONFLICT', 'this saving has ended; begin another');
    if (this.#hasHeader) return;
    this.#hasHeader = true;
    const { weight, cap } = this.#client;
    for (const [i, word] of [stream.MAGIC, stream.VERSION, weight, cap].entries())
      this.#view.setUint32(4 * i, word, true);
    sink(this.#record.subarray(0, stream.HEADER_BYTES));
  }

  /** The pool of a row that has to be sent: one of the client's persistent ones. */
  #poolOf(row: number): Pool | null {
    const { pages, objects, pools } = this.#tmem.index;
    const object = pages.objectOf(row);
    if (object === 0) return null;
    const pool = pools[objects.poolOf(object)]!;
    return pool?.persistent && pool.owner === this.#client ? pool : null;
  }

  #sendPage(sink: Sink, row: number, pool: Pool): boolean {
    const { pages, objects, contents } = this.#tmem.index;
    const local = this.#client.pools.indexOf(pool);
    this.#announce(sink, local, pool);
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

  /** One bit for each page sent; how many are set. */
  #sendValid(sink: Sink): number {
    const { pages } = this.#tmem.index;
    const records = Math.ceil(this.sentPages / stream.VALID_PAGES);
    const bits = new Uint8Array((records * stream.VALID_PAGES) / 8);
    let valid = 0;
    for (let row = 1; row < pages.end; row++) {
      if (this.#poolOf(row) === null || pages.markOf(row) <= 0) continue;
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
