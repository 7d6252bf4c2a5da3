/** `frontswap import`: files are read within limits, and errors name the option. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { testFolder } from '../support/fixtures/folder.ts';
import { shipped, start, timeout } from './host-run.ts';

async function convert(t: TestContext, ...argv: string[]) {
  const run = start(t, shipped, ['import', ...argv]);
  const status = await run.ended;
  return { status, ...run.text };
}

test('a file is printed as TOML, or as JSON; warnings are on stderr', { timeout }, async (t) => {
  const file = join(testFolder(t), 'z.conf');
  writeFileSync(file, '[zram0]\nzram-size = 64\nswap-priority = 1\n');
  const toml = '[disks.zram0]\nsize = "64M" # 64\n';
  const text = await convert(t, '--zram-generator', file);
  assert.deepEqual([text.status, text.stdout], [0, toml]);
  assert.match(
    text.stderr,
    /^frontswap import: warning: .*z.conf:3: swap-priority is left out: .*\n$/,
  );
  const json = await convert(t, '--json', '--quiet', '--zram-generator', file);
  assert.equal(json.stderr, '');
  const { schemaVersion, toml: inner, warnings } = JSON.parse(json.stdout);
  assert.deepEqual([schemaVersion, inner, warnings.length], [1, toml, 1]);
});

test('a missing file and one that is not a regular file are refused', { timeout }, async (t) => {
  const folder = testFolder(t);
  execFileSync('mkfifo', [join(folder, 'fifo')]);
  for (const [file, status, message] of [
    [join(folder, 'none'), 1, /none: .*ENOENT.*--zram-generator/],
    ['/dev/zero', 2, /\/dev\/zero: is not a regular file\n/],
    [join(folder, 'fifo'), 2, /fifo: is not a regular file\n/],
  ] as const) {
    const run = await convert(t, '--zram-generator', file);
    assert.equal(run.status, status);
    assert.match(run.stderr, message);
  }
});
