/**
 * The server side of one connection: bytes in, calls of Tmem, bytes out. No sockets.
 *
 *   hello ─▶ head ─▶ pages of a put, keys of a flush: one at a time      ─▶ reply ─▶ head
 *              ├───▶ keys of a get: all of them, then its reply
 *              └───▶ FLUSH_OBJECT, DESTROY_POOL: STEP_PAGES at a time    ─▶ reply ─▶ head
 *
 * Invariants
 * - Nothing is read outside [from, to) of the input. Unprocessed bytes are fewer than REQUEST_PART_BYTES_MAX when the
 *   session waits for input.
 * - A reply is written only if it fits the output as a whole.
 * - A call does at most `grant` work, plus one step.
 * Cost: put, get and flush allocate nothing, except the view of a page (96 bytes).
 */
import type { Input } from '../../base/input.ts';
import { PAGE_BYTES } from '../../base/units.ts';
import { TmemFlushResult, TmemGetResult, TmemPutResult } from '../results.ts';
import type { Tmem } from '../tmem.ts';
import type { TmemOutput } from './output.ts';
import * as wire from './wire.ts';
import { Head, Op } from './wire.ts';

/** Pools of one user, as one of its connections sees them. */
export interface ConnectionPools {
  readonly tmem: Tmem;
  /** The user as a client of tmem. */
  readonly client: number;
  /** Whether the connection has opened the pool. */
  isOpen(pool: number): boolean;
  /** NEW_POOL. @param uuid 32 hex digits; '': none. @returns the number of the pool, or an error below 0 */
  open(flags: number, lease: number, uuid: string): number;
  /** DESTROY_POOL, or its next step, of about `pagesMax` pages. Returns `more` while pages are left. */
  destroy(pool: number, pagesMax: number): TmemFlushResult;
}

/** Why receive() returned. */
export const Stop = {
  /** More input is needed. */
  input: 0,
  /** The reply does not fit the output. */
  output: 1,
  /** The grant is used up. */
  grant: 2,
  /** The client broke the protocol; see `fault`. */
  ended: 3,
} as const;
export type Stop = (typeof Stop)[keyof typeof Stop];

/** What a request costs, in the unit of nbd/protocol/work.ts: a byte read from a compressed disk. */
const REQUEST_WORK = 2048;
/** A new pool costs counters and a number. */
const NEW_POOL_WORK = 131072;
const PUT_WORK = 8192;
const GET_WORK = 4096;
const FLUSH_WORK = 1024;
/** Pages that a step of FLUSH_OBJECT or DESTROY_POOL drops. */
const STEP_PAGES = 64;

/** Position in a request. */
const At = { hello: 0, head: 1, entries: 2, object: 3, destroy: 4 } as const;

export class TmemSession {
  stop: Stop = Stop.input;
  /** Work of the last call. */
  work = 0;
  /** Why the session ended; '': it has not. */
  fault = '';
  readonly #pools: ConnectionPools;
  #state: (typeof At)[keyof typeof At] = At.hello;
  #op = 0;
  #pool = 0;
  #count = 0;
  #id = 0;
  #done = 0;
  #good = 0;
  readonly #results = new Uint8Array(wire.PAGES_MAX);
  readonly #oid = new Uint32Array(6);
  #index = 0;

  constructor(pools: ConnectionPools) {
    this.#pools = pools;
  }

  get hasGreeted(): boolean {
    return this.#state !== At.hello;
  }

  /** True if part of a request has been processed or is waiting for the rest. */
  get isInsideRequest(): boolean {
    return this.#state > At.head;
  }

  /**
   * Processes bytes [from, to) of the input and appends replies to `out`. Returns the position of the first unprocessed
   * byte.
   */
  receive(input: Input, from: number, to: number, out: TmemOutput, grant: number): number {
    this.work = 0;
    let at = from;
    for (;;) {
      if (this.work >= grant) {
        this.stop = Stop.grant;
        return at;
      }
      const before = at;
      const { work } = this;
      const state = this.#state;
      if (state === At.head) at = this.#head(input, at, to, out);
      else if (state === At.entries) at = this.#entry(input, at, to, out);
      else if (state === At.hello) at = this.#hello(input, at, to, out);
      else this.#step(out);
      if (this.stop === Stop.ended) return at;
      if (at === before && this.#state === state && this.work === work) return at;
    }
  }

  #hello({ view }: Input, at: number, to: number, out: TmemOutput): number {
    if (to - at < wire.ClientHello.bytes) return this.#wait(Stop.input, at);
    const { ClientHello, ServerHello, HelloStatus } = wire;
    if (
      view.getUint32(at, true) !== wire.MAGIC_LOW ||
      view.getUint32(at + 4, true) !== wire.MAGIC_HIGH
    )
      return this.#end('no tmem client', at);
    const isKnown = view.getUint32(at + ClientHello.version, true) === wire.VERSION;
    if (isKnown && view.getUint32(at + ClientHello.zero, true) !== 0)
      return this.#end('unknown flags', at);
    const status = isKnown ? HelloStatus.accepted : HelloStatus.unknownVersion;
    const reply = out.length;
    out.bytes.fill(0, reply, reply + ServerHello.bytes);
    out.view.setUint32(reply, wire.MAGIC_LOW, true);
    out.view.setUint32(reply + 4, wire.MAGIC_HIGH, true);
    out.view.setUint32(reply + ServerHello.version, wire.VERSION, true);
    out.view.setUint32(reply + ServerHello.status, status, true);
    out.view.setUint32(reply + ServerHello.pagesMax, wire.PAGES_MAX, true);
    out.view.setUint32(reply + ServerHello.poolsMax, wire.POOLS_MAX, true);
    out.length += ServerHello.bytes;
    if (!isKnown) return this.#end('unknown version', at);
    this.#state = At.head;
    return at + ClientHello.bytes;
  }

  #head(input: Input, at: number, to: number, out: TmemOutput): number {
    if (to - at < Head.bytes) return this.#wait(Stop.input, at);
    const { view } = input;
    const op = view.getUint8(at + Head.op);
    const count = view.getUint16(at + Head.count, true);
    const length = wire.requestBytes(op, count);
    if (length < 0) return this.#end(`operation ${op} of ${count} pages`, at);
    if (view.getUint32(at + Head.length, true) !== length) return this.#end('wrong length', at);
    if (view.getUint32(at + Head.value, true) !== 0) return this.#end('unknown flags', at);
    this.#op = op;
    this.#count = count;
    this.#id = view.getUint32(at + Head.id, true);
    this.#pool = view.getUint8(at + Head.pool);
    this.#done = 0;
    this.#good = 0;
    const body = at + Head.bytes;
    if (op === Op.put || op === Op.flushPage) {
      this.work += REQUEST_WORK;
      this.#state = At.entries;
      return body;
    }
    if (op === Op.get) {
      if (to - body < length) return this.#wait(Stop.input, at);
      if (out.freeBytes < wire.REPLY_BYTES_MAX) return this.#wait(Stop.output, at);
      this.#get(view, body, out);
      return body + length;
    }
    if (to - body < length) return this.#wait(Stop.input, at);
    if (out.freeBytes < Head.bytes) return this.#wait(Stop.output, at);
    this.work += op === Op.newPool ? NEW_POOL_WORK : REQUEST_WORK;
    if (op === Op.newPool) return this.#newPool(input, body, out);
    if (op === Op.flushObject) this.#readOid(view, body);
    this.#state = op === Op.flushObject ? At.object : At.destroy;
    return body + length;
  }

  /** One page of a put, or one key of a flush. */
  #entry(input: Input, at: number, to: number, out: TmemOutput): number {
    const { view, bytes } = input;
    const isPut = this.#op === Op.put;
    let next = at;
    if (this.#done < this.#count) {
      next += isPut ? wire.PUT_ENTRY_BYTES : wire.KEY_BYTES;
      if (next > to) return this.#wait(Stop.input, at);
      this.#readKey(view, at);
      const { tmem, client } = this.#pools;
      let result: number;
      if (isPut) {
        this.work += PUT_WORK;
        const page = at + wire.KEY_BYTES;
        result = this.#isOpen
          ? tmem.put(client, this.#pool, this.#oid, this.#index, bytes, page)
          : TmemPutResult.noPool;
        if (result === TmemPutResult.stored) this.#good++;
      } else {
        this.work += FLUSH_WORK;
        result = this.#isOpen
          ? tmem.flushPage(client, this.#pool, this.#oid, this.#index)
          : TmemFlushResult.noPool;
        if (result !== TmemFlushResult.noPool) this.#good++;
      }
      this.#results[this.#done++] = result;
    }
    if (this.#done === this.#count) {
      const length = wire.resultBytes(this.#count);
      if (out.freeBytes < Head.bytes + length) return this.#wait(Stop.output, next);
      const reply = out.length;
      for (let i = 0; i < length; i++)
        out.bytes[reply + Head.bytes + i] = i < this.#count ? this.#results[i]! : 0;
      this.#reply(out, this.#good, length);
    }
    return next;
  }

  #get(view: DataView, body: number, out: TmemOutput): void {
    const { tmem, client } = this.#pools;
    const count = this.#count;
    const { bytes } = out;
    const isOpen = this.#isOpen;
    const results = out.length + Head.bytes;
    let page = results + wire.resultBytes(count);
    for (let i = count; i < wire.resultBytes(count); i++) bytes[results + i] = 0;
    for (let i = 0; i < count; i++) {
      this.#readKey(view, body + i * wire.KEY_BYTES);
      const result = isOpen
        ? tmem.get(client, this.#pool, this.#oid, this.#index, bytes, page)
        : TmemGetResult.noPool;
      bytes[results + i] = result;
      if (result !== TmemGetResult.found) continue;
      page += PAGE_BYTES;
      this.#good++;
    }
    this.work += REQUEST_WORK + count * GET_WORK;
    this.#reply(out, this.#good, page - results);
  }

  #newPool({ view }: Input, body: number, out: TmemOutput): number {
    const { NewPool, PoolFlag } = wire;
    const flags = view.getUint32(body + NewPool.flags, true);
    const lease = view.getUint32(body + NewPool.lease, true);
    let uuid = '';
    for (let at = body + NewPool.uuid; at < body + NewPool.bytes; at += 4)
      uuid += view.getUint32(at).toString(16).padStart(8, '0');
    if (this.#pool !== 0) return this.#end('a pool number in NEW_POOL', body);
    const isNamed = (flags & PoolFlag.named) !== 0;
    const isPersistent = (flags & PoolFlag.persistent) !== 0;
    if ((flags & ~wire.POOL_FLAGS_ALL) !== 0) return this.#end('unknown pool flags', body);
    if (!isNamed && /[^0]/.test(uuid)) return this.#end('a uuid without its flag', body);
    if (lease !== 0 && !(isNamed && isPersistent))
      return this.#end('a lease for a pool that is not persistent and named', body);
    if ((flags & PoolFlag.exclusiveGets) !== 0 && !isPersistent)
      return this.#end('exclusive gets for a pool that is not persistent', body);
    this.#reply(out, this.#pools.open(flags, lease, isNamed ? uuid : ''), 0);
    return body + NewPool.bytes;
  }

  /** A step of FLUSH_OBJECT or DESTROY_POOL. */
  #step(out: TmemOutput): void {
    if (out.freeBytes < Head.bytes) {
      this.stop = Stop.output;
      return;
    }
    this.work += STEP_PAGES * FLUSH_WORK;
    const { tmem, client } = this.#pools;
    let result: TmemFlushResult = TmemFlushResult.noPool;
    if (this.#state === At.destroy) result = this.#pools.destroy(this.#pool, STEP_PAGES);
    else if (this.#isOpen) result = tmem.flushObject(client, this.#pool, this.#oid, STEP_PAGES);
    if (result !== TmemFlushResult.more) this.#reply(out, result, 0);
  }

  /** Checked for each page and step: in between, the pool may be destroyed and its number reused. */
  get #isOpen(): boolean {
    return this.#pools.isOpen(this.#pool);
  }

  #reply(out: TmemOutput, value: number, length: number): void {
    out.head(out.length, this.#op, this.#count, this.#id, value, length);
    out.length += Head.bytes + length;
    this.#state = At.head;
  }

  #readOid(view: DataView, at: number): void {
    const oid = this.#oid;
    oid[0] = view.getUint32(at, true);
    oid[1] = view.getUint32(at + 4, true);
    oid[2] = view.getUint32(at + 8, true);
    oid[3] = view.getUint32(at + 12, true);
    oid[4] = view.getUint32(at + 16, true);
    oid[5] = view.getUint32(at + 20, true);
  }

  #readKey(view: DataView, at: number): void {
    this.#readOid(view, at);
    this.#index = view.getInt32(at + wire.OID_BYTES, true);
  }

  #wait(stop: Stop, at: number): number {
    this.stop = stop;
    return at;
  }

  #end(why: string, at: number): number {
    this.stop = Stop.ended;
    this.fault = why;
    return at;
  }
}
