/**
 * One pool of a host over a blocking connection, for threads that cannot wait for an event loop: a fault must be
 * served before the call returns. Each call is one request and its reply.
 *
 *   put, get, flushPage, flushObject    results of Tmem, or `down`: no reply within the deadline, or no connection
 *
 * Invariants
 * - After `down` of a put or flush, the contents under the key are unknown until a put or flush of it succeeds.
 *   Frontswap never asks for such a page.
 * - A get fills the target only if the host found the page: the reply names the request, and a connection is not used
 *   after a failure, so a late reply is never taken for another one.
 * - A get whose connection was closed is repeated once, over a new connection, unless it removes the page.
 * - A reconnect opens the pool again by its uuid. The pool is empty if the host was restarted, or if an operator has
 *   destroyed it (`noPool`).
 * Cost: a round trip and a copy of the page. Nothing is allocated, except the view of a page.
 */
import { checkInteger, checkPage } from '../../base/arguments.ts';
import type { Clock } from '../../base/clock.ts';
import { SwapError } from '../../base/errors.ts';
import { checkOptions } from '../../base/options.ts';
import { PAGE_BYTES } from '../../base/units.ts';
import { Link, LinkEnd } from '../../remote/link.ts';
import type { OpenStream } from '../../remote/ops.ts';
import { TmemFlushResult, TmemGetResult, TmemPutResult } from '../results.ts';
import { KEY_WORDS } from '../tmem.ts';
import { type PoolRequest, poolError, poolRequest } from './pool-options.ts';
import { Frame, ReplyReader, RequestWriter } from './requests.ts';
import * as wire from './wire.ts';
import { Op } from './wire.ts';

/** Connection and pool of a BlockingPool. Times are in ms. */
export interface BlockingPoolOptions {
  /** Opens the connection; see streamSockets(). */
  readonly open: OpenStream;
  readonly clock: Clock;
  /** Name of the pool: 128 bits in hex. Use a random one if the pages end with the process. */
  readonly uuid: string;
  /** Default true. */
  readonly persistent?: boolean;
  /** Whether a get of a persistent pool removes the page. Default false. */
  readonly exclusiveGets?: boolean;
  /** Seconds that a persistent pool outlives its connection; Infinity: while the host runs. Default 60. */
  readonly leaseSeconds?: number;
  /** Deadline of a request, ms; default 500. */
  readonly deadlineMs?: number;
  /** First and longest pause before a reconnect, ms; default 100 and 30,000. */
  readonly pauseMs?: number;
  readonly pauseMsMax?: number;
}

const OPTION_KEYS: readonly (keyof BlockingPoolOptions)[] = [
  ...(['open', 'clock', 'uuid', 'persistent', 'exclusiveGets', 'leaseSeconds'] as const),
  ...(['deadlineMs', 'pauseMs', 'pauseMsMax'] as const),
];
const MS_MAX = 2 ** 31 - 1;

const windows = {
  sendAt: 0,
  sendBytes: wire.REQUEST_BYTES_MAX,
  receiveAt: wire.REQUEST_BYTES_MAX,
  receiveBytes: wire.REPLY_BYTES_MAX,
};

/** One pool of a host, over a blocking connection to its tmem socket. */
export class BlockingPool implements Disposable {
  readonly #link: Link<RequestWriter, ReplyReader>;
  readonly #request: PoolRequest;
  #pool = 0;
  /** The request in flight. */
  #id = 0;
  #op: Op = Op.put;
  #count = 0;
  #refusal: SwapError | null = null;

  /** Does not connect. @throws SwapError ERR_ARG_UNKNOWN, ERR_ARG_VALUE, ERR_ARG_CONFLICT */
  constructor(options: BlockingPoolOptions) {
    checkOptions(options, 'BlockingPool(options)', OPTION_KEYS);
    const { uuid, persistent = true, exclusiveGets = false } = options;
    const { leaseSeconds = persistent ? 60 : 0 } = options;
    const { deadlineMs = 500, pauseMs = 100, pauseMsMax = 30_000 } = options;
    for (const [name, ms] of Object.entries({ deadlineMs, pauseMs, pauseMsMax }))
      checkInteger(name, ms, 1, MS_MAX);
    this.#request = poolRequest({ persistent, exclusiveGets, uuid, leaseSeconds });
    const memory = new Uint8Array(windows.receiveAt + windows.receiveBytes);
    this.#link = new Link({
      open: options.open,
      clock: options.clock,
      memory,
      writer: new RequestWriter(memory, 0, windows.sendBytes),
      reader: new ReplyReader(memory),
      windows,
      ...{ deadlineMs, pauseMs, pauseMsMax },
      handshake: () => this.#handshake(),
    });
  }

  /** The connection is up. */
  get isUp(): boolean {
    return this.#link.isUp;
  }

  /**
   * Connects, and throws if that fails. Optional: the other calls also connect, and retry later.
   * @throws SwapError ERR_IO_NOT_REACHABLE: no host; ERR_IO_NO_ROOM: no pool; ERR_PEER_PROTOCOL: another program
   */
  start(): void {
    if (this.#link.ready()) return;
    const { end, cause } = this.#link;
    if (this.#refusal !== null) throw this.#refusal;
    if (end === LinkEnd.malformed || end === LinkEnd.unfit)
      throw new SwapError(
        'ERR_PEER_PROTOCOL',
        'the socket is not the tmem socket of a host of this version',
      );
    const why = cause === null ? 'it closed the connection' : cause.message;
    const text = `cannot connect to the tmem socket: ${why}; start a host with 'frontswap host --tmem PATH'`;
    throw new SwapError('ERR_IO_NOT_REACHABLE', text, { end }, { cause });
  }

  /** PUT_PAGE of source[at .. at + 4096). After any result but `stored` and `down`, a get misses. */
  put(oid: Uint32Array, index: number, source: Uint8Array, at: number): TmemPutResult {
    checkPage(source, at);
    if (!this.#begin(Op.put, 1)) return TmemPutResult.down;
    this.#key(oid, 0, index);
    this.#link.writer.page(source, at);
    return this.#exchange() ? (this.#result(0) as TmemPutResult) : TmemPutResult.down;
  }

  /** GET_PAGE into target[at .. at + 4096), if the page is found. */
  get(oid: Uint32Array, index: number, target: Uint8Array, at: number): TmemGetResult {
    checkPage(target, at);
    for (let tries = 0; !this.#askOne(oid, index); tries++)
      if (!this.#mayRepeat(tries)) return TmemGetResult.down;
    const result = this.#result(0) as TmemGetResult;
    const { bytes, pagesAt } = this.#link.reader;
    if (result === TmemGetResult.found)
      target.set(bytes.subarray(pagesAt, pagesAt + PAGE_BYTES), at);
    return result;
  }

  /** FLUSH_PAGE. */
  flushPage(oid: Uint32Array, index: number): TmemFlushResult {
    if (!this.#begin(Op.flushPage, 1)) return TmemFlushResult.down;
    this.#key(oid, 0, index);
    return this.#exchange() ? (this.#result(0) as TmemFlushResult) : TmemFlushResult.down;
  }

  /** FLUSH_OBJECT. Cost: proportional to its pages. */
  flushObject(oid: Uint32Array): TmemFlushResult {
    if (!this.#begin(Op.flushObject, 0)) return TmemFlushResult.down;
    this.#link.writer.oid(oid, 0);
    return this.#exchange() ? (this.#link.reader.value as TmemFlushResult) : TmemFlushResult.down;
  }

  /**
   * 1 to 32 puts in one request: page i is at source[at + 4096 i], its key at keys[7 i .. 7 i + 7). Its result goes to
   * results[i]. Returns the number stored; -1: down, and all results are `down`.
   */
  putMany(
    keys: Uint32Array,
    count: number,
    source: Uint8Array,
    at: number,
    results: Uint8Array,
  ): number {
    checkVector(keys, count, source, at, results);
    if (!this.#begin(Op.put, count)) return down(results, count, TmemPutResult.down);
    for (let i = 0; i < count; i++) {
      this.#key(keys, i * KEY_WORDS, keys[i * KEY_WORDS + 6]!);
      this.#link.writer.page(source, at + i * PAGE_BYTES);
    }
    if (!this.#exchange()) return down(results, count, TmemPutResult.down);
    for (let i = 0; i < count; i++) results[i] = this.#result(i);
    return this.#link.reader.value;
  }

  /** 1 to 32 gets in one request, like putMany(). Returns the number found; -1: down. */
  getMany(
    keys: Uint32Array,
    count: number,
    target: Uint8Array,
    at: number,
    results: Uint8Array,
  ): number {
    checkVector(keys, count, target, at, results);
    for (let tries = 0; !this.#askMany(keys, count); tries++)
      if (!this.#mayRepeat(tries)) return down(results, count, TmemGetResult.down);
    const { bytes, value } = this.#link.reader;
    let page = this.#link.reader.pagesAt;
    for (let i = 0; i < count; i++) {
      results[i] = this.#result(i);
      if (results[i] !== TmemGetResult.found) continue;
      target.set(bytes.subarray(page, page + PAGE_BYTES), at + i * PAGE_BYTES);
      page += PAGE_BYTES;
    }
    return value;
  }

  /** 1 to 32 flushes in one request, like putMany(). Returns the number done; -1: down. */
  flushMany(keys: Uint32Array, count: number, results: Uint8Array): number {
    checkCount(keys, count, results);
    if (!this.#begin(Op.flushPage, count)) return down(results, count, TmemFlushResult.down);
    for (let i = 0; i < count; i++) this.#key(keys, i * KEY_WORDS, keys[i * KEY_WORDS + 6]!);
    if (!this.#exchange()) return down(results, count, TmemFlushResult.down);
    for (let i = 0; i < count; i++) results[i] = this.#result(i);
    return this.#link.reader.value;
  }

  /**
   * DESTROY_POOL, if there is a connection, and closes it. The pages are dropped, whatever the lease, unless another
   * connection has the pool open.
   */
  destroy(): TmemFlushResult {
    let result: TmemFlushResult = TmemFlushResult.down;
    if (this.isUp && this.#begin(Op.destroyPool, 0) && this.#exchange())
      result = this.#link.reader.value as TmemFlushResult;
    this[Symbol.dispose]();
    return result;
  }

  /** Closes the connection; the pool stays for its lease. */
  [Symbol.dispose](): void {
    this.#link[Symbol.dispose]();
  }

  /** GET_PAGE of one page. */
  #askOne(oid: Uint32Array, index: number): boolean {
    if (!this.#begin(Op.get, 1)) return false;
    this.#key(oid, 0, index);
    return this.#exchange();
  }

  #askMany(keys: Uint32Array, count: number): boolean {
    if (!this.#begin(Op.get, count)) return false;
    for (let i = 0; i < count; i++) this.#key(keys, i * KEY_WORDS, keys[i * KEY_WORDS + 6]!);
    return this.#exchange();
  }

  /**
   * Whether to repeat a get that failed: once, if the connection was closed. It changes nothing in the host, and the host at the
   * path may now be another one, to which the pool was moved. An exclusive get may have removed the page.
   */
  #mayRepeat(tries: number): boolean {
    const isExclusive = (this.#request.flags & wire.PoolFlag.exclusiveGets) !== 0;
    return tries === 0 && !isExclusive && this.#link.end === LinkEnd.closed;
  }

  /** Stages the header of a request. Returns false if there is no connection. */
  #begin(op: Op, count: number): boolean {
    if (!this.#link.ready()) return false;
    this.#id = (this.#id + 1) >>> 0;
    this.#op = op;
    this.#count = count;
    this.#link.writer.head(op, this.#pool, count, this.#id);
    return true;
  }

  #key(oid: Uint32Array, at: number, index: number): void {
    this.#link.writer.oid(oid, at);
    this.#link.writer.index(index);
  }

  #result(i: number): number {
    const { bytes, resultsAt } = this.#link.reader;
    return bytes[resultsAt + i]!;
  }

  /** Sends the request and reads its reply, which the reader then describes. */
  #exchange(): boolean {
    const link = this.#link;
    if (!link.send() || link.token() === Frame.incomplete) return false;
    const { reader } = link;
    const { id, op, count } = reader;
    const isItsReply = id === this.#id && op === this.#op && count === this.#count;
    if (!isItsReply || !isSound(reader)) return link.fail(LinkEnd.malformed);
    link.done();
    const first = op === Op.flushObject || op === Op.destroyPool ? reader.value : this.#result(0);
    // An operator destroyed the pool: the next call connects and opens it again. The reply stays readable.
    if (first === noPoolOf(op)) link.fail(LinkEnd.closed);
    return true;
  }

  #handshake(): boolean {
    const { writer, reader } = this.#link;
    this.#refusal = null;
    reader.reset();
    writer.hello();
    this.#id = (this.#id + 1) >>> 0;
    if (!this.#link.send() || this.#link.token() !== Frame.hello || reader.status !== 0)
      return false;
    const { flags, lease, uuid } = this.#request;
    writer.newPool(this.#id, flags, lease, uuid);
    if (!this.#link.send() || this.#link.token() !== Frame.reply) return false;
    if (reader.id !== this.#id || reader.op !== Op.newPool || reader.value >= wire.POOLS_MAX)
      return false;
    if (reader.value < 0) this.#refusal = poolError(reader.value);
    this.#pool = reader.value;
    return reader.value >= 0;
  }
}

/** Each page has a key and a result. @throws SwapError ERR_ARG_VALUE */
function checkCount(keys: Uint32Array, count: number, results: Uint8Array): void {
  const fit = Math.min(wire.PAGES_MAX, results.length, Math.floor(keys.length / KEY_WORDS));
  checkInteger('count', count, 1, fit);
}

/** checkCount(), and checks that the pages are inside pages[at ..). */
export function checkVector(
  keys: Uint32Array,
  count: number,
  pages: Uint8Array,
  at: number,
  results: Uint8Array,
): void {
  checkCount(keys, count, results);
  checkInteger('at', at, 0, pages.length - count * PAGE_BYTES);
}

/** Sets all results; returns -1. */
function down(results: Uint8Array, count: number, result: number): -1 {
  results.fill(result, 0, count);
  return -1;
}

const noPoolOf = (op: number): number =>
  op === Op.put
    ? TmemPutResult.noPool
    : op === Op.get
      ? TmemGetResult.noPool
      : TmemFlushResult.noPool;

/** Whether a reply's value is the number of its good results, so that each page of a get belongs to its result. */
export function isSound({ op, count, value, bytes, resultsAt }: ReplyReader): boolean {
  if (op !== Op.get) return true;
  let found = 0;
  for (let i = 0; i < count; i++) if (bytes[resultsAt + i] === TmemGetResult.found) found++;
  return found === value;
}
