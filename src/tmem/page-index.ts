/**
 * PageIndex: every page that tmem has, found by key, charged to a client, evicted when room is short.
 *
 *   (pool, object id) ─▶ object row ─┐
 *                (object row, index) ─▶ page row ─▶ content row ─▶ slot of the page store
 *                                          └ ephemeral: in the age list of who pays
 *
 * Who is evicted: the oldest page of the client with the most ephemeral pages per unit of weight, which is the one
 * furthest above its share of all that is ephemeral, whoever else is there; among clients that tie, the globally oldest page.
 * Persistent pages are in no list, so nothing here can evict them.
 *
 * A page whose content others share frees no bytes. When bytes are what is wanted it is passed over once and becomes
 * its client's newest page (second chance), at most CHANCES times per eviction.
 *
 * Cost: insert, find and drop O(1); an eviction looks at every client once. No garbage in any of them.
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

/** Pages that one eviction passes over at the most. */
const CHANCES = 8;

/** Whose pages may share a content: nobody's, those of one payer or shared pool, everybody's. */
export type Dedup = 'off' | 'client' | 'global';

export interface PageIndexOptions {
  readonly store: PageStore;
  readonly pages: number;
  readonly objects: number;
  readonly clients: number;
  readonly dedup: Dedup;
  readonly comparer: PageComparer | null;
  /** Pages that one put may evict at the most. */
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
    const {
      store,
      pages,
      objects,
      clients,
      dedup,
      comparer: lens,
      evictionsPerPut,
      seed,
    } = options;
    this.clients = new Array<Client | null>(clients).fill(null);
    this.pools = new Array<Pool | null>(clients * POOLS_PER_CLIENT).fill(null);
    this.pages = new PageTable(pages, seed);
    this.objects = new ObjectTable(objects, seed);
    this.contents = new ContentTable(store, dedup === 'off' ? null : lens);
    this.#dedup = dedup;
    this.#evictionsPerPut = evictionsPerPut;
  }

  /** The page's row, 0 when there is none. */
  find(pool: Pool, oid: Uint32Array, oidAt: number, index: number): number {
    const object = this.objects.find(pool.number, oid, oidAt);
    return object === 0 ? 0 : this.pages.find(object, index);
  }

  /** Keeps a page under a key that holds none, evicting as needed; on any other answer than `stored` nothing was kept. */
  insert(
    pool: Pool,
    oid: Uint32Array,
    oidAt: number,
    index: number,
    source: Uint8Array,
    at: number,
  ): TmemPutResult {
    const { owner } = pool;
    if (owner.cap !== 0)
      while (owner.chargedPages >= owner.cap)
        if (!this.#evictOldestOf(owner)) return TmemPutResult.capped;
    let evictions = this.#evictionsPerPut;
    const { objects, pages, contents } = this;
    while (pages.isFull || (objects.isFull && objects.find(pool.number, oid, oidAt) === 0)) {
      if (evictions-- === 0 || !this.#evict(false)) return TmemPutResult.noRows;
    }
    const scope = this.#scopeOf(pool);
    let content = scope === NO_SCOPE ? 0 : contents.findEqual(scope, source, at);
    if (content !== 0) this.counters.values[hostAt.dedupedPuts]! += 1;
    else {
      content = contents.store(scope, source, at);
      if (content === 0) this.counters.values[hostAt.lowMemory]! += 1;
      while (content === 0) {
        if (evictions-- === 0 || !this.#evict(true)) return TmemPutResult.noSpace;
        content = contents.store(scope, source, at);
      }
      this.changes++;
    }
    this.#commit(pool, oid, oidAt, index, content);
    return TmemPutResult.stored;
  }

  /** Gives up the page, now. Why, the caller counts. */
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

  /** Gives up all pages of the object; how many there were. */
  dropObject(object: number): number {
    const count = this.objects.pagesOf(object);
    for (let i = 0; i < count; i++) this.drop(this.objects.firstPageOf(object));
    return count;
  }

  /** Makes a page of a shared pool its payer's newest. */
  promote(row: number, pool: Pool): void {
    this.pages.unlink(row, pool.owner);
    this.pages.append(row, pool.owner);
    this.pages.setMark(row, 0);
  }

  /** Another client pays for the pool's pages from now on; their ages stay. Cost: both clients' lists, once. */
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

  /** Evicts ephemeral pages until `bytes` of payload are free or none are left; what was freed. */
  relinquish(bytes: number): number {
    const before = this.contents.payloadBytes;
    const until = before - bytes;
    while (this.contents.payloadBytes > until && this.#evict(true));
    return before - this.contents.payloadBytes;
  }

  /** Evicts the client's oldest pages until it pays for `cap` pages or has nothing ephemeral. */
  evictDownTo(client: Client, cap: number): void {
    while (client.chargedPages > cap && this.#evictOldestOf(client));
  }

  /** Client whose page goes next, null when nothing is ephemeral. Weights and counts are below 2^31 and 2^21: exact. */
  #overShare(): Client | null {
    let most: Client | null = null;
    for (let id = 0; id < this.clients.length; id++) {
      const client = this.clients[id]!;
      if (client === null || client.oldest === 0) continue;
      if (most === null || this.#isFurther(client, most)) most = client;
    }
    return most;
  }

  /** True when `a` is further above its share than `b`, or as far and with an older page. */
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
      if (!needsBytes || passed === CHANCES || !isShared || pages.markOf(row) !== 0)
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
    // The payer of a shared pool may change, so such a pool is a scope of its own.
    return pool.isShared ? this.clients.length + pool.number : pool.owner.id;
  }

  /** Everything is there: a free row of each kind that is needed, and the content. */
  #commit(pool: Pool, oid: Uint32Array, oidAt: number, index: number, content: number): void {
    const { pages, objects, contents } = this;
    const { values } = this.counters;
    let object = objects.find(pool.number, oid, oidAt);
    if (object === 0) {
      object = objects.add(pool.number, oid, oidAt, pool.firstObject);
      pool.firstObject = object;
      raise(pool.counters.values, poolAt.objects, 1, poolAt.objectsMax);
      raise(values, hostAt.objects, 1, hostAt.objectsMax);
    }
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
      assert(pool !== null, 'a page is in a pool');
      refs[pages.contentOf(row)]!++;
      if (pool.persistent) persistent[pages.contentOf(row)]!++;
      poolPages[pool.number]!++;
      objectPages[object]!++;
      assert(objectPages[object]! <= objects.pagesOf(object), 'an object counts its pages');
    }
    contents.verify(refs, persistent);
    let sum = 0;
    for (const pool of this.pools) {
      if (pool === null) continue;
      assert(pool.counters.get('pages') === poolPages[pool.number], 'a pool counts its pages');
      sum += pool.counters.get('pages');
    }
    assert(sum === pages.used && counters.get('pages') === sum, 'all pages are counted');
    let ephemeral = 0;
    for (const client of this.clients) {
      if (client === null) continue;
      const listed = pages.verifyList(client);
      assert(listed === client.counters.get('ephemeralPages'), 'a list holds what is charged');
      ephemeral += listed;
    }
    assert(ephemeral === counters.get('ephemeralPages'), 'all ephemeral pages are counted');
  }
}

/** Changes a gauge, and raises its high-water mark to it. */
function raise(values: Float64Array, gauge: number, by: number, max: number): void {
  values[gauge]! += by;
  peak(values, gauge, max);
}

/** Raises the high-water mark to the gauge. */
function peak(values: Float64Array, gauge: number, max: number): void {
  if (values[gauge]! > values[max]!) values[max] = values[gauge]!;
}
