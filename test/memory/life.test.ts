/** A program that pages memory ends however it is ended, and reads what it wrote until then. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { skipUnlessCallsFault, skipUnlessPaging } from '../support/fixtures/paging.ts';
import { type Ending, endingOf } from './ending.ts';

const program = fileURLToPath(new URL('./children/life.js', import.meta.url));
const NOBODY_ID = 65534;

/** Runs the child; `kill`: a signal once it is ready. */
async function run(
  mode: string,
  { kill, isNobody = false }: { kill?: NodeJS.Signals; isNobody?: boolean } = {},
): Promise<Ending> {
  const identity = isNobody ? { uid: NOBODY_ID, gid: NOBODY_ID } : {};
  return endingOf(spawn(process.execPath, [program, mode], { ...identity, cwd: '/' }), kill);
}

const options = { skip: skipUnlessPaging, timeout: 120_000 };

const endings: readonly (readonly [string, number])[] = [
  ['end', 0],
  ['exit', 3],
  ['exit handler', 3],
  ['throw', 1],
  ['reject', 1],
  ['terminate a worker', 0],
  ['swap of a worker', 0],
  ['dispose while touched', 0],
  ['view after dispose', 0],
  ['dispose twice', 0],
];

for (const [mode, code] of endings)
  test(`a program that pages ends with its status and intact pages: ${mode}`, options, async () => {
    const ending = await run(mode);
    assert.deepEqual(
      { code: ending.code, signal: ending.signal, stdout: ending.stdout },
      { code, signal: null, stdout: 'intact\n' },
      ending.stderr,
    );
  });

test('process.exit() does not hang while a worker waits for pages', options, async () => {
  const ending = await run('exit beside a worker');
  assert.deepEqual([ending.code, ending.signal], [3, null], ending.stderr);
});

for (const kill of ['SIGINT', 'SIGTERM'] as const)
  test(`${kill} ends a program that pages`, options, async () => {
    const { signal, stderr } = await run('signal', { kill });
    assert.equal(signal, kill, stderr);
  });

const isRoot = process.getuid?.() === 0;

test('with privilege a system call may access evicted pages', {
  ...options,
  skip: skipUnlessPaging || skipUnlessCallsFault || (isRoot ? false : 'needs root'),
}, async () => {
  const { code, stdout, stderr } = await run('system call');
  assert.deepEqual([code, stdout], [0, 'intact\n'], stderr);
});

test('without privilege a system call on evicted pages fails with EFAULT, and works with pin()', {
  ...options,
  skip: skipUnlessPaging || (isRoot ? false : 'needs root, to change the user'),
}, async () => {
  const { code, stdout, stderr } = await run('system call', { isNobody: true });
  assert.deepEqual([code, stdout], [0, 'EFAULT\nintact\n'], stderr);
});
