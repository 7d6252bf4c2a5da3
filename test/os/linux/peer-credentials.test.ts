import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemPeerCredentials, systemPeerPid } from '../../../src/os/linux/peer-credentials.ts';
import { descriptorOf } from '../../../src/os/socket.ts';

test('the peer of a Unix socket is the process that connected', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'peer-'));
  const server = createServer().listen(join(folder, 's'));
  const client = connect(join(folder, 's'));
  try {
    const [accepted] = (await once(server, 'connection')) as [Socket];
    const peerPid = systemPeerPid('linux');
    assert.equal(peerPid(descriptorOf(accepted)), process.pid);
    assert.equal(peerPid(-1), 0, 'an invalid descriptor has no known peer');
    const credentialsOf = systemPeerCredentials('linux');
    assert.deepEqual(credentialsOf(descriptorOf(accepted)), {
      pid: process.pid,
      uid: process.geteuid?.(),
      gid: process.getegid?.(),
    });
    assert.equal(credentialsOf(-1), null);
    accepted.destroy();
    assert.equal(descriptorOf(accepted), -1);
  } finally {
    client.destroy();
    server.close();
    rmSync(folder, { recursive: true });
  }
});

test('a TCP socket has no peer process', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  try {
    const [accepted] = (await once(server, 'connection')) as [Socket];
    assert.equal(systemPeerCredentials('linux')(descriptorOf(accepted)), null);
    accepted.destroy();
  } finally {
    client.destroy();
    server.close();
  }
});

test('on other systems the peer is unknown', () => {
  assert.equal(systemPeerPid('darwin')(3), 0);
  assert.equal(systemPeerCredentials('darwin')(3), null);
});
