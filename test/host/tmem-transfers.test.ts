/** Save and restore through the control socket and the commands. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { keepPages } from '../../src/arena/ops.ts';
import { SwapError } from '../../src/base/errors.ts';
import type { ControlHandlers } from '../../src/host/control-routes.ts';
import { ControlServer } from '../../src/host/control-server.ts';
import { hostCounters } from '../../src/host/counters.ts';
import { HostEvents } from '../../src/host/events.ts';
import { listDocument } from '../../src/host/list-document.ts';
import type { TmemFrontEnd, TmemUserReport } from '../../src/host/parts.ts';
import { createTmem } from '../../src/host/tmem-part.ts';
import { askTmemRestore, askTmemSave } from '../../src/host/tmem-transfer-client.ts';
import { TRANSFERS_MAX } from '../../src/host/tmem-transfers.ts';
import { TmemGetResult, TmemPutResult } from '../../src/tmem/results.ts';
import { TmemClient } from '../../src/tmem/server/client.ts';
import { cli, type Result } from '../cli/fake-world.ts';
import { noisePage as noise } from '../support/fixtures/pages.ts';
import { TemporaryFolder } from '../support/fixtures/processes.ts';
import { until } from '../support/fixtures/until.ts';

const uid = process.geteuid?.() ?? 0;
const uuid = '00112233445566778899aabbccddeeff';
const oid = new Uint32Array(6);
const timeout = 60_000;

interface Rig {
  readonly folder: TemporaryFolder;
  readonly control: string;
  readonly tmem: TmemFrontEnd;
  readonly log: string[];
  user(): TmemUserReport | undefined;
  /** Puts pages 0 .. count - 1 in a pool with a lease, and disconnects. */
  fill(count: number): Promise<void>;
  expectPages(count: number): Promise<void>;
  run(...argv: readonly string[]): Promise<Result>;
}

async function rig(t: TestContext, limitBytes = 2 ** 25, clientMsMax = 5000): Promise<Rig> {
  const folder = new TemporaryFolder();
  const [path, control] = [folder.file('tmem.sock'), folder.file('control.sock')];
  const access = { uids: [uid], gids: [] };
  const config = { path, mode: 0o600, gid: null, limitBytes, cap: 0, access };
  const log: string[] = [];
  const options = {
    config,
    clientsMax: 8,
    total: new Budget(2 ** 27),
    log: (line: string) => log.push(line),
  };
  const tmem = createTmem(options, keepPages);
  await tmem.listen(path, 0o600);
  const unused = (): never => {
    throw new Error('this test does not call it');
  };
  const handlers: ControlHandlers = {
    ...{ disk: unused, add: unused, reload: unused, remove: unused, set: unused, freeze: unused },
    ...{ thaw: unused, flush: unused, reset: unused, checkStop: unused, stop: unused },
    events: new HostEvents(),
    metrics: new Map(),
    tmem: () => tmem,
    disks: () => listDocument([]),
    health: () => ({ status: 'ok' }),
  };
  const server = await ControlServer.listen(control, handlers, hostCounters(), clientMsMax);
  const clients: TmemClient[] = [];
  t.after(async () => {
    for (const client of clients) client.close();
    await server.close();
    await tmem.close();
    folder[Symbol.dispose]();
  });
  const pool = async () => {
    const client = await TmemClient.connect(path);
    clients.push(client);
    const options = { persistent: true, uuid, leaseSeconds: 1000 };
    return { client, pool: await client.newPool(options) };
  };
  const user = () => tmem.report().users.find((one) => one.uid === uid);
  return {
    ...{ folder, control, tmem, log, user },
    async fill(count) {
      const opened = await pool();
      for (let i = 0; i < count; i++)
        assert.equal(await opened.pool.put(oid, i, noise(i)), TmemPutResult.stored);
      opened.client.close();
      await until('disconnected', () => user()?.connections === 0);
    },
    async expectPages(count) {
      const opened = await pool();
      const into = new Uint8Array(4096);
      for (let i = 0; i < count; i++) {
        assert.equal(await opened.pool.get(oid, i, into), TmemGetResult.found);
        assert.equal(Buffer.compare(into, noise(i)), 0);
      }
      opened.client.close();
      await until('disconnected', () => user()?.connections === 0);
    },
    run: (...argv) => cli([...argv, '--control', control]),
  };
}

const begin = (control: string, method: string, path: string): ClientRequest =>
  request({ socketPath: control, path, method, agent: false });

async function reply(sent: ClientRequest): Promise<{ status: number; body: string }> {
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += chunk;
  return { status: response.statusCode ?? 0, body };
}

/** The file of a user, which is thawed then. */
async function fileOf({ control, tmem, user }: Rig): Promise<Buffer> {
  const chunks: Buffer[] = [];
  await askTmemSave(control, uid, (chunk) => void chunks.push(chunk));
  await until('it has arrived', () => user()?.isFrozen === true);
  tmem.thaw(uid);
  return Buffer.concat(chunks);
}

/** Lets 60 s of the command, or of the sockets of the host, take 100 ms; other times are as they are. */
function fastMinute(t: TestContext, of: 'command' | 'host' = 'command'): void {
  const fast = (ms: number): number => (ms === 60_000 ? 100 : ms);
  if (of === 'command') {
    const real = globalThis.setTimeout;
    const made = (work: () => void, ms = 0): NodeJS.Timeout => real(work, fast(ms));
    t.mock.method(globalThis, 'setTimeout', made as typeof setTimeout);
    return;
  }
  const { setTimeout: real } = Socket.prototype;
  t.mock.method(
    Socket.prototype,
    'setTimeout',
    function (this: Socket, ms: number, then?: () => void) {
      return real.call(this, fast(ms), then);
    },
  );
}

test('tmem-save writes a private file and freezes the user; tmem-restore gives it to another host', {
  timeout,
}, async (t) => {
  const [from, to] = [await rig(t), await rig(t)];
  await from.fill(300);
  const file = from.folder.file('user.tmem');
  const made = await from.run('tmem-save', String(uid), file);
  assert.deepEqual([made.status, made.stderr], [0, '']);
  assert.equal(made.stdout, `user ${uid}: 300 pages of 1 pools saved; frozen until tmem-thaw\n`);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(existsSync(`${file}.new`), false);
  assert.equal(from.user()?.isFrozen, true);
  assert.match(from.log.join('\n'), /saved user \d+: 300 pages of 1 pools; it stays frozen/);
  const back = await to.run('tmem-restore', file, '--json');
  assert.equal(back.status, 0, back.stderr);
  const { restoredPages, restoredPools, user } = JSON.parse(back.stdout);
  assert.deepEqual(
    [restoredPages, restoredPools, user.uid, user.persistentPages],
    [300, 1, uid, 300],
  );
  assert.equal(user.isFrozen, false, 'an operator did not freeze it');
  await to.expectPages(300);
  await from.run('tmem-thaw', String(uid));
  await from.expectPages(300);
  const again = await from.run('tmem-save', String(uid), file, '--json');
  const { bytes, pages, pools, leftPools, damagedPages } = JSON.parse(again.stdout);
  assert.deepEqual([pages, pools, leftPools, damagedPages], [300, 1, 0, 0]);
  assert.equal(bytes, statSync(file).size);
});

test('a pipe moves a user without a file; stdout and a terminal are told apart', {
  timeout,
}, async (t) => {
  const [from, to] = [await rig(t), await rig(t)];
  await from.fill(40);
  const argv = ['tmem-save', String(uid), '-', '--control', from.control];
  assert.equal((await cli(argv, { isTerminal: true })).status, 2);
  assert.equal((await cli([...argv, '--json'])).status, 2);
  assert.equal(from.user()?.isFrozen, false);
  const { bytes, stdout, status } = await cli(argv);
  assert.deepEqual([status, stdout], [0, '']);
  const stdin = [bytes!.subarray(0, 1000), bytes!.subarray(1000)];
  const back = await cli(['tmem-restore', '-', '--control', to.control], { stdin });
  assert.equal(back.stdout, `user ${uid}: 40 pages of 1 pools restored\n`);
  await to.expectPages(40);
});

test('progress is shown on a terminal only', { timeout }, async (t) => {
  const [from, to] = [await rig(t), await rig(t)];
  await from.fill(40);
  const file = from.folder.file('f');
  const saved = await cli(['tmem-save', String(uid), file, '--control', from.control], {
    isTerminal: true,
  });
  assert.match(saved.stderr, /saved \S+ of 162\S*K/);
  const back = await cli(['tmem-restore', file, '--control', to.control], { isTerminal: true });
  assert.match(back.stderr, /restored \S+ of 162\S*K/);
});

test('wrong usage, users and files are refused with a reason and change nothing', {
  timeout,
}, async (t) => {
  const [from, to] = [await rig(t), await rig(t)];
  await from.fill(40);
  const file = from.folder.file('f');
  const refused = async (of: Promise<Result>, status: number, why: RegExp): Promise<void> => {
    const { stderr, status: got } = await of;
    assert.match(stderr, why);
    assert.equal(got, status, stderr);
  };
  await refused(from.run('tmem-save'), 2, /FILE: choose a file/);
  await refused(from.run('tmem-save', String(uid)), 2, /FILE: choose a file/);
  await refused(from.run('tmem-save', 'x', file), 2, /numeric id/);
  await refused(from.run('tmem-save', '77777', file), 2, /has no tmem pools/);
  await refused(from.run('tmem-restore'), 2, /FILE: choose/);
  await refused(from.run('tmem-restore', '--user', 'x', file), 2, /numeric id/);
  await refused(from.run('tmem-restore', file), 1, /cannot read .* \(ENOENT\)/);
  const folder = from.folder.file('folder');
  mkdirSync(folder);
  await refused(from.run('tmem-save', String(uid), folder), 1, /not a regular file/);
  symlinkSync('/etc/hostname', from.folder.file('g.new'));
  await refused(from.run('tmem-save', String(uid), from.folder.file('g')), 1, /ELOOP/);
  await refused(from.run('tmem-save', String(uid), from.folder.file('no/such')), 1, /ENOENT/);
  assert.equal(from.user()?.isFrozen, false);
  assert.equal((await from.run('tmem-save', String(uid), file)).status, 0);
  assert.equal((await from.run('tmem-restore', file)).status, 1, 'the user has pools here');
  chmodSync(file, 0o620);
  await refused(to.run('tmem-restore', file), 1, /can be changed by other users/);
  chmodSync(file, 0o600);
  const bytes = readFileSync(file);
  writeFileSync(file, bytes.subarray(0, -1));
  await refused(to.run('tmem-restore', file), 1, /truncated/);
  bytes[1000]! ^= 1;
  writeFileSync(file, bytes);
  await refused(to.run('tmem-restore', file), 1, /damaged/);
  writeFileSync(file, Buffer.alloc(1e6));
  await refused(to.run('tmem-restore', file), 1, /not a saved user/);
  await until('nothing is left', () => to.user() === undefined);
});

test('a host with too little memory refuses a user and keeps nothing of it', {
  timeout,
}, async (t) => {
  const [from, to] = [await rig(t), await rig(t, 2 ** 21)];
  await from.fill(1000);
  const file = from.folder.file('f');
  await from.run('tmem-save', String(uid), file);
  const { status, stderr } = await to.run('tmem-restore', file);
  assert.equal(status, 1);
  assert.match(
    stderr,
    /no memory for all pages of user \d+: raise --tmem-limit.*nothing was restored/,
  );
  await until('nothing is left', () => to.tmem.report().persistentPages === 0);
  assert.equal(to.user(), undefined);
});

test('an interrupted transfer leaves the user as it was', { timeout }, async (t) => {
  const [from, to] = [await rig(t), await rig(t)];
  await from.fill(3000);
  const file = from.folder.file('f');
  const whole: Buffer[] = [];
  await assert.rejects(
    askTmemSave(from.control, uid, (chunk) => {
      whole.push(chunk);
      if (whole.length === 3) throw new Error('no space');
    }),
    /no space/,
  );
  await until('thawed', () => from.user()?.isFrozen === false);
  // A client that does not read: the host waits, and holds no more than the socket does.
  const sent = begin(from.control, 'POST', `/v1/tmem/${uid}/save`);
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(from.user()?.isFrozen, true);
  assert.throws(() => from.tmem.thaw(uid), { code: 'ERR_IO_IN_USE' });
  response.destroy();
  await until('thawed', () => from.user()?.isFrozen === false);

  await from.run('tmem-save', String(uid), file);
  const half = readFileSync(file).subarray(0, 5e6);
  const upload = begin(to.control, 'POST', '/v1/tmem/restore');
  upload.on('error', () => {});
  upload.write(half);
  await until('arrived', () => (to.user()?.persistentPages ?? 0) > 1000);
  for (const work of [() => to.tmem.freeze(uid), () => to.tmem.set(uid, { cap: 1 })])
    assert.throws(work, { code: 'ERR_IO_IN_USE' });
  upload.destroy();
  await until('nothing is left', () => to.user() === undefined);
});

test('a save whose file is lost after the host has sent all of it leaves the user as it was', {
  timeout,
}, async (t) => {
  const from = await rig(t);
  await from.fill(5);
  const isSent = (): boolean => from.log.some((line) => line.includes('saved user'));
  const argv = ['tmem-save', String(uid), '-', '--control', from.control];
  const lost = async (): Promise<void> => {
    await until('sent', isSent);
    throw new SwapError('ERR_IO_SYSTEM', 'no reader');
  };
  for (const wasFrozen of [false, true]) {
    if (wasFrozen) from.tmem.freeze(uid);
    from.log.length = 0;
    const { status, stderr } = await cli(argv, { writeBytes: lost });
    assert.equal(status, 1);
    assert.match(stderr, /no reader/);
    assert.equal(from.user()?.isFrozen, wasFrozen);
  }
});

test('nothing freezes or thaws a user until its file has arrived', { timeout }, async (t) => {
  const { tmem, fill, user } = await rig(t);
  await fill(5);
  const busy = { code: 'ERR_IO_IN_USE', message: /being saved/ };
  for (const isArrived of [false, true]) {
    using save = tmem.save(uid);
    for (let isLast = false; !isLast; ) {
      isLast = save.step(() => {});
      for (const work of [() => tmem.freeze(uid), () => tmem.thaw(uid), () => tmem.save(uid)])
        assert.throws(work, busy);
    }
    if (isArrived) save.end();
    save[Symbol.dispose]();
    assert.equal(user()?.isFrozen, isArrived);
  }
  tmem.thaw(uid);
  tmem.freeze(uid);
});

test('a restore ends when the host refuses it, or after 60 s, though its input has stopped', {
  timeout,
}, async (t) => {
  const to = await rig(t);
  async function* stopped(first: Uint8Array): AsyncIterable<Uint8Array> {
    yield first;
    await new Promise(() => {});
  }
  await assert.rejects(askTmemRestore(to.control, null, stopped(Buffer.alloc(100))), {
    code: 'ERR_IO_IMAGE',
  });
  fastMinute(t);
  await assert.rejects(askTmemRestore(to.control, null, stopped(Buffer.alloc(5))), {
    code: 'ERR_IO_NOT_REACHABLE',
  });
});

test('a restore keeps only the chunks that are on their way', { timeout }, async (t) => {
  const [from, to] = [await rig(t), await rig(t)];
  await from.fill(1500);
  const file = await fileOf(from);
  const sent: WeakRef<Uint8Array>[] = [];
  let alive = 0;
  async function* chunks(): AsyncIterable<Uint8Array> {
    for (let at = 0; at < file.length; at += 65536) {
      const chunk = Uint8Array.from(file.subarray(at, at + 65536));
      sent.push(new WeakRef(chunk));
      yield chunk;
    }
    await new Promise(setImmediate); // a WeakRef lives until its turn of the event loop ends
    globalThis.gc!();
    alive = sent.filter((chunk) => chunk.deref() !== undefined).length;
  }
  assert.equal((await askTmemRestore(to.control, null, chunks())).pages, 1500);
  assert.ok(sent.length > 60 && alive < 10, `${alive} of ${sent.length} chunks are in memory`);
});

test('the host ends a transfer after 60 s without progress', { timeout }, async (t) => {
  const [from, to] = [await rig(t), await rig(t)];
  await from.fill(3000);
  const file = await fileOf(from);
  fastMinute(t, 'host');
  const save = begin(from.control, 'POST', `/v1/tmem/${uid}/save`);
  save.end();
  const [response] = (await once(save, 'response')) as [IncomingMessage];
  response.on('error', () => {});
  await until('thawed', () => from.user()?.isFrozen === false);
  const upload = begin(to.control, 'POST', '/v1/tmem/restore');
  upload.on('error', () => {});
  upload.write(file.subarray(0, 5e6));
  await until('arrived', () => to.user() !== undefined);
  await until('nothing is left', () => to.user() === undefined);
});

test('a slow transfer is not ended by the limit of other requests', { timeout }, async (t) => {
  const [from, to] = [await rig(t), await rig(t, 2 ** 25, 200)];
  await from.fill(20);
  const file = from.folder.file('f');
  await from.run('tmem-save', String(uid), file);
  async function* slowly(): AsyncIterable<Uint8Array> {
    const bytes = readFileSync(file);
    for (let at = 0; at < bytes.length; at += 20_000) {
      yield bytes.subarray(at, at + 20_000);
      await new Promise((resolve) => setTimeout(resolve, 400));
    }
  }
  assert.equal((await askTmemRestore(to.control, null, slowly())).pages, 20);
});

test('requests of other methods, of other sites, or beyond the limit are refused', {
  timeout,
}, async (t) => {
  const from = await rig(t);
  await from.fill(20);
  const path = `/v1/tmem/${uid}/save`;
  for (const at of [path, '/v1/tmem/restore']) {
    const sent = begin(from.control, 'GET', at);
    sent.end();
    assert.equal((await reply(sent)).status, 405);
    const foreign = begin(from.control, 'POST', at);
    foreign.setHeader('origin', 'http://example.org');
    foreign.end('x');
    assert.equal((await reply(foreign)).status, 403);
  }
  const badUser = begin(from.control, 'POST', '/v1/tmem/restore?uid=x');
  badUser.end();
  assert.equal((await reply(badUser)).status, 400);
  const open = Array.from({ length: TRANSFERS_MAX }, () => {
    const sent = begin(from.control, 'POST', '/v1/tmem/restore');
    sent.on('error', () => {});
    sent.write('F');
    return sent;
  });
  let refused = { status: 0, body: '' };
  for (let tries = 0; refused.status !== 503 && tries < 100; tries++) {
    const more = begin(from.control, 'POST', path);
    more.end();
    refused = await reply(more);
  }
  assert.match(refused.body, /4 users are being saved or restored already/);
  open.pop()!.destroy();
  for (let tries = 0; refused.status !== 200 && tries < 100; tries++) {
    const more = begin(from.control, 'POST', path);
    more.end();
    refused = await reply(more);
  }
  assert.equal(refused.status, 200);
  for (const sent of open) sent.destroy();
});
