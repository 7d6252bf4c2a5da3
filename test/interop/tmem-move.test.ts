/** Users of the tmem socket move between real hosts; the processes involved are killed. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { TmemFrontswap } from '../../src/frontswap/backends/tmem-frontswap.ts';
import { Frontswap } from '../../src/frontswap/frontswap.ts';
import { LoadResult } from '../../src/frontswap/ops.ts';
import { BlockingPool } from '../../src/tmem/protocol/blocking.ts';
import { TmemPutResult } from '../../src/tmem/results.ts';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { noisePage as noise } from '../support/fixtures/pages.ts';
import { must, root, TemporaryFolder } from '../support/fixtures/processes.ts';
import { WallClock, way } from '../support/fixtures/redis.ts';

const UUID = '00112233445566778899aabbccddeeff';
const uid = String(process.geteuid?.() ?? 0);
const oid = new Uint32Array(6);
const mainPath = join(root, 'build', 'src', 'cli', 'main.js');
const timeout = 120_000;

const startHost = (folder: TemporaryFolder, name: string): Promise<OwnHost> =>
  OwnHost.start({
    disks: ['swap0=1M'],
    controlPath: folder.file(`${name}.control`),
    arguments: ['--tmem', folder.file(`${name}.sock`), '--tmem-limit', '128M'],
  });

const poolAt = (path: string): BlockingPool =>
  new BlockingPool({
    ...{ open: way({ path }), clock: new WallClock(), uuid: UUID, leaseSeconds: 3600 },
    ...{ deadlineMs: 20_000, pauseMs: 1, pauseMsMax: 5 },
  });

interface User {
  readonly isFrozen: boolean;
  readonly persistentPages: number;
}

const userOf = async (host: OwnHost): Promise<User | undefined> =>
  JSON.parse(await host.command('tmem-list', '--json')).users[0];

async function fill(path: string, pages: number): Promise<void> {
  using pool = poolAt(path);
  for (let i = 0; i < pages; i++) assert.equal(pool.put(oid, i, noise(i), 0), TmemPutResult.stored);
}

test('C24 a running process moves to another host by a symbolic link, and loads every page from there', {
  timeout,
}, async () => {
  using folder = new TemporaryFolder();
  const [from, to] = [await startHost(folder, 'a'), await startHost(folder, 'b')];
  try {
    const link = folder.file('tmem.sock');
    symlinkSync(folder.file('a.sock'), link);
    using pool = poolAt(link);
    const front = new Frontswap();
    front.register(new TmemFrontswap(pool));
    front.init(0, 1000);
    for (let slot = 0; slot < 500; slot++) assert.equal(front.store(0, slot, noise(slot), 0), true);
    for (let slot = 0; slot < 100; slot++) front.invalidatePage(0, slot);
    const file = folder.file('user.tmem');
    assert.match(await from.command('tmem-save', uid, file), /400 pages of 1 pools saved/);
    assert.equal(front.store(0, 200, noise(7), 0), false, 'refused: it goes to the disk');
    assert.match(await to.command('tmem-restore', file), /400 pages of 1 pools restored/);
    symlinkSync(folder.file('b.sock'), `${link}.next`);
    renameSync(`${link}.next`, link);
    await from.stop();
    const into = new Uint8Array(4096);
    for (let slot = 100; slot < 500; slot++) {
      if (slot === 200) continue;
      assert.equal(front.load(0, slot, into, 0), LoadResult.loaded, `slot ${slot}`);
      assert.deepEqual(into, noise(slot));
    }
    assert.equal(front.store(0, 200, noise(8), 0), true);
    assert.equal(front.load(0, 200, into, 0), LoadResult.loaded);
    assert.deepEqual(into, noise(8));
    front.verify();
  } finally {
    await Promise.all([from.stop(), to.stop()]);
  }
});

/** Starts a save and stops it (SIGSTOP) while it writes. */
async function stoppedSave(host: OwnHost, control: string, file: string): Promise<ChildProcess> {
  for (let tries = 0; tries < 20; tries++) {
    const save = spawn(process.execPath, [mainPath, 'tmem-save', '--control', control, uid, file]);
    process.once('exit', () => save.kill('SIGKILL'));
    const sizeNow = (): number => statSync(`${file}.new`, { throwIfNoEntry: false })?.size ?? 0;
    while (save.exitCode === null && sizeNow() === 0) await new Promise(setImmediate);
    save.kill('SIGSTOP');
    if (sizeNow() > 0 && (await userOf(host))?.isFrozen === true) return save;
    save.kill('SIGKILL'); // it was too fast
    await host.command('tmem-thaw', uid);
  }
  throw new Error('no save could be stopped while it wrote');
}

test('kill -9 of tmem-save leaves the old file and a thawed user; the next save succeeds', {
  timeout,
}, async () => {
  using folder = new TemporaryFolder();
  await using from = await startHost(folder, 'a');
  await using to = await startHost(folder, 'b');
  await fill(folder.file('a.sock'), 15_000);
  const file = folder.file('user.tmem');
  writeFileSync(file, 'old');
  const save = await stoppedSave(from, folder.file('a.control'), file);
  await assert.rejects(from.command('tmem-save', uid, file), /being (saved|written)/);
  save.kill('SIGKILL');
  await once(save, 'close');
  for (let tries = 0; (await userOf(from))?.isFrozen !== false; tries++)
    assert.ok(tries < 200, 'thawed');
  assert.equal(readFileSync(file, 'utf8'), 'old');
  await assert.rejects(to.command('tmem-restore', `${file}.new`), /truncated/);
  assert.equal(await userOf(to), undefined);
  await from.command('tmem-save', uid, file);
  assert.equal(existsSync(`${file}.new`), false);
  assert.match(await to.command('tmem-restore', file), /15000 pages/);
  assert.equal((await userOf(to))?.persistentPages, 15_000);
});

test('an interrupted save removes what it wrote; so does one whose host is killed', {
  timeout,
}, async () => {
  using folder = new TemporaryFolder();
  const from = await startHost(folder, 'a');
  try {
    await fill(folder.file('a.sock'), 15_000);
    const file = folder.file('user.tmem');
    const first = await stoppedSave(from, folder.file('a.control'), file);
    first.kill('SIGTERM');
    first.kill('SIGCONT');
    const [, signal] = (await once(first, 'close')) as [number | null, string | null];
    assert.equal(signal, 'SIGTERM');
    assert.equal(existsSync(`${file}.new`), false);
    for (let tries = 0; (await userOf(from))?.isFrozen !== false; tries++)
      assert.ok(tries < 200, 'thawed');
    const second = await stoppedSave(from, folder.file('a.control'), file);
    process.kill(from.pid, 'SIGKILL');
    second.kill('SIGCONT');
    const [status] = (await once(second, 'close')) as [number | null];
    assert.equal(status, 3);
    assert.deepEqual([existsSync(file), existsSync(`${file}.new`)], [false, false]);
  } finally {
    await from.stop();
  }
});

test('a pipe moves a user without a file', { timeout }, async () => {
  using folder = new TemporaryFolder();
  await using from = await startHost(folder, 'a');
  await using _to = await startHost(folder, 'b');
  await fill(folder.file('a.sock'), 5000);
  const command = (name: string, verb: string, ...rest: readonly string[]): string =>
    [process.execPath, mainPath, verb, '--control', folder.file(`${name}.control`), ...rest].join(
      ' ',
    );
  const pipe = `set -e; ${command('a', 'tmem-save', uid, '-')} | ${command('b', 'tmem-restore', '-')}`;
  assert.match(await must('sh', ['-c', pipe]), /5000 pages of 1 pools restored/);
  using pool = poolAt(folder.file('b.sock'));
  const into = new Uint8Array(4096);
  for (let i = 0; i < 5000; i++) {
    pool.get(oid, i, into, 0);
    assert.deepEqual(into, noise(i));
  }
  // A reader that ends early: the user is thawed.
  await from.command('tmem-thaw', uid);
  const early = `${command('a', 'tmem-save', uid, '-')} | head -c 100 > /dev/null`;
  await must('sh', ['-c', early]);
  for (let tries = 0; (await userOf(from))?.isFrozen !== false; tries++)
    assert.ok(tries < 200, 'thawed');
});

test('a save that is ended after the host has sent all of it, and a restore that waits for input, leave nothing', {
  timeout,
}, async () => {
  using folder = new TemporaryFolder();
  await using from = await startHost(folder, 'a');
  await fill(folder.file('a.sock'), 90);
  const run = (verb: string, ...rest: readonly string[]): ChildProcess => {
    const argv = [mainPath, verb, '--control', folder.file('a.control'), ...rest];
    const child = spawn(process.execPath, argv, { stdio: ['pipe', 'pipe', 'inherit'] });
    process.once('exit', () => child.kill('SIGKILL'));
    return child;
  };
  const save = run('tmem-save', uid, '-'); // 370 KiB fit into the sockets, but not into its pipe alone, which has no reader yet
  while ((await userOf(from))?.isFrozen !== true);
  while (!from.log.includes('it stays frozen')) await new Promise(setImmediate);
  save.kill('SIGTERM');
  const [, signal] = (await once(save, 'exit')) as [number | null, string | null];
  assert.equal(signal, 'SIGTERM');
  assert.equal((await userOf(from))?.isFrozen, false);

  const restore = run('tmem-restore', '-');
  restore.stdin!.write(Buffer.alloc(100)); // refused, and stdin stays open
  const [status] = (await once(restore, 'exit')) as [number | null];
  assert.equal(status, 1);
});
