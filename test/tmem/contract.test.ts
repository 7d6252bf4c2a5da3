/** The contract of tmem. Ids are those of docs/design/contract-tests.md. On the real page store unless stated. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { Store } from '../../src/store/store.ts';
import type { TmemOptions } from '../../src/tmem/options.ts';
import {
  NewPoolError,
  TmemFlushResult,
  TmemGetResult,
  TmemPutResult,
} from '../../src/tmem/results.ts';
import { Tmem } from '../../src/tmem/tmem.ts';
import { tmemStore } from '../../src/tmem/tmem-store.ts';
import { FakeStore, pageOf } from '../support/fakes/fake-store.ts';
import { noisePage as noise } from '../support/fixtures/pages.ts';

const UUID = '00112233-4455-6677-8899-aabbccddeeff';
const oid = new Uint32Array([1, 2, 3, 4, 5, 0xffff_ffff]);
const into = new Uint8Array(4096);

const open = (limitBytes = 0, options: Partial<TmemOptions> = {}): Tmem =>
  new Tmem({
    store: tmemStore(new Store({ slots: 4096, budget: new Budget(limitBytes) })),
    ...options,
  });

/** Over a fake store: every page costs what payloadOf() says. */
const small = (slots: number, options: Partial<TmemOptions> = {}, limitBytes = 1e6): Tmem =>
  new Tmem({ store: new FakeStore(slots, limitBytes), ...options });

function expectPage(
  tmem: Tmem,
  client: number,
  pool: number,
  index: number,
  page: Uint8Array,
): void {
  assert.equal(tmem.get(client, pool, oid, index, into, 0), TmemGetResult.found);
  assert.equal(Buffer.compare(into, page), 0, `page ${index}`);
}

/** The page's row, or 0. */
function rowOf({ index: table }: Tmem, client: number, pool: number, index: number): number {
  const found = table.clients[client]!.pools[pool]!;
  return table.find(found, oid, 0, table.objects.hash(found.number, oid, 0), index);
}

test('C1 a get returns the page that was put last', () => {
  const tmem = open();
  const client = tmem.addClient();
  const pool = tmem.newPool(client, { persistent: true });
  for (const n of [1, 2])
    assert.equal(tmem.put(client, pool, oid, 7, noise(n), 0), TmemPutResult.stored);
  expectPage(tmem, client, pool, 7, noise(2));
  expectPage(tmem, client, pool, 7, noise(2));
  assert.equal(tmem.poolOf(client, pool)!.counters.get('dupReplaced'), 1);
  tmem.verify();
});

test('C2 a refused put leaves no old page, whatever the reason', () => {
  const reasons: [TmemPutResult, (tmem: Tmem, client: number, other: number) => void][] = [
    [TmemPutResult.frozen, (tmem, client) => tmem.freeze(client)],
    // The cap was lowered, so the space or row that the old page frees is used by another page.
    [TmemPutResult.capped, (tmem, client) => tmem.setCap(client, 1)],
  ];
  for (const [reason, prepare] of reasons) {
    const tmem = small(10);
    const client = tmem.addClient();
    const pool = tmem.newPool(client, { persistent: true });
    for (const index of [1, 2]) tmem.put(client, pool, oid, index, pageOf(index), 0);
    prepare(tmem, client, 0);
    assert.equal(tmem.put(client, pool, oid, 1, pageOf(9), 0), reason);
    assert.equal(tmem.get(client, pool, oid, 1, into, 0), TmemGetResult.absent);
    expectPage(tmem, client, pool, 2, pageOf(2));
    assert.equal(tmem.poolOf(client, pool)!.counters.get('dupFlushed'), 1);
  }
  // Out of space: page 5 (payload 96) does not fit where page 0 (payload 16) was.
  const tmem = small(10, {}, 64);
  const client = tmem.addClient();
  const pool = tmem.newPool(client, { persistent: true });
  assert.equal(tmem.put(client, pool, oid, 0, pageOf(0), 0), TmemPutResult.stored);
  assert.equal(tmem.put(client, pool, oid, 0, pageOf(5), 0), TmemPutResult.noSpace);
  assert.equal(tmem.get(client, pool, oid, 0, into, 0), TmemGetResult.poolEmpty);
  assert.equal(tmem.index.counters.get('refusedNoSpace'), 1);
});

test('C3 persistent pages stay under any memory pressure, on a store with a byte limit', () => {
  const tmem = open(1_500_000);
  const [a, b] = [tmem.addClient(), tmem.addClient()];
  const kept = tmem.newPool(a, { persistent: true });
  const cache = tmem.newPool(b);
  for (let i = 0; i < 100; i++)
    assert.equal(tmem.put(a, kept, oid, i, noise(i), 0), TmemPutResult.stored);
  for (let i = 0; i < 1000; i++) tmem.put(b, cache, oid, i, noise(1000 + i), 0);
  assert.ok(tmem.index.counters.get('evictions') > 300, 'pages were evicted');
  tmem.relinquish(1e9);
  assert.equal(tmem.freeableBytes, 0);
  for (let i = 0; i < 100; i++) expectPage(tmem, a, kept, i, noise(i));
  // Ephemeral pages are evicted for persistent ones until none is left; then puts are refused.
  for (let i = 0; i < 200; i++) tmem.put(b, cache, oid, i, noise(2000 + i), 0);
  let i = 100;
  while (tmem.put(a, kept, oid, i, noise(i), 0) === TmemPutResult.stored) i++;
  assert.equal(tmem.poolOf(b, cache)!.counters.get('pages'), 0);
  assert.ok(i > 250, `${i} pages`);
  for (let k = 0; k < i; k++) expectPage(tmem, a, kept, k, noise(k));
  tmem.verify();
});

test('C4 after one miss every get misses until the next put', () => {
  const tmem = small(2);
  const client = tmem.addClient();
  const cache = tmem.newPool(client);
  for (let i = 0; i < 3; i++) tmem.put(client, cache, oid, i, pageOf(i), 0);
  for (let k = 0; k < 3; k++)
    assert.equal(tmem.get(client, cache, oid, 0, into, 0), TmemGetResult.absent);
  tmem.put(client, cache, oid, 0, pageOf(9), 0);
  expectPage(tmem, client, cache, 0, pageOf(9));
});

test('C5 C6 flushes work on a frozen client, and flushing an absent page is no error', () => {
  const tmem = open();
  const client = tmem.addClient();
  const pool = tmem.newPool(client, { persistent: true });
  for (let i = 0; i < 5; i++) tmem.put(client, pool, oid, i, noise(i), 0);
  tmem.freeze(client);
  assert.equal(tmem.flushPage(client, pool, oid, 0), TmemFlushResult.doneFrozen);
  assert.equal(tmem.get(client, pool, oid, 0, into, 0), TmemGetResult.absent);
  expectPage(tmem, client, pool, 1, noise(1));
  assert.equal(tmem.flushObject(client, pool, oid), TmemFlushResult.doneFrozen);
  assert.equal(tmem.get(client, pool, oid, 1, into, 0), TmemGetResult.poolEmpty);
  tmem.thaw(client);
  const before = tmem.index.counters.get('pages');
  assert.equal(tmem.flushPage(client, pool, oid, 0), TmemFlushResult.done);
  assert.equal(tmem.flushObject(client, pool, oid), TmemFlushResult.done);
  assert.equal(tmem.index.counters.get('pages'), before);
  const { counters } = tmem.poolOf(client, pool)!;
  assert.deepEqual([counters.get('flushes'), counters.get('goodFlushes')], [2, 1]);
  assert.equal(tmem.flushPage(client, 9, oid, 0), TmemFlushResult.noPool);
  assert.equal(tmem.destroyPool(client, pool), TmemFlushResult.done);
  assert.equal(tmem.put(client, pool, oid, 0, noise(0), 0), TmemPutResult.noPool);
});

test('C8 an exclusive get of a persistent pool removes the page, a plain one keeps it', () => {
  const tmem = open();
  const client = tmem.addClient();
  const [keeps, takes] = [false, true].map((exclusiveGets) =>
    tmem.newPool(client, { persistent: true, exclusiveGets }),
  );
  for (const pool of [keeps!, takes!]) tmem.put(client, pool, oid, 0, noise(1), 0);
  for (const pool of [keeps!, takes!]) expectPage(tmem, client, pool, 0, noise(1));
  expectPage(tmem, client, keeps!, 0, noise(1));
  assert.equal(tmem.get(client, takes!, oid, 0, into, 0), TmemGetResult.poolEmpty);
});

test('C9 a get from a private ephemeral pool removes the page; one from a shared pool makes it the newest', () => {
  const tmem = small(3);
  const [a, b] = [tmem.addClient(), tmem.addClient()];
  for (const client of [a, b]) tmem.authorise(client, UUID);
  const mine = tmem.newPool(a);
  tmem.put(a, mine, oid, 0, pageOf(0), 0);
  expectPage(tmem, a, mine, 0, pageOf(0));
  assert.equal(tmem.get(a, mine, oid, 0, into, 0), TmemGetResult.poolEmpty);

  const [ours, theirs] = [tmem.newPool(a, { shared: UUID }), tmem.newPool(b, { shared: UUID })];
  for (let i = 0; i < 3; i++) tmem.put(a, ours, oid, i, pageOf(i), 0);
  expectPage(tmem, b, theirs, 0, pageOf(0)); // now page 1 is the oldest
  tmem.put(b, theirs, oid, 3, pageOf(3), 0);
  assert.equal(tmem.get(a, ours, oid, 1, into, 0), TmemGetResult.absent);
  for (const i of [0, 2, 3]) expectPage(tmem, a, ours, i, pageOf(i));
  assert.equal(
    tmem.clientOf(a)!.counters.get('ephemeralPages'),
    3,
    'the first client of the pool is charged',
  );
  tmem.destroyClient(a);
  assert.equal(tmem.clientOf(b)!.counters.get('ephemeralPages'), 3, 'then the next client');
  for (const i of [0, 2, 3]) expectPage(tmem, b, theirs, i, pageOf(i));
  tmem.destroyPool(b, theirs);
  assert.equal(tmem.index.counters.get('pages'), 0);
  tmem.verify();
});

test('C19 the pages of a shared pool keep their ages and their cost when another client starts to pay', () => {
  const tmem = small(8);
  const [a, b] = [tmem.addClient(), tmem.addClient()];
  for (const client of [a, b]) tmem.authorise(client, UUID);
  const [ours, theirs] = [tmem.newPool(a, { shared: UUID }), tmem.newPool(b, { shared: UUID })];
  const own = tmem.newPool(b);
  for (let i = 0; i < 8; i++) {
    const isOwn = i % 2 === 1;
    tmem.put(isOwn ? b : a, isOwn ? own : ours, oid, i, pageOf(i), 0);
  }
  const bytes = (client: number): number => tmem.clientOf(client)!.counters.get('bytes');
  const before = bytes(a) + bytes(b);
  tmem.destroyPool(a, ours);
  assert.deepEqual([bytes(a), bytes(b)], [0, before]);
  tmem.verify();
  const kept = tmem.newPool(a, { persistent: true });
  for (let i = 0; i < 8; i++) {
    tmem.put(a, kept, oid, i, pageOf(20 + i), 0);
    const pool = i % 2 === 1 ? own : theirs;
    assert.equal(rowOf(tmem, b, pool, i), 0, `page ${i} is evicted in order of age`);
    assert.equal(tmem.index.counters.get('ephemeralPages'), 7 - i);
  }
});

test('C19 the client above its share loses its oldest page, the client below its share none', () => {
  const tmem = small(100);
  const [light, heavy] = [tmem.addClient({ weight: 1 }), tmem.addClient({ weight: 3 })];
  const pools = [tmem.newPool(light), tmem.newPool(heavy)];
  // 40 : 60 pages by weights 1 : 3. `light` has 15 too many. An inverted rule would evict from `heavy`.
  for (let i = 0; i < 60; i++) tmem.put(heavy, pools[1]!, oid, i, pageOf(100 + i), 0);
  for (let i = 0; i < 40; i++) tmem.put(light, pools[0]!, oid, i, pageOf(i), 0);
  for (let i = 60; i < 75; i++) tmem.put(heavy, pools[1]!, oid, i, pageOf(100 + i), 0);
  const evicted = [light, heavy].map((id) => tmem.clientOf(id)!.counters.get('evictedPages'));
  assert.deepEqual(evicted, [15, 0]);
  for (let i = 0; i < 15; i++)
    assert.equal(tmem.get(light, pools[0]!, oid, i, into, 0), TmemGetResult.absent);
  expectPage(tmem, light, pools[0]!, 15, pageOf(15));
});

test('C19 clients that are equally far above their shares lose the globally oldest page', () => {
  const tmem = small(10);
  const clients = [tmem.addClient({ weight: 2 }), tmem.addClient({ weight: 3 })];
  const pools = clients.map((client) => tmem.newPool(client));
  for (let i = 0; i < 6; i++) tmem.put(clients[1]!, pools[1]!, oid, i, pageOf(100 + i), 0);
  for (let i = 0; i < 4; i++) tmem.put(clients[0]!, pools[0]!, oid, i, pageOf(i), 0);
  const kept = tmem.newPool(clients[0]!, { persistent: true });
  tmem.put(clients[0]!, kept, oid, 0, pageOf(50), 0); // 4 : 6 by 2 : 3, a tie: page 0 of the second is oldest
  assert.equal(tmem.get(clients[1]!, pools[1]!, oid, 0, into, 0), TmemGetResult.absent);
  tmem.put(clients[0]!, kept, oid, 1, pageOf(51), 0); // 4 : 5, the first is above
  assert.equal(tmem.get(clients[0]!, pools[0]!, oid, 0, into, 0), TmemGetResult.absent);
});

test('the cap is enforced at every put, and a lower cap evicts at once', () => {
  const tmem = small(100);
  const client = tmem.addClient({ cap: 5 });
  const cache = tmem.newPool(client);
  const kept = tmem.newPool(client, { persistent: true });
  for (let i = 0; i < 8; i++) tmem.put(client, cache, oid, i, pageOf(i), 0);
  assert.equal(tmem.clientOf(client)!.chargedPages, 5);
  for (let i = 0; i < 5; i++)
    assert.equal(tmem.put(client, kept, oid, i, pageOf(i), 0), TmemPutResult.stored);
  assert.equal(tmem.put(client, kept, oid, 5, pageOf(5), 0), TmemPutResult.capped);
  assert.equal(tmem.clientOf(client)!.chargedPages, 5);
  tmem.flushPage(client, kept, oid, 0);
  tmem.put(client, cache, oid, 0, pageOf(7), 0);
  tmem.setCap(client, 2);
  assert.equal(tmem.clientOf(client)!.chargedPages, 4, 'persistent pages stay');
});

test('a cap equal to the number of pages evicts none, a cap one lower the oldest', () => {
  const tmem = small(100);
  const client = tmem.addClient();
  const cache = tmem.newPool(client);
  for (let i = 0; i < 4; i++) tmem.put(client, cache, oid, i, pageOf(i), 0);
  tmem.setCap(client, 4);
  assert.equal(tmem.clientOf(client)!.chargedPages, 4);
  tmem.setCap(client, 3);
  assert.equal(tmem.clientOf(client)!.chargedPages, 3);
  assert.equal(tmem.get(client, cache, oid, 0, into, 0), TmemGetResult.absent);
});

test('equal pages share bytes within a client, and across clients only if requested', () => {
  for (const [dedup, contents] of [
    ['off', 4],
    ['client', 2],
    ['global', 1],
  ] as const) {
    const tmem = open(0, { dedup });
    for (let k = 0; k < 2; k++) {
      const client = tmem.addClient();
      const pools = [tmem.newPool(client, { persistent: true }), tmem.newPool(client)];
      for (const pool of pools) tmem.put(client, pool, oid, 0, noise(1), 0);
    }
    assert.equal(tmem.index.contents.used, contents, dedup);
    // Contents shared with a persistent page are not freeable.
    assert.equal(tmem.freeableBytes, dedup === 'off' ? 2 * 4096 : 0, dedup);
    for (let client = 0; client < 2; client++) {
      tmem.flushPage(client, 0, oid, 0);
      expectPage(tmem, client, 1, 0, noise(1));
    }
    assert.equal(tmem.index.contents.used, 0);
    tmem.verify();
  }
});

test('a page whose content is shared is skipped once, and at most eight per eviction', () => {
  const tmem = small(100, {}, 10 * 64);
  const client = tmem.addClient();
  const cache = tmem.newPool(client);
  // Pages i and 10 + i are equal: ten different contents of 64 bytes fill the store.
  for (let i = 0; i < 20; i++) tmem.put(client, cache, oid, i, pageOf(7 * (i % 10) + 3), 0);
  const { counters } = tmem.index;
  assert.equal(counters.get('evictions'), 0);
  // The first eviction skips 0 to 7 and evicts 8; it frees nothing. The second skips 9 to 16, evicts 17,
  // and frees nothing. The third evicts 18: its duplicate, 8, was evicted, so its contents are not shared.
  assert.equal(tmem.put(client, cache, oid, 20, pageOf(7 * 20 + 3), 0), TmemPutResult.stored);
  assert.equal(counters.get('secondChances'), 16);
  assert.equal(counters.get('evictions'), 3);
  for (const i of [8, 17, 18])
    assert.equal(tmem.get(client, cache, oid, i, into, 0), TmemGetResult.absent);
});

test('pages with equal hashes are compared byte by byte', () => {
  const comparer = {
    page: new Uint8Array(4096),
    candidate: new Uint8Array(4096),
    hashLow: 1,
    hashHigh: 2,
    load(source: Uint8Array, at: number): void {
      this.page.set(source.subarray(at, at + 4096));
    },
    isEqual(): boolean {
      return Buffer.compare(this.page, this.candidate) === 0;
    },
  };
  const tmem = small(50, { comparer });
  const client = tmem.addClient();
  const pool = tmem.newPool(client, { persistent: true });
  for (let i = 0; i < 20; i++) tmem.put(client, pool, oid, i, pageOf(i % 10), 0);
  assert.equal(tmem.index.contents.used, 10);
  for (let i = 0; i < 20; i++) expectPage(tmem, client, pool, i, pageOf(i % 10));
  for (let i = 0; i < 20; i += 2) tmem.flushPage(client, pool, oid, i);
  for (let i = 1; i < 20; i += 2) expectPage(tmem, client, pool, i, pageOf(i % 10));
  tmem.verify();
});

test("frozen clients: puts drop the old page by default, and replace it with frozenPuts 'replace'", () => {
  for (const frozenPuts of ['drop', 'replace'] as const) {
    const tmem = open(0, { frozenPuts });
    const client = tmem.addClient();
    const pool = tmem.newPool(client, { persistent: true });
    tmem.put(client, pool, oid, 0, noise(1), 0);
    tmem.freeze(client);
    const answer = tmem.put(client, pool, oid, 0, noise(2), 0);
    assert.equal(answer, frozenPuts === 'drop' ? TmemPutResult.frozen : TmemPutResult.stored);
    assert.equal(tmem.put(client, pool, oid, 1, noise(3), 0), TmemPutResult.frozen, 'a new page');
    if (frozenPuts === 'replace') expectPage(tmem, client, pool, 0, noise(2));
    else assert.equal(tmem.get(client, pool, oid, 0, into, 0), TmemGetResult.poolEmpty);
  }
});

test('pools: 16 per client; shared ones need authorisation and are never persistent', () => {
  const tmem = open();
  const [a, b] = [tmem.addClient(), tmem.addClient()];
  assert.equal(tmem.newPool(a, { shared: UUID, persistent: true }), NewPoolError.sharedPersistent);
  assert.equal(
    tmem.poolOf(a, tmem.newPool(a, { shared: UUID }))!.isShared,
    false,
    'the pool is private',
  );
  tmem.authorise(a, UUID.toUpperCase());
  assert.equal(tmem.poolOf(a, tmem.newPool(a, { shared: UUID }))!.isShared, true);
  tmem.deauthorise(a, UUID);
  assert.equal(tmem.poolOf(a, 1)!.isShared, true, 'a joined pool stays joined');
  assert.equal(tmem.poolOf(a, tmem.newPool(a, { shared: UUID }))!.isShared, false);
  tmem.authorise(a, 'f'.repeat(32));
  assert.equal(tmem.poolOf(a, tmem.newPool(a, { shared: 'f'.repeat(32) }))!.isShared, false);
  for (let i = 4; i < 16; i++) assert.equal(tmem.newPool(a), i);
  assert.equal(tmem.newPool(a), NewPoolError.tooMany);
  assert.equal(tmem.newPool(77), NewPoolError.noClient);
  for (let i = 1; i < 16; i++) {
    const uuid = i.toString(16).padStart(32, '0');
    tmem.authorise(b, uuid);
    assert.equal(tmem.newPool(b, { shared: uuid }), i - 1);
  }
  tmem.authorise(b, 'a'.repeat(32));
  assert.equal(tmem.newPool(b, { shared: 'a'.repeat(32) }), NewPoolError.tooManyShared);
  const everyone = open(0, { sharing: 'everyone' });
  const guest = everyone.addClient();
  assert.equal(everyone.poolOf(guest, everyone.newPool(guest, { shared: UUID }))!.isShared, true);
  assert.throws(() => tmem.newPool(b, { shared: 'x' }), { code: 'ERR_ARG_VALUE' });
});

test('damage is reported as corrupt: a persistent page stays, an ephemeral one is dropped', () => {
  const store = new FakeStore(10, 1e6);
  const tmem = new Tmem({ store, dedup: 'off' });
  const client = tmem.addClient();
  const pools = [tmem.newPool(client, { persistent: true }), tmem.newPool(client)];
  for (const [i, pool] of pools.entries()) tmem.put(client, pool, oid, 0, pageOf(7 * i), 0);
  const drop = store.drop.bind(store);
  store.drop = (slot) => {
    store.pages.set(slot, pageOf(0)); // the fake needs the page to know its cost
    return drop(slot);
  };
  for (const slot of [0, 1]) store.pages.set(slot, new Uint8Array(1));
  into.fill(9);
  for (const pool of pools)
    assert.equal(tmem.get(client, pool, oid, 0, into, 0), TmemGetResult.corrupt);
  assert.ok(
    into.every((byte) => byte === 9),
    'the target is unchanged',
  );
  assert.equal(tmem.get(client, pools[0]!, oid, 0, into, 0), TmemGetResult.corrupt);
  assert.equal(tmem.get(client, pools[1]!, oid, 0, into, 0), TmemGetResult.poolEmpty);
  assert.deepEqual(tmem.index.counters.violated(), ['corruptGets']);
  tmem.verify();
});

test('relinquish frees the requested bytes or all; maintain passes the number of changes to the store', () => {
  const store = new FakeStore(50, 1e6);
  const tmem = new Tmem({ store });
  const client = tmem.addClient();
  const cache = tmem.newPool(client);
  for (let i = 0; i < 20; i++) tmem.put(client, cache, oid, i, pageOf(7 * i + 3), 0); // 64 bytes each
  assert.equal(tmem.relinquish(100), 128);
  assert.equal(tmem.get(client, cache, oid, 1, into, 0), TmemGetResult.absent);
  expectPage(tmem, client, cache, 2, pageOf(17));
  assert.equal(tmem.freeableBytes, 17 * 64);
  assert.equal(tmem.relinquish(1e6), 17 * 64);
  tmem.maintain();
  assert.equal(store.maintained, 40);
});

test('wrong options and names are refused with a code', () => {
  assert.throws(() => small(10, { pages: 0 }), { code: 'ERR_ARG_VALUE' });
  const ends = [
    ['clients', 1, 1024],
    ['pages', 1, 2 ** 31 - 1],
    ['evictionsPerPut', 0, 2 ** 31 - 1],
  ] as const;
  for (const [name, least, most] of ends)
    for (const value of [least - 1, most + 1, 1.5])
      assert.throws(() => small(10, { [name]: value }), { code: 'ERR_ARG_VALUE' }, name);
  assert.ok(small(10, { clients: 1024, evictionsPerPut: 2 ** 31 - 1 }));
  for (const options of [{ dedup: 'all' }, { sharing: 'some' }, { frozenPuts: 'keep' }])
    assert.throws(() => small(10, options as object), { code: 'ERR_ARG_VALUE' });
  assert.throws(() => small(10, { pagez: 1 } as object), { code: 'ERR_ARG_UNKNOWN' });
  const tmem = small(10, { clients: 1, pages: 1, objects: 1, evictionsPerPut: 0 });
  for (const options of [{ weight: -1 }, { weight: 2 ** 20 + 1 }, { cap: -1 }, { cap: 2 ** 31 }])
    assert.throws(() => tmem.addClient(options), { code: 'ERR_ARG_VALUE' });
  assert.equal(tmem.addClient({ weight: 2 ** 20, cap: 2 ** 31 - 1 }), 0);
  assert.equal(tmem.addClient(), -1);
  assert.throws(() => tmem.setCap(3, 1), { code: 'ERR_ARG_UNKNOWN' });
  tmem.newPool(0);
  assert.throws(() => tmem.put(0, 0, oid, 0, into, 1), { code: 'ERR_ARG_VALUE' });
  assert.throws(() => tmem.get(0, 0, oid, 0, new Uint8Array(4095), 0), {
    code: 'ERR_ARG_VALUE',
  });
});
