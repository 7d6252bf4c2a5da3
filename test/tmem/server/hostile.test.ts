/** Clients of the tmem socket that break the protocol, do not read, or are other users. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { QUANTUM } from '../../../src/net/turns.ts';
import { OUTPUT_BYTES, TmemOutput } from '../../../src/tmem/protocol/output.ts';
import { RequestWriter } from '../../../src/tmem/protocol/requests.ts';
import { Stop, TmemSession } from '../../../src/tmem/protocol/session.ts';
import { Head, Op, PAGES_MAX, REQUEST_BYTES_MAX } from '../../../src/tmem/protocol/wire.ts';
import { TmemGetResult, TmemPutResult } from '../../../src/tmem/results.ts';
import { noisePage as noise } from '../../support/fixtures/pages.ts';
import { until } from '../../support/fixtures/until.ts';
import { tmemRig } from './tmem-rig.ts';

const oid = new Uint32Array(6);
const UUID = '00112233445566778899aabbccddeeff';

const requestOf = (write: (writer: RequestWriter) => void): Buffer => {
  const bytes = Buffer.alloc(2 * REQUEST_BYTES_MAX);
  const writer = new RequestWriter(bytes, 0, bytes.length);
  write(writer);
  return bytes.subarray(0, writer.writtenBytes);
};
const hello = requestOf((writer) => writer.hello());
const getOf = (count: number): Buffer =>
  requestOf((writer) => {
    writer.head(Op.get, 0, count, 1);
    for (let i = 0; i < count; i++) {
      writer.oid(oid, 0);
      writer.index(i);
    }
  });

async function open(path: string, ...parts: Uint8Array[]): Promise<Socket> {
  const socket = connect(path);
  socket.on('error', () => {});
  await once(socket, 'connect');
  for (const part of parts) socket.write(part);
  return socket;
}

const changed = (bytes: Buffer, at: number, value: number): Buffer => {
  const copy = Buffer.from(bytes);
  copy[at] = value;
  return copy;
};

test('a client with a wrong hello, length, operation, count or flag is disconnected; others continue', {
  timeout: 60_000,
}, async () => {
  await using rig = await tmemRig();
  const client = await rig.connect();
  const pool = await client.newPool({ persistent: true });
  await pool.put(oid, 1, noise(1));
  const put = requestOf((writer) => {
    writer.head(Op.put, 0, 1, 1);
    writer.oid(oid, 0);
    writer.index(0);
    writer.page(noise(2), 0);
  });
  const newPool = requestOf((writer) => writer.newPool(1, 0, 0, ''));
  const wrong: [string, Buffer][] = [
    ['magic', changed(hello, 0, 0)],
    ['version', changed(hello, 8, 2)],
    ['flags of the hello', changed(hello, 12, 1)],
    ['number of a new pool', Buffer.concat([hello, changed(newPool, Head.pool, 1)])],
    ['length', Buffer.concat([hello, changed(put, Head.length, 0)])],
    ['huge length', Buffer.concat([hello, changed(put, Head.length + 3, 0xff)])],
    ['operation 0', Buffer.concat([hello, changed(put, Head.op, 0)])],
    ['operation 7', Buffer.concat([hello, changed(put, Head.op, 7)])],
    ['count 0', Buffer.concat([hello, changed(put, Head.count, 0)])],
    ['count 33', Buffer.concat([hello, changed(put, Head.count, PAGES_MAX + 1)])],
    ['value', Buffer.concat([hello, changed(put, Head.value, 1)])],
    ['flags of a pool', Buffer.concat([hello, changed(newPool, Head.bytes, 8)])],
    ['a uuid without its flag', Buffer.concat([hello, changed(newPool, Head.bytes + 8, 1)])],
    ['a lease without a name', Buffer.concat([hello, changed(newPool, Head.bytes + 4, 1)])],
    ['exclusive ephemeral', Buffer.concat([hello, changed(newPool, Head.bytes, 2)])],
  ];
  for (const [what, bytes] of wrong) {
    const { dropped } = rig.server.stats;
    const socket = await open(rig.path, bytes);
    socket.resume();
    await once(socket, 'close');
    assert.equal(rig.server.stats.dropped, dropped + 1, what);
  }
  const into = new Uint8Array(4096);
  assert.equal(await pool.get(oid, 1, into), TmemGetResult.found);
  assert.deepEqual(into, noise(1));
});

test('incomplete requests wait without harm, and their connections end with the client', {
  timeout: 60_000,
}, async () => {
  await using rig = await tmemRig();
  const put = requestOf((writer) => {
    writer.newPool(1, 1, 0, '');
    writer.head(Op.put, 0, 2, 2);
    for (let i = 0; i < 2; i++) {
      writer.oid(oid, 0);
      writer.index(i);
      writer.page(noise(i), 0);
    }
  });
  const sockets: Socket[] = [];
  // The first one has pool 0, and all but the last byte of the second page.
  for (const length of [put.length - 1, 1, 8, 39, 40, 41, 44, 56, 100, 84 + 4095])
    sockets.push(await open(rig.path, hello, put.subarray(0, length)));
  const last = sockets.length;
  await until('all have connected', () => rig.server.stats.connections === last);
  await until(
    'the first page of the second put is stored',
    () => rig.tmem.index.counters.get('pages') === 1,
  );
  for (const socket of sockets) socket.destroy();
  await until('all are closed', () => rig.server.stats.connections === 0);
  await until('their pools are gone', () => rig.tmem.index.counters.get('pages') === 0);
});

test('a client that never reads does not delay others, and its replies are bounded', {
  timeout: 60_000,
}, async () => {
  await using rig = await tmemRig();
  const client = await rig.connect();
  const pool = await client.newPool({ persistent: true });
  for (let i = 0; i < 32; i++) await pool.put(oid, i, noise(i));
  const mine = requestOf((writer) => {
    writer.newPool(1, 1, 0, '');
    for (let i = 0; i < PAGES_MAX; i++) {
      writer.head(Op.put, 1, 1, i);
      writer.oid(oid, 0);
      writer.index(i);
      writer.page(noise(i), 0);
    }
  });
  const gets = changed(getOf(PAGES_MAX), Head.pool, 1);
  const deaf = await open(rig.path, hello, mine);
  deaf.pause();
  for (let i = 0; i < 2000; i++) deaf.write(gets);
  const before = rig.server.stats.bytesOut;
  for (let i = 0; i < 200; i++)
    assert.equal(await pool.get(oid, i % 32, new Uint8Array(4096)), TmemGetResult.found);
  // 2000 replies would be 262 MB. What the kernel and one output hold is far less.
  await until('it is stalled', () => deaf.writableLength > 0);
  assert.ok(
    rig.server.stats.bytesOut - before < 16e6,
    `${rig.server.stats.bytesOut - before} bytes`,
  );
  deaf.destroy();
  await until('it is gone', () => rig.server.stats.connections === 1);
});

test('another user neither reads nor joins the pools of a user, by uuid or by number', {
  timeout: 60_000,
}, async () => {
  let uid = 1000;
  await using rig = await tmemRig({ server: { peer: () => ({ pid: 1, uid, gid: 7 }) } });
  const [a, b] = [await rig.connect(), await rig.connect()];
  const [ours, same] = [await a.newPool({ uuid: UUID }), await b.newPool({ uuid: UUID })];
  const kept = await a.newPool({ persistent: true, uuid: 'f'.repeat(32), leaseSeconds: Infinity });
  await ours.put(oid, 1, noise(1));
  await kept.put(oid, 1, noise(2));
  const into = new Uint8Array(4096);
  assert.equal(
    await same.get(oid, 1, into),
    TmemGetResult.found,
    'two processes of one user share a pool',
  );
  assert.deepEqual(into, noise(1));
  uid = 1001;
  const stranger = await rig.connect();
  for (const options of [
    { uuid: UUID },
    { persistent: true, uuid: 'f'.repeat(32), leaseSeconds: Infinity },
  ]) {
    const theirs = await stranger.newPool(options);
    assert.equal(await theirs.get(oid, 1, into), TmemGetResult.poolEmpty);
    await theirs.put(oid, 1, noise(9));
    await theirs.destroy();
  }
  assert.equal(await same.get(oid, 1, into), TmemGetResult.found);
  assert.deepEqual(into, noise(1), 'the pages of the first user are unchanged');
  assert.equal(await kept.get(oid, 1, into), TmemGetResult.found);
  assert.deepEqual(into, noise(2));
});

test('users that are not allowed, unknown, unmapped or have too many connections are refused', {
  timeout: 60_000,
}, async () => {
  let peer: { pid: number; uid: number; gid: number } | null = { pid: 1, uid: 1000, gid: 7 };
  const access = { uids: [1000], gids: [50] };
  await using rig = await tmemRig({ server: { peer: () => peer, access, clientsMax: 70 } });
  const refused = { code: 'ERR_IO_NOT_REACHABLE' };
  for (let i = 0; i < 64; i++) await rig.connect();
  await assert.rejects(rig.connect(), refused);
  for (const other of [
    null,
    { pid: 1, uid: 1001, gid: 7 },
    { pid: 1, uid: 65534, gid: 7 },
    { pid: 1, uid: 65534, gid: 50 },
  ]) {
    peer = other;
    await assert.rejects(rig.connect(), refused);
  }
  for (let i = 0; i < 6; i++) {
    peer = { pid: 1, uid: 2000 + i, gid: 50 };
    await rig.connect();
  }
  await assert.rejects(rig.connect(), refused, 'limit of all connections');
  assert.equal(rig.server.stats.refused, 6);
});

test('weights and caps apply to users, not to connections', { timeout: 60_000 }, async () => {
  await using rig = await tmemRig({ server: { cap: 3 } });
  const [a, b] = [await rig.connect(), await rig.connect()];
  const [one, two] = [await a.newPool({ persistent: true }), await b.newPool({ persistent: true })];
  for (let i = 0; i < 3; i++) assert.equal(await one.put(oid, i, noise(i)), TmemPutResult.stored);
  assert.equal(await two.put(oid, 0, noise(0)), TmemPutResult.capped);
});

test('a client without a hello is dropped after ten seconds', { timeout: 60_000 }, async () => {
  await using rig = await tmemRig();
  const silent = await open(rig.path);
  silent.resume();
  await until('it has connected', () => rig.server.stats.connections === 1);
  rig.ahead.ms += 9_000;
  rig.server.sweep();
  assert.equal(rig.server.stats.connections, 1);
  rig.ahead.ms += 2_000;
  rig.server.sweep();
  await once(silent, 'close');
});

const putOf = (pool: number, page: Uint8Array, count = 1): Buffer =>
  requestOf((writer) => {
    writer.head(Op.put, pool, count, 2);
    for (let i = 0; i < count; i++) {
      writer.oid(oid, 0);
      writer.index(i);
      writer.page(page, 0);
    }
  });

const named = { persistent: true, uuid: UUID, leaseSeconds: Infinity };
const opening = requestOf((writer) => writer.newPool(1, 5, 0xffff_ffff, UUID));

test('a pending request of a disconnected client is not executed, so it cannot undo one of the next client', async () => {
  await using rig = await tmemRig();
  const gone = await open(rig.path, hello, opening);
  for (let read = 0; read < 48; ) read += ((await once(gone, 'data')) as [Buffer])[0].length;
  // The bytes are in the server's socket when the client has gone.
  gone.write(putOf(0, noise(1)));
  gone.destroy();
  await until('it is gone', () => rig.server.stats.connections === 0);
  const successor = await (await rig.connect()).newPool(named);
  assert.equal(await successor.get(oid, 0, new Uint8Array(4096)), TmemGetResult.poolEmpty);
  assert.equal(await successor.put(oid, 0, noise(2)), TmemPutResult.stored);
});

test('the rest of a request does not reach a new pool with the number of a destroyed one', async () => {
  await using rig = await tmemRig();
  const half = await open(rig.path, hello, opening);
  const put = putOf(0, noise(1), 2);
  half.write(put.subarray(0, put.length - 1));
  half.resume();
  const pagesNow = (): number => rig.tmem.index.counters.get('pages');
  await until('the first page is stored', () => pagesNow() === 1);
  const { clients } = rig.server;
  const [user] = [...clients.users];
  assert.equal(clients.doomAll(user!), 1);
  await until('the pool is gone', () => user!.poolCount === 0);
  const pool = await (await rig.connect()).newPool({ persistent: true });
  const { bytesIn } = rig.server.stats;
  half.write(put.subarray(put.length - 1));
  await until('the rest has arrived', () => rig.server.stats.bytesIn > bytesIn);
  assert.equal(await pool.get(oid, 1, new Uint8Array(4096)), TmemGetResult.poolEmpty);
  half.destroy();
});

test('a user whose clients do not read their replies loses its own connections, not those of others', async () => {
  let uid = 1000;
  await using rig = await tmemRig({ server: { peer: () => ({ pid: 1, uid, gid: 7 }) } });
  const deaf: Socket[] = [];
  /** The user's pool with 32 pages, and connections that ask for 1 MiB and read nothing. */
  const stall = async (connections: number): Promise<void> => {
    const pool = await (await rig.connect()).newPool(named);
    for (let i = 0; i < PAGES_MAX; i++) await pool.put(oid, i, noise(i));
    const gets = Buffer.concat(new Array<Buffer>(8).fill(getOf(PAGES_MAX)));
    for (let i = 0; i < connections; i++) deaf.push(await open(rig.path, hello, opening, gets));
  };
  await stall(2);
  uid = 1001;
  await stall(63);
  await until('one is dropped', () => rig.log.length > 0);
  assert.match(rig.log.join(), /^tmem: process 1 of user 1001: dropped: .* read its replies$/);
  for (const socket of deaf) socket.destroy();
});

test('requests for new pools end a grant, because they cost more than pages', async () => {
  await using rig = await tmemRig();
  const { clients } = rig.server;
  const session = new TmemSession(clients.connect(clients.user(1000)!));
  const bytes = Buffer.concat([hello, opening, opening, opening]);
  const input = { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
  const out = new TmemOutput(Buffer.alloc(OUTPUT_BYTES));
  let at = 0;
  for (const count of [1, 2, 3]) {
    at = session.receive(input, at, bytes.length, out, QUANTUM);
    assert.equal(at, hello.length + count * opening.length);
    assert.equal(session.stop, Stop.grant);
  }
});
