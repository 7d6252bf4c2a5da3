/**
 * Transcendent memory: a place for pages that its clients cannot address. They put copies, get them back if
 * they are still there, and flush them; the host gives what it can spare and takes it back when it must.
 *
 *   client ─▶ pool (16 at most) ─▶ object (192-bit id) ─▶ page (32-bit index)
 *
 *   persistent pool    what was accepted is found until it is flushed: swap (frontswap)
 *   ephemeral pool     what was accepted may be gone at any time: clean file pages (cleancache)
 *   shared pool        ephemeral, of several clients that name the same 128-bit uuid and are authorised
 *
 * Rules
 * - A put over a page replaces it or drops it, whatever the reason: the old page goes first, at one place (#put).
 * - After a miss every get misses until the next put; after a flush too, also of a frozen client.
 * - Limits are hard. Persistent pages are never evicted; when nothing ephemeral is left, puts are refused.
 *
 * An object id is oid[0 .. 6), six 32-bit words; a page is 4096 bytes at source[at ..]. Everything is synchronous, and
 * put, get and flush make no garbage. Tables have their full size (address space) from the start.
 */
import { assert } from '../base/assert.ts';
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { Client, Pool } from './client.ts';
import { clientAt, hostAt, poolAt } from './counters.ts';
import { KernelComparer } from './kernel-comparer.ts';
import type { PageComparer, PageStore } from './ops.ts';
import { type Dedup, PageIndex } from './page-index.ts';
import {
  NewPoolError,
  POOLS_PER_CLIENT,
  SHARED_POOLS_MAX,
  TmemFlushResult,
  TmemGetResult,
  TmemPutResult,
} from './results.ts';

/** Words of a key in the vectored calls: six of the object id, then the index. */
export const KEY_WORDS = 7;
const INDEX_WORD = 6;

export const WEIGHT_MAX: number = 2 ** 20;
export const CAP_MAX: number = 2 ** 31 - 1;
/** Xen's way to say "no uuid". */
const ALL_ONES = 'f'.repeat(32);

export interface TmemOptions {
  readonly store: PageStore;
  /** Most pages at a time; default: as many as the store has slots. More than that pays when pages are equal. */
  readonly pages?: number;
  /** Most objects at a time; default: as many as pages. */
  readonly objects?: number;
  /** Most clients at a time, 1 .. 1024; default 16. */
  readonly clients?: number;
  /** Whose equal pages share bytes; default 'client': what one client stores is no other's business. */
  readonly dedup?: Dedup;
  /** How pages are hashed and compared; default: by the house's kernels. */
  readonly comparer?: PageComparer;
  /** Who may join a shared pool: authorised clients (default) or all. */
  readonly sharing?: 'authorised' | 'everyone';
  /** What a put over a page of a frozen client does: 'drop' (default) refuses and drops, 'replace' is Xen's way. */
  readonly frozenPuts?: 'drop' | 'replace';
  /** Ephemeral pages that one put may evict at the most; default 256. */
  readonly evictionsPerPut?: number;
  /** Of the key hashes: any 32-bit number that clients cannot know. Default 0. */
  readonly seed?: number;
}

export interface ClientOptions {
  /** 0 .. 2^20, default 1. */
  readonly weight?: number;
  /** Most pages, default 0: no cap. */
  readonly cap?: number;
}

export interface PoolOptions {
  readonly persistent?: boolean;
  /** 128-bit uuid in hex, dashes or not: share the pool of that name. Without authorisation the pool is private. */
  readonly shared?: string;
  /** Persistent pools: a get takes the page out, and the caller owns the only copy. */
  readonly exclusiveGets?: boolean;
}

export class Tmem {
  /** Tables and books, for this folder's own use and for tests. */
  readonly index: PageIndex;
  readonly #store: PageStore;
  readonly #everyoneShares: boolean;
  readonly #replaceFrozen: boolean;
  #poolsMade = 0;

  constructor(options: TmemOptions) {
    const { store, pages = store.slots, objects = pages, clients = 16, seed = 0 } = options;
    const { dedup = 'client', evictionsPerPut = 256 } = options;
    check('pages', pages, 1, CAP_MAX);
    check('objects', objects, 1, CAP_MAX);
    check('clients', clients, 1, 1024);
    check('evictionsPerPut', evictionsPerPut, 0, CAP_MAX);
    const lens = dedup === 'off' ? null : (options.comparer ?? new KernelComparer());
    this.index = new PageIndex({
      store,
      pages,
      objects,
      clients,
      dedup,
      comparer: lens,
      evictionsPerPut,
      seed,
    });
    this.#store = store;
    this.#everyoneShares = options.sharing === 'everyone';
    this.#replaceFrozen = options.frozenPuts === 'replace';
  }

  /** A new client's id, 0 .. clients - 1; -1 when there are as many as there may be. */
  addClient(options: ClientOptions = {}): number {
    const { weight = 1, cap = 0 } = options;
    check('weight', weight, 0, WEIGHT_MAX);
    check('cap', cap, 0, CAP_MAX);
    const { clients } = this.index;
    const id = clients.indexOf(null);
    if (id >= 0) clients[id] = new Client(id, weight, cap);
    return id;
  }

  /** Ends the client: its pools, its pages, and its part in shared pools. False when there is none. */
  destroyClient(id: number): boolean {
    if (this.clientOf(id) === null) return false;
    for (let pool = 0; pool < POOLS_PER_CLIENT; pool++) this.destroyPool(id, pool);
    this.index.clients[id] = null;
    return true;
  }

  setWeight(client: number, weight: number): void {
    check('weight', weight, 0, WEIGHT_MAX);
    this.#clientNamed(client).weight = weight;
  }

  /** A cap below what is charged evicts ephemeral pages at once; persistent ones stay, and puts are refused. */
  setCap(client: number, cap: number): void {
    check('cap', cap, 0, CAP_MAX);
    const changed = this.#clientNamed(client);
    changed.cap = cap;
    if (cap !== 0) this.index.evictDownTo(changed, cap);
  }

  /** No new pages for the client until thaw(); gets and flushes go on. */
  freeze(client: number): void {
    this.#clientNamed(client).frozen = true;
  }

  thaw(client: number): void {
    this.#clientNamed(client).frozen = false;
  }

  /** Lets the client join the shared pool `uuid` from now on. */
  authorise(client: number, uuid: string): void {
    this.#clientNamed(client).authorised.add(uuidOf(uuid));
  }

  /** Takes that back; a part it already has in the pool stays. */
  deauthorise(client: number, uuid: string): void {
    this.#clientNamed(client).authorised.delete(uuidOf(uuid));
  }

  /** NEW_POOL: the pool's number, 0 .. 15, or one of NewPool's. `at`: that number or none. */
  newPool(client: number, options: PoolOptions = {}, at = -1): number {
    const owner = this.clientOf(client);
    if (owner === null) return NewPoolError.noClient;
    const { persistent = false, exclusiveGets = false, shared } = options;
    if (persistent && shared !== undefined) return NewPoolError.sharedPersistent;
    const uuid = shared === undefined ? '' : this.#shareable(owner, uuidOf(shared));
    const local = at < 0 || owner.pools[at] !== null ? owner.pools.indexOf(null) : at;
    if (local < 0) return NewPoolError.tooMany;
    const { pools } = this.index;
    let pool = uuid === '' ? null : (pools.find((p) => p?.uuid === uuid) ?? null);
    if (pool === null) {
      const isOneMore = pools.reduce((n, p) => n + (p?.isShared ? 1 : 0), 0) >= SHARED_POOLS_MAX;
      if (uuid !== '' && isOneMore) return NewPoolError.tooManyShared;
      const number = pools.indexOf(null);
      assert(number >= 0, 'there is a pool number for every pool of every client');
      const kind = { persistent, exclusiveGets: exclusiveGets || !persistent, uuid };
      pool = new Pool(number, ++this.#poolsMade, owner, kind);
      pools[number] = pool;
    }
    if (pool.isShared) pool.sharers.push({ client: owner, local });
    owner.pools[local] = pool;
    return local;
  }

  /** DESTROY_POOL: a private pool ends with all its pages, a shared one when its last sharer leaves. */
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

  /** PUT_PAGE: keeps a copy of source[at .. at + 4096). */
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

  /** GET_PAGE: fills target[at .. at + 4096) if the page is there. */
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

  /** FLUSH_PAGE: afterwards the page is not there. */
  flushPage(client: number, pool: number, oid: Uint32Array, index: number): TmemFlushResult {
    const found = this.#begin(client, pool);
    if (found === null) return TmemFlushResult.noPool;
    const { values } = found.counters;
    values[poolAt.flushes]! += 1;
    const row = this.index.find(found, oid, 0, index | 0);
    if (row !== 0) {
      this.index.drop(row);
      values[poolAt.goodFlushes]! += 1;
      values[poolAt.flushedPages]! += 1;
    }
    return this.index.clients[client]!.frozen ? TmemFlushResult.doneFrozen : TmemFlushResult.done;
  }

  /** FLUSH_OBJECT: afterwards no page of the object is there. Cost: its pages. */
  flushObject(client: number, pool: number, oid: Uint32Array): TmemFlushResult {
    const found = this.#begin(client, pool);
    if (found === null) return TmemFlushResult.noPool;
    const { values } = found.counters;
    values[poolAt.objectFlushes]! += 1;
    const object = this.index.objects.find(found.number, oid, 0);
    if (object !== 0) {
      values[poolAt.flushedPages]! += this.index.dropObject(object);
      values[poolAt.goodObjectFlushes]! += 1;
    }
    return this.index.clients[client]!.frozen ? TmemFlushResult.doneFrozen : TmemFlushResult.done;
  }

  /**
   * `count` puts in one call: page i lies at source[at + 4096 i], its key at keys[7 i .. 7 i + 7), and its answer goes
   * to results[i], exactly as put() of it would answer. How many were stored.
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
    assert(results.length >= count, 'there is a result for each page');
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

  /** `count` gets in one call, as putMany(). How many were found. */
  getMany(
    client: number,
    pool: number,
    keys: Uint32Array,
    count: number,
    target: Uint8Array,
    at: number,
    results: Uint8Array,
  ): number {
    assert(results.length >= count, 'there is a result for each page');
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

  /** Payload that evicting everything ephemeral would give back, bytes. */
  get freeableBytes(): number {
    return this.index.contents.freeableBytes;
  }

  /** Evicts until `bytes` of payload are free or nothing ephemeral is left; the bytes freed. */
  relinquish(bytes: number): number {
    const freed = this.index.relinquish(bytes);
    this.index.counters.add('relinquishAsked', bytes);
    this.index.counters.add('relinquishDone', freed);
    return freed;
  }

  /** The store's housekeeping, for what has changed since the last call; false when there was nothing to do. */
  maintain(): boolean {
    const changed = Math.max(1, this.index.changes);
    this.index.changes = 0;
    return this.#store.maintain(changed);
  }

  /** The client of that id: its weight, cap and counters, to read. Null when there is none. */
  clientOf(id: number): Client | null {
    return this.index.clients[id] ?? null;
  }

  /** The client's pool of that number: its kind and counters, to read. Null when there is none. */
  poolOf(client: number, pool: number): Pool | null {
    return this.index.clients[client]?.pools[pool] ?? null;
  }

  /** Checks every invariant; throws InvariantError. For tests and `check`. */
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
    assert(at >= 0 && at + PAGE_BYTES <= source.length, 'a page that is put lies in its array');
    const pool = this.#begin(clientId, poolId);
    if (pool === null) return TmemPutResult.noPool;
    const { index: table } = this;
    const client = table.clients[clientId]!;
    const { values } = pool.counters;
    values[poolAt.puts]! += 1;
    // Replace or drop: the old page goes first, so that no way out of here can leave it.
    const old = table.find(pool, oid, oidAt, index);
    if (old !== 0) table.drop(old);
    const mayStore = !client.frozen || (this.#replaceFrozen && old !== 0);
    const answer = mayStore
      ? table.insert(pool, oid, oidAt, index, source, at)
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
    assert(at >= 0 && at + PAGE_BYTES <= target.length, 'a page that is got fits its array');
    const pool = this.#begin(clientId, poolId);
    if (pool === null) return TmemGetResult.noPool;
    const { index: table } = this;
    const { values } = pool.counters;
    values[poolAt.gets]! += 1;
    if (pool.firstObject === 0) return TmemGetResult.poolEmpty;
    const row = table.find(pool, oid, oidAt, index);
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

  /** Counts the operation; its pool, null when there is none. */
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
    throw new SwapError('ERR_ARG_UNKNOWN', `there is no tmem client ${id}`, { client: id });
  }
}

function check(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  const text = `${name} is ${value}; use a whole number from ${min} to ${max}`;
  throw new SwapError('ERR_ARG_VALUE', text, { [name]: value });
}

/** 32 hex digits in lower case. */
function uuidOf(text: string): string {
  const uuid = text.replaceAll('-', '').toLowerCase();
  if (/^[0-9a-f]{32}$/.test(uuid)) return uuid;
  throw new SwapError('ERR_ARG_VALUE', `'${text}' is no uuid; use 32 hex digits`, { uuid: text });
}
