/**
 * A naive model of tmem: every page is an object in one array, oldest first, and every operation scans all of them. Results,
 * evictions and counters must equal those of tmem.
 */
import { payloadOf } from '../support/fakes/fake-store.ts';

export interface ModelPage {
  readonly pool: ModelPool;
  readonly oid: number;
  readonly index: number;
  readonly n: number;
  hadChance: boolean;
}

export interface ModelPool {
  readonly persistent: boolean;
  readonly exclusive: boolean;
  readonly uuid: string;
  owner: number;
  readonly sharers: { client: number; local: number }[];
  readonly count: Record<string, number>;
}

export interface ModelClient {
  readonly id: number;
  weight: number;
  cap: number;
  frozen: boolean;
  readonly authorised: Set<string>;
  readonly pools: (ModelPool | null)[];
  readonly count: Record<string, number>;
}

export interface ModelLimits {
  readonly slots: number;
  limitBytes: number;
  readonly pages: number;
  readonly objects: number;
  readonly clients: number;
  readonly dedup: 'off' | 'client' | 'global';
  readonly evictionsPerPut: number;
  readonly replaceFrozen: boolean;
}

const bump = (count: Record<string, number>, name: string, by = 1): void => {
  count[name] = (count[name] ?? 0) + by;
};

export class TmemModel {
  readonly limits: ModelLimits;
  readonly clients: (ModelClient | null)[];
  readonly count: Record<string, number> = {};
  /** Oldest first. */
  pages: ModelPage[] = [];

  constructor(limits: ModelLimits) {
    this.limits = limits;
    this.clients = new Array<ModelClient | null>(limits.clients).fill(null);
  }

  addClient(weight: number, cap: number): number {
    const id = this.clients.indexOf(null);
    const pools = new Array<ModelPool | null>(16).fill(null);
    const authorised = new Set<string>();
    if (id >= 0)
      this.clients[id] = { id, weight, cap, frozen: false, authorised, pools, count: {} };
    return id;
  }

  destroyClient(id: number): boolean {
    const client = this.clients[id] ?? null;
    if (client === null) return false;
    for (let local = 0; local < 16; local++) this.destroyPool(id, local);
    this.clients[id] = null;
    return true;
  }

  setCap(id: number, cap: number): void {
    this.clients[id]!.cap = cap;
    while (cap !== 0 && this.charged(id) > cap && this.#evictOldestOf(id));
  }

  newPool(id: number, persistent: boolean, exclusive: boolean, shared: string | undefined): number {
    const client = this.clients[id] ?? null;
    if (client === null) return -1;
    if (persistent && shared !== undefined) return -3;
    const local = client.pools.indexOf(null);
    const uuid = shared !== undefined && client.authorised.has(shared) ? shared : '';
    if (local < 0) return -2;
    const all = this.pools();
    let pool = uuid === '' ? undefined : all.find((p) => p.uuid === uuid);
    if (uuid !== '' && pool === undefined && all.filter((p) => p.uuid !== '').length >= 16)
      return -4;
    const takes = exclusive || !persistent;
    pool ??= { persistent, exclusive: takes, uuid, owner: id, sharers: [], count: {} };
    pool.sharers.push({ client: id, local });
    client.pools[local] = pool;
    return local;
  }

  destroyPool(id: number, local: number): number {
    const pool = this.clients[id]?.pools[local] ?? null;
    if (pool === null) return 2;
    this.clients[id]!.pools[local] = null;
    const at = pool.sharers.findIndex((s) => s.client === id && s.local === local);
    pool.sharers.splice(at, 1);
    if (pool.sharers.length > 0) pool.owner = pool.sharers[0]!.client;
    else {
      this.pages = this.pages.filter((p) => p.pool !== pool);
      bump(this.count, 'poolsFlushed');
    }
    return this.clients[id]!.frozen ? 1 : 0;
  }

  put(id: number, local: number, oid: number, index: number, n: number): number {
    bump(this.count, 'operations');
    const pool = this.clients[id]?.pools[local] ?? null;
    if (pool === null) {
      bump(this.count, 'errors');
      return 5;
    }
    const client = this.clients[id]!;
    bump(pool.count, 'puts');
    const old = this.find(pool, oid, index);
    if (old !== undefined) this.#remove(old);
    const blocked = client.frozen && !(this.limits.replaceFrozen && old !== undefined);
    const answer = blocked ? 1 : this.#insert(pool, oid, index, n);
    if (answer !== 0) {
      if (old !== undefined) bump(pool.count, 'dupFlushed');
      if (answer >= 3) bump(pool.count, 'noMemory');
      const name = ['', 'refusedFrozen', 'refusedCapped', 'refusedNoSpace', 'refusedNoRows'][
        answer
      ]!;
      bump(client.count, name);
      bump(this.count, name);
      return answer;
    }
    if (old !== undefined) bump(pool.count, 'dupReplaced');
    bump(pool.count, 'goodPuts');
    bump(client.count, 'goodPuts');
    if (pool.persistent) bump(client.count, 'goodPersistentPuts');
    else bump(this.count, 'goodEphemeralPuts');
    return 0;
  }

  /** The result, and the page's number if it was found. */
  get(id: number, local: number, oid: number, index: number): [number, number] {
    bump(this.count, 'operations');
    const pool = this.clients[id]?.pools[local] ?? null;
    if (pool === null) {
      bump(this.count, 'errors');
      return [4, 0];
    }
    bump(pool.count, 'gets');
    const page = this.find(pool, oid, index);
    if (page === undefined) return [this.pages.some((p) => p.pool === pool) ? 1 : 2, 0];
    bump(pool.count, 'goodGets');
    bump(this.clients[id]!.count, pool.persistent ? 'goodPersistentGets' : 'goodEphemeralGets');
    if (pool.uuid !== '') {
      page.hadChance = false;
      this.#toNewest(page);
    } else if (pool.exclusive) {
      this.#remove(page);
      bump(pool.count, 'takenByGets');
    }
    return [0, page.n];
  }

  flush(id: number, local: number, oid: number, index: number | undefined): number {
    bump(this.count, 'operations');
    const pool = this.clients[id]?.pools[local] ?? null;
    if (pool === null) {
      bump(this.count, 'errors');
      return 2;
    }
    const names = index === undefined ? 'bjectFlushes' : 'lushes';
    bump(pool.count, (index === undefined ? 'o' : 'f') + names);
    const gone = this.pages.filter(
      (p) => p.pool === pool && p.oid === oid && (index === undefined || p.index === index),
    );
    for (const page of gone) this.#remove(page);
    if (gone.length > 0)
      bump(pool.count, index === undefined ? 'goodObjectFlushes' : 'goodFlushes');
    bump(pool.count, 'flushedPages', gone.length);
    return this.clients[id]!.frozen ? 1 : 0;
  }

  relinquish(bytes: number): number {
    const before = this.payloadBytes();
    while (this.payloadBytes() > before - bytes && this.#evict(true));
    bump(this.count, 'relinquishAsked', bytes);
    bump(this.count, 'relinquishDone', before - this.payloadBytes());
    return before - this.payloadBytes();
  }

  find(pool: ModelPool, oid: number, index: number): ModelPage | undefined {
    return this.pages.find((p) => p.pool === pool && p.oid === oid && p.index === index);
  }

  pools(): ModelPool[] {
    return [...new Set(this.clients.flatMap((c) => c?.pools ?? []).filter((p) => p !== null))];
  }

  ephemeralOf(id: number): ModelPage[] {
    return this.pages.filter((p) => !p.pool.persistent && p.pool.owner === id);
  }

  charged(id: number): number {
    return this.pages.filter((p) => p.pool.owner === id).length;
  }

  /** Pages by the contents that they share. */
  contents(): Map<string, ModelPage[]> {
    const groups = new Map<string, ModelPage[]>();
    for (const [i, page] of this.pages.entries()) {
      const key = this.#contentKey(page.pool, page.n) ?? `own ${i}`;
      groups.set(key, [...(groups.get(key) ?? []), page]);
    }
    return groups;
  }

  payloadBytes(): number {
    let sum = 0;
    for (const [first] of this.contents().values()) sum += payloadOf(first!.n);
    return sum;
  }

  freeableBytes(): number {
    let sum = 0;
    for (const group of this.contents().values())
      if (group.every((p) => !p.pool.persistent)) sum += payloadOf(group[0]!.n);
    return sum;
  }

  objectCount(pages: ModelPage[]): number {
    const pools = [...new Set(pages.map((p) => p.pool))];
    return new Set(pages.map((p) => `${pools.indexOf(p.pool)} ${p.oid}`)).size;
  }

  #contentKey(pool: ModelPool, n: number): string | undefined {
    if (this.limits.dedup === 'off') return undefined;
    if (this.limits.dedup === 'global') return `${n}`;
    return pool.uuid !== '' ? `${pool.uuid} ${n}` : `${pool.owner} ${n}`;
  }

  #insert(pool: ModelPool, oid: number, index: number, n: number): number {
    const { limits } = this;
    const { cap } = this.clients[pool.owner]!;
    while (cap !== 0 && this.charged(pool.owner) >= cap)
      if (!this.#evictOldestOf(pool.owner)) return 2;
    let tries = limits.evictionsPerPut;
    const hasObject = (): boolean => this.pages.some((p) => p.pool === pool && p.oid === oid);
    const noObjectRow = (): boolean =>
      this.objectCount(this.pages) >= limits.objects && !hasObject();
    while (this.pages.length >= limits.pages || noObjectRow())
      if (tries-- === 0 || !this.#evict(false)) return 4;
    const key = this.#contentKey(pool, n);
    const hasContent = key !== undefined && this.contents().has(key);
    if (hasContent) bump(this.count, 'dedupedPuts');
    const noSpace = (): boolean =>
      this.contents().size >= limits.slots ||
      this.payloadBytes() + payloadOf(n) > limits.limitBytes;
    if (!hasContent && noSpace()) {
      bump(this.count, 'lowMemory');
      while (noSpace()) if (tries-- === 0 || !this.#evict(true)) return 3;
    }
    this.pages.push({ pool, oid, index, n, hadChance: false });
    return 0;
  }

  #evict(needsBytes: boolean): boolean {
    for (let passed = 0; ; passed++) {
      const lists = this.clients
        .filter((c) => c !== null)
        .map((c) => ({ weight: c.weight, list: this.ephemeralOf(c.id), id: c.id }))
        .filter((c) => c.list.length > 0);
      const excess = (c: { weight: number; list: ModelPage[] }): number =>
        c.weight === 0 ? Number.POSITIVE_INFINITY : c.list.length / c.weight;
      const most = Math.max(...lists.map(excess));
      const tied = lists.filter((c) => excess(c) === most).flatMap((c) => c.list);
      const victim = this.pages.find((p) => tied.includes(p));
      if (victim === undefined) return false;
      const group = [...this.contents().values()].find((g) => g.includes(victim))!;
      if (!needsBytes || passed === 8 || group.length === 1 || victim.hadChance)
        return this.#evictOldestOf(victim.pool.owner);
      victim.hadChance = true;
      this.#toNewest(victim);
      bump(this.count, 'secondChances');
    }
  }

  #evictOldestOf(id: number): boolean {
    const [page] = this.ephemeralOf(id);
    if (page === undefined) return false;
    this.#remove(page);
    bump(page.pool.count, 'evictedPages');
    bump(this.clients[id]!.count, 'evictedPages');
    bump(this.count, 'evictions');
    return true;
  }

  #remove(page: ModelPage): void {
    this.pages = this.pages.filter((p) => p !== page);
  }

  #toNewest(page: ModelPage): void {
    this.#remove(page);
    this.pages.push(page);
  }
}
