/** --check: reports the errors of a start, and leaves nothing behind. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkConfig } from '../../src/host/check-config.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { configOf } from '../support/fixtures/host-config.ts';

const uid = process.getuid?.() ?? 0;

/** Checks settings in which `@` is a folder of the test. */
async function check(folder: string, settings: object): Promise<void> {
  const text = JSON.stringify({ control: '@/c', unix: '@/s', ...settings });
  const config = configOf(JSON.parse(text.replaceAll('@', folder)) as Record<string, unknown>);
  await checkConfig({ config, runtimeFolder: join(folder, 'run', 'frontswap'), uid });
}

function backingFile(folder: string, name: string, size: number): string {
  const path = join(folder, name);
  writeFileSync(path, 'precious', { mode: 0o600 });
  truncateSync(path, size);
  return path;
}

async function listening(t: TestContext, at: string | number): Promise<number> {
  const server = createServer();
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(at, resolve));
  const address = server.address();
  return typeof address === 'object' ? (address?.port ?? 0) : 0;
}

test('a usable configuration passes, and the check leaves nothing behind', async (t) => {
  const folder = testFolder(t);
  backingFile(folder, 'flash', 1 << 20);
  const before = readdirSync(folder);
  await check(folder, { disk: 'a=1M,backing=@/flash', port: 0, pidfile: '@/pid' });
  await check(folder, { unix: '-' });
  await check(folder, { run: 'true', unix: '-' });
  assert.deepEqual(readdirSync(folder), before);
});

const wrong: readonly [string, object, RegExp][] = [
  [
    'a backing that is not there',
    { disk: 'a=1M,backing=@/no' },
    /open the backing .*ENOENT.*create it/,
  ],
  [
    'a backing that is too small',
    { disk: 'a=2M,backing=@/flash' },
    /1048576 bytes, its disk needs 2097152/,
  ],
  [
    'a backing of two disks',
    { disk: ['a=1M,backing=@/flash', 'b=1M,backing=@/./flash'] },
    /another disk/,
  ],
  [
    'a backing that others can open',
    { disk: 'a=1M,backing=@/open' },
    /is accessible to other users/,
  ],
  ['a socket in no folder', { unix: '@/no/s' }, /^cannot listen on .*mkdir/],
  ['a socket where a file is', { unix: '@/flash' }, /exists and is not a socket/],
  ['a control socket in no folder', { control: '@/no/c' }, /^cannot listen on .*\(--control\)/],
  [
    'a name that is no host',
    { ipaddr: 'no-such-host.invalid', port: 0 },
    /cannot listen on no-such/,
  ],
  ['an address of another machine', { ipaddr: '192.0.2.1', port: 0 }, /EADDRNOTAVAIL.*--ipaddr/],
  ['a pid file in no folder', { pidfile: '@/no/pid' }, /cannot write .*ENOENT.*--pidfile/],
  ['a pid file that is something else', { pidfile: '@/flash' }, /contains something other/],
];
for (const [what, settings, message] of wrong)
  test(`--check reports ${what}`, async (t) => {
    const folder = testFolder(t);
    backingFile(folder, 'flash', 1 << 20);
    chmodSync(backingFile(folder, 'open', 1 << 20), 0o644);
    const before = readdirSync(folder);
    await assert.rejects(check(folder, settings), { name: 'SwapError', message });
    assert.deepEqual(readdirSync(folder), before);
  });

test('a runtime folder of another user, or a file in its place, is reported', async (t) => {
  const folder = testFolder(t);
  mkdirSync(join(folder, 'run'));
  writeFileSync(join(folder, 'run', 'frontswap'), '');
  await assert.rejects(check(folder, { unix: '-' }), /is not a folder/);
  const above = testFolder(t);
  writeFileSync(join(above, 'run'), '');
  await assert.rejects(check(above, { unix: '-' }), /cannot use the folder .*ENOTDIR/);
});

test('sockets and ports in use are reported', async (t) => {
  const folder = testFolder(t);
  await listening(t, join(folder, 's'));
  await assert.rejects(check(folder, {}), /^SwapError: --unix: .* is in use by process \d+/);
  const port = await listening(t, 0);
  await assert.rejects(
    check(folder, { unix: '@/t', ipaddr: '::', port }),
    /port \d+ on :: is in use/,
  );
  for (const name of ['metrics', 'dashboard'])
    await assert.rejects(
      check(folder, { unix: '-', [name]: `127.0.0.1:${port}` }),
      new RegExp(`is in use; choose another one with --${name}`),
    );
});
