/** Listening sockets that another process opened: clients, close(), wrong descriptors. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import type { PeerCredentials } from '../../../src/os/linux/peer-credentials.ts';
import { noLinux } from '../../os/linux/machine.ts';
import { testFolder } from '../../support/fixtures/folder.ts';
import { RawSocket } from '../../support/fixtures/raw-socket.ts';
import { until } from '../../support/fixtures/until.ts';
import { Client, rig } from './server-rig.ts';

const skip = noLinux;
const timeout = 60_000;

test('clients of a passed Unix socket are distinguished by their process', {
  skip,
  timeout,
}, async (t) => {
  const path = join(testFolder(t), 's');
  const passed = new RawSocket('stream', path).listen(); // the server closes it
  const traced: string[] = [];
  const asked: number[] = [];
  const peer = (fd: number): PeerCredentials => ({ pid: asked.push(fd), uid: 1000, gid: 1000 });
  await rig({ trace: (line) => traced.push(line), peer }, async ({ server }) => {
    // A client that connects before the server listens waits in the queue of the socket.
    const early = new Client({ path });
    await server.listenDescriptor(passed.fd, 'unix');
    assert.equal((await early.hear(18)).toString('latin1', 0, 8), 'NBDMAGIC');
    assert.equal(traced[0], 'nbd: unix client 1: connected');
    assert.equal(asked.length, 1);
    early.socket.destroy();
  });
  // The server has closed its descriptor, and this process has no other one.
  const refused = new Promise((resolve) => connect(path).once('error', resolve));
  assert.equal(((await refused) as NodeJS.ErrnoException).code, 'ECONNREFUSED');
});

test('clients of a passed TCP socket have their address', { skip, timeout }, async () => {
  const passed = new RawSocket('stream', null).listen();
  const { port } = passed.tcpAddress();
  const traced: string[] = [];
  await rig({ trace: (line) => traced.push(line) }, async ({ server }) => {
    await server.listenDescriptor(passed.fd, 'tcp');
    const client = connect(port, '127.0.0.1');
    await until('a client', () => traced.length > 0);
    assert.match(traced[0] ?? '', /^nbd: 127\.0\.0\.1:\d+: connected$/);
    client.destroy();
  });
});

test('a descriptor that cannot listen throws the system error', { skip, timeout }, async () => {
  await rig({}, async ({ server }) => {
    await assert.rejects(server.listenDescriptor(9999, 'unix'), { code: /^E[A-Z]+$/ });
  });
});
