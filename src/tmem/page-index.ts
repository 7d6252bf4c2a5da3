/**
 * PageIndex: all pages of tmem. Finds them by key, charges them to a client, and evicts them when space is short.
 *
 *   (pool, object id) ─▶ object row ─┐
 *                (object row, index) ─▶ page row ─▶ content row ─▶ slot of the page store
 *                                          └ ephemeral: in the age list of the client that pays
 *
 * Eviction takes the oldest page of the client with the most ephemeral pages per unit of weight: the client furthest above
 * its share of all ephemeral pages. If clients tie, it takes the globally oldest page. Persistent pages are in no age
 * list, so they cannot be evicted.
 *
 * Evicting a page with a shared content frees no bytes. An eviction that needs bytes skips such a page once and makes it
 * its client's newest (second chance), at most CHANCES_MAX pages per eviction.
 *
 * Cost: insert, find and drop are O(1); an eviction checks every client once. None of them allocates.
 */
import { assert } from '../base/assert.ts';
import { Counters } from '../base/counters.ts';
import type { Client, Pool } from './client.ts';
import { ContentTable, NO_SCOPE } from './content-table.ts';
import { clientAt, HOST_COUNTERS, type HostCounter, hostAt, poolAt } from './counters.ts';
import { ObjectTable } from './object-table.ts';
import type { PageComparer, PageStore } from './ops.ts';
import { PageTable } from './page-table.ts';
import { POOLS_PER_CLIENT, TmemPutResult } from './results.ts';

/** Pages that one eviction may skip. */
const CHANCES_MAX = 8;

/** Which equal pages share a content: none, those of one paying client or one shared pool, or all. */
export type Dedup = 'off' | 'client' | 'global';

export interface PageIndexOptions {
  readonly store: PageStore;
  readonly pages: number;
  readonly objects: number;
  readonly clients: number;
  readonly dedup: Dedup;
  readonly comparer: PageComparer | null;
  /** Maximum number of pages that one put evicts. */
  readonly evictionsPerPut: number;
  readonly seed: number;
}

export class PageIndex {
  readonly counters: Counters<HostCounter> = new Counters(HOST_COUNTERS);
  /** By id; null = free. */
  readonly clients: (Client | null)[];
  /** By number; null = free. */
  readonly pools: (Pool | null)[];
  readonly pages: PageTable;
  readonly objects: ObjectTable;
  readonly contents: ContentTable;
  /** Contents stored and dropped since the last maintain(). */
  changes = 0;
  readonly #dedup: Dedup;
  readonly #evictionsPerPut: number;

  constructor(options: PageIndexOptions) {
    const { store, pages, objects, clients, dedup, comparer, evictionsPerPut, seed } = options;
    this.clients = new Array<Client | null>(clients).fill(null);
    this.pools = new Array<Pool | null>(clients * POOLS_PER_CLIENT).fill(null);
    this.pages = new PageTable(pages, seed);
    this.objects = new ObjectTable(objects, seed);
    this.contents = new ContentTable(store, dedup === 'off' ? null : comparer);
    this.#dedup = dedup;
    this.#evictionsPerPut = evictionsPerPut;
  }

  /**
   * The page's row, or 0.
   * @param hash objects.hash() of the pool and the id
   */
  find(pool: Pool, oid: Uint32Array, oidAt: number, hash: number, index: number): number {
    const object = this.objects.find(pool.number, oid, oidAt, hash);
    return object === 0 ? 0 : this.pages.find(object, index);
  }

  /** Stores a page under a key without a page, evicting as needed. Any result but `stored` leaves the key empty. */
  insert(
    pool: Pool,
    oid: Uint32Array,
    oidAt: number,
    hash: number,
    index: number,
    source: Uint8Array,
    at: number,
  ): TmemPutResult {
    const { owner } = pool;
    const isRaw = !owner.compress;
    if (owner.cap !== 0)
      while (owner.chargedPages >= owner.cap)
        if (!this.#evictOldestOf(owner)) return TmemPutResult.capped;
    let evictions = this.#evictionsPerPut;
    const { objects, pages, contents } = this;
    while (pages.isFull || (objects.isFull && objects.find(pool.number, oid, oidAt, hash) === 0)) {
      if (evictions-- === 0 || !this.#evict(false)) return TmemPutResult.noRows;
    }
    const scope = this.#scopeOf(pool);
    let content = scope === NO_SCOPE ? 0 : contents.findEqual(scope, source, at);
    if (content !== 0) this.counters.values[hostAt.dedupedPuts]! += 1;
    else {
      content = contents.store(scope, source, at, isRaw);
      if (content === 0) this.counters.values[hostAt.lowMemory]! += 1;
      while (content === 0) {
        if (evictions-- === 0 || !this.#evict(true)) return TmemPutResult.noSpace;
        content = contents.store(scope, source, at, isRaw);
      }
      this.changes++;
    }
    this.#commit(pool, this.#objectFor(pool, oid, oidAt, hash), index, content);
    return TmemPutResult.stored;
  }

  /** Drops the page and frees its content if no other page shares it. The caller counts the reason. */
  drop(row: number): void {
    const { pages, objects, contents } = this;
    const object = pages.objectOf(row);
    const content = pages.contentOf(row);
    const pool = this.pools[objects.poolOf(object)]!;
    // 0 - n, not -n: -0 is a double, and would be boxed.
    this.#charge(pool, -1, 0 - contents.bytesOf(content));
    if (!pool.persistent) pages.unlink(row, pool.owner);
    objects.setFirstPage(object, pages.remove(row, objects.firstPageOf(object)));
    if (objects.addPages(object, -1) === 0) {
      pool.firstObject = objects.remove(object, pool.firstObject);
      pool.counters.values[poolAt.objects]! -= 1;
      this.counters.values[hostAt.objects]! -= 1;
    }
    contents.dropReference(content, pool.persistent);
    this.counters.values[hostAt.contents] = contents.used;
    this.changes++;
  }

  /** Drops all pages of the object; returns how many. */
  dropObject(object: number): number {
    return this.dropSome(object, Number.MAX_SAFE_INTEGER);
  }

  /** Drops up to `pagesMax` pages of the object; returns how many. */
  dropSome(object: number, pagesMax: number): number {
    const count = Math.min(pagesMax, this.objects.pagesOf(object));
    for (let i = 0; i < count; i++) this.drop(this.objects.firstPageOf(object));
    return count;
  }

  /** Makes a page of a shared pool the newest of its paying client. */
  promote(row: number, pool: Pool): void {
    this.pages.unlink(row, pool.owner);
    this.pages.append(row, pool.owner);
    this.pages.setMark(row, 0);
  }

  /** Charges the pool's pages to another client; they keep their ages. Cost: one pass over both clients' lists. */
  reassign(pool: Pool, to: Client): void {
    const from = pool.owner;
    const { pages, objects, contents } = this;
    let after = 0;
    let bytes = 0;
    let count = 0;
    for (let row = from.oldest; row !== 0; ) {
      const newer = pages.newerOf(row);
      if (objects.poolOf(pages.objectOf(row)) === pool.number) {
        pages.unlink(row, from);
        pages.insertByStamp(row, after, to);
        after = row;
        bytes += contents.bytesOf(pages.contentOf(row));
        count++;
      }
      row = newer;
    }
    from.counters.add('ephemeralPages', -count);
    from.counters.add('bytes', -bytes);
    pool.owner = to;
    to.counters.add('ephemeralPages', count);
    to.counters.add('bytes', bytes);
    peak(to.counters.values, clientAt.ephemeralPages, clientAt.ephemeralPagesMax);
  }

  /** Evicts ephemeral pages until `bytes` of payload are freed or none are left; returns the bytes freed. */
  relinquish(bytes: number): number {
    const before = this.contents.payloadBytes;
    const until = before - bytes;
    while (this.contents.payloadBytes > until && this.#evict(true));
    return before - this.contents.payloadBytes;
  }

  /** Evicts the client's oldest pages until it is charged `cap` pages or has no ephemeral page. */
  evictDownTo(client: Client, cap: number): void {
    while (client.chargedPages > cap && this.#evictOldestOf(client));
  }

  /**
   * The client to evict from, or null if no page is ephemeral. Counts < 2^31 and weights <= 2^20, so products are
   * exact.
   */
  #overShare(): Client | null {
    let most: Client | null = null;
    for (let id = 0; id < this.clients.length; id++) {
      const client = this.clients[id]!;
      if (client === null || client.oldest === 0) continue;
      if (most === null || this.#isFurther(client, most)) most = client;
    }
    return most;
  }

  /** True if `a` is further above its share than `b`, or ties and has an older page. */
  #isFurther(a: Client, b: Client): boolean {
    const left = a.counters.values[clientAt.ephemeralPages]! * b.weight;
    const right = b.counters.values[clientAt.ephemeralPages]! * a.weight;
    if (left !== right) return left > right;
    return this.pages.stampOf(a.oldest) < this.pages.stampOf(b.oldest);
  }

  #evict(needsBytes: boolean): boolean {
    const { pages } = this;
    for (let passed = 0; ; passed++) {
      const client = this.#overShare();
      if (client === null) return false;
      const row = client.oldest;
      const isShared = this.contents.refsOf(pages.contentOf(row)) > 1;
      if (!needsBytes || passed === CHANCES_MAX || !isShared || pages.markOf(row) !== 0)
        return this.#evictOldestOf(client);
      pages.setMark(row, 1);
      pages.unlink(row, client);
      pages.append(row, client);
      this.counters.values[hostAt.secondChances]! += 1;
    }
  }

  #evictOldestOf(client: Client): boolean {
    const row = client.oldest;
    if (row === 0) return false;
    const pool = this.pools[this.objects.poolOf(this.pages.objectOf(row))]!;
    this.drop(row);
    pool.counters.values[poolAt.evictedPages]! += 1;
    client.counters.values[clientAt.evictedPages]! += 1;
    this.counters.values[hostAt.evictions]! += 1;
    return true;
  }

  #scopeOf(pool: Pool): number {
    if (this.#dedup === 'off') return NO_SCOPE;
    if (this.#dedup === 'global') return 0;
    // The paying client of a shared pool may change, so the pool is its own scope.
    return pool.isShared ? this.clients.length + pool.number : pool.owner.id;
  }

  /** The object's row, created if missing. Call this after the last eviction, which may remove an empty object. */
  #objectFor(pool: Pool, oid: Uint32Array, oidAt: number, hash: number): number {
    const found = this.objects.find(pool.number, oid, oidAt, hash);
    if (found !== 0) return found;
    pool.firstObject = this.objects.add(pool.number, oid, oidAt, hash, pool.firstObject);
    raise(pool.counters.values, poolAt.objects, 1, poolAt.objectsMax);
    raise(this.counters.values, hostAt.objects, 1, hostAt.objectsMax);
    return pool.firstObject;
  }

  #commit(pool: Pool, object: number, index: number, content: number): void {
    const { pages, objects, contents } = this;
    const { values } = this.counters;
    const row = pages.add(object, index, content, objects.firstPageOf(object));
    objects.setFirstPage(object, row);
    objects.addPages(object, 1);
    contents.addReference(content, pool.persistent);
    if (!pool.persistent) pages.append(row, pool.owner);
    this.#charge(pool, 1, contents.bytesOf(content));
    values[hostAt.contents] = contents.used;
    peak(values, hostAt.contents, hostAt.contentsMax);
  }

  #charge(pool: Pool, pages: number, bytes: number): void {
    const { values } = this.counters;
    const owner = pool.owner.counters.values;
    raise(pool.counters.values, poolAt.pages, pages, poolAt.pagesMax);
    raise(values, hostAt.pages, pages, hostAt.pagesMax);
    owner[clientAt.bytes]! += bytes;
    if (pool.persistent) {
      owner[clientAt.persistentPages]! += pages;
      return;
    }
    raise(owner, clientAt.ephemeralPages, pages, clientAt.ephemeralPagesMax);
    raise(values, hostAt.ephemeralPages, pages, hostAt.ephemeralPagesMax);
  }

  /** Checks every invariant; throws InvariantError. Cost: all rows. */
  verify(): void {
    const { pages, objects, contents, counters } = this;
    pages.verify();
    objects.verify();
    const refs = new Int32Array(contents.capacity + 1);
    const persistent = new Int32Array(contents.capacity + 1);
    const poolPages = new Int32Array(this.pools.length);
    const objectPages = new Int32Array(objects.capacity + 1);
    for (let row = 1; row < pages.end; row++) {
      const object = pages.objectOf(row);
      if (object === 0) continue;
      const pool = this.pools[objects.poolOf(object)] ?? null;
      assert(pool !== null, 'the pool of a page exists');
      refs[pages.contentOf(row)]!++;
      if (pool.persistent) persistent[pages.contentOf(row)]!++;
      poolPages[pool.number]!++;
      objectPages[object]!++;
      assert(objectPages[object]! <= objects.pagesOf(object), 'pages of an object <= its count');
    }
    contents.verify(refs, persistent);
    let sum = 0;
    for (const pool of this.pools) {
      if (pool === null) continue;
      assert(
        pool.counters.get('pages') === poolPages[pool.number],
        'pages counter of a pool = its pages',
      );
      sum += pool.counters.get('pages');
    }
    assert(
      sum === pages.used && counters.get('pages') === sum,
      'pages = sum over the pools = rows in use',
    );
    let ephemeral = 0;
    for (const client of this.clients) {
      if (client === null) continue;
      const listed = pages.verifyList(client);
      assert(
        listed === client.counters.get('ephemeralPages'),
        'length of an age list = ephemeralPages of the client',
      );
      ephemeral += listed;
    }
    assert(ephemeral === counters.get('ephemeralPages'), 'ephemeralPages = sum over the clients');
  }
}

/** Adds to a gauge and updates its high-water mark. */
function raise(values: Float64Array, gauge: number, by: number, max: number): void {
  values[gauge]! += by;
  peak(values, gauge, max);
}

/** Updates the high-water mark of a gauge. */
function peak(values: Float64Array, gauge: number, max: number): void {
  if (values[gauge]! > values[max]!) values[max] = values[gauge]!;
}
