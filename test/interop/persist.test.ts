/** A host with --persist that is killed: its clients continue, and changes of an operator are kept. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { whyNoImages } from '../../src/os/linux/image-mapping.ts';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { must, peerTest, root, TemporaryFolder } from '../support/fixtures/processes.ts';
import { QemuIo } from '../support/fixtures/qemu-io.ts';
import { RawClient } from '../support/fixtures/raw-client.ts';

const PAGE = 4096;
const page = Buffer.alloc(PAGE, 0x5a);
const skip = whyNoImages() || (existsSync('/dev/shm') ? false : 'there is no /dev/shm');
const limits = { timeout: 60_000, skip } as const;

/** The folders of hosts that follow each other. */
class Place implements Disposable {
  readonly images: string = mkdtempSync('/dev/shm/frontswap-test-');
  readonly sockets: TemporaryFolder = new TemporaryFolder();

  start(...disks: string[]): Promise<OwnHost> {
    return OwnHost.start({
      disks,
      socketPath: this.sockets.file('nbd.sock'),
      controlPath: this.sockets.file('control.sock'),
      arguments: ['--persist', this.images, '--total-limit', '64M'],
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.images, { recursive: true, force: true });
    this.sockets[Symbol.dispose]();
  }
}

const killed = async (host: OwnHost): Promise<void> => {
  assert.equal(await host.stop('SIGKILL'), -1, 'a signal ended it');
};

async function write(host: OwnHost, disk: string, offset: number): Promise<void> {
  using client = await RawClient.open(host.socketPath, disk);
  assert.equal(await client.write(offset, page), 0);
}

async function read(host: OwnHost, name: string, offset: number): Promise<Buffer> {
  using client = await RawClient.open(host.socketPath, name);
  return await client.pread(offset, PAGE);
}

test(
  'a disk that was added, and one that was resized, are served again after kill -9',
  limits,
  async () => {
    using place = new Place();
    const host = await place.start('vm1=16M');
    await host.command('add', 'vm2=8M,keep=600');
    await write(host, 'vm1', PAGE);
    await write(host, 'vm2', 2 * PAGE);
    await host.command('set', 'vm1', 'size=32M');
    const names = await Promise.all(['vm1', 'vm2'].map((disk) => host.exportNow(disk)));
    await killed(host);
    await using next = await place.start('vm1=16M');
    assert.deepEqual(await Promise.all(['vm1', 'vm2'].map((disk) => next.exportNow(disk))), names);
    assert.deepEqual(await read(next, names[0]!, PAGE), page);
    assert.deepEqual(await read(next, names[1]!, 2 * PAGE), page);
    assert.equal((await next.figures('vm1')).diskSizeBytes, 32 << 20);
    assert.match(next.log, /vm1: its image has pages, so it keeps the size 32M/);
  },
);

test(
  'a reset disk stays empty and a removed disk stays removed after kill -9',
  limits,
  async () => {
    using place = new Place();
    const host = await place.start('vm1=16M', 'vm2=16M');
    await write(host, 'vm1', PAGE);
    await write(host, 'vm2', PAGE);
    const before = await host.exportNow('vm1');
    await host.command('reset', 'vm1', '--force');
    await host.command('remove', 'vm2', '--force');
    const after = await host.exportNow('vm1');
    assert.ok(!existsSync(join(place.images, 'vm2.img')));
    await killed(host);
    await using next = await place.start('vm1=16M', 'vm2=16M');
    await assert.rejects(RawClient.open(next.socketPath, before), /refuses/);
    assert.deepEqual(await read(next, after, PAGE), Buffer.alloc(PAGE));
    assert.deepEqual(await read(next, 'vm2', PAGE), Buffer.alloc(PAGE));
  },
);

test('a clean stop keeps the pages, also while a client is connected', limits, async () => {
  using place = new Place();
  const host = await place.start('vm1=16M');
  using client = await RawClient.open(host.socketPath, 'vm1');
  assert.equal(await client.write(0, page), 0);
  const name = await host.exportNow();
  assert.equal(await host.stop(), 0);
  assert.match(host.log, /stopped; the pages stay in/);
  assert.deepEqual(readdirSync(place.images).sort(), ['lock', 'vm1.img']);
  await using next = await place.start('vm1=16M');
  assert.deepEqual(await read(next, name, 0), page);
});

test('50 kills under write and trim load lose and revive no page', {
  timeout: 900_000,
  skip,
}, async (t) => {
  const crash = join(root, 'build', 'test', 'host', 'crash.js');
  const text = await must(process.execPath, [crash, '--rounds', '50', '--json'], {
    timeoutMs: 880_000,
  });
  t.diagnostic(text.trim());
  const { lost, revived, acknowledged } = JSON.parse(text) as Record<string, number>;
  assert.deepEqual([lost, revived], [0, 0]);
  assert.ok((acknowledged ?? 0) > 50);
});

if (skip === false)
  peerTest(
    'QEMU with reconnect-delay reads its pages back from the next host',
    ['qemu-io'],
    async () => {
      using place = new Place();
      const host = await place.start('vm1=16M');
      using io = new QemuIo(host.socketPath, await host.exportNow(), 30);
      await io.tell('write -P 0x5a 0 64k', /wrote 65536/);
      await io.tell('discard 0 16k', /discard 16384/);
      await killed(host);
      const answer = io.tell('read -P 0x5a 16k 48k', /read 49152|failed/); // waits for the next host
      await using _next = await place.start('vm1=16M');
      const said = await answer;
      assert.match(said, /read 49152/);
      assert.doesNotMatch(said, /failed/);
      assert.doesNotMatch(await io.tell('read -P 0 0 16k', /read 16384|failed/), /failed/);
    },
  );
