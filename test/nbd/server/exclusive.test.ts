/** One client identity at a time on an export, in any number of connections. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { Option } from '../../../src/nbd/protocol/wire.ts';
import { until } from '../../host/until.ts';
import { clientFlags, infoData, option } from '../protocol/client.ts';
import { Client, rig } from './server-rig.ts';

/** A client that waits for an answer in vain fails. Far above what any machine needs. */
const timeout = 60_000;
const errPolicy = 0x8000_0002;

/** Pids of the clients in the order in which they come. */
const pidsOf = (...pids: number[]): ((fd: number) => number) => {
  return (fd) => {
    assert.ok(fd > 2, 'a connected socket has a descriptor');
    return pids.shift() ?? 0;
  };
};

const shared = (isShared: boolean) => {
  const disk = new MemoryDisk(1 << 20);
  return new Map([['disk', { name: 'disk', description: '', disk, isShared }]]);
};

/** What a client is told that asks for the export: the refusal, or null when it is let in. */
async function ask(client: Client, how: number = Option.go): Promise<string | null> {
  await client.hear(18);
  client.say(clientFlags(), option(how, infoData('disk')));
  const head = await client.hear(20);
  const data = await client.hear(head.readUInt32BE(16));
  return head.readUInt32BE(12) === errPolicy ? data.toString() : null;
}

test('a second process is refused and told who has the disk, more connections of the first are not', {
  timeout,
}, async () => {
  await rig({ peerPid: pidsOf(process.pid, 1, process.pid) }, async ({ client, log, server }) => {
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

test('who is refused goes on with its options, and is let in when the disk is free', {
  timeout,
}, async () => {
  await rig({ peerPid: pidsOf(1, 2) }, async ({ client, server }) => {
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

test('INFO asks and does not hold: it is answered while another has the disk', {
  timeout,
}, async () => {
  await rig({ peerPid: pidsOf(1, 2, 3) }, async ({ client, server }) => {
    assert.equal(await ask(client(), Option.info), null);
    assert.equal(await ask(client()), null);
    assert.equal(await ask(client(), Option.info), null);
    assert.equal(server.connections('disk'), 1);
  });
});

test('EXPORT_NAME has no reply for it: the connection ends', { timeout }, async () => {
  await rig({ peerPid: pidsOf(1, 2) }, async ({ client, log, server }) => {
    await client().go();
    const second = client();
    await second.hear(18);
    second.say(clientFlags(), option(Option.exportName, Buffer.from('disk')));
    await second.hangUp();
    await until('one client', () => server.connections('disk') === 1);
    assert.match(log.join(), /an export that another client has open/);
  });
});

test('a process that is not known is nobody else', { timeout }, async () => {
  await rig({ peerPid: pidsOf(0, 0) }, async ({ client }) => {
    await client().go();
    assert.match((await ask(client())) ?? '', /in use by unix client 1;/);
  });
});

test('a shared disk lets everybody in', { timeout }, async () => {
  await rig({ exports: shared(true), peerPid: pidsOf(1, 2) }, async ({ client, server }) => {
    await client().go();
    await client().go();
    assert.equal(server.connections('disk'), 2);
  });
  await rig({ exports: shared(false), peerPid: pidsOf(1, 2) }, async ({ client }) => {
    await client().go();
    assert.notEqual(await ask(client()), null);
  });
});

test('a TCP client is its address', { timeout }, async () => {
  await rig({ peerPid: pidsOf(1) }, async ({ client, server }) => {
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
