/**
 * Restore: creates a client from the stream of a Save, with the same pool numbers. Chunks may have any size. The stream is
 * not trusted: every length, number, flag and checksum is checked before use.
 *
 * The client exists, and its pages are charged, once the header has arrived; do not use its id before the stream is
 * done. If the stream is invalid, or this host has no space for it, the client is destroyed. A caller can create the client
 * itself (RestoreTarget); then it also decides on the weight and the cap, and drops the pools after a failure.
 */
import { SwapError } from '../base/errors.ts';
import { CAP_MAX, WEIGHT_MAX } from './options.ts';
import { POOLS_PER_CLIENT, TmemPutResult } from './results.ts';
import * as stream from './stream.ts';
import type { Tmem } from './tmem.ts';

/** Pages that a stream may send: their numbers fit the marks of a PageTable. */
const PAGES_MAX = 2 ** 31 - 1;

/** Progress of a Restore. */
export const RestoreState = {
  receiving: 0,
  done: 1,
  /** This host has no space for the client, one of its pools or one of its pages. */
  refused: 2,
} as const;
export type RestoreState = (typeof RestoreState)[keyof typeof RestoreState];

/** A client without pools that receives the pools of the stream. It must not be frozen, and nothing else may use it. */
export interface RestoreTarget {
  readonly client: number;
  /** A stream with more pages is invalid. */
  readonly pagesMax: number;
}

/** Receives a saved client in chunks and creates it on this host. */
export class Restore implements Disposable {
  state: RestoreState = RestoreState.receiving;
  /** The client's id on this host, -1 before the header and after a failure. Valid for use when `state` is done. */
  client = -1;
  /** The saved client's weight and cap, from the header. */
  weight = 0;
  cap = 0;
  /** Why this host refused a page; `stored`: it has refused none. */
  refusal: TmemPutResult = TmemPutResult.stored;
  /** Pages of the saved client, when `state` is done. */
  pages = 0;
  readonly #tmem: Tmem;
  readonly #authorised: readonly string[];
  readonly #target: RestoreTarget | null;
  readonly #record = new Uint8Array(stream.PAGE_RECORD_BYTES);
  readonly #view = new DataView(this.#record.buffer);
  readonly #oid = new Uint32Array(6);
  /** Bytes that the current record needs, and bytes received of it. */
  #needs = stream.HEADER_BYTES;
  #has = 0;
  #received = 0;
  /** One bit per page received; null before the first `valid` record. */
  #valid: Uint8Array | null = null;
  #validPages = 0;

  /**
   * @param authorised uuids of shared pools that the client may join on this host
   * @param target an existing client to restore into; default: a new one
   */
  constructor(tmem: Tmem, authorised: readonly string[] = [], target: RestoreTarget | null = null) {
    this.#tmem = tmem;
    this.#authorised = authorised;
    this.#target = target;
  }

  /** Destroys the client unless the restore is done. */
  [Symbol.dispose](): void {
    if (this.state !== RestoreState.done) this.#destroyClient();
  }

  /** The same as `[Symbol.dispose]()`. */
  close(): void {
    this[Symbol.dispose]();
  }

  /**
   * Processes the next bytes.
   * @throws SwapError ERR_PEER_PROTOCOL: the stream is invalid
   */
  push(chunk: Uint8Array): RestoreState {
    const used = this.take(chunk);
    if (used < chunk.length && this.state === RestoreState.done)
      this.#reject('bytes follow the end', chunk.length - used);
    return this.state;
  }

  /**
   * Like push(), for a stream inside another one: leaves the bytes after the end.
   * @returns how many bytes belong to the stream
   */
  take(chunk: Uint8Array): number {
    let at = 0;
    while (at < chunk.length && this.state === RestoreState.receiving) {
      const take = Math.min(this.#needs - this.#has, chunk.length - at);
      this.#record.set(chunk.subarray(at, at + take), this.#has);
      this.#has += take;
      at += take;
      if (this.#has === this.#needs) this.#next();
    }
    return at;
  }

  /** Call this at the end of the stream; throws if the stream was truncated. */
  end(): RestoreState {
    if (this.state === RestoreState.receiving)
      this.#reject('the stream is truncated', this.#received);
    return this.state;
  }

  /** Processes the header, the type of a record, or a complete record. */
  #next(): void {
    if (this.client < 0) {
      this.#takeHeader();
      this.#expect(4);
      return;
    }
    const type = this.#word(0);
    const bytes = stream.recordBytes(type);
    if (bytes === 0) this.#reject('a record has an unknown type', type);
    if (this.#has < bytes) {
      this.#needs = bytes;
      return;
    }
    if (type === stream.RecordType.pool) this.#takePool();
    else if (type === stream.RecordType.page) this.#takePage();
    else if (type === stream.RecordType.dropPool) this.#takeDropPool();
    else if (type === stream.RecordType.valid) this.#takeValid();
    else this.#takeEnd();
    this.#expect(4);
  }

  #expect(bytes: number): void {
    this.#needs = bytes;
    this.#has = 0;
  }

  #takeHeader(): void {
    if (this.#word(0) !== stream.MAGIC) this.#reject('the magic is wrong', this.#word(0));
    if (this.#word(4) !== stream.VERSION)
      this.#reject('the version is not supported', this.#word(4));
    const weight = this.#word(8);
    const cap = this.#word(12);
    if (weight > WEIGHT_MAX) this.#reject('the weight is out of range', weight);
    if (cap > CAP_MAX) this.#reject('the cap is out of range', cap);
    this.weight = weight;
    this.cap = cap;
    this.client = this.#target?.client ?? this.#tmem.addClient({ weight, cap });
    if (this.client < 0) {
      this.#refuse(TmemPutResult.noPool);
      return;
    }
    for (const uuid of this.#authorised) this.#tmem.authorise(this.client, uuid);
  }

  #takePool(): void {
    const local = this.#local();
    const flags = this.#word(8);
    if (flags > stream.POOL_FLAGS_ALL) this.#reject('a pool has unknown flags', flags);
    const { PoolFlag } = stream;
    const persistent = (flags & PoolFlag.persistent) !== 0;
    const isShared = (flags & PoolFlag.shared) !== 0;
    if (persistent && isShared) this.#reject('a pool is shared and persistent', local);
    let uuid = '';
    for (let at = 12; at < 28; at += 4) uuid += this.#word(at).toString(16).padStart(8, '0');
    const exclusiveGets = (flags & PoolFlag.exclusiveGets) !== 0;
    const kind = { persistent, exclusiveGets, ...(isShared ? { shared: uuid } : {}) };
    this.#tmem.destroyPool(this.client, local);
    if (this.#tmem.newPool(this.client, kind, local) !== local) this.#refuse(TmemPutResult.noPool);
  }

  #takePage(): void {
    const { PageAt } = stream;
    const view = this.#view;
    const local = this.#local();
    const pool = this.#tmem.poolOf(this.client, local);
    if (pool === null || !pool.persistent)
      this.#reject('the pool of a page is not persistent', local);
    if (this.#valid !== null) this.#reject('a page follows a valid record', local);
    if (this.#received >= (this.#target?.pagesMax ?? PAGES_MAX))
      this.#reject('there are too many pages', this.#received + 1);
    if (view.getInt32(PageAt.checksum, true) !== stream.pageChecksum(view))
      this.#reject('a page is damaged', this.#received);
    for (let i = 0; i < 6; i++) this.#oid[i] = this.#word(PageAt.oid + 4 * i);
    const index = this.#word(PageAt.index) | 0;
    const answer = this.#tmem.put(
      this.client,
      local,
      this.#oid,
      index,
      this.#record,
      stream.PageAt.page,
    );
    if (answer !== TmemPutResult.stored) {
      this.#refuse(answer);
      return;
    }
    const { index: table } = this.#tmem;
    const hash = table.objects.hash(pool!.number, this.#oid, 0);
    table.pages.setMark(table.find(pool!, this.#oid, 0, hash, index), ++this.#received);
  }

  #takeDropPool(): void {
    this.#tmem.destroyPool(this.client, this.#local());
  }

  #takeValid(): void {
    const records = Math.ceil(this.#received / stream.VALID_PAGES);
    this.#valid ??= new Uint8Array((records * stream.VALID_PAGES) / 8);
    const first = this.#word(4);
    if (first !== this.#validPages) this.#reject('valid records are out of order', first);
    if (first >= this.#received) this.#reject('a valid record is beyond the pages received', first);
    const bits = this.#record.subarray(stream.VALID_AT, stream.VALID_AT + stream.VALID_PAGES / 8);
    this.#valid.set(bits, first / 8);
    this.#validPages += stream.VALID_PAGES;
  }

  #takeEnd(): void {
    if (this.#validPages < this.#received)
      this.#reject('valid records are missing', this.#received);
    const { index: table } = this.#tmem;
    const { pages } = table;
    const client = table.clients[this.client]!;
    let valid = 0;
    for (let row = 1; row < pages.end; row++) {
      const object = pages.objectOf(row);
      if (object === 0) continue;
      const pool = table.pools[table.objects.poolOf(object)]!;
      if (pool.owner !== client || !pool.persistent) continue;
      const number = pages.markOf(row) - 1;
      if ((this.#valid![number >>> 3]! & (1 << (number & 7))) !== 0) {
        valid++;
        continue;
      }
      table.drop(row);
      pool.counters.add('flushedPages', 1);
    }
    if (valid !== this.#word(4)) this.#reject('the number of valid pages is wrong', valid);
    if (this.#word(8) > 1) this.#reject('the client has unknown flags', this.#word(8));
    client.frozen = this.#word(8) === 1;
    this.pages = valid;
    this.state = RestoreState.done;
  }

  #local(): number {
    const local = this.#word(4);
    if (local >= POOLS_PER_CLIENT) this.#reject("a pool's number is out of range", local);
    return local;
  }

  #word(at: number): number {
    return this.#view.getUint32(at, true);
  }

  #refuse(refusal: TmemPutResult): void {
    this.refusal = refusal;
    this.state = RestoreState.refused;
    this.#destroyClient();
  }

  #destroyClient(): void {
    if (this.client >= 0 && this.#target === null) this.#tmem.destroyClient(this.client);
    this.client = -1;
  }

  #reject(what: string, fact: number): never {
    this.state = RestoreState.refused;
    this.#destroyClient();
    const text = `cannot restore a tmem client: ${what} (${fact}); save it again`;
    throw new SwapError('ERR_PEER_PROTOCOL', text, { fact });
  }
}
