/** The memory examples at a small size: paged programs from npm give the same answers as in RAM, within their memory bound. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { openSwap } from '../../src/memory/open-swap.ts';

const examples = join(dirname(fileURLToPath(import.meta.url)), '../../examples/memory');
const { transparent, reason } = openSwap();
const skip = transparent ? false : `no userfaultfd: ${reason}`;

interface Ran {
  readonly code: number;
  readonly printed: string;
  readonly said: string;
}

/**
 * Runs an example. Node can hang at the end of a process whose code V8 still compiles in the background
 * (https://github.com/nodejs/node/issues/54918): a run that takes minutes is killed and repeated once.
 */
async function ran(name: string, ...args: string[]): Promise<Ran> {
  const command = [join(examples, `${name}.js`), ...args];
  for (let isLast = false; ; isLast = true) {
    try {
      const options = { timeout: 120_000 };
      const { stdout, stderr } = await promisify(execFile)(process.execPath, command, options);
      return { code: 0, printed: stdout, said: stderr };
    } catch (error) {
      const { code, killed, stdout, stderr } = error as Failure;
      if (killed && !isLast) continue;
      return { code, printed: stdout, said: stderr };
    }
  }
}

interface Failure {
  readonly code: number;
  readonly killed: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

interface Document {
  readonly claims: readonly { readonly claim: string; readonly holds: boolean }[];
  readonly runs: Readonly<
    Record<string, Ran & { readonly swap: Readonly<Record<string, number>> }>
  >;
}

/**
 * The output of the example. Small runs prove nothing about RSS: that of the runtime varies by more than the paged memory.
 * The bound applies to `--full`, where the example checks it.
 */
async function document(name: string, ...args: string[]): Promise<Document> {
  const { code, printed, said } = await ran(name, '--json', ...args);
  assert.equal(said, '');
  const found = JSON.parse(printed) as Document;
  const isRss = ({ claim }: { readonly claim: string }): boolean => claim.startsWith('peak RSS');
  const missed = found.claims.filter(({ holds }) => !holds);
  assert.deepEqual(
    missed.filter((claim) => !isRss(claim)),
    [],
  );
  assert.equal(code, missed.length === 0 ? 0 : 1);
  return found;
}

const swapOf = ({ runs }: Document, run: string): Readonly<Record<string, number>> => {
  const swap = runs[run]!.swap;
  assert.ok(swap['pageOuts']! > 0 && swap['pageIns']! > 0, 'pages were swapped out and in');
  return swap;
};

test('SQLite, unchanged, with a database four times its budget: same answers, and its integrity check passes', {
  skip,
}, async () => {
  const found = await document('sqlite', '--size', '40000', '--resident', '1536K');
  assert.equal(found.claims.length, 5);
  assert.equal(swapOf(found, 'paged')['refused'], 0);
});

test('an R-tree in a region has the same answers as one in RAM', { skip }, async () => {
  swapOf(await document('spatial', '--size', '40000', '--resident', '512K'), 'paged');
});

test('a region sixteen times its budget reads as it was written', { skip }, async () => {
  const found = await document('large', '--size', '64', '--resident', '4M');
  assert.equal(found.claims.length, 3);
  assert.ok(swapOf(found, 'paged')['storedPages']! > 0, 'pages were swapped out');
});

test('vectors that do not compress go to a file, and are found there', { skip }, async () => {
  const swap = swapOf(await document('vectors', '--size', '10000', '--resident', '512K'), 'paged');
  assert.ok(swap['devicePages']! > 0);
});

test('an external sort in regions and in PagedArrays has the same result as one in RAM', {
  skip,
}, async () => {
  const found = await document('sort', '--size', '100000', '--resident', '512K');
  swapOf(found, 'regions');
  swapOf(found, 'PagedArray');
});

test('an example whose claim does not hold says so and exits 1: a database that fits its budget', {
  skip,
}, async () => {
  const { code, printed, said } = await ran('sqlite', '--size', '100', '--resident', '8M');
  assert.deepEqual({ code, said }, { code: 1, said: '' });
  assert.match(printed, /^NO {3}the database is 0\.0 times the budget, at least 4$/m);
  assert.match(printed, /^NO {3}peak RSS, paged: [\d.]+M, is less than in RAM: [\d.]+M$/m);
  assert.match(printed, /^in RAM +[\d.]+M +[\d.]+ s\npaged +[\d.]+M +[\d.]+ s$/m);
});

test('a program that ends while its meter loads native code waits for the load', {
  skip,
  timeout: 60_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'frontswap-meter-'));
  const [hook, begun, done] = ['hook.cjs', 'begun', 'done'].map((name) => join(folder, name));
  // Only in the meter's thread: loading koffi takes time.
  const slowKoffi = `
    const { workerData } = require('node:worker_threads');
    const { writeFileSync } = require('node:fs');
    const Module = require('node:module');
    const load = Module._load;
    if (workerData?.meterOf !== undefined) Module._load = function (name, ...rest) {
      if (!name.includes('koffi')) return Reflect.apply(load, this, [name, ...rest]);
      writeFileSync(${JSON.stringify(begun)}, '');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
      const loaded = Reflect.apply(load, this, [name, ...rest]);
      writeFileSync(${JSON.stringify(done)}, '');
      return loaded;
    };`;
  const program = `
    new WebAssembly.Memory({ initial: 1 });
    const { existsSync } = await import('node:fs');
    while (!existsSync(${JSON.stringify(begun)})) await new Promise((next) => setTimeout(next, 5));`;
  try {
    writeFileSync(hook!, slowKoffi);
    const own = (name: string): string => join(examples, name);
    const imports = ['--import', own('../../src/memory/register.js')];
    imports.push('--import', own('meter-import.js'));
    const child = spawn(process.execPath, [...imports, '--input-type=module', '-e', program], {
      env: {
        ...{ ...process.env, FRONTSWAP_RESIDENT: '1M' },
        ...{ METER_FD: '3', NODE_OPTIONS: `--require ${hook}` },
      },
      stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    });
    (child.stdio[3] as Readable).resume();
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
    assert.deepEqual({ code, signal }, { code: 0, signal: null });
    assert.ok(existsSync(done!), 'the thread was stopped while it loaded koffi');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the demo, not on a terminal, prints plain lines and ends with a summary', {
  skip,
}, async () => {
  const { code, printed } = await ran('demo', '--size', '500', '--resident', '512K');
  assert.equal(code, 0);
  assert.match(printed, /^scan .* 500 rows, \d+ bytes$/m);
  assert.match(printed, /^a database of .* pages out, \d+ in/m);
  assert.match(
    printed,
    /^plain +[\d.]+M +[\d.]+ s\npaged +[\d.]+M +[\d.]+ s$/m,
    'side by side, no bar',
  );
  assert.match(printed, /^RSS = base \+ floor \+ resident \+ data \/ ratio/m);
  assert.ok(!printed.includes('\x1b'), 'no terminal sequences');
});

test('examples print help, and errors name the invalid option', async () => {
  for (const name of ['sqlite', 'spatial', 'vectors', 'sort', 'large', 'demo']) {
    const help = await ran(name, '--help');
    assert.equal(help.code, 0);
    assert.match(help.printed, /--resident SIZE/);
  }
  const wrong = await ran('sort', '--size', 'many');
  assert.equal(wrong.code, 2);
  assert.match(wrong.said, /^sort: --size many/);
});
