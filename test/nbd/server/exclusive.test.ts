/** One client identity at a time per export, with any number of connections. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { Counter } from '../../../src/nbd/protocol/state.ts';
import { Command, Option } from '../../../src/nbd/protocol/wire.ts';
import type { PeerCredentials } from '../../../src/os/linux/peer-credentials.ts';
import { clientFlags, infoData, option, request } from '../../support/fixtures/nbd-client.ts';
import { until } from '../../support/fixtures/until.ts';
import { Client, rig } from './server-rig.ts';

/** Limit for a client that waits for a reply; far above the time that any machine needs. */
const timeout = 60_000;
const errPolicy = 0x8000_0002;

/** Pids of the clients in the order of their connections. */
const pidsOf = (...pids: number[]): ((fd: number) => PeerCredentials) => {
  return (fd) => {
    assert.ok(fd > 2, 'a connected socket has a descriptor');
    return { pid: pids.shift() ?? 0, uid: 1000, gid: 1000 };
  };
};

const shared = (isShared: boolean) => {
  const disk = new MemoryDisk(1 << 20);
  return new Map([['disk', { name: 'disk', description: '', disk, isShared }]]);
};

/** The refusal that a client gets for the export, or null when it may open it. */
async function ask(client: Client, how: number = Option.go): Promise<string | null> {
  await client.hear(18);
  client.say(clientFlags(), option(how, infoData('disk')));
  const head = await client.hear(20);
  const data = await client.hear(head.readUInt32BE(16));
  return head.readUInt32BE(12) === errPolicy ? data.toString() : null;
}

test('a second process is refused with the name of the first, which may open more connections', {
  timeout,
}, async () => {
  await rig({ peer: pidsOf(process.pid, 1, process.pid) }, async ({ client, log, server }) => {
    await client().go();
    const refusal = await ask(client());
    assert.match(
      refusal ?? '',
      /^'disk' is in use by process [0-9]+ \(.+\); serve the disk with shared=on/,
    );
    assert.ok(refusal?.includes(`process ${process.pid} (`));
    assert.match(log.join(), /unix client 2: refused: 'disk' is in use by process/);
    await client().go();
    assert.equal(server.connections('disk'), 2);
  });
});

test('a refused client can continue the negotiation and opens the disk when it is free', {
  timeout,
}, async () => {
  await rig({ peer: pidsOf(1, 2) }, async ({ client, server }) => {
    const holder = await client().go();
    const second = client();
    assert.notEqual(await ask(second), null);
    holder.socket.destroy();
    await until('a free disk', () => server.connections('disk') === 0);
    second.say(option(Option.go, infoData('disk')));
    assert.equal((await second.hear(20)).readUInt32BE(12), 3, 'NBD_REP_INFO');
    await until('one client', () => server.connections('disk') === 1);
  });
});

test('INFO does not open the disk and is answered while another client has it open', {
  timeout,
}, async () => {
  await rig({ peer: pidsOf(1, 2, 3) }, async ({ client, server }) => {
    assert.equal(await ask(client(), Option.info), null);
    assert.equal(await ask(client()), null);
    assert.equal(await ask(client(), Option.info), null);
    assert.equal(server.connections('disk'), 1);
  });
});

test('EXPORT_NAME of a disk in use ends the connection', { timeout }, async () => {
  await rig({ peer: pidsOf(1, 2) }, async ({ client, log, server }) => {
    await client().go();
    const second = client();
    await second.hear(18);
    second.say(clientFlags(), option(Option.exportName, Buffer.from('disk')));
    await second.hangUp();
    await until('one client', () => server.connections('disk') === 1);
    assert.match(log.join(), /export in use by another client/);
  });
});

test('each connection of an unknown process has its own identity', { timeout }, async () => {
  await rig({ peer: pidsOf(0, 0) }, async ({ client }) => {
    await client().go();
    assert.match((await ask(client())) ?? '', /in use by unix client 1;/);
  });
});

test('a client that has ended does not keep others out, although it has unread replies', {
  timeout,
}, async () => {
  await rig({ peer: pidsOf(1, 2) }, async ({ client, server }) => {
    const first = await client().go();
    first.socket.pause();
    // More than the socket takes: the connection closes once the client has read it.
    first.say(request({ type: Command.read, length: 250_000 }), request({ type: Command.disc }));
    await until('a read', () => server.stats.counters[Counter.reads] === 1);
    assert.equal(server.stats.connectionCount, 1);
    assert.equal(await ask(client()), null);
  });
});

test('the connection of a disconnected client is ended when another client opens the disk', {
  timeout,
}, async () => {
  const gone = new Set<number>();
  const fds: number[] = [];
  const peer = (fd: number): PeerCredentials => {
    fds.push(fd);
    return { pid: fds.length, uid: 1000, gid: 1000 };
  };
  for (const isShared of [false, true])
    await rig(
      { exports: shared(isShared), peer, hasHungUp: (fd) => gone.has(fd) },
      async ({ client, server, log }) => {
        const first = await client().go();
        gone.add(fds.at(-1)!);
        await client().go();
        await first.hangUp();
        await until('one client', () => server.connections('disk') === 1);
        assert.deepEqual(log, [], 'it had no request that was dropped');
        gone.clear();
      },
    );
});

test('a shared disk allows several clients', { timeout }, async () => {
  await rig({ exports: shared(true), peer: pidsOf(1, 2) }, async ({ client, server }) => {
    await client().go();
    await client().go();
    assert.equal(server.connections('disk'), 2);
  });
  await rig({ exports: shared(false), peer: pidsOf(1, 2) }, async ({ client }) => {
    await client().go();
    assert.notEqual(await ask(client()), null);
  });
});

test('TCP clients are identified by their address', { timeout }, async () => {
  await rig({ peer: pidsOf(1) }, async ({ client, server }) => {
    const { port } = await server.listenTcp('127.0.0.1', 0);
    const remote = [
      new Client({ port, host: '127.0.0.1' }),
      new Client({ port, host: '127.0.0.1' }),
    ];
    for (const one of remote) await one.go();
    assert.equal(server.connections('disk'), 2);
    assert.match((await ask(client())) ?? '', /in use by address 127\.0\.0\.1;/);
    for (const one of remote) one.socket.destroy();
  });
});
