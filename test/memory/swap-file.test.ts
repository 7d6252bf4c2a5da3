/** A swap file is private to this process and removed when it ends. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { SwapError } from '../../src/base/errors.ts';
import { openSwap } from '../../src/index.ts';
import { openSwapFile } from '../../src/memory/swap-file.ts';
import { loadNativeFaults } from '../../src/os/native-faults.ts';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';

const MiB = 2 ** 20;
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'frontswap-file-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = (path: string, keep = false): ReturnType<typeof openSwapFile> =>
  openSwapFile({ kind: 'file', path, sizeBytes: MiB, keep });

const refusal = (code: string) => (error: unknown) =>
  error instanceof SwapError && error.code === code;

test('a file created by the swap has no name and leaves nothing behind', () => {
  const path = join(folder, 'swap');
  using _file = open(path);
  assert.equal(existsSync(path), false);
});

test('with keep the file stays, private to its owner, and is a swap area that can be used again', () => {
  const path = join(folder, 'swap');
  open(path, true)[Symbol.dispose]();
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(statSync(path).size, MiB);
  open(path, true)[Symbol.dispose]();
  assert.ok(existsSync(path), 'an existing file is not removed');
});

test('a device has at least ten full pages, and a priority from 0 to 32766', () => {
  const tryWith = (sizeBytes: number, priority?: number): void => {
    const path = join(folder, 'swap');
    const device = { kind: 'file' as const, path, sizeBytes };
    const devices = [priority === undefined ? device : { ...device, priority }];
    openSwap({ transparent: false, frontswap: { limitBytes: MiB }, devices })[Symbol.dispose]();
  };
  const PAGE = 4096;
  for (const size of [9 * PAGE, 10 * PAGE - 1, 10 * PAGE + 1, 0, -PAGE, 10.5, Number.NaN])
    assert.throws(() => tryWith(size), refusal('ERR_ARG_VALUE'), `${size} bytes`);
  tryWith(10 * PAGE);
  for (const priority of [-1, 32767, 0.5, Number.NaN])
    assert.throws(() => tryWith(MiB, priority), refusal('ERR_ARG_VALUE'), `priority ${priority}`);
  for (const priority of [0, 32766]) tryWith(MiB, priority);
});

test('limitBytes must be an integer of at least 0, and the error names the option', () => {
  const tryWith = (limitBytes: number): void =>
    openSwap({ transparent: false, frontswap: { limitBytes } })[Symbol.dispose]();
  for (const limitBytes of [-1, 0.5, Number.NaN, 2 ** 53])
    assert.throws(() => tryWith(limitBytes), {
      code: 'ERR_ARG_VALUE',
      message: /^openSwap\(\{ frontswap \}\): limitBytes is /,
    });
  for (const limitBytes of [0, MiB]) tryWith(limitBytes);
});

test('a file is used by one swap at a time, also within this process', () => {
  const path = join(folder, 'swap');
  using _first = open(path, true);
  assert.throws(() => open(path), refusal('ERR_IO_IN_USE'));
});

test('a file that other users may modify is refused', () => {
  const path = join(folder, 'swap');
  writeFileSync(path, '', { mode: 0o600 });
  chmodSync(path, 0o640);
  assert.throws(() => open(path), refusal('ERR_IO_UNSAFE_PATH'));
  chmodSync(path, 0o600);
  linkSync(path, join(folder, 'second name'));
  assert.throws(() => open(path), refusal('ERR_IO_UNSAFE_PATH'));
  symlinkSync(path, join(folder, 'link'));
  assert.throws(() => open(join(folder, 'link')), refusal('ERR_IO_UNSAFE_PATH'));
});

test('a file of another user is not used', {
  skip: process.getuid?.() === 0 ? false : 'needs root, to change the owner of a file',
}, () => {
  const path = join(folder, 'swap');
  writeFileSync(path, '', { mode: 0o600 });
  chownSync(path, 65534, 65534);
  assert.throws(() => open(path), refusal('ERR_IO_UNSAFE_PATH'));
});

test('a file that is not a swap area is not overwritten', () => {
  const path = join(folder, 'letter');
  writeFileSync(path, 'dear reader', { mode: 0o600 });
  assert.throws(() => open(path), refusal('ERR_IO_SWAP_HEADER'));
  assert.equal(readFileSync(path, 'utf8'), 'dear reader');
});

test('child processes do not inherit its descriptors', {
  skip: process.platform !== 'linux',
}, () => {
  using _file = open(join(folder, 'swap'));
  const { stdout } = spawnSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' });
  assert.doesNotMatch(stdout, /frontswap-file-/);
});

function descriptorsOf(path: string): number {
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // of the directory that was read
    }
  });
  return targets.filter((target) => target.startsWith(path)).length;
}

test('the blocks of a file are freed when the worker that opened it is terminated', {
  skip: skipUnlessPaging || loadNativeFaults().reason || false,
  timeout: 60_000,
}, async () => {
  const path = join(folder, 'swap');
  const index = new URL('../../src/index.js', import.meta.url).href;
  const code = `import(${JSON.stringify(index)}).then(({ openSwap }) => {
    const devices = [{ kind: 'file', path: ${JSON.stringify(path)}, sizeBytes: ${MiB} }];
    globalThis.swap = openSwap({ faults: 'thread', devices });
    require('node:worker_threads').parentPort.postMessage(swap.faults);
    setInterval(() => {}, 1000);
  })`;
  const worker = new Worker(code, { eval: true });
  const faults = await new Promise((done, fail) =>
    worker.once('message', done).once('error', fail),
  );
  assert.equal(faults, 'thread');
  assert.equal(descriptorsOf(path), 3);
  await worker.terminate();
  while (descriptorsOf(path) > 0) await sleep(20); // native code looks for its engine from time to time
});
