/**
 * Node's own calls into the kernel with paged memory: each works, with privilege and without.
 * docs/reference/system-calls.md
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { endingOf } from './ending.ts';

const program = fileURLToPath(new URL('./children/system-calls.js', import.meta.url));
const register = new URL('../../src/memory/register.js', import.meta.url).href;
const NOBODY_ID = 65534;
const isRoot = process.getuid?.() === 0;
const needsRoot = 'needs root, to change the user';

const users: readonly (readonly [string, object])[] = [
  ['as the user of the tests', {}],
  ['unprivileged', { uid: NOBODY_ID, gid: NOBODY_ID }],
];

for (const [who, identity] of users)
  test(`system calls work on paged memory, ${who}`, {
    skip: skipUnlessPaging || (who === 'unprivileged' && !isRoot && needsRoot),
    timeout: 120_000,
  }, async () => {
    const env = { ...process.env, FRONTSWAP_RESIDENT: '1M', HOME: '/' };
    const args = ['--no-warnings', '--import', register, program];
    const child = spawn(process.execPath, args, { env, cwd: '/', ...identity });
    const { code, stdout, stderr } = await endingOf(child);
    assert.equal(code, 0, stderr);
    const results = JSON.parse(stdout) as Record<string, string>;
    assert(Object.keys(results).length > 40);
    const failed = Object.entries(results).filter(([, result]) => result !== 'ok');
    assert.deepEqual(Object.fromEntries(failed), {});
  });
