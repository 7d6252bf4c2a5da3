/** The shipped host with a backing file that is damaged from outside, or has no space left. */
import assert from 'node:assert/strict';
import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { askDisks } from '../../src/host/control-client.ts';
import type { DiskReport } from '../../src/host/list-document.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { noisePage } from '../support/fixtures/pages.ts';
import { command, RawClient, requestBytes } from '../support/fixtures/raw-client.ts';
import { until } from '../support/fixtures/until.ts';
import { readyHost, timeout } from './host-run.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
const WireError = { io: 5, noSpace: 28 } as const;

/** Incompressible, so it is written to the backing. */
const noise = (seed: number): Buffer => Buffer.from(noisePage(seed));

/** A folder with a file of 16 MiB to back a disk. */
function backed(t: TestContext): { folder: string; file: string } {
  const folder = testFolder(t);
  const file = join(folder, 'flash');
  writeFileSync(file, '', { mode: 0o600 });
  truncateSync(file, 16 * MIB);
  return { folder, file };
}

const health = (folder: string): Promise<{ status: string; violated: string[] }> =>
  new Promise((resolve, reject) => {
    get({ socketPath: join(folder, 'c'), path: '/v1/health', agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => resolve(JSON.parse(text)));
    }).once('error', reject);
  });

const figures = async (folder: string): Promise<DiskReport> =>
  (await askDisks(join(folder, 'c'))).disks[0]!;

async function errorOfRead(client: RawClient, page: number): Promise<number> {
  client.socket.write(requestBytes(command.read, page * PAGE, PAGE));
  return (await client.read(16)).readUInt32BE(4);
}

test('a page overwritten on the backing returns EIO, is logged and degrades health; other pages can be read', {
  timeout,
}, async (t) => {
  const { folder, file } = backed(t);
  const { said } = await readyHost(t, '', 'vm1=16M,backing=@/flash', folder);
  using client = await RawClient.open(join(folder, 's'), 'vm1');
  for (const page of [1, 2, 3]) assert.equal(await client.write(page * PAGE, noise(page)), 0);
  assert.equal((await figures(folder)).backingBytes, 3 * PAGE);
  assert.equal((await health(folder)).status, 'ok');
  const fd = openSync(file, 'r+');
  writeSync(fd, noise(9), 0, 512, 2 * PAGE + 512);
  closeSync(fd);
  assert.equal(await errorOfRead(client, 2), WireError.io);
  for (const page of [1, 3]) assert.deepEqual(await client.pread(page * PAGE, PAGE), noise(page));
  const { failedReads, backingFailures, backingMismatches } = await figures(folder);
  assert.deepEqual([failedReads, backingFailures, backingMismatches], [1, 0, 1]);
  assert.deepEqual(await health(folder).then(({ status, violated }) => [status, ...violated]), [
    'degraded',
    'disk vm1: failedReads',
    'disk vm1: backingMismatches',
  ]);
  await until('a line of log', () => said().includes('\n'));
  assert.match(
    said(),
    new RegExp(
      `disk vm1: its backing ${file} returned 1 page\\(s\\) with other contents than were`,
    ),
  );
  assert.equal(await client.write(2 * PAGE, noise(4)), 0);
  assert.deepEqual(await client.pread(2 * PAGE, PAGE), noise(4));
});

test('a backing without space: pages stay in memory up to the limit, then ENOSPC, and the log names both', {
  timeout,
}, async (t) => {
  const { folder, file } = backed(t);
  // Writes past the first or second MiB fail with EFBIG, which a disk treats like ENOSPC.
  const before = "trap '' XFSZ; ulimit -f 2048;";
  const { said } = await readyHost(t, before, 'vm1=16M,limit=2M,backing=@/flash', folder);
  using client = await RawClient.open(join(folder, 's'), 'vm1');
  assert.equal(await client.write(0, noise(1)), 0);
  assert.equal((await figures(folder)).backingBytes, PAGE);
  const first = (8 * MIB) / PAGE;
  assert.equal(await client.write(first * PAGE, noise(2)), 0);
  await until('a line of log', () => said().includes('\n'));
  assert.match(
    said(),
    new RegExp(`disk vm1: its backing ${file} has no space left; its pages stay`),
  );
  let taken = 1;
  let error = 0;
  for (; error === 0 && taken < 1000; taken++)
    error = await client.write((first + taken) * PAGE, noise(2 + taken));
  assert.equal(error, WireError.noSpace);
  assert.ok(taken > 200, `${taken} pages under a limit of 2 MiB`);
  await until('a refusal in the log', () => said().includes('refuses writes'));
  assert.match(
    said(),
    new RegExp(
      `refuses writes: its backing ${file} has no space left and its limit of 2M is reached`,
    ),
  );
  const { backingBytes, backingNoSpace, usedBytes, limitBytes } = await figures(folder);
  assert.equal(backingBytes, PAGE, 'the page that was there stays');
  assert.equal(backingNoSpace, taken);
  assert.ok(usedBytes <= limitBytes);
  for (let i = 0; i < taken - 1; i++)
    assert.deepEqual(await client.pread((first + i) * PAGE, PAGE), noise(2 + i));
  assert.deepEqual(await client.pread(0, PAGE), noise(1));
});
