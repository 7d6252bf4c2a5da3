/** The contract of tmem through the socket. Ids are those of docs/design/contract-tests.md. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.ts';
import { TmemFlushResult, TmemGetResult, TmemPutResult } from '../../../src/tmem/results.ts';
import type { TmemClientPool } from '../../../src/tmem/server/client.ts';
import { Tmem } from '../../../src/tmem/tmem.ts';
import { FakeStore, pageOf } from '../../support/fakes/fake-store.ts';
import { noisePage as noise } from '../../support/fixtures/pages.ts';
import { until } from '../../support/fixtures/until.ts';
import { tmemRig } from './tmem-rig.ts';

const oid = new Uint32Array([1, 2, 3, 4, 5, 0xffff_ffff]);
const into = new Uint8Array(4096);
const UUID = '00112233-4455-6677-8899-aabbccddeeff';
const uid = process.geteuid?.() ?? 0;

async function expectPage(pool: TmemClientPool, index: number, page: Uint8Array): Promise<void> {
  into.fill(0xa5);
  assert.equal(await pool.get(oid, index, into), TmemGetResult.found);
  assert.equal(Buffer.compare(into, page), 0, `page ${index}`);
}

test('C1 C2 C3 through the socket: the last page is found, a refused put leaves none, persistent pages stay', {
  timeout: 60_000,
}, async () => {
  await using rig = await tmemRig({ tmem: { store: new FakeStore(8, 1e6) } });
  const client = await rig.connect();
  const kept = await client.newPool({ persistent: true });
  const cache = await client.newPool();
  for (const n of [1, 2]) assert.equal(await kept.put(oid, 7, pageOf(n)), TmemPutResult.stored);
  await expectPage(kept, 7, pageOf(2));
  await expectPage(kept, 7, pageOf(2));
  for (let i = 0; i < 20; i++) await cache.put(oid, i, pageOf(100 + i));
  await expectPage(kept, 7, pageOf(2));
  const user = rig.server.clients.find(uid)!;
  rig.tmem.freeze(user.client);
  assert.equal(await kept.put(oid, 7, pageOf(3)), TmemPutResult.frozen);
  assert.equal(await kept.get(oid, 7, into), TmemGetResult.poolEmpty);
  rig.tmem.thaw(user.client);
  rig.tmem.setCap(user.client, 1);
  assert.equal(await kept.put(oid, 1, pageOf(1)), TmemPutResult.stored);
  assert.equal(await kept.put(oid, 2, pageOf(1)), TmemPutResult.capped);
  rig.tmem.setCap(user.client, 0);
  for (let i = 0; i < 7; i++) await kept.put(oid, 10 + i, pageOf(i));
  assert.equal(await kept.put(oid, 30, pageOf(1)), TmemPutResult.noRows);
});

test('C4 C8 C9 through the socket: gets remove and keep pages as in the process', {
  timeout: 60_000,
}, async () => {
  await using rig = await tmemRig({ tmem: { store: new FakeStore(3, 1e6) } });
  const client = await rig.connect();
  const mine = await client.newPool();
  await mine.put(oid, 0, pageOf(0));
  await expectPage(mine, 0, pageOf(0));
  for (let i = 0; i < 3; i++) assert.equal(await mine.get(oid, 0, into), TmemGetResult.poolEmpty);
  const takes = await client.newPool({ persistent: true, exclusiveGets: true });
  await takes.put(oid, 0, pageOf(1));
  await expectPage(takes, 0, pageOf(1));
  assert.equal(await takes.get(oid, 0, into), TmemGetResult.poolEmpty);
  const ours = await client.newPool({ uuid: UUID });
  const theirs = await (await rig.connect()).newPool({
    uuid: UUID.replaceAll('-', '').toUpperCase(),
  });
  for (let i = 0; i < 3; i++) await ours.put(oid, i, pageOf(i));
  await expectPage(theirs, 0, pageOf(0)); // now page 1 is the oldest
  await theirs.put(oid, 3, pageOf(3));
  assert.equal(await ours.get(oid, 1, into), TmemGetResult.absent);
  for (const i of [0, 2, 3]) await expectPage(ours, i, pageOf(i));
});

test('C5 C6 through the socket: flushes of pages, objects and pools, also of absent and frozen ones', {
  timeout: 60_000,
}, async () => {
  await using rig = await tmemRig();
  const client = await rig.connect();
  const pool = await client.newPool({ persistent: true });
  for (let i = 0; i < 200; i++) await pool.put(oid, i, noise(i));
  const { client: id } = rig.server.clients.find(uid)!;
  assert.equal(await pool.flushPage(oid, 999), TmemFlushResult.done);
  assert.equal(rig.tmem.index.counters.get('pages'), 200);
  rig.tmem.freeze(id);
  assert.equal(await pool.flushPage(oid, 0), TmemFlushResult.doneFrozen);
  assert.equal(await pool.get(oid, 0, into), TmemGetResult.absent);
  await expectPage(pool, 199, noise(199));
  // More pages than a step drops.
  assert.equal(await pool.flushObject(oid), TmemFlushResult.doneFrozen);
  assert.equal(await pool.get(oid, 199, into), TmemGetResult.poolEmpty);
  rig.tmem.thaw(id);
  assert.equal(await pool.flushObject(oid), TmemFlushResult.done);
  for (let i = 0; i < 300; i++) await pool.put(new Uint32Array([i, 0, 0, 0, 0, 0]), i, noise(i));
  assert.equal(await pool.destroy(), TmemFlushResult.done);
  assert.equal(rig.tmem.index.counters.get('pages'), 0);
  assert.equal(await pool.put(oid, 0, noise(0)), TmemPutResult.noPool);
  assert.equal(await pool.get(oid, 0, into), TmemGetResult.noPool);
  assert.equal(await pool.flushPage(oid, 0), TmemFlushResult.noPool);
  assert.equal(await pool.flushObject(oid), TmemFlushResult.noPool);
  assert.equal(await pool.destroy(), TmemFlushResult.noPool);
});

test('C22 through the socket: a vectored call equals as many single ones, with a result for each', {
  timeout: 60_000,
}, async () => {
  await using rig = await tmemRig({ tmem: { store: new FakeStore(20, 1e6) } });
  const client = await rig.connect();
  const pool = await client.newPool({ persistent: true });
  const keys = new Uint32Array(32 * 7);
  const pages = new Uint8Array(32 * 4096);
  for (let i = 0; i < 32; i++) {
    keys.set(oid, i * 7);
    keys[i * 7 + 6] = i;
    pages.set(pageOf(i), i * 4096);
  }
  const results = new Uint8Array(32);
  assert.equal(await pool.putMany(keys, 32, pages, 0, results), 20);
  assert.deepEqual([...results.subarray(0, 20)], new Array(20).fill(TmemPutResult.stored));
  assert.deepEqual([...results.subarray(20)], new Array(12).fill(TmemPutResult.noRows));
  await pool.flushPage(oid, 3);
  const target = new Uint8Array(32 * 4096).fill(0xee);
  assert.equal(await pool.getMany(keys, 32, target, 0, results), 19);
  for (let i = 0; i < 32; i++) {
    const isHere = i < 20 && i !== 3;
    assert.equal(results[i], isHere ? TmemGetResult.found : TmemGetResult.absent, `result ${i}`);
    const page = target.subarray(i * 4096, i * 4096 + 4096);
    assert.equal(
      Buffer.compare(page, isHere ? pageOf(i) : new Uint8Array(4096).fill(0xee)),
      0,
      `page ${i}`,
    );
  }
});

test('C1 C2 C3 C4 C5 C6 C9 C15 C19 C22 every answer and counter through the socket is that of Tmem in this process', {
  timeout: 60_000,
}, async () => {
  const seed = Number(process.env['SEED'] ?? randomBytes(3).readUIntBE(0, 3));
  const prng = new Prng(seed);
  const tables = { pages: 70, objects: 9, seed: 7, dedup: 'off' } as const;
  const direct = new Tmem({ store: new FakeStore(60, 2500), sharing: 'everyone', ...tables });
  await using small = await tmemRig({ tmem: { store: new FakeStore(60, 2500), ...tables } });
  const connection = await small.connect();
  const client = direct.addClient();
  const kinds = [
    { persistent: true },
    { persistent: true, exclusiveGets: true },
    {},
    { uuid: UUID },
  ] as const;
  const pools: TmemClientPool[] = [];
  for (const kind of kinds) {
    pools.push(await connection.newPool(kind));
    const { uuid, ...rest } = kind as { uuid?: string };
    direct.newPool(client, uuid === undefined ? rest : { shared: uuid });
  }
  const [target, expected] = [new Uint8Array(4096), new Uint8Array(4096)];
  const key = new Uint32Array(6);
  for (let step = 0; step < 12_000; step++) {
    const at = prng.below(pools.length);
    const pool = pools[at]!;
    key[0] = prng.below(11);
    const index = prng.below(40);
    const where = `SEED=${seed} step ${step}`;
    const what = prng.below(20);
    if (what < 10) {
      const page = pageOf(step);
      assert.equal(
        await pool.put(key, index, page),
        direct.put(client, at, key, index, page, 0),
        where,
      );
    } else if (what < 16) {
      const result = direct.get(client, at, key, index, expected, 0);
      assert.equal(await pool.get(key, index, target), result, where);
      if (result === TmemGetResult.found) assert.equal(Buffer.compare(target, expected), 0, where);
    } else if (what < 19)
      assert.equal(
        await pool.flushPage(key, index),
        direct.flushPage(client, at, key, index),
        where,
      );
    else if (prng.oneIn(3))
      assert.equal(await pool.flushObject(key), direct.flushObject(client, at, key), where);
  }
  assert.ok(direct.index.counters.get('evictions') > 20, 'pages were evicted');
  assert.equal(small.tmem.index.counters.describe(), direct.index.counters.describe());
  small.tmem.verify();
  direct.verify();
});

test('a pool ends with its connection, or with its lease if it has a uuid and is persistent', {
  timeout: 60_000,
}, async () => {
  await using rig = await tmemRig();
  const pagesNow = (): number => rig.tmem.index.counters.get('pages');
  const first = await rig.connect();
  const named = await first.newPool({ persistent: true, uuid: UUID, leaseSeconds: 10 });
  for (const options of [
    {},
    { persistent: true },
    { uuid: 'ab'.repeat(16) },
    { persistent: true, uuid: 'cd'.repeat(16) },
  ])
    await (await first.newPool(options)).put(oid, 1, noise(9));
  await named.put(oid, 1, noise(1));
  assert.equal(pagesNow(), 5);
  first.close();
  await until('only the pool with a lease is left', () => pagesNow() === 1);
  const second = await rig.connect();
  await expectPage(
    await second.newPool({ persistent: true, uuid: UUID, leaseSeconds: 10 }),
    1,
    noise(1),
  );
  rig.ahead.ms += 1e6;
  rig.server.sweep();
  assert.equal(pagesNow(), 1, 'the lease runs from the end of the last connection');
  second.close();
  await until('closed', () => rig.server.stats.connections === 0);
  rig.ahead.ms += 9_900;
  rig.server.sweep();
  assert.equal(pagesNow(), 1);
  rig.ahead.ms += 200;
  rig.server.sweep();
  await until('the lease has ended', () => pagesNow() === 0);
  await until(
    'a user without pools and connections is removed',
    () => rig.server.clients.find(uid) === null,
  );
  const third = await rig.connect();
  assert.equal(
    await (await third.newPool({ persistent: true, uuid: UUID })).get(oid, 1, into),
    TmemGetResult.poolEmpty,
  );
});

test('a user has at most 16 pools, and one kind of pool for each uuid', {
  timeout: 60_000,
}, async () => {
  await using rig = await tmemRig();
  const [a, b] = [await rig.connect(), await rig.connect()];
  const name = { persistent: true, uuid: UUID };
  await a.newPool(name);
  await b.newPool(name);
  await assert.rejects(b.newPool({ uuid: UUID }), { code: 'ERR_IO_NO_ROOM' });
  const pools = [];
  for (let i = 0; i < 15; i++) pools.push(await (i % 2 === 0 ? a : b).newPool());
  await assert.rejects(a.newPool(), { code: 'ERR_IO_NO_ROOM' });
  await pools[3]!.destroy();
  await a.newPool();
});

test('a connection cannot reach the pools of another one by their numbers', {
  timeout: 60_000,
}, async () => {
  await using rig = await tmemRig();
  const [a, b] = [await rig.connect(), await rig.connect()];
  const [mine, other] = [
    await a.newPool({ persistent: true }),
    await b.newPool({ persistent: true }),
  ];
  await mine.put(oid, 1, noise(1));
  await other.put(oid, 1, noise(2));
  // Number 0 is the pool of `a`.
  const read = await b.request(
    { op: 4, pool: 0, count: 1 },
    (writer) => {
      writer.oid(oid, 0);
      writer.index(1);
    },
    ({ bytes, resultsAt }) => bytes[resultsAt],
  );
  assert.equal(read, TmemGetResult.noPool);
  await expectPage(mine, 1, noise(1));
});
