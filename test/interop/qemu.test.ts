/** qemu-io and qemu-img, QEMU's NBD client without a guest, with the host. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { Prng } from '../../src/base/prng.ts';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { must, peerTest, run } from '../support/fixtures/processes.ts';

const mib = 2 ** 20;
const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));

/** Runs qemu-io commands in one connection; fails if a pattern does not verify. */
async function io(host: OwnHost, commands: readonly string[]): Promise<void> {
  const args = ['-f', 'raw', '-d', 'unmap', ...commands.flatMap((c) => ['-c', c]), host.uri()];
  const { status, stdout, stderr } = await run('qemu-io', args);
  const said = `SEED=${seed}\n${commands.join('\n')}\n${stdout}${stderr}`;
  assert.equal(status, 0, said);
  assert.doesNotMatch(stdout + stderr, /Pattern verification failed|failed:|error/i, said);
}

peerTest('qemu-io writes, zeroes and discards, aligned or not', ['qemu-io'], async () => {
  await using host = await OwnHost.start();
  await io(host, [
    ...[
      'write -P 0xaa 0 64k',
      'write -P 0xbb 4095 2',
      'read -P 0xaa 0 4095',
      'read -P 0xbb 4095 2',
    ],
    ...['read -P 0xaa 4097 61439', 'write -P 0xcc 1000001 12345', 'read -P 0xcc 1000001 12345'],
    ...['read -P 0 999999 2', 'read -P 0 1012346 100', 'write -z 8k 4k', 'read -P 0 8k 4k'],
    ...['write -z 20001 9999', 'read -P 0 20001 9999', 'read -P 0xaa 20000 1'],
    ...['read -P 0xaa 30000 1', 'write -z -u 32k 16k', 'read -P 0 32k 16k'],
    ...['write -f -P 0xdd 200M 2M', 'read -P 0xdd 200M 2M', 'flush', 'discard 201M 1M'],
    ...['read -P 0xdd 200M 1M', 'read -P 0 201M 1M', 'aio_write -P 0x11 2M 1M'],
    ...['aio_write -P 0x22 3M 1M', 'aio_flush', 'aio_read -P 0x11 2M 1M', 'aio_flush'],
  ]);
});

peerTest('a wrong pattern is detected', ['qemu-io'], async () => {
  await using host = await OwnHost.start();
  await io(host, ['write -P 0xaa 0 64k']);
  await assert.rejects(io(host, ['read -P 0xab 0 64k']), /Pattern verification failed/);
});

peerTest('qemu-io matches a byte array under random requests', ['qemu-io'], async () => {
  await using host = await OwnHost.start();
  const prng = new Prng(seed);
  const blockBytes = 512; // a pattern per block, so that every read has one expected byte
  const want = new Uint8Array((2 * mib) / blockBytes);
  const commands: string[] = [];
  for (let step = 0; step < 600; step++) {
    const length = 1 + prng.below(prng.oneIn(4) ? 512 : 16);
    const at = prng.below(want.length - length);
    const pattern = prng.oneIn(3) ? 0 : 1 + prng.below(255);
    const range = `${at * blockBytes} ${length * blockBytes}`;
    if (pattern !== 0) commands.push(`write -P ${pattern} ${range}`);
    else commands.push(prng.oneIn(2) ? `write -z ${range}` : `write -z -u ${range}`);
    want.fill(pattern, at, at + length);
    if (prng.oneIn(2)) {
      const block = prng.below(want.length);
      commands.push(`read -P ${want[block]} ${block * blockBytes} ${blockBytes}`);
    }
  }
  want.forEach((pattern, i) => {
    if (i % 8 === 0 || want[i - 1] !== pattern)
      commands.push(`read -P ${pattern} ${i * blockBytes} ${blockBytes}`);
  });
  await io(host, commands);
});

peerTest('qemu-img converts an image in and out and compares equal', ['qemu-img'], async () => {
  await using host = await OwnHost.start({ disks: ['swap0=32M'] });
  const bytes = Buffer.alloc(32 * mib);
  new Prng(3).fill(bytes.subarray(mib, 9 * mib));
  bytes.fill('swap ', 20 * mib, 24 * mib);
  const raw = host.folder.file('in.raw');
  const qcow = host.folder.file('out.qcow2');
  writeFileSync(raw, bytes);
  await must('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', raw, host.uri()]);
  const same = await must('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', raw, host.uri()]);
  assert.match(same, /Images are identical/);
  await must('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', host.uri(), qcow]);
  await must('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', host.uri(), qcow]);
  await io(host, ['write -P 1 30M 4k']);
  const changed = await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', raw, host.uri()]);
  assert.equal(changed.status, 1, 'one changed page is detected');
});

peerTest(
  'qemu-img maps a trim as a hole and the host frees its pages',
  ['qemu-img', 'qemu-io'],
  async () => {
    await using host = await OwnHost.start({ disks: ['swap0=16M'] });
    const dataBytes = async (): Promise<number> => {
      const map = await must('qemu-img', ['map', '-f', 'raw', '--output=json', host.uri()]);
      return (JSON.parse(map) as { data: boolean; zero: boolean; length: number }[])
        .filter((e) => e.data && !e.zero)
        .reduce((sum, e) => sum + e.length, 0);
    };
    await io(host, ['write -P 0x41 4M 4M']);
    assert.equal(await dataBytes(), 4 * mib);
    assert.equal((await host.figures()).storedPages, 1024);
    await io(host, ['discard 5M 2M']);
    assert.equal(await dataBytes(), 2 * mib);
    assert.equal((await host.figures()).storedPages, 512);
    await io(host, ['discard 0 16M']);
    assert.equal(await dataBytes(), 0);
    assert.equal((await host.figures()).storedPages, 0);
  },
);

peerTest('a second QEMU is refused with the name of the first', ['qemu-io'], async () => {
  await using host = await OwnHost.start();
  // The first one sleeps with the disk open; qemu-io ends at the end of its commands.
  const first = run('qemu-io', [
    '-f',
    'raw',
    '-c',
    'write -P 1 0 4k',
    '-c',
    'sleep 4000',
    host.uri(),
  ]);
  while ((await host.figures()).connections === 0); // else the second one could be first
  const { stderr: refused } = await run('qemu-io', ['-f', 'raw', '-c', 'read 0 512', host.uri()]);
  assert.match(refused, /is in use by process [0-9]+ \(qemu-io\)/);
  assert.equal((await first).status, 0);
  await io(host, ['read -P 1 0 4k']);
});

peerTest(
  'a QEMU that requests an old generation of a disk gets the error that the disk was reset',
  ['qemu-io'],
  async () => {
    await using host = await OwnHost.start();
    const old = host.uri().replace(/\/([^/?]+)\?/, '/$1@00000000?');
    const { status, stderr } = await run('qemu-io', ['-f', 'raw', '-c', 'read 0 512', old]);
    assert.notEqual(status, 0);
    assert.match(stderr, /@00000000' no longer exists: disk '.+' has been emptied by/);
  },
);
