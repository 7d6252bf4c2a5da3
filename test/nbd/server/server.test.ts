import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { Counter } from '../../../src/nbd/protocol/state.ts';
import { Command } from '../../../src/nbd/protocol/wire.ts';
import type { NbdConnection } from '../../../src/nbd/server/connection.ts';
import { withSharedBuffer } from '../../../src/os/socket.ts';
import { listenWithMode } from '../../../src/os/unix-socket.ts';
import { request } from '../../support/fixtures/nbd-client.ts';
import { until } from '../../support/fixtures/until.ts';
import { Client, newPath, rig } from './server-rig.ts';

const MIB = 1024 * 1024;

for (const sharedBuffer of [true, false])
  test(`clients read back what they wrote, shared buffer ${sharedBuffer}`, async () => {
    await rig({ sharedBuffer }, async ({ server, client, log }) => {
      const clients = await Promise.all([client(), client(), client()].map((c) => c.go()));
      assert.deepEqual([...server.stats.connectionsByExport], [['disk', 3]]);
      // Three at once, to detect that the carries of connections are mixed up.
      await Promise.all(
        clients.map(async (c, i) => {
          const offset = i * 8 * MIB + 77;
          const data = new Uint8Array(5 * MIB);
          for (let at = 0; at < data.length; at += 1000)
            data.fill(at * i + (at >> 9), at, at + 1000);
          c.say(request({ type: Command.write, offset, data }));
          assert.equal((await c.hear(16)).readUInt32BE(4), 0);
          c.say(request({ type: Command.read, offset, length: data.length }));
          assert.ok((await c.hear(16 + data.length)).subarray(16).equals(data), `client ${i}`);
        }),
      );
      const { counters, bytesIn, bytesOut } = server.stats;
      assert.deepEqual([counters[Counter.reads], counters[Counter.writes]], [3, 3]);
      assert.ok(bytesIn > 15 * MIB && bytesOut > 15 * MIB);
      clients[0]?.say(request({ type: Command.disc }));
      await clients[0]?.hangUp();
      await until('two connections', () => server.stats.connectionCount === 2);
      assert.deepEqual([...server.stats.connectionsByExport], [['disk', 2]]);
      assert.deepEqual(log, []);
    });
  });

test('this Node reads accepted sockets directly into the shared buffer', async () => {
  const server = createServer({ pauseOnConnect: true });
  const path = newPath();
  server.listen(path);
  const client = connect(path);
  const [accepted] = (await once(server, 'connection')) as [Socket];
  const buffer = new Uint8Array(64);
  const counted = new Promise<number>((resolve) => {
    const socket = withSharedBuffer(accepted, buffer, resolve);
    assert.ok(socket !== null, 'the handle accepts a buffer');
    socket.resume();
    server.once('close', () => socket.destroy());
  });
  client.write('hello');
  assert.equal(await counted, 5);
  assert.equal(Buffer.from(buffer).toString('latin1', 0, 5), 'hello');
  client.end();
  server.close();
  await once(server, 'close');
});

test('TCP clients are served like those on a Unix socket', async () => {
  await rig({}, async ({ server }) => {
    const { host, port } = await server.listenTcp('127.0.0.1', 0);
    const client = await new Client({ host, port }).go();
    assert.equal(await client.flush(), 0);
    client.socket.destroy();
  });
});

test('a client that reads late gets every byte, and others are served meanwhile', async () => {
  await rig({}, async ({ client, log }) => {
    const late = await client().go();
    late.socket.pause();
    const reads = Array.from({ length: 40 }, (_, i) =>
      request({ type: Command.read, cookie: i, offset: i * MIB, length: MIB }),
    );
    late.say(...reads);
    const other = await client().go();
    for (let i = 0; i < 20; i++) assert.equal(await other.flush(), 0);
    late.socket.resume();
    const all = await late.hear(40 * (16 + MIB));
    assert.equal(all.length, 40 * (16 + MIB));
    for (let i = 0; i < 40; i++)
      assert.equal(all.readBigUInt64BE(i * (16 + MIB) + 8), BigInt(i), 'replies are in order');
    assert.equal(await late.flush(), 0);
    assert.deepEqual(log, []);
  });
});

test('when too many clients do not read, the longest stalled one is dropped', async () => {
  await rig({ stalledCountMax: 2 }, async ({ server, client, log }) => {
    const flood = Array.from({ length: 8 }, () => request({ type: Command.read, length: 4 * MIB }));
    const deaf: Client[] = [];
    for (let i = 0; i < 3; i++) {
      const one = await client().go();
      one.socket.pause();
      one.say(...flood);
      await until('a read', () => server.stats.counters[Counter.reads] === i + 1);
      deaf.push(one);
    }
    await until('two connections', () => server.stats.connectionCount === 2);
    assert.equal(log.length, 1);
    assert.match(log[0] ?? '', /client 1: dropped: client does not read its replies/);
    assert.equal(await (await client().go()).flush(), 0);
    deaf[2]?.socket.resume();
    const wanted = 8 * (16 + 4 * MIB);
    assert.equal((await deaf[2]?.hear(wanted))?.length, wanted, 'the others get all their replies');
  });
});

test('requests of a disconnected client are dropped', { timeout: 60_000 }, async () => {
  await rig({}, async ({ server, client }) => {
    const [leaving, other] = await Promise.all([client().go(), client().go()]);
    leaving.socket.pause();
    const read = request({ type: Command.read, offset: 0, length: 16 * MIB });
    leaving.say(Buffer.concat(new Array<Uint8Array>(3000).fill(read)));
    await until('a read', () => server.stats.counters[Counter.reads]! > 0);
    assert.equal(await other.flush(), 0); // by now the server knows that the first client does not read
    leaving.socket.destroy();
    assert.equal(await other.flush(), 0);
    await until('one connection', () => server.stats.connectionCount === 1);
    const { counters } = server.stats;
    // Only requests in progress and those of one turn; not the 48 GB requested.
    assert(counters[Counter.reads]! < 10, `${counters[Counter.reads]} reads were started`);
  });
});

test('a busy client does not block another one', { timeout: 60_000 }, async () => {
  await rig({}, async ({ server, client }) => {
    const busy = await client().go();
    const other = await client().go();
    // Cheap to send, expensive to process: 4,000 walks of the disk, 28 bytes each, which arrive together.
    const zero = request({ type: Command.writeZeroes, length: 60 * MIB });
    busy.say(...Array.from({ length: 4000 }, () => zero));
    const done = (): number => server.stats.counters[Counter.writeZeroes] ?? 0;
    while (done() === 0) await turn(); // turn by turn: until() lets many pass
    assert.ok(done() < 100, `${done()} in one event`);
    assert.equal(await other.flush(), 0);
    assert.ok(done() < 2000, `${done()} before the other client was served`);
    await busy.hear(4000 * 16);
    assert.equal(done(), 4000);
  });
});

test('clients above the limit are refused with one line, and accepted again later', async () => {
  await rig({ clientCountMax: 2 }, async ({ server, client, log }) => {
    const first = await client().go();
    const second = await client().go();
    for (let i = 0; i < 3; i++) {
      const extra = client();
      await extra.hangUp();
      assert.equal((await extra.hear(18)).length, 0);
    }
    assert.equal(server.stats.refused, 3);
    assert.deepEqual(log, ['nbd: refusing clients: limit of 2 connections reached']);
    assert.equal(await second.flush(), 0);
    first.socket.destroy();
    await until('one connection', () => server.stats.connectionCount === 1);
    assert.equal(await (await client().go()).flush(), 0);
    await client().hangUp();
    assert.equal(log.length, 2, 'reaching the limit again is logged again');
  });
});

test('a client that does not open an export in time is dropped; one that did may idle', async () => {
  let now = 0;
  await rig({ nowMs: () => now }, async ({ server, client, log }) => {
    const chosen = await client().go();
    const mute = client();
    await mute.hear(18);
    now = 10_000;
    server.sweep();
    assert.deepEqual(log, []);
    now = 10_001;
    server.sweep();
    await mute.hangUp();
    assert.deepEqual(log, ['nbd: unix client 2: dropped: negotiation timed out']);
    assert.equal(await chosen.flush(), 0);
  });
});

test('the trace logs connections, opened exports and disconnects', async () => {
  const traced: string[] = [];
  await rig({ trace: (line) => traced.push(line) }, async ({ server, client, log }) => {
    const one = await client().go();
    const two = client();
    await two.hear(18);
    two.socket.end();
    await until('one connection', () => server.stats.connectionCount === 1);
    one.say(request({ type: Command.disc }));
    await until('no connection', () => server.stats.connectionCount === 0);
    assert.deepEqual(traced, [
      'nbd: unix client 1: connected',
      "nbd: unix client 1: opened 'disk'",
      'nbd: unix client 2: connected',
      'nbd: unix client 2: closed',
      'nbd: unix client 1: closed',
    ]);
    assert.deepEqual(log, []);
  });
});

test('each dropped connection is logged in one line with its client and the reason', async () => {
  await rig({}, async ({ server, client, log }) => {
    const wrong = await client().go();
    wrong.say(request({ type: Command.read, length: 1, magic: 1 }));
    await wrong.hangUp();
    const half = await client().go();
    half.say(request({ type: Command.write, length: 8192 }));
    half.socket.end();
    await half.hangUp();
    const quiet = await client().go();
    quiet.socket.end();
    await quiet.hangUp();
    await until('no connection', () => server.stats.connectionCount === 0);
    assert.deepEqual(log, [
      'nbd: unix client 1: dropped: bad request magic',
      'nbd: unix client 2: dropped: disconnected in the middle of a request',
    ]);
    assert.equal(server.stats.dropped, 2);
  });
});

test('close() waits for a request in progress, does not answer later ones, and disconnects', async () => {
  await rig({}, async ({ server, path, client, log }) => {
    const idle = await client().go();
    const busy = await client().go();
    const write = request({ type: Command.write, data: new Uint8Array(100_000).fill(1) });
    busy.say(write.subarray(0, 50_000));
    await until('a write', () => server.stats.counters[Counter.writes] === 1);
    const closed = server.close();
    await idle.hangUp();
    const later = request({ type: Command.read, length: 4096 });
    busy.say(write.subarray(50_000), later, later.subarray(0, 10));
    const replies = await busy.hear(32);
    assert.equal(replies.length, 16);
    assert.equal(replies.readUInt32BE(4), 0);
    await closed;
    assert.deepEqual(log, [], 'no client was dropped');
    assert.equal(existsSync(path), false, 'the socket file is removed');
    await server.close();
  });
});

test('close() does not wait for the rest of a request that is not complete', async () => {
  await rig({ closeMs: 60_000 }, async ({ server, client, log }) => {
    const half = await client().go();
    const { bytesIn } = server.stats;
    half.say(request({ type: Command.flush }).subarray(0, 10));
    await until('half a request', () => server.stats.bytesIn === bytesIn + 10);
    await server.close();
    await half.hangUp();
    assert.deepEqual(log, [], 'no client was dropped');
  });
});

test('close() has a time limit', async () => {
  await rig({ closeMs: 20 }, async ({ server, client, log }) => {
    const stuck = await client().go();
    stuck.say(request({ type: Command.write, length: 100_000 }));
    await until('a write', () => server.stats.counters[Counter.writes] === 1);
    await server.close();
    assert.deepEqual(log, ['nbd: unix client 1: dropped: requests not finished before shutdown']);
  });
});

test('clients of a removed export are disconnected', async () => {
  await rig({}, async ({ server, client, log }) => {
    const one = await client().go();
    assert.equal(server.disconnect('other'), 0);
    assert.equal(server.disconnect('disk'), 1);
    await one.hangUp();
    await until('no connection', () => server.stats.connectionCount === 0);
    assert.deepEqual([...server.stats.connectionsByExport], []);
    assert.equal(log.length, 1);
  });
});

test('a socket file is private unless a mode is given; a path in use throws the system error', async () => {
  await rig({}, async ({ server, path, client }) => {
    assert.equal(statSync(path).mode & 0o777, 0o600);
    await assert.rejects(server.listenUnix(path), { code: 'EADDRINUSE' });
    assert.equal(await (await client().go()).flush(), 0);
    const shared = newPath();
    await server.listenUnix(shared, 0o660);
    assert.equal(statSync(shared).mode & 0o777, 0o660);
    assert.equal(await (await new Client({ path: shared }).go()).flush(), 0);
  });
});

test('a socket has its mode from the moment of bind', () => {
  for (const mode of [0o600, 0o660]) {
    const path = newPath();
    const server = createServer();
    let bound = 0;
    listenWithMode(path, mode, () => {
      server.listen(path);
      bound = statSync(path).mode & 0o777;
      return server;
    });
    assert.deepEqual([bound, statSync(path).mode & 0o777], [mode, mode]);
    server.close();
  }
});

test('a failed listen changes neither the file at the path nor the target of a link there', async () => {
  await rig({}, async ({ server, path }) => {
    const target = newPath();
    writeFileSync(target, 'private', { mode: 0o600 });
    const link = newPath();
    symlinkSync(target, link);
    await assert.rejects(server.listenUnix(link, 0o666), { code: 'EADDRINUSE' });
    await assert.rejects(server.listenUnix(path, 0o666), { code: 'EADDRINUSE' });
    assert.deepEqual(
      [target, path].map((file) => statSync(file).mode & 0o777),
      [0o600, 0o600],
    );
  });
});

test('a TCP port in use throws the system error', async () => {
  await rig({}, async ({ server }) => {
    const { port } = await server.listenTcp('127.0.0.1', 0);
    await assert.rejects(server.listenTcp('127.0.0.1', port), { code: 'EADDRINUSE' });
  });
});

test('one export cannot use the connections reserved for another', {
  timeout: 20_000,
}, async () => {
  const exports = new Map(
    ['a', 'b'].map((name) => [name, { name, description: '', disk: new MemoryDisk(MIB) }]),
  );
  await rig({ exports, clientCountMax: 4 }, async ({ client, log }) => {
    const first = await client().go('a');
    await client().go('a');
    const third = await client().go('a');
    await third.hangUp();
    assert.match(log[0] ?? '', /client 3: dropped: too many connections to this export/);
    assert.equal(await (await client().go('b')).flush(), 0);
    assert.equal(await first.flush(), 0);
  });
});

test('at the connection limit the oldest client without an export is dropped', async () => {
  await rig({ clientCountMax: 2 }, async ({ client, log }) => {
    const chosen = await client().go();
    const idle = client();
    await idle.hear(18);
    const late = await client().go();
    await idle.hangUp();
    assert.deepEqual(log, [
      'nbd: unix client 2: dropped: connection limit reached before the client opened an export',
    ]);
    assert.equal(await late.flush(), 0);
    assert.equal(await chosen.flush(), 0);
  });
});

test('repeated drops do not fill the log', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] }); // the sweep of each second, which writes more
  await rig({}, async ({ server, client, log }) => {
    for (let i = 0; i < 130; i++) {
      const wrong = client();
      wrong.say(new Uint8Array(16).fill(0xff));
      await wrong.hangUp();
    }
    await until('no connection', () => server.stats.connectionCount === 0);
    assert.equal(server.stats.dropped, 130);
    assert.equal(log.length, 100);
    t.mock.timers.tick(1000);
    assert.match(log.at(-1) ?? '', /more messages about clients suppressed/);
  });
});

test('repeated refusals do not fill the log', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  await rig({ clientCountMax: 1 }, async ({ server, client, log }) => {
    for (let i = 0; i < 105; i++) {
      const first = await client().go();
      await client().hangUp(); // refused
      first.say(request({ type: Command.disc }));
      await until('no connection', () => server.stats.connectionCount === 0);
    }
    assert.equal(server.stats.refused, 105);
    assert.equal(log.length, 100);
  });
});

test('several clients that stall at once are dropped in the order of stalling', async () => {
  await rig({ stalledCountMax: 1 }, async ({ server }) => {
    const dropped: string[] = [];
    const stalled = (peer: string): NbdConnection =>
      ({ peer, drop: () => dropped.push(peer) }) as unknown as NbdConnection;
    const early = stalled('early');
    server.stalled(early);
    server.drained(early);
    for (const peer of ['a', 'b', 'c']) server.stalled(stalled(peer));
    assert.deepEqual(dropped, ['a', 'b'], 'a drained client does not count');
  });
});

test('a connection reset is a normal end between requests and an error inside one', async () => {
  await rig({}, async ({ server, log }) => {
    const { port } = await server.listenTcp('127.0.0.1', 0);
    const idle = await new Client({ port, host: '127.0.0.1' }).go();
    idle.socket.resetAndDestroy();
    await until('no connection', () => server.stats.connectionCount === 0);
    assert.deepEqual([log, server.stats.dropped], [[], 0]);

    const inside = await new Client({ port, host: '127.0.0.1' }).go();
    const { bytesIn } = server.stats;
    inside.say(
      request({ type: Command.write, offset: 0, data: new Uint8Array(100) }).subarray(0, 50),
    );
    await until('50 bytes', () => server.stats.bytesIn >= bytesIn + 50);
    inside.socket.resetAndDestroy();
    await until('no connection', () => server.stats.connectionCount === 0);
    assert.match(log.join(), /dropped: socket error: read ECONNRESET/);
    assert.equal(server.stats.dropped, 1);
  });
});
