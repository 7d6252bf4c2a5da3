/**
 * Transcendent memory (tmem): clients put, get and flush pages by key, in host memory that they cannot address. The host
 * decides how much memory to lend and may evict ephemeral pages at any time.
 *
 *   client ─▶ pool (16 at most) ─▶ object (192-bit id) ─▶ page (32-bit index)
 *
 *   persistent pool    an accepted page is found until it is flushed: swap pages (frontswap)
 *   ephemeral pool     an accepted page may be evicted at any time: clean file pages (cleancache)
 *   shared pool        ephemeral, used by several authorised clients that name the same 128-bit uuid
 *
 * Rules
 * - A put replaces or drops the page under its key; #put() drops the old page first.
 * - After a miss or a flush every get misses until the next put, even if the client is frozen.
 * - Limits are hard. Persistent pages are not evicted; when no ephemeral page is left, puts are refused.
 *
 * An object id is oid[0 .. 6), six 32-bit words; a page is 4096 bytes at source[at ..]. Everything is synchronous; put,
 * get and flush allocate nothing. Tables reserve address space for their capacity at the start.
 */
import { checkChoice, checkInteger, checkPage } from '../base/arguments.ts';
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import { checkOptions } from '../base/options.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { Client, Pool } from './client.ts';
import { clientAt, hostAt, poolAt } from './counters.ts';
import { KernelComparer } from './kernel-comparer.ts';
import type { PageStore } from './ops.ts';
import {
  ALL_ONES,
  CAP_MAX,
  CLIENTS_MAX,
  type ClientOptions,
  type PoolOptions,
  TMEM_OPTIONS,
  type TmemOptions,
  WEIGHT_MAX,
} from './options.ts';
import { PageIndex } from './page-index.ts';
import {
  NewPoolError,
  POOLS_PER_CLIENT,
  SHARED_POOLS_MAX,
  TmemFlushResult,
  TmemGetResult,
  TmemPutResult,
  uuidOf,
} from './results.ts';

/** Words of a key in putMany() and getMany(): six of the object id, then the index. */
export const KEY_WORDS = 7;
const INDEX_WORD = 6;

/** A tmem host: clients, their pools, and the pages in them, stored in a PageStore. */
export class Tmem {
  /** The tables; for this folder and tests. */
  readonly index: PageIndex;
  readonly #store: PageStore;
  readonly #everyoneShares: boolean;
  readonly #replaceFrozen: boolean;
  readonly #sharedPoolsMax: number;
  #poolsMade = 0;

  /** @throws SwapError ERR_ARG_UNKNOWN, ERR_ARG_VALUE */
  constructor(options: TmemOptions) {
    checkOptions(options, 'Tmem(options)', TMEM_OPTIONS);
    const { store, pages = store.slots, objects = pages, clients = 16, seed = 0 } = options;
    const { dedup = 'client', evictionsPerPut = 256, sharing = 'authorised' } = options;
    const { frozenPuts = 'drop', sharedPools = SHARED_POOLS_MAX } = options;
    checkInteger('pages', pages, 1, CAP_MAX);
    checkInteger('objects', objects, 1, CAP_MAX);
    checkInteger('clients', clients, 1, CLIENTS_MAX);
    checkInteger('evictionsPerPut', evictionsPerPut, 0, CAP_MAX);
    checkInteger('sharedPools', sharedPools, 1, CLIENTS_MAX * POOLS_PER_CLIENT);
    checkChoice('dedup', dedup, ['off', 'client', 'global']);
    checkChoice('sharing', sharing, ['authorised', 'everyone']);
    checkChoice('frozenPuts', frozenPuts, ['drop', 'replace']);
    const comparer = dedup === 'off' ? null : (options.comparer ?? new KernelComparer());
    const tables = { store, pages, objects, clients, dedup, comparer, evictionsPerPut, seed };
    this.index = new PageIndex(tables);
    this.#store = store;
    this.#sharedPoolsMax = sharedPools;
    this.#everyoneShares = sharing === 'everyone';
    this.#replaceFrozen = frozenPuts === 'replace';
  }

  /**
   * Adds a client; returns its id, 0 .. clients - 1, or -1 if no id is free.
   * @throws SwapError ERR_ARG_UNKNOWN, ERR_ARG_VALUE
   */
  addClient(options: ClientOptions = {}): number {
    checkOptions(options, 'addClient(options)', ['weight', 'cap']);
    const { weight = 1, cap = 0 } = options;
    checkInteger('weight', weight, 0, WEIGHT_MAX);
    checkInteger('cap', cap, 0, CAP_MAX);
    const { clients } = this.index;
    const id = clients.indexOf(null);
    if (id >= 0) clients[id] = new Client(id, weight, cap);
    return id;
  }

  /** Destroys the client's private pools and leaves its shared ones. Returns false if the client does not exist. */
  destroyClient(id: number): boolean {
    if (this.clientOf(id) === null) return false;
    for (let pool = 0; pool < POOLS_PER_CLIENT; pool++) this.destroyPool(id, pool);
    this.index.clients[id] = null;
    return true;
  }

  setWeight(client: number, weight: number): void {
    checkInteger('weight', weight, 0, WEIGHT_MAX);
    this.#clientNamed(client).weight = weight;
  }

  /**
   * Sets the cap and immediately evicts ephemeral pages above it. Persistent pages stay; puts above the cap are
   * refused.
   */
  setCap(client: number, cap: number): void {
    checkInteger('cap', cap, 0, CAP_MAX);
    const changed = this.#clientNamed(client);
    changed.cap = cap;
    if (cap !== 0) this.index.evictDownTo(changed, cap);
  }

  /** Whether pages that the client puts from now on are compressed. */
  setCompress(client: number, compress: boolean): void {
    this.#clientNamed(client).compress = compress;
  }

  /** Refuses puts of the client until thaw(); gets and flushes still work. */
  freeze(client: number): void {
    this.#clientNamed(client).frozen = true;
  }

  thaw(client: number): void {
    this.#clientNamed(client).frozen = false;
  }

  /** Allows the client to join the shared pool `uuid`. */
  authorise(client: number, uuid: string): void {
    this.#clientNamed(client).authorised.add(uuidOf(uuid));
  }

  /** Revokes authorise(); a client that has joined the pool keeps using it. */
  deauthorise(client: number, uuid: string): void {
    this.#clientNamed(client).authorised.delete(uuidOf(uuid));
  }

  /**
   * NEW_POOL: returns the pool's number, 0 .. 15, or a NewPoolError.
   * @param at the preferred number; another one if it is in use
   * @throws SwapError ERR_ARG_UNKNOWN, ERR_ARG_VALUE
   */
  newPool(client: number, options: PoolOptions = {}, at = -1): number {
    checkOptions(options, 'newPool(options)', ['persistent', 'shared', 'exclusiveGets']);
    const owner = this.clientOf(client);
    if (owner === null) return NewPoolError.noClient;
    const { persistent = false, exclusiveGets = false, shared } = options;
    if (persistent && shared !== undefined) return NewPoolError.sharedPersistent;
    const uuid = shared === undefined ? '' : this.#shareable(owner, uuidOf(shared));
    const local = at < 0 || owner.pools[at] !== null ? owner.pools.indexOf(null) : at;
    if (local < 0) return NewPoolError.tooMany;
    const { pools } = this.index;
    let pool: Pool | null = null;
    if (uuid !== '') {
      let shared = 0;
      for (let i = 0; i < pools.length && pool === null; i++) {
        if (pools[i]?.uuid === uuid) pool = pools[i]!;
        if (pools[i]?.isShared) shared++;
      }
      if (pool === null && shared >= this.#sharedPoolsMax) return NewPoolError.tooManyShared;
    }
    if (pool === null) {
      const number = pools.indexOf(null);
      assert(number >= 0, 'the table has a row for every pool of every client');
      const kind = { persistent, exclusiveGets: exclusiveGets || !persistent, uuid };
      pool = new Pool(number, ++this.#poolsMade, owner, kind);
      pools[number] = pool;
    }
    if (pool.isShared) pool.sharers.push({ client: owner, local });
    owner.pools[local] = pool;
    return local;
  }

  /** DESTROY_POOL: drops a private pool and its pages; leaves a shared pool, which the last sharer destroys. */
  destroyPool(client: number, pool: number): TmemFlushResult {
    const leaving = this.poolOf(client, pool);
    if (leaving === null) return TmemFlushResult.noPool;
    const { index: table } = this;
    const from = table.clients[client]!;
    from.pools[pool] = null;
    const answer = from.frozen ? TmemFlushResult.doneFrozen : TmemFlushResult.done;
    const { sharers } = leaving;
    if (leaving.isShared) {
      const part = sharers.findIndex((s) => s.client === from && s.local === pool);
      sharers.splice(part, 1);
      const [next] = sharers;
      if (next !== undefined) {
        if (next.client !== leaving.owner) table.reassign(leaving, next.client);
        return answer;
      }
    }
    while (leaving.firstObject !== 0) table.dropObject(leaving.firstObject);
    table.pools[leaving.number] = null;
    table.counters.add('poolsFlushed', 1);
    return answer;
  }

  /**
   * Drops objects of a pool until it is empty or about `pagesMax` pages have been dropped. This lets a large pool be
   * destroyed in steps. Returns `more` while pages are left.
   */
  emptyPool(client: number, pool: number, pagesMax: number): TmemFlushResult {
    const found = this.poolOf(client, pool);
    if (found === null) return TmemFlushResult.noPool;
    const { index: table } = this;
    for (let left = pagesMax; left > 0 && found.firstObject !== 0; ) {
      const dropped = table.dropSome(found.firstObject, left);
      found.counters.values[poolAt.flushedPages]! += dropped;
      left -= dropped;
    }
    return found.firstObject === 0 ? TmemFlushResult.done : TmemFlushResult.more;
  }

  /** PUT_PAGE: stores a copy of source[at .. at + 4096). */
  put(
    client: number,
    pool: number,
    oid: Uint32Array,
    index: number,
    source: Uint8Array,
    at: number,
  ): TmemPutResult {
    return this.#put(client, pool, oid, 0, index | 0, source, at);
  }

  /** GET_PAGE: fills target[at .. at + 4096) if the page is found. */
  get(
    client: number,
    pool: number,
    oid: Uint32Array,
    index: number,
    target: Uint8Array,
    at: number,
  ): TmemGetResult {
    return this.#get(client, pool, oid, 0, index | 0, target, at);
  }

  /** FLUSH_PAGE: drops the page. */
  flushPage(client: number, pool: number, oid: Uint32Array, index: number): TmemFlushResult {
    const found = this.#begin(client, pool);
    if (found === null) return TmemFlushResult.noPool;
    const { values } = found.counters;
    values[poolAt.flushes]! += 1;
    const hash = this.index.objects.hash(found.number, oid, 0);
    const row = this.index.find(found, oid, 0, hash, index | 0);
    if (row !== 0) {
      this.index.drop(row);
      values[poolAt.goodFlushes]! += 1;
      values[poolAt.flushedPages]! += 1;
    }
    return this.index.clients[client]!.frozen ? TmemFlushResult.doneFrozen : TmemFlushResult.done;
  }

  /**
   * FLUSH_OBJECT: drops all pages of the object. Cost: proportional to its pages.
   * @param pagesMax maximum number of pages to drop; if more are left, the result is `more`
   */
  flushObject(
    client: number,
    pool: number,
    oid: Uint32Array,
    pagesMax: number = Number.MAX_SAFE_INTEGER,
  ): TmemFlushResult {
    const found = this.#begin(client, pool);
    if (found === null) return TmemFlushResult.noPool;
    const { values } = found.counters;
    const object = this.index.objects.find(found.number, oid, 0);
    if (object !== 0 && this.index.objects.pagesOf(object) > pagesMax) {
      values[poolAt.flushedPages]! += this.index.dropSome(object, pagesMax);
      return TmemFlushResult.more;
    }
    values[poolAt.objectFlushes]! += 1;
    if (object !== 0) {
      values[poolAt.flushedPages]! += this.index.dropObject(object);
      values[poolAt.goodObjectFlushes]! += 1;
    }
    return this.index.clients[client]!.frozen ? TmemFlushResult.doneFrozen : TmemFlushResult.done;
  }

  /**
   * `count` puts in one call: page i is at source[at + 4096 i], its key at keys[7 i .. 7 i + 7). Its result, the same
   * as that of put(), goes to results[i]. Returns the number stored.
   */
  putMany(
    client: number,
    pool: number,
    keys: Uint32Array,
    count: number,
    source: Uint8Array,
    at: number,
    results: Uint8Array,
  ): number {
    checkInteger('count', count, 0, results.length);
    let stored = 0;
    for (let i = 0; i < count; i++) {
      const key = i * KEY_WORDS;
      const index = keys[key + INDEX_WORD]! | 0;
      const answer = this.#put(client, pool, keys, key, index, source, at + i * PAGE_BYTES);
      results[i] = answer;
      if (answer === TmemPutResult.stored) stored++;
    }
    return stored;
  }

  /** `count` gets in one call, like putMany(). Returns the number found. */
  getMany(
    client: number,
    pool: number,
    keys: Uint32Array,
    count: number,
    target: Uint8Array,
    at: number,
    results: Uint8Array,
  ): number {
    checkInteger('count', count, 0, results.length);
    let found = 0;
    for (let i = 0; i < count; i++) {
      const key = i * KEY_WORDS;
      const index = keys[key + INDEX_WORD]! | 0;
      const answer = this.#get(client, pool, keys, key, index, target, at + i * PAGE_BYTES);
      results[i] = answer;
      if (answer === TmemGetResult.found) found++;
    }
    return found;
  }

  /** Bytes of payload that evicting every ephemeral page would free. */
  get freeableBytes(): number {
    return this.index.contents.freeableBytes;
  }

  /** Evicts until `bytes` of payload are freed or no ephemeral page is left; returns the bytes freed. */
  relinquish(bytes: number): number {
    const freed = this.index.relinquish(bytes);
    this.index.counters.add('relinquishAsked', bytes);
    this.index.counters.add('relinquishDone', freed);
    return freed;
  }

  /** Store maintenance for the puts and drops since the last call. Returns false if there was nothing to do. */
  maintain(): boolean {
    const changed = Math.max(1, this.index.changes);
    this.index.changes = 0;
    return this.#store.maintain(changed);
  }

  /** The client with this id, or null. Read-only for callers. */
  clientOf(id: number): Client | null {
    return this.index.clients[id] ?? null;
  }

  /** The client's pool with this number, or null. Read-only for callers. */
  poolOf(client: number, pool: number): Pool | null {
    return this.index.clients[client]?.pools[pool] ?? null;
  }

  /** Checks every invariant; throws InvariantError. For tests. */
  verify(): void {
    this.index.verify();
  }

  #put(
    clientId: number,
    poolId: number,
    oid: Uint32Array,
    oidAt: number,
    index: number,
    source: Uint8Array,
    at: number,
  ): TmemPutResult {
    checkPage(source, at);
    const pool = this.#begin(clientId, poolId);
    if (pool === null) return TmemPutResult.noPool;
    const { index: table } = this;
    const client = table.clients[clientId]!;
    const { values } = pool.counters;
    values[poolAt.puts]! += 1;
    // Replace or drop: drop the old page first, so that it cannot remain on any path below.
    const hash = table.objects.hash(pool.number, oid, oidAt);
    const old = table.find(pool, oid, oidAt, hash, index);
    if (old !== 0) table.drop(old);
    const mayStore = !client.frozen || (this.#replaceFrozen && old !== 0);
    const answer = mayStore
      ? table.insert(pool, oid, oidAt, hash, index, source, at)
      : TmemPutResult.frozen;
    if (answer !== TmemPutResult.stored) {
      if (old !== 0) values[poolAt.dupFlushed]! += 1;
      this.#countRefusal(client, pool, answer);
      return answer;
    }
    if (old !== 0) values[poolAt.dupReplaced]! += 1;
    values[poolAt.goodPuts]! += 1;
    client.counters.values[clientAt.goodPuts]! += 1;
    if (pool.persistent) client.counters.values[clientAt.goodPersistentPuts]! += 1;
    else table.counters.values[hostAt.goodEphemeralPuts]! += 1;
    return answer;
  }

  #get(
    clientId: number,
    poolId: number,
    oid: Uint32Array,
    oidAt: number,
    index: number,
    target: Uint8Array,
    at: number,
  ): TmemGetResult {
    checkPage(target, at);
    const pool = this.#begin(clientId, poolId);
    if (pool === null) return TmemGetResult.noPool;
    const { index: table } = this;
    const { values } = pool.counters;
    values[poolAt.gets]! += 1;
    if (pool.firstObject === 0) return TmemGetResult.poolEmpty;
    const hash = table.objects.hash(pool.number, oid, oidAt);
    const row = table.find(pool, oid, oidAt, hash, index);
    if (row === 0) return TmemGetResult.absent;
    if (!table.contents.read(table.pages.contentOf(row), target, at)) {
      table.counters.add('corruptGets', 1);
      if (!pool.persistent) {
        table.drop(row);
        values[poolAt.corruptPages]! += 1;
      }
      return TmemGetResult.corrupt;
    }
    values[poolAt.goodGets]! += 1;
    const gets = pool.persistent ? clientAt.goodPersistentGets : clientAt.goodEphemeralGets;
    table.clients[clientId]!.counters.values[gets]! += 1;
    if (pool.isShared) table.promote(row, pool);
    else if (pool.exclusiveGets) {
      table.drop(row);
      values[poolAt.takenByGets]! += 1;
    }
    return TmemGetResult.found;
  }

  /** Counts the operation; returns its pool, or null. */
  #begin(client: number, pool: number): Pool | null {
    const { values } = this.index.counters;
    values[hostAt.operations]! += 1;
    const found = this.poolOf(client, pool);
    if (found === null) values[hostAt.errors]! += 1;
    return found;
  }

  #countRefusal(client: Client, pool: Pool, answer: TmemPutResult): void {
    const { counters } = this.index;
    const reason =
      answer === TmemPutResult.frozen
        ? 'refusedFrozen'
        : answer === TmemPutResult.capped
          ? 'refusedCapped'
          : answer === TmemPutResult.noSpace
            ? 'refusedNoSpace'
            : 'refusedNoRows';
    counters.add(reason, 1);
    client.counters.add(reason, 1);
    if (answer === TmemPutResult.noSpace || answer === TmemPutResult.noRows)
      pool.counters.add('noMemory', 1);
  }

  #shareable(client: Client, uuid: string): string {
    if (uuid === ALL_ONES) return '';
    return this.#everyoneShares || client.authorised.has(uuid) ? uuid : '';
  }

  #clientNamed(id: number): Client {
    const client = this.clientOf(id);
    if (client !== null) return client;
    throw new SwapError('ERR_ARG_UNKNOWN', `tmem client ${id} does not exist`, { client: id });
  }
}
