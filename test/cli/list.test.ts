/** `list` against a host with stand-in disks. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Host } from '../../src/host/host.ts';
import { standInParts } from '../support/fakes/stand-in.ts';
import { configOf } from '../support/fixtures/host-config.ts';
import { cli, type Result } from './fake-world.ts';

const folder = mkdtempSync(join(tmpdir(), 'fs-list-'));
const control = join(folder, 'c');
let host: Host;

before(async () => {
  const settings = { disk: ['swap0=1G', 'vm1=512M,limit=256M'], unix: join(folder, 's'), control };
  const parts = standInParts();
  host = await Host.start({
    config: configOf(settings),
    parts,
    runtimeFolder: folder,
    uid: process.getuid?.() ?? 0,
    version: '0',
    log: () => undefined,
    trace: null,
    checkStop: () => undefined,
    onStopRequest: () => undefined,
  });
  const [swap0, vm1] = parts.disks;
  if (swap0 !== undefined)
    swap0.stats_ = { ...swap0.stats_, failedWrites: 4, failedReads: 3, invalidIo: 6 };
  if (vm1 !== undefined)
    vm1.stats_ = { ...vm1.stats_, storedPages: 0, dataBytes: 0, usedBytes: 327_574_323 };
});
after(async () => {
  await host.stop();
  rmSync(folder, { recursive: true });
});

const list = (...argv: string[]): Promise<Result> => cli(['list', '--control', control, ...argv]);
const stdoutOf = async (...argv: string[]): Promise<string> => {
  const { status, stdout, stderr } = await list(...argv);
  assert.deepEqual([status, stderr], [0, '']);
  return stdout;
};

test('the default columns are those of zramctl, numbers aligned right', async () => {
  assert.equal(
    await stdoutOf(),
    [
      'NAME  ALGORITHM DISKSIZE DATA COMPR  TOTAL SAME-PAGES COMP-RATIO MEM-LIMIT CONN',
      'swap0 lz4             1G  12K    2K     6K          1       2.00         -    0',
      'vm1   lz4           512M   0B    2K 312.4M          1          -      256M    0',
      '',
    ].join('\n'),
  );
});

test('-o selects columns in upper or lower case, -n omits the heading', async () => {
  assert.equal(await stdoutOf('-n', '-o', 'total,NAME', 'vm1'), '312.4M vm1\n');
});

test('-o +LIST adds to the default', async () => {
  const [heading, row] = (await stdoutOf('-o', '+READS,URI', 'swap0')).split('\n');
  assert.match(heading ?? '', /CONN READS URI$/);
  assert.match(row ?? '', / 5 nbd\+unix:\/\/\/swap0@[0-9a-f]{8}\?socket=\/.*\/s$/);
});

test('--bytes prints bytes, 0 for no limit', async () => {
  assert.equal(
    await stdoutOf('-bn', '-o', 'NAME,DISKSIZE,TOTAL,MEM-LIMIT'),
    'swap0 1073741824      6144         0\nvm1    536870912 327574323 268435456\n',
  );
});

test('--raw and --output-all print every column, separable at spaces', async () => {
  const [heading = '', row = ''] = (await stdoutOf('--raw', '--output-all')).split('\n');
  assert.equal(heading.split(' ').length, 28);
  assert.equal(row.split(' ').length, 28);
  assert.match(
    heading,
    / MEM-USED MEM-PEAK FLASH IMAGE ADOPTED HUGE-PAGES STORED-PAGES COMPACTED READS /,
  );
  assert.match(row, / 8K 8K 0B - 0 0 3 0 5 7 2 4 3 512 6 nbd/);
});

test('names select disks in the given order', async () => {
  assert.equal(await stdoutOf('-n', '-o', 'NAME', 'vm1', 'swap0'), 'vm1\nswap0\n');
});

test('--json is the list document', async () => {
  assert.deepEqual(JSON.parse(await stdoutOf('--json')), host.report());
  const one = JSON.parse(await stdoutOf('--json', 'vm1'));
  assert.deepEqual(one, { schemaVersion: 1, disks: [host.report().disks[1]] });
});

test('--json with columns is a conflict', async () => {
  for (const columns of [['-o', 'NAME'], ['--output-all']]) {
    const { status, stdout, stderr } = await list('--json', ...columns);
    assert.deepEqual([status, stdout], [2, '']);
    assert.match(
      stderr,
      /--json prints every field and cannot be combined with columns; select fields with jq/,
    );
  }
});

test('a host that does not answer is reported as stuck, not as missing', async (t) => {
  const path = join(folder, 'silent');
  const silent = createServer(() => undefined);
  await new Promise<void>((resolve) => silent.listen(path, resolve));
  t.after(() => {
    silent.closeAllConnections();
    silent.close();
  });
  const { status, stderr } = await cli(['list', '--control', path]);
  assert.equal(status, 3);
  assert.match(
    stderr,
    /sent no complete reply within 5000 ms: the host is stopped or stuck; .* kill -CONT/,
  );
  assert.doesNotMatch(stderr, /start one/);
});

test('an unknown disk exits 2 with a suggestion and prints no data', async () => {
  const { status, stdout, stderr } = await list('swap0', 'vm2');
  assert.deepEqual([status, stdout], [2, '']);
  assert.match(stderr, /the host has no disk 'vm2'; did you mean 'vm1'/);
});

test('attach requires a disk name if there are several, and uses the socket for QEMU', async () => {
  const which = await cli(['attach', '-f', 'qemu', '--control', control]);
  assert.equal(which.status, 2);
  assert.match(which.stderr, /NAME: choose a disk: swap0, vm1/);
  const { status, stdout } = await cli(['attach', '-f', 'qemu', '--control', control, 'vm1']);
  assert.equal(status, 0);
  assert.ok(stdout.includes(`server.path=${folder}/s,export=vm1@`), stdout);
  assert.ok(stdout.includes('serial=vm1,'), stdout);
});

test('attach for nbd-client refuses a disk that only this machine can reach, with advice', async () => {
  const argv = ['attach', '-f', 'nbd-client', '--control', control, 'vm1'];
  const { status, stdout, stderr } = await cli(argv);
  assert.deepEqual([status, stdout], [1, '']);
  assert.match(
    stderr,
    /start the host with --ipaddr ADDRESS, or pass --uri nbd:\/\/ADDRESS:PORT\/vm1/,
  );
  const told = await cli([...argv, '--uri', 'nbd://10.0.0.1/vm1']);
  assert.match(told.stdout, /^nbd-client 10\.0\.0\.1 10809 -N vm1 /m);
});

/** The result of `attach --format nbd-client` for a host that serves on these addresses. */
async function attachTo(uris: readonly string[]): Promise<Result> {
  const path = join(folder, `c${uris.length}${uris.join().length}`);
  const [disk] = host.report().disks;
  const text = JSON.stringify({ schemaVersion: 1, disks: [{ ...disk, uris }] });
  const server = createServer((_, response) => response.end(text));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  try {
    return await cli(['attach', '-f', 'nbd-client', '--control', path]);
  } finally {
    server.close();
  }
}

test('attach for nbd-client uses the address that other machines can reach', async () => {
  const local = ['nbd+unix:///swap0?socket=/s', 'nbd://127.0.0.1:10809/swap0'];
  const { stdout } = await attachTo([...local, 'nbd://10.0.0.1:1/swap0']);
  assert.match(stdout, /^nbd-client 10\.0\.0\.1 1 -N swap0 /m);
  for (const uris of [local, ['nbd://[::1]:1/swap0'], ['nbd://localhost:1/swap0']])
    assert.equal((await attachTo(uris)).status, 1, uris.join());
});
