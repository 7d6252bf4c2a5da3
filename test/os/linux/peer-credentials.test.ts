import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemPeerPid } from '../../../src/os/linux/peer-credentials.ts';
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
    accepted.destroy();
    assert.equal(descriptorOf(accepted), -1);
  } finally {
    client.destroy();
    server.close();
    rmSync(folder, { recursive: true });
  }
});

test('on other systems the peer is unknown', () => assert.equal(systemPeerPid('darwin')(3), 0));
