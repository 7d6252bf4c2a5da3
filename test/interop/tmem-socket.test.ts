/** The tmem socket of a real host: processes that are killed, other users, the memory interface, the commands. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { TmemFrontswap } from '../../src/frontswap/backends/tmem-frontswap.ts';
import { Frontswap } from '../../src/frontswap/frontswap.ts';
import { LoadResult } from '../../src/frontswap/ops.ts';
import { BlockingPool, type BlockingPoolOptions } from '../../src/tmem/protocol/blocking.ts';
import { TmemFlushResult, TmemGetResult, TmemPutResult } from '../../src/tmem/results.ts';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { noisePage as noise } from '../support/fixtures/pages.ts';
import { must, root, TemporaryFolder } from '../support/fixtures/processes.ts';
import { WallClock, way } from '../support/fixtures/redis.ts';

const UUID = '00112233445566778899aabbccddeeff';
const oid = new Uint32Array(6);
const childPath = join(root, 'build', 'test', 'interop', 'tmem-child.js');

interface Rig extends AsyncDisposable {
  readonly socket: string;
  readonly folder: TemporaryFolder;
  host: OwnHost;
}

async function startHost(folder: TemporaryFolder, ...more: readonly string[]): Promise<OwnHost> {
  const settings = ['--tmem', folder.file('tmem.sock'), '--tmem-limit', '64M', ...more];
  return OwnHost.start({ disks: ['swap0=1M'], arguments: settings });
}

async function hostRig(...more: readonly string[]): Promise<Rig> {
  const folder = new TemporaryFolder();
  const made: Rig = {
    folder,
    socket: folder.file('tmem.sock'),
    host: await startHost(folder, ...more),
    [Symbol.asyncDispose]: async () => {
      await made.host.stop();
      folder[Symbol.dispose]();
    },
  };
  return made;
}

const poolOf = (socket: string, options: Partial<BlockingPoolOptions> = {}): BlockingPool =>
  new BlockingPool({
    ...{ open: way({ path: socket }), clock: new WallClock(), uuid: UUID },
    ...{ deadlineMs: 20_000, pauseMs: 1, pauseMsMax: 5, ...options },
  });

interface ChildClient {
  readonly process: ChildProcess;
  readonly first: { readonly result: number; readonly isRight: boolean } | null;
}

/** Starts a client and waits for its line; null: it ended without one. */
async function child(uid: number | null, ...args: readonly string[]): Promise<ChildClient> {
  const started = spawn(process.execPath, [childPath, ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
    ...(uid === null ? {} : { uid, gid: uid }),
  });
  process.once('exit', () => started.kill('SIGKILL'));
  started.stdout.setEncoding('utf8');
  for await (const line of started.stdout as AsyncIterable<string>)
    return { process: started, first: JSON.parse(line) as ChildClient['first'] };
  return { process: started, first: null };
}

const users = async (
  host: OwnHost,
): Promise<{ persistentPages: number; ephemeralPages: number; pools: unknown[] }[]> =>
  JSON.parse(await host.command('tmem-list', '--json')).users;

async function untilUsers(
  host: OwnHost,
  holds: (all: Awaited<ReturnType<typeof users>>) => boolean,
): Promise<void> {
  for (let tries = 0; !holds(await users(host)); tries++)
    assert.ok(tries < 200, JSON.stringify(await users(host)));
}

const timeout = 120_000;

test('C1 C3 C5 C22 the blocking client puts, gets and flushes pages, one at a time and vectored', {
  timeout,
}, async () => {
  await using rig = await hostRig();
  using pool = poolOf(rig.socket);
  pool.start();
  const into = new Uint8Array(3 * 4096);
  const pages = Buffer.concat([noise(1), noise(2), noise(3)]);
  const keys = new Uint32Array(21);
  for (let i = 0; i < 3; i++) keys[i * 7 + 6] = 10 + i;
  const results = new Uint8Array(3);
  assert.equal(pool.put(oid, 1, pages, 4096), TmemPutResult.stored);
  assert.equal(pool.get(oid, 1, into, 4096), TmemGetResult.found);
  assert.deepEqual(into.subarray(4096, 8192), noise(2));
  assert.equal(pool.putMany(keys, 3, pages, 0, results), 3);
  assert.equal(pool.flushPage(oid, 11), TmemFlushResult.done);
  into.fill(0);
  assert.equal(pool.getMany(keys, 3, into, 0, results), 2);
  assert.deepEqual([...results], [TmemGetResult.found, TmemGetResult.absent, TmemGetResult.found]);
  assert.deepEqual(into, new Uint8Array(Buffer.concat([noise(1), new Uint8Array(4096), noise(3)])));
  assert.equal(pool.flushMany(keys, 3, results), 3);
  assert.equal(pool.flushObject(oid), TmemFlushResult.done);
  assert.equal(pool.get(oid, 1, into, 0), TmemGetResult.poolEmpty);
});

test('C3 C23 after the host is killed puts and gets fail; after its restart pages are lost, never wrong', {
  timeout,
}, async () => {
  await using rig = await hostRig();
  using pool = poolOf(rig.socket);
  pool.start();
  const front = new Frontswap();
  front.register(new TmemFrontswap(pool));
  front.init(0, 100);
  for (let slot = 0; slot < 20; slot++) assert.equal(front.store(0, slot, noise(slot), 0), true);
  const into = new Uint8Array(4096);
  assert.equal(front.load(0, 3, into, 0), LoadResult.loaded);
  assert.deepEqual(into, noise(3));
  process.kill(rig.host.pid, 'SIGKILL');
  into.fill(0xee);
  for (let slot = 0; slot < 20; slot++)
    assert.equal(front.load(0, slot, into, 0), LoadResult.corrupt);
  assert.ok(
    into.every((byte) => byte === 0xee),
    'a failed load writes nothing',
  );
  assert.equal(front.store(0, 50, noise(50), 0), false);
  assert.equal(pool.put(oid, 1, noise(1), 0), TmemPutResult.down);
  await rig.host.stop();
  rig.host = await startHost(rig.folder);
  for (let tries = 0; !pool.isUp; tries++) {
    pool.flushPage(oid, 99);
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.ok(tries < 2000, 'it connects again');
  }
  for (let slot = 0; slot < 20; slot++)
    assert.equal(front.load(0, slot, into, 0), LoadResult.corrupt, 'a lost page is an error');
  assert.ok(into.every((byte) => byte === 0xee));
  assert.equal(front.store(0, 3, noise(33), 0), true);
  assert.equal(front.load(0, 3, into, 0), LoadResult.loaded);
  assert.deepEqual(into, noise(33));
  front.verify();
});

test('pools without a uuid end with a killed client; its persistent pool with a uuid is found by the next one', {
  timeout,
}, async () => {
  await using rig = await hostRig();
  const [kept, plain, cache] = [
    await child(null, rig.socket, 'persistent', UUID, 'put'),
    await child(null, rig.socket, 'persistent', '', 'put'),
    await child(null, rig.socket, 'ephemeral', '', 'put'),
  ];
  const [user] = await users(rig.host);
  assert.deepEqual([user?.persistentPages, user?.ephemeralPages, user?.pools.length], [128, 63, 3]);
  for (const { process: one } of [kept, plain, cache]) one.kill('SIGKILL');
  await untilUsers(rig.host, ([left]) => left?.persistentPages === 64 && left.ephemeralPages === 0);
  using pool = poolOf(rig.socket, { leaseSeconds: 3600 });
  const into = new Uint8Array(4096);
  assert.equal(pool.get(oid, 63, into, 0), TmemGetResult.found);
  assert.deepEqual(into, noise(63));
});

const isRoot = process.geteuid?.() === 0;

test('two processes of a user share a pool by its uuid; a process of another user cannot read it', {
  timeout,
  skip: isRoot ? false : 'needs root to start a process of another user',
}, async () => {
  await using rig = await hostRig('--tmem-mode', '0666');
  const folderPath = join(rig.socket, '..');
  await must('chmod', ['0755', folderPath]);
  const writer = await child(null, rig.socket, 'ephemeral', UUID, 'put');
  const reader = await child(null, rig.socket, 'ephemeral', UUID);
  const stranger = await child(12345, rig.socket, 'ephemeral', UUID);
  for (const one of [writer, reader, stranger]) one.process.kill();
  assert.deepEqual(writer.first, { result: TmemGetResult.found, isRight: true });
  assert.deepEqual(reader.first, { result: TmemGetResult.found, isRight: true });
  assert.deepEqual(stranger.first, { result: TmemGetResult.poolEmpty, isRight: false });
});

test('tmem-allow-uid refuses other users', {
  timeout,
  skip: isRoot ? false : 'needs root to start a process of another user',
}, async () => {
  await using rig = await hostRig('--tmem-mode', '0666', '--tmem-allow-uid', '12345');
  await must('chmod', ['0755', join(rig.socket, '..')]);
  const allowed = await child(12345, rig.socket, 'persistent', '', 'put');
  const refused = await child(null, rig.socket, 'persistent', '');
  for (const one of [allowed, refused]) one.process.kill();
  assert.deepEqual(allowed.first, { result: TmemGetResult.found, isRight: true });
  assert.equal(refused.first, null);
});

test('the stress test of the memory interface over the tmem socket reads no wrong page', {
  timeout,
}, async () => {
  await using rig = await hostRig();
  const stress = join(root, 'build', 'test', 'memory', 'stress.js');
  const running = must(process.execPath, [
    stress,
    '--seconds',
    '5',
    '--json',
    '--tmem',
    rig.socket,
  ]);
  await untilUsers(rig.host, ([one]) => (one?.persistentPages ?? 0) > 0);
  const report = JSON.parse(await running) as { wrong: string; steps: number };
  assert.equal(report.wrong, '');
  assert.ok(report.steps > 0);
  await untilUsers(rig.host, (all) => all.length === 0); // a closed swap leaves no pool
});

test('the commands tmem-list, -set, -freeze, -thaw, -freeable and -destroy have their effect', {
  timeout,
}, async () => {
  await using rig = await hostRig();
  const { host } = rig;
  using pool = poolOf(rig.socket);
  using cache = poolOf(rig.socket, { uuid: 'ab'.repeat(16), persistent: false });
  const uid = String(process.geteuid?.() ?? 0);
  for (let i = 0; i < 4; i++) {
    assert.equal(pool.put(oid, i, noise(i), 0), TmemPutResult.stored);
    cache.put(oid, i, noise(i), 0);
  }
  assert.match(
    await host.command('tmem-list'),
    new RegExp(`UID CONN POOLS.*\\n +${uid} +2 +2 +4 +4`),
  );
  assert.equal((await host.command('tmem-freeable', '--bytes')).trim(), String(4 * 4096));
  assert.match(await host.command('tmem-freeze', uid), /frozen/);
  assert.equal(pool.put(oid, 0, noise(9), 0), TmemPutResult.frozen);
  assert.match(await host.command('tmem-thaw', uid), /thawed/);
  const set = JSON.parse(
    await host.command('tmem-set', uid, 'cap=6', 'weight=7', 'compress=off', '--json'),
  );
  assert.deepEqual([set.user.cap, set.user.weight, set.user.compress], [6, 7, false]);
  await assert.rejects(host.command('tmem-set', uid, 'cap=-1'), /not a whole number/);
  await assert.rejects(host.command('tmem-set', uid, 'cop=1'), /did you mean 'cap'/);
  await assert.rejects(host.command('tmem-freeze', '77'), /user 77 has no tmem pools/);
  await assert.rejects(host.command('tmem-freeze', 'root'), /numeric id/);
  const textPage = Buffer.from('text '.repeat(820)).subarray(0, 4096);
  assert.equal(pool.put(oid, 7, textPage, 0), TmemPutResult.stored);
  const [user] = (await users(host)) as unknown as {
    compressedBytes: number;
    persistentPages: number;
  }[];
  assert.equal(user?.compressedBytes, 4096 * 6, 'a page that compresses is stored raw');
  assert.match(await host.command('tmem-destroy', uid), /2 pools dropped/);
  assert.equal(pool.get(oid, 1, new Uint8Array(4096), 0), TmemGetResult.noPool);
  await untilUsers(host, ([one]) => one?.persistentPages === 0);
});
