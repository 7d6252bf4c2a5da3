/** Save and restore of users of the tmem socket. Ids are those of docs/design/contract-tests.md. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { Budget } from '../../../src/arena/budget.ts';
import { SwapError } from '../../../src/base/errors.ts';
import { Store } from '../../../src/store/store.ts';
import type { Client } from '../../../src/tmem/client.ts';
import { LEASE_FOREVER } from '../../../src/tmem/protocol/wire.ts';
import { TmemGetResult, TmemPutResult } from '../../../src/tmem/results.ts';
import type { TmemClientPool } from '../../../src/tmem/server/client.ts';
import { HEAD_BYTES, TAIL_BYTES } from '../../../src/tmem/server/user-file.ts';
import { type RestoredUser, UserRestore } from '../../../src/tmem/server/user-restore.ts';
import { UserSave } from '../../../src/tmem/server/user-save.ts';
import { PAGE_RECORD_BYTES } from '../../../src/tmem/stream.ts';
import { tmemStore } from '../../../src/tmem/tmem-store.ts';
import { FakeStore, pageOf } from '../../support/fakes/fake-store.ts';
import { noisePage as noise } from '../../support/fixtures/pages.ts';
import { randomTest } from '../../support/fixtures/replay.ts';
import { until } from '../../support/fixtures/until.ts';
import { type TmemRig, tmemRig } from './tmem-rig.ts';

const uid = process.geteuid?.() ?? 0;
const oid = new Uint32Array([1, 2, 3, 4, 5, 0xffff_ffff]);
const into = new Uint8Array(4096);
const nameOf = (n: number): string => n.toString(16).padStart(32, '0');
const kept = (n: number, leaseSeconds = 60) =>
  ({ persistent: true, uuid: nameOf(n), leaseSeconds }) as const;
const timeout = 60_000;

/** The file of a user; `between` runs after each step but the last. */
async function saved(rig: TmemRig, between: () => Promise<void> = async () => {}): Promise<Buffer> {
  const { clients } = rig.server;
  using save = new UserSave(clients, clients.find(uid)!);
  const chunks: Buffer[] = [];
  while (!save.step((chunk) => chunks.push(Buffer.from(chunk)))) await between();
  save.end();
  return Buffer.concat(chunks);
}

function restored(
  rig: TmemRig,
  file: Uint8Array,
  as: number | null = null,
  pieceBytes = 5000,
): RestoredUser {
  const { server } = rig;
  const whyNeverAdmitted = (id: number): string => server.whyNeverAdmitted(id);
  using restore = new UserRestore({ table: server.clients, uid: as, whyNeverAdmitted });
  for (let at = 0; at < file.length; at += pieceBytes)
    restore.push(file.subarray(at, at + pieceBytes));
  return restore.end();
}

const clientOf = ({ tmem, server }: TmemRig, id: number = uid): Client =>
  tmem.clientOf(server.clients.find(id)!.client)!;
const pagesOf = ({ tmem }: TmemRig): number => tmem.index.counters.get('pages');

async function expectPage(pool: TmemClientPool, index: number, page: Uint8Array): Promise<void> {
  into.fill(0xa5);
  assert.equal(await pool.get(oid, index, into), TmemGetResult.found, `page ${index}`);
  assert.equal(Buffer.compare(into, page), 0, `page ${index}`);
}

test('C24 through the socket: a client finds its pages in another host, except those flushed during the save', {
  timeout,
}, async () => {
  await using from = await tmemRig();
  await using to = await tmemRig();
  const client = await from.connect();
  const pools = [
    await client.newPool(kept(1)),
    await client.newPool({ ...kept(2), exclusiveGets: true }),
    await client.newPool(kept(3)),
  ];
  const [first, takes, ended] = pools;
  await client.newPool({ persistent: true });
  const cache = await client.newPool({ uuid: nameOf(9) });
  await cache.put(oid, 1, noise(1));
  for (let i = 0; i < 50; i++)
    for (const [n, pool] of pools.entries())
      assert.equal(await pool.put(oid, i, noise(100 * n + i)), TmemPutResult.stored);
  let steps = 0;
  const file = await saved(from, async () => {
    steps++;
    if (steps !== 3) return;
    assert.equal(await first!.put(oid, 99, noise(0)), TmemPutResult.frozen, 'puts are refused');
    assert.equal(await first!.put(oid, 1, noise(0)), TmemPutResult.frozen);
    await first!.flushPage(oid, 0);
    await first!.flushPage(oid, 49);
    await expectPage(takes!, 2, noise(102));
    await ended!.destroy();
  });
  assert.ok(steps > 5, 'the save has many steps');
  const { tmem, clients } = from.server.clients && {
    tmem: from.tmem,
    clients: from.server.clients,
  };
  assert.equal(tmem.clientOf(clients.find(uid)!.client)!.frozen, true, 'it stays frozen');

  assert.deepEqual(restored(to, file), { uid, pools: 2, pages: 47 + 49 });
  const moved = await to.connect();
  await assert.rejects(moved.newPool(kept(2)), { code: 'ERR_IO_NO_ROOM' }, 'of another kind');
  const [again, takesAgain, newOne] = [
    await moved.newPool(kept(1)),
    await moved.newPool({ ...kept(2), exclusiveGets: true }),
    await moved.newPool(kept(3)),
  ];
  for (let i = 0; i < 50; i++) {
    if (![0, 1, 49].includes(i)) await expectPage(again!, i, noise(i));
    if (i !== 2) await expectPage(takesAgain!, i, noise(100 + i));
  }
  for (const i of [0, 1, 49, 99])
    assert.equal(await again!.get(oid, i, into), TmemGetResult.absent);
  assert.equal(await takesAgain!.get(oid, 3, into), TmemGetResult.poolEmpty, 'gets took the pages');
  assert.equal(await newOne!.get(oid, 3, into), TmemGetResult.poolEmpty, 'it was destroyed');
  assert.equal(await again!.put(oid, 1, noise(5)), TmemPutResult.stored, 'it is not frozen');
});

/** A rig whose user has pool 1 with `pages` pages and no connection any more. */
async function rigWithPages(pages: number, lease = 60): Promise<TmemRig> {
  const rig = await tmemRig();
  const client = await rig.connect();
  const pool = await client.newPool(kept(1, lease));
  for (let i = 0; i < pages; i++) await pool.put(oid, i, noise(i));
  client.close();
  await until('closed', () => rig.server.stats.connections === 0);
  return rig;
}

/** Refuses the file, and leaves no page, no pool and no user. */
async function refuses(
  to: TmemRig,
  file: Uint8Array,
  code: string,
  why: RegExp,
  pieces: readonly number[] = [7, file.length + 1],
): Promise<void> {
  for (const pieceBytes of pieces) {
    assert.throws(
      () => restored(to, file, null, pieceBytes),
      (error: SwapError) => {
        assert.ok(error instanceof SwapError, String(error));
        assert.equal(error.code, code, error.message);
        assert.match(error.message, why);
        return true;
      },
    );
    while (to.server.clients.step());
    assert.deepEqual([pagesOf(to), to.server.clients.find(uid)], [0, null]);
    to.tmem.verify();
  }
}

test('C24 through the socket: names, leases, settings and a freeze are restored; an operator of the new host decides first', {
  timeout,
}, async () => {
  await using from = await tmemRig();
  const { clients } = from.server;
  const client = await from.connect();
  await client.newPool(kept(1, 10));
  await client.newPool(kept(2, Number.POSITIVE_INFINITY));
  const user = clients.find(uid)!;
  from.tmem.setCap(user.client, 77);
  from.tmem.setCompress(user.client, false);
  const plain = await saved(from); // no operator has set these
  user.isConfigured = true;
  from.tmem.setWeight(user.client, 9);
  const file = await saved(from); // frozen by the first save
  await using to = await tmemRig();
  restored(to, file);
  const { weight, cap, compress, frozen } = clientOf(to);
  assert.deepEqual([weight, cap, compress, frozen], [9, 77, false, true]);
  to.tmem.thaw(clientOf(to).id);
  to.ahead.ms += 9_900;
  to.server.sweep();
  assert.equal(to.server.clients.find(uid)!.poolCount, 2);
  to.ahead.ms += 200;
  to.server.sweep();
  await until('the lease of pool 1 has ended', () => to.server.clients.find(uid)!.poolCount === 1);
  to.ahead.ms += 1e12;
  to.server.sweep();
  assert.equal(to.server.clients.find(uid)!.poolCount, 1);

  const access = { uids: [uid, 4321], gids: [] };
  await using other = await tmemRig({ server: { cap: 5, access } });
  restored(other, plain, 4321);
  const fresh = clientOf(other, 4321);
  assert.deepEqual([fresh.weight, fresh.cap, fresh.compress, fresh.frozen], [1, 5, true, false]);
  const set = other.server.clients.user(uid)!;
  set.isConfigured = true;
  other.tmem.setCap(set.client, 3);
  other.tmem.freeze(set.client);
  restored(other, file);
  const now = clientOf(other);
  assert.deepEqual([now.weight, now.cap, now.compress, now.frozen], [1, 3, true, true]);
});

test('while a user is saved or restored it is neither saved nor restored again, and a restored one cannot connect', {
  timeout,
}, async () => {
  await using from = await rigWithPages(40);
  await using to = await tmemRig();
  const file = await saved(from);
  const { clients } = from.server;
  const whyNeverAdmitted = (): string => '';
  {
    using save = new UserSave(clients, clients.find(uid)!);
    save.step(() => {});
    assert.throws(() => new UserSave(clients, clients.find(uid)!), { code: 'ERR_IO_IN_USE' });
  }
  const table = to.server.clients;
  using restore = new UserRestore({ table, uid: null, whyNeverAdmitted });
  restore.push(file.subarray(0, 20_000));
  assert.throws(() => restored(to, file), { code: 'ERR_IO_IN_USE', message: /restored already/ });
  assert.throws(() => new UserSave(table, table.find(uid)!), { code: 'ERR_IO_IN_USE' });
  await assert.rejects(to.connect());
  assert.match(to.log.join('\n'), /are being restored/);
  restore.push(file.subarray(20_000));
  restore.end();
  const client = await to.connect();
  const pool = await client.newPool(kept(1));
  for (let i = 0; i < 40; i++) await expectPage(pool, i, noise(i));
  assert.throws(() => restored(to, file), { code: 'ERR_IO_IN_USE', message: /connections/ });
  client.close();
  await until('closed', () => to.server.stats.connections === 0);
  assert.throws(() => restored(to, file), { code: 'ERR_IO_IN_USE', message: /tmem-destroy/ });
  assert.equal(pagesOf(to), 40);
});

test('an unfinished save leaves the user as it was, and an unfinished restore leaves nothing', {
  timeout,
}, async () => {
  await using from = await rigWithPages(40);
  for (const wasFrozen of [false, true]) {
    clientOf(from).frozen = wasFrozen;
    {
      using save = new UserSave(from.server.clients, from.server.clients.find(uid)!);
      assert.equal(
        save.step(() => {}),
        false,
      );
      assert.equal(clientOf(from).frozen, true);
    }
    assert.equal(clientOf(from).frozen, wasFrozen);
    assert.equal(clientOf(from).isBeingSaved, false);
  }
  const file = await saved(from);
  await using to = await tmemRig();
  const table = to.server.clients;
  const set = table.user(uid)!;
  set.isConfigured = true;
  to.tmem.setCap(set.client, 99);
  to.tmem.freeze(set.client);
  for (const length of [0, 10, HEAD_BYTES, file.length, 100_000]) {
    using restore = new UserRestore({ table, uid: null, whyNeverAdmitted: () => '' });
    restore.push(file.subarray(0, length));
    restore[Symbol.dispose]();
    await until('dropped', () => pagesOf(to) === 0 && set.poolCount === 0);
  }
  assert.deepEqual([clientOf(to).cap, clientOf(to).frozen, set.isRestoring], [99, true, false]);
});

test('a pool that gets a lease during the save is left out, and one that loses it is, too', {
  timeout,
}, async () => {
  await using from = await tmemRig();
  const [a, b] = [await from.connect(), await from.connect()];
  const pools = [];
  for (const n of [1, 2, 3]) pools.push(await a.newPool(kept(n, n === 1 ? 0 : 60)));
  for (let i = 0; i < 40; i++) for (const pool of pools) await pool.put(oid, i, noise(i));
  let steps = 0;
  const file = await saved(from, async () => {
    if (++steps !== 2) return;
    await b.newPool(kept(1, 60));
    await b.newPool(kept(2, 0));
    await b.newPool(kept(4, 60));
  });
  await using to = await tmemRig();
  assert.deepEqual(restored(to, file), { uid, pools: 1, pages: 40 });
  const pool = await (await to.connect()).newPool(kept(3));
  for (let i = 0; i < 40; i++) await expectPage(pool, i, noise(i));
});

test('only pools that can be opened again are saved; a user without one is refused', {
  timeout,
}, async () => {
  await using rig = await tmemRig();
  const client = await rig.connect();
  const user = rig.server.clients.find(uid)!;
  await client.newPool({ persistent: true });
  await client.newPool({ persistent: true, uuid: nameOf(7) });
  await client.newPool({ uuid: nameOf(8) });
  assert.throws(() => new UserSave(rig.server.clients, user), { code: 'ERR_ARG_UNKNOWN' });
  assert.equal(clientOf(rig).frozen, false);
  await client.newPool(kept(1));
  using save = new UserSave(rig.server.clients, user);
  while (!save.step(() => {}));
  assert.deepEqual(save.tail?.pools, [{ pool: 3, lease: 60, name: nameOf(1) }]);
  assert.equal(save.tail?.leftPools, 3);
});

test('a host without memory, rows, users or a sufficient cap refuses the file and keeps nothing of it', {
  timeout,
}, async () => {
  await using from = await rigWithPages(40);
  const file = await saved(from);
  const fits = { tmem: { store: new FakeStore(40, 1e6), pages: 40 } };
  await using exact = await tmemRig({ ...fits, server: { cap: 40 } });
  assert.equal(restored(exact, file).pages, 40);
  const cases = [
    [{ tmem: { store: new FakeStore(40, 1e6), pages: 39 } }, /tables for 39/],
    [{ tmem: { store: new FakeStore(39, 1e6), pages: 40 } }, /no memory for all pages/],
    [{ server: { cap: 39 } }, /the cap of user \d+ is 39/],
    [{ tmem: { clients: 1 } }, /too many tmem users/],
  ] as const;
  for (const [options, why] of cases) {
    await using to = await tmemRig(options);
    if ('tmem' in options && 'clients' in options.tmem)
      to.server.clients.user(1)!.isConfigured = true;
    await refuses(to, file, 'ERR_IO_NO_ROOM', why);
  }
  const budget = new Budget(600_000);
  const store = tmemStore(new Store({ slots: 1000, budget }));
  await using real = await tmemRig({ tmem: { store, pages: 1000 } });
  await using big = await rigWithPages(200);
  await refuses(real, await saved(big), 'ERR_IO_NO_ROOM', /no memory for all pages/);
  assert.equal(restored(real, file).pages, 40, 'the memory can be used again');
});

test('a user that could never connect is refused, and another user can get the pools', {
  timeout,
}, async () => {
  await using from = await rigWithPages(3);
  const file = await saved(from);
  const access = { uids: [4321], gids: [] };
  await using to = await tmemRig({ server: { access } });
  await refuses(to, file, 'ERR_ARG_CONFLICT', /is not allowed/);
  assert.throws(() => restored(to, file, 65534), { code: 'ERR_ARG_CONFLICT' });
  assert.deepEqual(restored(to, file, 4321), { uid: 4321, pools: 1, pages: 3 });
  await using groups = await tmemRig({ server: { access: { uids: [], gids: [7] } } });
  assert.equal(restored(groups, file, 4321).pages, 3, 'a process of it may have the group');
});

test('a torn, foreign or changed file is refused and leaves nothing', {
  timeout: 120_000,
}, async () => {
  await using from = await rigWithPages(3);
  const file = await saved(from);
  await using to = await tmemRig();
  const bad = (file: Uint8Array, why: RegExp): Promise<void> =>
    refuses(to, file, 'ERR_IO_IMAGE', why, [4000]);
  for (let length = 0; length < file.length; length += length < 120 ? 1 : 1013)
    await bad(file.subarray(0, length), /truncated/);
  for (let length = file.length - 40; length < file.length; length++)
    await bad(file.subarray(0, length), /truncated/);
  await bad(Buffer.concat([file, new Uint8Array(1)]), /bytes follow its end/);
  await bad(Buffer.alloc(5000), /not a saved user/);
  for (let at = 0; at < file.length; at += at < 200 || at > file.length - 500 ? 1 : 101) {
    const damaged = Buffer.from(file);
    damaged[at]! ^= 1 << (at % 8);
    await bad(damaged, /./);
  }
  assert.equal(restored(to, file).pages, 3);
});

/** Replaces words of a file and makes its checksums right again. */
function forged(file: Buffer, words: readonly (readonly [at: number, value: number])[]): Buffer {
  const made = Buffer.from(file);
  for (const [at, value] of words) made.writeUInt32LE(value, at < 0 ? made.length + at : at);
  made.writeUInt32LE(crc32(made.subarray(0, HEAD_BYTES - 4)), HEAD_BYTES - 4);
  made.writeUInt32LE(crc32(made.subarray(0, made.length - 4)), made.length - 4);
  return made;
}

test('a file with right checksums that breaks a rule is refused with that reason', {
  timeout,
}, async () => {
  await using from = await rigWithPages(3);
  const file = await saved(from);
  await using to = await tmemRig();
  const tail = -TAIL_BYTES;
  const entry = tail + 20;
  const cases: readonly (readonly [RegExp, ...(readonly [number, number])[]])[] = [
    [/version 2/, [8, 2]],
    [/unknown flags/, [12, 4]],
    [/unknown flags/, [24, 1]],
    [/user is not valid/, [16, 0xffff_ffff]],
    [/too many pages/, [20, 2]],
    [/magic is wrong/, [HEAD_BYTES, 1]],
    [/not persistent/, [HEAD_BYTES + 16 + 8, 0]],
    [/end is missing/, [tail, 1]],
    [/has 17 pools/, [tail + 4, 17]],
    [/instead of 4/, [tail + 8, 4]],
    [/a pool 16/, [entry, 16]],
    [/pool 0 has no pages/, [entry, 1]],
    [/no lease/, [entry + 4, 0]],
    [/pool 0 twice/, [tail + 4, 2], [entry + 24 + 4, 1]],
    [
      /one name/,
      [tail + 4, 2],
      [entry + 24, 1],
      [entry + 24 + 4, 1],
      [entry + 24 + 20, 0x0100_0000],
    ],
    [/pool 1 has no pages or no name/, [tail + 4, 2], [entry + 24, 1], [entry + 24 + 4, 1]],
    [/pool 0 has no pages or no name/, [tail + 4, 0], [entry + 4, 0], [entry + 20, 0]],
    [/beyond its last one/, [entry + 24, 1]],
  ];
  for (const [why, ...words] of cases) await refuses(to, forged(file, words), 'ERR_IO_IMAGE', why);
  // The limits themselves are accepted.
  const limit = [
    [20, to.tmem.index.pages.capacity],
    [entry + 4, LEASE_FOREVER],
  ] as const;
  assert.equal(restored(to, forged(file, limit)).pages, 3);
  to.server.clients.doomAll(to.server.clients.find(uid)!);
  await until('dropped', () => to.server.clients.find(uid) === null);
  const lastUser = forged(file, [[16, 0xffff_fffe]]);
  await using open = await tmemRig({ server: { peer: () => null } });
  assert.deepEqual(restored(open, lastUser), { uid: 0xffff_fffe, pools: 1, pages: 3 });
});

test('sixteen pools are saved and restored, and a head has no byte to spare', {
  timeout,
}, async () => {
  await using from = await tmemRig();
  const client = await from.connect();
  for (let i = 0; i < 16; i++) {
    const pool = await client.newPool(kept(i + 1, i + 1));
    await pool.put(oid, i, noise(i));
  }
  const file = await saved(from);
  const records = 16 + 16 * 28 + 16 * PAGE_RECORD_BYTES + 520 + 12;
  assert.equal(file.length, HEAD_BYTES + records + TAIL_BYTES);
  await using to = await tmemRig();
  assert.deepEqual(restored(to, file), { uid, pools: 16, pages: 16 });
  const moved = await to.connect();
  for (let i = 15; i >= 0; i--) await expectPage(await moved.newPool(kept(i + 1)), i, noise(i));
});

randomTest(
  'C24 a restored user equals the saved one, whatever it did before and during the save',
  8,
  async (prng, rounds) => {
    for (let round = 0; round < rounds; round++) {
      await using from = await tmemRig({ tmem: { store: new FakeStore(400, 1e6), pages: 400 } });
      await using to = await tmemRig({ tmem: { store: new FakeStore(400, 1e6), pages: 400 } });
      const client = await from.connect();
      const pools = new Map<number, TmemClientPool>();
      const model = new Map<string, number>();
      const forget = (start: string): void => {
        for (const key of model.keys()) if (key.startsWith(start)) model.delete(key);
      };
      const operate = async (isSaving: boolean): Promise<void> => {
        const n = 1 + prng.below(4);
        const index = prng.below(40);
        const pool = pools.get(n) ?? (await client.newPool(kept(n)));
        pools.set(n, pool);
        const what = prng.below(20);
        if (what < 12) {
          const value = prng.below(1000);
          const result = await pool.put(oid, index, pageOf(value));
          assert.equal(result, isSaving ? TmemPutResult.frozen : TmemPutResult.stored);
          if (isSaving) model.delete(`${n} ${index}`);
          else model.set(`${n} ${index}`, value);
        } else if (what < 18) {
          await pool.flushPage(oid, index);
          model.delete(`${n} ${index}`);
        } else if (what === 18) {
          await pool.flushObject(oid);
          forget(`${n} `);
        } else {
          await pool.destroy();
          pools.delete(n);
          forget(`${n} `);
        }
      };
      for (let i = 0; i < 150; i++) await operate(false);
      if (pools.size === 0) pools.set(1, await client.newPool(kept(1)));
      const file = await saved(from, async () => {
        for (let i = prng.below(4); i > 0; i--) await operate(true);
      });
      restored(to, file, null, 1 + prng.below(9000));
      const moved = await to.connect();
      for (let n = 1; n <= 4; n++) {
        const isHere = to.server.clients.find(uid)!.pools.some((p) => p?.name === nameOf(n));
        if (!pools.has(n)) assert.equal(isHere, false, `pool ${n} was destroyed`);
        const pool = await moved.newPool(kept(n));
        for (let index = 0; index < 40; index++) {
          const value = model.get(`${n} ${index}`);
          if (value !== undefined) await expectPage(pool, index, pageOf(value));
          else assert.notEqual(await pool.get(oid, index, into), TmemGetResult.found);
        }
      }
      to.tmem.verify();
    }
  },
);
