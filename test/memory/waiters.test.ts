/**
 * Threads that wait in shared memory, under register: see "Can a program deadlock?" in docs/design/memory.md.
 *
 *   waiters    three threads in Atomics.wait(), nothing else
 *   pthreads   a package from npm that Emscripten made with pthreads (libvips)
 *
 * Each is run with its memory left alone, as register does, and paged by FRONTSWAP_SHARED=1: the latter can hang today.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { type Ending, endingOf } from './ending.ts';

const register = new URL('../../src/memory/register.js', import.meta.url).href;
const childOf = (name: string): string =>
  fileURLToPath(new URL(`./children/${name}.js`, import.meta.url));
const waiters = childOf('waiters');
const pthreads = [childOf('pthreads'), '3'];
const options = { skip: skipUnlessPaging, timeout: 300_000 };
/** A hang is not certain: as many runs in a row. */
const RUNS = 4;
/** A program that hangs is ended after so long; those that do not take a few seconds. */
const HANG_MS = 60_000;
const pagedOptions = (): typeof options => ({
  ...options,
  skip: skipUnlessPaging || faultsWaitForJavaScript,
});

/**
 * Set to false when a fault is served without JavaScript. Until then such a program hangs on nearly every run: the
 * thread that waits holds V8's process-wide mutex while it faults.
 */
const faultsWaitForJavaScript =
  'a fault waits for a JavaScript thread, and Atomics.wait() over a paged word faults with a lock of V8 held';

const under = (args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Ending> => {
  const env = { ...process.env, FRONTSWAP_RESIDENT: '1M', FRONTSWAP_STATS: '1', ...environment };
  const child = spawn(process.execPath, ['--import', register, ...args], { env });
  return endingOf(child, undefined, HANG_MS);
};

const warnings = ({ stderr }: Ending): readonly string[] =>
  stderr.split('\n').filter((line) => line.includes('FrontswapWarning'));

/** Runs a program again and again: each time it ends, with the plain result, and pages so many memories. */
async function finishes(
  args: readonly string[],
  result: string,
  memories: number,
  environment: NodeJS.ProcessEnv = {},
): Promise<void> {
  for (let run = 0; run < RUNS; run++) {
    const ending = await under(args, environment);
    const ended = [ending.code, ending.signal, ending.stdout];
    assert.deepEqual(ended, [0, null, result], `run ${run}: ${ending.stderr}`);
    assert.match(ending.stderr, new RegExp(`frontswap: ${memories} memor(y|ies),`));
    if (memories === 0) assert.equal(warnings(ending).length, 1, ending.stderr);
  }
}

const plain = async (args: readonly string[]): Promise<string> => {
  const { code, stdout, stderr } = await endingOf(
    spawn(process.execPath, args),
    undefined,
    HANG_MS,
  );
  assert.equal(code, 0, stderr);
  return stdout;
};

test('three threads that wait in a shared memory finish under register', options, () =>
  finishes([waiters], 'intact\n', 0),
);

test('a program with pthreads has the same result under register as without', options, async () => {
  const result = await plain(pthreads);
  assert.match(result, /^[0-9a-f]{64}\n$/);
  await finishes(pthreads, result, 0);
});

const makeTwo = `const limits = { initial: 64, maximum: 64, shared: true };
  for (const memory of [new WebAssembly.Memory(limits), new WebAssembly.Memory(limits)]) {
    const bytes = new Uint8Array(memory.buffer);
    for (let at = 0; at < bytes.length; at += 4096) bytes[at] = at >>> 12;
    for (let at = 0; at < bytes.length; at += 4096) if (bytes[at] !== (at >>> 12 & 255)) throw at;
  }`;

test(
  'shared memories are not paged: one line says so and names the variable that pages them',
  options,
  async () => {
    const ending = await under(['-e', makeTwo]);
    assert.equal(ending.code, 0, ending.stderr);
    assert.equal(warnings(ending).length, 1, ending.stderr);
    assert.match(warnings(ending)[0]!, /shared .* not paged.*FRONTSWAP_SHARED=1/);
    assert.match(ending.stderr, /frontswap: 0 memories/);
  },
);

test('FRONTSWAP_SHARED=1 pages them, without a warning', options, async () => {
  const ending = await under(['-e', makeTwo], { FRONTSWAP_SHARED: '1' });
  assert.equal(ending.code, 0, ending.stderr);
  assert.deepEqual(warnings(ending), []);
  assert.match(ending.stderr, /frontswap: 2 memories/);
});

test('an unshared memory is paged beside a shared one', options, async () => {
  const ending = await under(['-e', `${makeTwo}; new WebAssembly.Memory({ initial: 1 })`]);
  assert.equal(ending.code, 0, ending.stderr);
  assert.match(ending.stderr, /frontswap: 1 memory,/);
});

test('three threads that wait in a paged shared memory finish', pagedOptions(), () =>
  finishes([waiters], 'intact\n', 1, { FRONTSWAP_SHARED: '1' }),
);

test(
  'a program with pthreads has the same result when its memory is paged',
  pagedOptions(),
  async () => {
    await finishes(pthreads, await plain(pthreads), 1, { FRONTSWAP_SHARED: '1' });
  },
);
