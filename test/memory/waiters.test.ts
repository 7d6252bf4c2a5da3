/**
 * Threads that wait in shared memory, under register: see "Can a program deadlock?" in docs/design/memory.md.
 *
 *   waiters    three threads in Atomics.wait(), nothing else
 *   pthreads   a package from npm that was compiled by Emscripten with pthreads (libvips)
 *
 * Each runs with its memory not paged, as under register where JavaScript serves faults, and with its memory paged and
 * native code serving the faults, which is the default.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { testFolder } from '../support/fixtures/folder.ts';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { type Ending, endingOf } from './ending.ts';

const register = new URL('../../src/memory/register.js', import.meta.url).href;
const childOf = (name: string): string =>
  fileURLToPath(new URL(`./children/${name}.js`, import.meta.url));
const waiters = childOf('waiters');
const pthreads = [childOf('pthreads'), '3'];
const options = { skip: skipUnlessPaging, timeout: 300_000 };
/** A hang is not certain: number of consecutive runs. */
const RUNS = 4;
/** `RUNS=20` for more. */
const NATIVE_RUNS = Number(process.env['RUNS'] ?? 2);
/** A hanging program is killed after this time; others run for a few seconds. */
const HANG_MS = 60_000;
/**
 * With `javascript` such a program hangs on nearly every run: the thread that waits holds V8's process-wide mutex while
 * it faults.
 */
const nativePaths = ['', 'thread', 'signal'] as const;

const under = (
  args: readonly string[],
  environment: NodeJS.ProcessEnv = {},
  identity: { readonly uid?: number; readonly gid?: number } = {},
): Promise<Ending> => {
  const env = { ...process.env, FRONTSWAP_RESIDENT: '1M', FRONTSWAP_STATS: '1', ...environment };
  const child = spawn(process.execPath, ['--import', register, ...args], { env, ...identity });
  return endingOf(child, undefined, HANG_MS);
};

const warnings = ({ stderr }: Ending): readonly string[] =>
  stderr.split('\n').filter((line) => line.includes('FrontswapWarning'));

/** Runs a program repeatedly: each run must end with the result of a plain run and page this many memories. */
async function finishes(
  args: readonly string[],
  result: string,
  memories: number,
  environment: NodeJS.ProcessEnv = {},
  runs: number = RUNS,
): Promise<void> {
  for (let run = 0; run < runs; run++) {
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

/** No mode is chosen: CI runs these tests with the variable set. */
const byDefault = { FRONTSWAP_FAULTS: '' };
const javascript = { FRONTSWAP_FAULTS: 'javascript' };

test('javascript: three threads that wait in a shared memory finish under register', options, () =>
  finishes([waiters], 'intact\n', 0, javascript),
);

test(
  'javascript: a program with pthreads has the same result as without register',
  options,
  async () => {
    const result = await plain(pthreads);
    assert.match(result, /^[0-9a-f]{64}\n$/);
    await finishes(pthreads, result, 0, javascript);
  },
);

const makeTwo = `const limits = { initial: 64, maximum: 64, shared: true };
  for (const memory of [new WebAssembly.Memory(limits), new WebAssembly.Memory(limits)]) {
    const bytes = new Uint8Array(memory.buffer);
    for (let at = 0; at < bytes.length; at += 4096) bytes[at] = at >>> 12;
    for (let at = 0; at < bytes.length; at += 4096) if (bytes[at] !== (at >>> 12 & 255)) throw at;
  }`;

test(
  'javascript: shared memories are not paged, and one warning names the variable that pages them',
  options,
  async () => {
    const ending = await under(['-e', makeTwo], javascript);
    assert.equal(ending.code, 0, ending.stderr);
    assert.equal(warnings(ending).length, 1, ending.stderr);
    assert.match(warnings(ending)[0]!, /shared .* not paged.*FRONTSWAP_SHARED=1/);
    assert.match(ending.stderr, /frontswap: 0 memories/);
  },
);

test('FRONTSWAP_SHARED=0: shared memories are not paged, without a warning', options, async () => {
  const ending = await under(['-e', makeTwo], { ...byDefault, FRONTSWAP_SHARED: '0' });
  assert.equal(ending.code, 0, ending.stderr);
  assert.deepEqual(warnings(ending), []);
  assert.match(ending.stderr, /frontswap: 0 memories/);
});

/** Page faults of system calls are served for root, whatever the machine allows others. */
const isRoot = process.getuid?.() === 0;
const asRoot = { ...options, skip: options.skip || (!isRoot && 'needs root') };

test('by default shared memories are paged, without a warning', asRoot, async () => {
  const ending = await under(['-e', makeTwo], byDefault);
  assert.equal(ending.code, 0, ending.stderr);
  assert.deepEqual(warnings(ending), []);
  assert.match(ending.stderr, /frontswap: 2 memories/);
});

test('by default at most 16 shared memories are paged, because none is freed', asRoot, async () => {
  const program = `for (let i = 0; i < 18; i++)
    new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true })`;
  const ending = await under(['-e', program], byDefault);
  assert.equal(ending.code, 0, ending.stderr);
  assert.equal(warnings(ending).length, 1, ending.stderr);
  assert.match(warnings(ending)[0]!, /only the first 16 shared .* FRONTSWAP_SHARED=1 pages all/);
  assert.match(ending.stderr, /frontswap: 16 memories/);
});

/** A worker writes evicted pages of a shared memory to a file, and reads a file to them. Its calls are not guarded. */
const workerCalls = `const { Worker } = require('node:worker_threads');
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 64, shared: true });
  new Uint8Array(memory.buffer).fill(1);
  new Worker(\`const fs = require('node:fs');
    const bytes = new Uint8Array(require('node:worker_threads').workerData.buffer);
    const sink = fs.openSync('/dev/shm/frontswap-' + process.pid, 'w+');
    fs.unlinkSync('/dev/shm/frontswap-' + process.pid);
    for (let at = 0; at < bytes.length; at += 65536) {
      fs.writeSync(sink, bytes, at, 4096, 0);
      fs.readSync(sink, bytes, at + 8192, 4096, 0);
    }
    console.log('done');\`, { eval: true, workerData: memory });`;

for (const identity of [{}, { uid: 65534, gid: 65534 }])
  test(
    `by default system calls of workers work on shared memory, ${'uid' in identity ? 'unprivileged' : 'privileged'}`,
    asRoot,
    async () => {
      const ending = await under(['-e', workerCalls], { ...byDefault, HOME: '/' }, identity);
      assert.deepEqual([ending.code, ending.stdout], [0, 'done\n'], ending.stderr);
    },
  );

test(
  'javascript: FRONTSWAP_SHARED=1 pages shared memories, without a warning',
  options,
  async () => {
    const ending = await under(['-e', makeTwo], { ...javascript, FRONTSWAP_SHARED: '1' });
    assert.equal(ending.code, 0, ending.stderr);
    assert.deepEqual(warnings(ending), []);
    assert.match(ending.stderr, /frontswap: 2 memories/);
  },
);

test('javascript: an unshared memory is paged beside a shared one', options, async () => {
  const program = `${makeTwo}; new WebAssembly.Memory({ initial: 1 })`;
  const ending = await under(['-e', program], javascript);
  assert.equal(ending.code, 0, ending.stderr);
  assert.match(ending.stderr, /frontswap: 1 memory,/);
});

for (const faults of nativePaths) {
  const environment = { FRONTSWAP_FAULTS: faults, FRONTSWAP_SHARED: '1' };
  const name = faults === '' ? 'by default' : faults;

  test(
    `${name}: with a swap file, three threads that wait in a paged shared memory finish`,
    options,
    (t) => {
      const file = `${testFolder(t)}/swap:64M`;
      const withFile = { ...environment, FRONTSWAP_FILE: file, FRONTSWAP_LIMIT: '64K' };
      return finishes([waiters], 'intact\n', 1, withFile, NATIVE_RUNS);
    },
  );

  test(`${name}: three threads that wait in a paged shared memory finish`, options, () =>
    finishes([waiters], 'intact\n', 1, environment, NATIVE_RUNS),
  );

  test(
    `${name}: a program with pthreads has the same result when its memory is paged`,
    options,
    async () => {
      await finishes(pthreads, await plain(pthreads), 1, environment, NATIVE_RUNS);
    },
  );
}
