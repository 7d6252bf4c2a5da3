/** nbdinfo, nbdcopy, nbd-client, qemu-nbd and nbdkit as clients of the host. */
import assert from 'node:assert/strict';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { Prng } from '../../src/base/prng.ts';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { freePort, must, peerTest, run, TemporaryFolder } from '../support/fixtures/processes.ts';

const mib = 2 ** 20;

/** A file with the content of a typical disk: noise, text, zeros, and a partial last page. */
function makeFile(path: string, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  new Prng(7).fill(bytes.subarray(0, size >> 2));
  bytes.fill('the pages of a program at rest\n', size >> 2, size >> 1);
  bytes.fill('and its end', size - 5_000);
  writeFileSync(path, bytes);
  return bytes;
}

peerTest('nbdinfo describes the export and lists all of them', ['nbdinfo'], async () => {
  await using host = await OwnHost.start({ disks: ['swap0=256M', 'swap1=64M'] });
  const one = JSON.parse(await must('nbdinfo', ['--json', host.uri()])) as Info;
  assert.equal(one.protocol, 'newstyle-fixed');
  assert.equal(one.exports[0]?.['export-size'], 256 * mib);
  assert.equal(one.exports[0]?.is_read_only, false);
  const all = JSON.parse(await must('nbdinfo', ['--json', '--list', host.uri()])) as Info;
  const sizes = all.exports.map((e) => [e['export-name'], e['export-size']]).sort();
  assert.deepEqual(sizes, [
    ['swap0', 256 * mib],
    ['swap1', 64 * mib],
  ]);
  const unknown = await run('nbdinfo', [host.uri('no-such-disk')]);
  assert.notEqual(unknown.status, 0);
});

interface Info {
  readonly protocol: string;
  readonly exports: readonly {
    readonly 'export-name': string;
    readonly 'export-size': number;
    readonly is_read_only: boolean;
  }[];
}

for (const connections of [1, 4])
  peerTest(
    `nbdcopy copies a file in and out unchanged over ${connections} connection(s)`,
    ['nbdcopy', 'nbdinfo'],
    async () => {
      await using host = await OwnHost.start({ disks: ['swap0=48M'] });
      const bytes = makeFile(host.folder.file('in'), 32 * mib - 1_234);
      const several = `--connections=${connections}`;
      await must('nbdcopy', [several, host.folder.file('in'), host.uri()]);
      await must('nbdcopy', [several, host.uri(), host.folder.file('out')]);
      const back = readFileSync(host.folder.file('out'));
      assert.equal(back.length, 48 * mib);
      assert(back.subarray(0, bytes.length).equals(bytes), 'the copied file is unchanged');
      assert(
        back.subarray(bytes.length).every((b) => b === 0),
        'and after it nothing',
      );
      const { dataBytes } = await host.figures();
      assert(dataBytes <= 20 * mib, 'zeros are not stored');
    },
  );

peerTest('nbdinfo maps exactly the written range as data', ['nbdinfo', 'qemu-io'], async () => {
  await using host = await OwnHost.start({ disks: ['swap0=16M'] });
  const commands = ['write -P 0x31 1M 8k', 'write -P 0x32 5M 1M', 'discard 5M 512k'];
  await must('qemu-io', ['-f', 'raw', '-d', 'unmap', ...dashC(commands), host.uri()]);
  const map = JSON.parse(await must('nbdinfo', ['--map', '--json', host.uri()])) as Extent[];
  const data = map.filter((e) => e.type === 0).map((e) => [e.offset, e.length]);
  assert.deepEqual(data, [
    [mib, 8_192],
    [5 * mib + 512 * 1024, 512 * 1024],
  ]);
});

interface Extent {
  readonly offset: number;
  readonly length: number;
  readonly type: number;
}

export const dashC = (commands: readonly string[]): string[] => commands.flatMap((c) => ['-c', c]);

peerTest('nbd-client and qemu-nbd list the exports', ['nbd-client', 'qemu-nbd'], async () => {
  const port = await freePort();
  await using host = await OwnHost.start({
    disks: ['swap0=64M', 'swap1=64M'],
    arguments: ['-p', String(port), '-i', '127.0.0.1'],
  });
  const listed = await must('nbd-client', ['-l', '127.0.0.1', String(port)]);
  assert.match(listed, /^swap0\b/m);
  assert.match(listed, /^swap1\b/m);
  const described = await must('qemu-nbd', ['-L', '-k', host.socketPath]);
  assert.match(described, /export: 'swap0'/);
  assert.match(described, /size: +67108864/);
});

peerTest(
  'nbdkit with the nbd plugin re-exports the disk, and checkwrite finds no difference',
  ['nbdkit', 'nbdcopy'],
  async () => {
    await using host = await OwnHost.start({ disks: ['swap0=32M'] });
    const path = host.folder.file('in');
    makeFile(path, 32 * mib);
    const proxy = ['-U', '-', 'nbd', `uri=${host.uri()}`];
    await must('nbdkit', [...proxy, '--run', `nbdcopy ${path} "$uri"`]);
    // checkwrite fails any write that differs from the content
    await must('nbdkit', [...proxy, '--filter=checkwrite', '--run', `nbdcopy ${path} "$uri"`]);
    writeFileSync(path, Buffer.alloc(32 * mib, 1));
    const wrong = [...proxy, '--filter=checkwrite', '--run', `nbdcopy ${path} "$uri"`];
    assert.notEqual((await run('nbdkit', wrong)).status, 0);
  },
);

peerTest(
  'nbdcopy fills a disk with a backing on flash, and reads it back',
  ['nbdcopy'],
  async () => {
    using folder = new TemporaryFolder();
    const flash = folder.file('flash');
    writeFileSync(flash, '', { mode: 0o600 });
    truncateSync(flash, 64 * mib);
    await using host = await OwnHost.start({ disks: [`swap0=64M,limit=8M,backing=${flash}`] });
    const file = folder.file('in');
    const bytes = makeFile(file, 32 * mib);
    await must('nbdcopy', ['--flush', file, host.uri()]);
    const figures = await host.figures();
    assert.ok(figures.backingBytes >= 8 * mib, `${figures.backingBytes} bytes are on flash`);
    assert.ok(figures.usedBytes <= 8 * mib);
    const back = folder.file('out');
    await must('nbdcopy', [host.uri(), back]);
    assert.ok(readFileSync(back).subarray(0, bytes.length).equals(bytes));
    assert.ok(statSync(flash).blocks * 512 >= 8 * mib);
  },
);
