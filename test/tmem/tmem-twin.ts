/** Drives tmem over a small fake store and the model side by side, and compares everything after each step. */
import assert from 'node:assert/strict';
import type { Prng } from '../../src/base/prng.ts';
import { KEY_WORDS, Tmem } from '../../src/tmem/tmem.ts';
import { FakeStore, pageOf, payloadOf } from '../support/fakes/fake-store.ts';
import { type ModelLimits, TmemModel } from './tmem-model.ts';

/** Object ids that differ in one word each, including the first and the last word. */
export function oidOf(n: number): Uint32Array {
  const oid = new Uint32Array(6);
  oid[n % 6] = n < 6 ? 1 : 0xffff_0000 + n;
  return oid;
}

/** Few indexes, some above 2^31. */
export const indexOf = (n: number): number => (n % 3 === 0 ? 0xffff_ffff - n : n);

export class TmemTwin {
  readonly store: FakeStore;
  readonly tmem: Tmem;
  readonly model: TmemModel;

  constructor(limits: ModelLimits) {
    this.store = new FakeStore(limits.slots, limits.limitBytes);
    this.model = new TmemModel(limits);
    const { pages, objects, clients, dedup, evictionsPerPut, replaceFrozen } = limits;
    const { store } = this;
    const frozenPuts = replaceFrozen ? 'replace' : 'drop';
    const options = { store, pages, objects, clients, dedup, evictionsPerPut, frozenPuts } as const;
    this.tmem = new Tmem({ ...options, seed: 12345 });
  }

  addClient(weight: number, cap: number): number {
    const id = this.tmem.addClient({ weight, cap });
    assert.equal(id, this.model.addClient(weight, cap), 'client');
    return id;
  }

  newPool(client: number, persistent: boolean, exclusiveGets: boolean, shared?: string): number {
    const options = { persistent, exclusiveGets, ...(shared === undefined ? {} : { shared }) };
    const local = this.tmem.newPool(client, options);
    assert.equal(local, this.model.newPool(client, persistent, exclusiveGets, shared), 'pool');
    return local;
  }

  authorise(client: number, uuid: string, isAllowed: boolean): void {
    const { authorised } = this.model.clients[client]!;
    if (isAllowed) {
      this.tmem.authorise(client, uuid);
      authorised.add(uuid);
    } else {
      this.tmem.deauthorise(client, uuid);
      authorised.delete(uuid);
    }
  }

  put(client: number, pool: number, oid: number, index: number, n: number): number {
    const answer = this.tmem.put(client, pool, oidOf(oid), indexOf(index), pageOf(n), 0);
    assert.equal(answer, this.model.put(client, pool, oid, indexOf(index), n), 'put');
    return answer;
  }

  get(client: number, pool: number, oid: number, index: number): number {
    const target = new Uint8Array(3 * 4096).fill(0xa5);
    const answer = this.tmem.get(client, pool, oidOf(oid), indexOf(index), target, 4096);
    const [expected, n] = this.model.get(client, pool, oid, indexOf(index));
    assert.equal(answer, expected, 'get');
    const page = expected === 0 ? pageOf(n) : new Uint8Array(4096).fill(0xa5);
    assert.equal(Buffer.compare(target.subarray(4096, 8192), page), 0, 'the page');
    assert.equal(target[4095], 0xa5);
    assert.equal(target[8192], 0xa5);
    return answer;
  }

  flush(client: number, pool: number, oid: number, index: number | undefined): void {
    const id = oidOf(oid);
    const at = index === undefined ? undefined : indexOf(index);
    const { tmem } = this;
    const answer =
      at === undefined ? tmem.flushObject(client, pool, id) : tmem.flushPage(client, pool, id, at);
    assert.equal(answer, this.model.flush(client, pool, oid, at), 'flush');
  }

  /** A vectored put or get of a few pages: equal to as many single ones of the model. */
  many(client: number, pool: number, prng: Prng): void {
    const count = prng.below(6);
    const keys = new Uint32Array(count * KEY_WORDS);
    const picks = Array.from({ length: count }, () => [
      prng.below(12),
      prng.below(5),
      prng.below(60),
    ]);
    for (const [i, [oid, index]] of picks.entries()) {
      keys.set(oidOf(oid!), i * KEY_WORDS);
      keys[i * KEY_WORDS + 6] = indexOf(index!);
    }
    const results = new Uint8Array(count + 1).fill(99);
    const data = new Uint8Array((count + 1) * 4096);
    const isPut = prng.oneIn(2);
    if (isPut) for (const [i, [, , n]] of picks.entries()) data.set(pageOf(n!), 4096 * i + 7);
    const { tmem, model } = this;
    const good = isPut
      ? tmem.putMany(client, pool, keys, count, data, 7, results)
      : tmem.getMany(client, pool, keys, count, data, 7, results);
    const expected = picks.map(([oid, index, n], i) => {
      if (isPut) return model.put(client, pool, oid!, indexOf(index!), n!);
      const [answer, found] = model.get(client, pool, oid!, indexOf(index!));
      const got = data.subarray(4096 * i + 7, 4096 * i + 4103);
      const page = answer === 0 ? pageOf(found) : new Uint8Array(4096);
      assert.equal(Buffer.compare(got, page), 0, `page ${i}`);
      return answer;
    });
    assert.deepEqual([...results], [...expected, 99], 'a result for each page');
    assert.equal(good, expected.filter((answer) => answer === 0).length, 'the number of successes');
  }

  /** Everything that must hold after each step. */
  check(): void {
    const { tmem, model, store } = this;
    tmem.verify();
    const { pages } = model;
    const host = tmem.index.counters;
    const ephemeral = pages.filter((p) => !p.pool.persistent).length;
    const gauges: Record<string, number> = {
      ephemeralPages: ephemeral,
      pages: pages.length,
      objects: model.objectCount(pages),
      contents: model.contents().size,
    };
    for (const [name, value] of Object.entries({ ...model.count, ...gauges }))
      assert.equal(host.get(name as 'pages'), value, `host: ${name}`);
    assert.deepEqual(host.violated(), []);
    assert.equal(store.storedBytes, model.payloadBytes(), 'payload');
    assert.ok(store.storedBytes <= model.limits.limitBytes, 'the limit');
    assert.equal(tmem.freeableBytes, model.freeableBytes(), 'freeable');
    for (const client of model.clients) if (client !== null) this.#checkClient(client.id);
  }

  #checkClient(id: number): void {
    const { tmem, model } = this;
    const client = model.clients[id]!;
    const mine = model.pages.filter((p) => p.pool.owner === id);
    const gauges = {
      ephemeralPages: model.ephemeralOf(id).length,
      persistentPages: mine.length - model.ephemeralOf(id).length,
      bytes: mine.reduce((sum, p) => sum + payloadOf(p.n), 0),
    };
    for (const [name, value] of Object.entries({ ...client.count, ...gauges }))
      assert.equal(tmem.clientOf(id)!.counters.get(name as 'bytes'), value, `client: ${name}`);
    for (const [local, pool] of client.pools.entries()) {
      assert.equal(tmem.poolOf(id, local) === null, pool === null);
      if (pool === null) continue;
      const { counters } = tmem.poolOf(id, local)!;
      const held = model.pages.filter((p) => p.pool === pool);
      const all = { ...pool.count, pages: held.length, objects: model.objectCount(held) };
      for (const [name, value] of Object.entries(all))
        assert.equal(counters.get(name as 'pages'), value, `pool: ${name}`);
      const c = (name: Parameters<typeof counters.get>[0]): number => counters.get(name);
      const gone = c('takenByGets') + c('flushedPages') + c('evictedPages') + c('corruptPages');
      const live = c('goodPuts') - c('dupReplaced') - c('dupFlushed') - gone;
      assert.equal(live, held.length, 'C15: pages put minus pages removed are stored');
      assert.ok(c('pagesMax') >= c('pages'));
    }
  }
}
