/** A disk with a vhost-user socket in a real host: who may open it, what operations do to its front-end, and what is reported. */
import assert from 'node:assert/strict';
import { existsSync, statSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { TemporaryFolder } from '../support/fixtures/processes.ts';
import { RawClient } from '../support/fixtures/raw-client.ts';
import { BlockType, VhostFrontEnd } from '../support/fixtures/vhost-front-end.ts';

const page = new Uint8Array(4096).fill(3);

async function withHost(
  more: readonly string[],
  body: (host: OwnHost, socket: string) => Promise<void>,
  settings = '',
): Promise<void> {
  using folder = new TemporaryFolder();
  const socket = folder.file('disk.sock');
  const disks = [`d=1M,vhost-user=${socket}${settings}`];
  const host = await OwnHost.start({ disks, arguments: more });
  try {
    await body(host, socket);
  } finally {
    await host.stop('SIGKILL');
  }
}

for (const workers of [1, 2])
  test(`with ${workers} workers a front-end uses the disk, and operations treat it as a client`, () =>
    withHost(['--workers', String(workers), '--socket-mode', '0640'], async (host, socket) => {
      assert.equal(statSync(socket).mode & 0o777, 0o640);
      using front = new VhostFrontEnd(socket);
      await front.start();
      assert.equal(await front.request(BlockType.out, 0, page), 0);
      const { connections, storedPages } = await host.figures();
      assert.deepEqual([connections, storedPages], [1, 1]);
      await assert.rejects(RawClient.open(host.socketPath, 'd'), /refuses/);
      await assert.rejects(host.command('remove', 'd'), /is in use \(1 connection\)/);
      await assert.rejects(host.command('set', 'd', 'size=2M'), /in use|connection/);
      await host.command('freeze', 'd');
      front.put(0, BlockType.in, 0, 4096);
      front.kick();
      assert.equal(await front.settled(0, 200), false);
      await host.command('thaw', 'd');
      assert(await front.settled());
      assert.deepEqual(front.dataOf(0, 4096), page);
      await host.command('remove', '--force', 'd');
      assert.equal(existsSync(socket), false, 'its socket is removed');
    }));

test('a front-end is refused while an NBD client has the disk open, unless the disk is shared', async () => {
  for (const isShared of [false, true])
    await withHost(
      [],
      async (host, socket) => {
        using client = await RawClient.open(host.socketPath, 'd');
        assert.equal(await client.write(0, Buffer.from(page)), 0);
        using front = new VhostFrontEnd(socket);
        if (!isShared) await assert.rejects(front.start());
        else {
          await front.start();
          assert.equal(await front.request(BlockType.in, 0, 4096), 0);
          assert.deepEqual(front.dataOf(0, 4096), page);
        }
      },
      isShared ? ',shared=on' : '',
    );
});

test('a front-end that reconnects after a reset is refused', () =>
  withHost([], async (host, socket) => {
    using front = new VhostFrontEnd(socket);
    await front.start();
    assert.equal(await front.request(BlockType.out, 0, page), 0);
    await host.command('reset', '--force', 'd');
    front.reconnect(socket);
    await assert.rejects(front.start(front.used()));
    const refused = /vhost-user 'd': .*has been emptied since the guest used it/;
    for (let left = 100; left > 0 && !refused.test(host.log); left--) await sleep(20);
    assert.match(host.log, refused);
  }));

test('attach prints the socket, a second disk cannot use it, and an added disk has its own', () =>
  withHost([], async (host, socket) => {
    assert.match(await host.attach('qemu', 'd'), new RegExp(`path=${socket},reconnect=1`));
    assert.match(await host.attach('libvirt', 'd'), /type='vhostuser'/);
    assert.match(await host.attach('firecracker', 'd'), /block|drives/);
    assert.match(await host.attach('cloud-hypervisor', 'd'), /vhost_user=on/);
    await assert.rejects(
      host.command('add', `e=1M,vhost-user=${socket}`),
      /another disk uses|in use/,
    );
    await assert.rejects(host.command('add', 'e=1M,vhost-user=relative'), /absolute path/);
    await host.command('add', `e=1M,vhost-user=${socket}2`);
    using front = new VhostFrontEnd(`${socket}2`);
    await front.start();
    assert.equal(await front.request(BlockType.out, 0, page), 0);
  }));
