/**
 * Faults injected into stored pages, the swap file, its disk and the fault thread. Only the access to a damaged page
 * fails, by SIGBUS or an error; damaged bytes are never returned as data.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { truncateSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SwapError } from '../../src/base/errors.ts';
import type { MemorySwap } from '../../src/memory/memory-swap.ts';
import { openSwap } from '../../src/memory/open-swap.ts';
import type { PagedArray } from '../../src/memory/paged-array.ts';
import { openSwapFile } from '../../src/memory/swap-file.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { canPoison, skipUnlessCallsFault, skipUnlessPaging } from '../support/fixtures/paging.ts';
import { type Ending, endingOf } from './ending.ts';
import { DAMAGED, isNoise, KEPT, noise, overwrite, PAGES } from './noise.ts';
import { damageStored } from './stored-bytes.ts';

const MiB = 2 ** 20;
const PAGE = 4096;
const FILE_BYTES = 8 * MiB;
const program = fileURLToPath(new URL('./children/damage.js', import.meta.url));
const options = { skip: skipUnlessPaging, timeout: 120_000 };

/** Path of a file in a folder that is removed after the test. */
const fileFor = (t: TestContext): string => `${testFolder(t)}/swap`;

/** Runs the child, under `limits` of the shell if given. */
async function run(
  mode: string,
  path: string,
  limits = '',
  environment: NodeJS.ProcessEnv = {},
): Promise<Ending> {
  const script = `ulimit -c 0; ${limits} exec "$0" "$@"`;
  const env = { ...process.env, ...environment };
  return endingOf(spawn('/bin/sh', ['-c', script, process.execPath, program, mode, path], { env }));
}

const damages: readonly (readonly [string, string, string])[] = [
  ['truncated', 'its swap file is cut short', 'its device could not read it'],
  ['overwritten', 'its swap file is written over', 'its device could not read it'],
  ['damaged', 'its bytes in compressed RAM change', 'its stored bytes fail their checksum'],
];

for (const [mode, what, why] of damages)
  test(
    `an access to a page gets SIGBUS when ${what}, and one line names region and page`,
    options,
    async (t) => {
      const { signal, stdout, stderr } = await run(mode, fileFor(t));
      assert.equal(stdout, 'others fine\n', stderr);
      assert.equal(signal, canPoison ? 'SIGBUS' : 'SIGABRT', stderr);
      const then = canPoison ? 'accessing it raises SIGBUS' : 'this kernel cannot poison it: .*';
      assert.match(
        stderr,
        new RegExp(`^frontswap: region 1, page ${DAMAGED} is lost: ${why}; ${then}\\n$`),
      );
    },
  );

for (const faults of ['thread', 'signal'])
  test(
    `${faults}: an access to a page gets SIGBUS when its swap file is cut short and every second system call fails`,
    options,
    async (t) => {
      const mode = 'truncated, where calls fail';
      const { signal, stdout, stderr } = await run(mode, fileFor(t), '', {
        FRONTSWAP_FAULTS: faults,
      });
      assert.equal(stdout, 'others fine\n', stderr);
      assert.equal(signal, canPoison ? 'SIGBUS' : 'SIGABRT', stderr);
      assert.match(
        stderr,
        new RegExp(`^frontswap: region 1, page ${DAMAGED} is lost: [^\\n]+\\n$`),
      );
    },
  );

const whyNotRoot =
  process.getuid?.() === 0 ? false : 'needs root: the kernel faults on behalf of the process';

test('a system call on a lost page fails, and after discard() the page is zeros', {
  ...options,
  skip:
    skipUnlessPaging ||
    skipUnlessCallsFault ||
    whyNotRoot ||
    (canPoison ? false : 'this kernel cannot poison pages'),
}, async (t) => {
  const { code, stdout, stderr } = await run('given to a system call', fileFor(t));
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^E[A-Z]+\nzeros\n$/);
  assert.match(stderr, new RegExp(`^frontswap: region 1, page ${DAMAGED} is lost: [^\\n]+\\n$`));
});

for (const mode of ['impossible call'])
  test(
    `an error in the fault thread ends the process with one line: ${mode}`,
    options,
    async (t) => {
      const { code, signal, stderr } = await run(mode, fileFor(t));
      assert.deepEqual([code, signal], [70, null], stderr);
      assert.match(
        stderr,
        /^frontswap: the fault thread has failed, ending the process: InvariantError: [^\n]+\n$/,
      );
    },
  );

test('on a full disk pages stay in memory and are counted, and no page is lost', {
  ...options,
  skip:
    options.skip || (process.env['FRONTSWAP_FAULTS'] === 'memfd' && 'ulimit limits memory files'),
}, async (t) => {
  const path = fileFor(t);
  openSwapFile({ kind: 'file', path, sizeBytes: FILE_BYTES, keep: true })[Symbol.dispose]();
  // No file may grow beyond 2 MiB: writes beyond that fail as on a full file system.
  const { code, stdout, stderr } = await run('full', path, 'ulimit -f 4096;');
  assert.deepEqual([code, stdout], [0, 'nothing lost\n'], stderr);
});

// The same without userfaultfd.

function filledArray(path: string | null): { swap: MemorySwap; array: PagedArray } {
  const swap = openSwap({
    transparent: false,
    frontswap: { limitBytes: path === null ? 64 * MiB : MiB },
    devices: path === null ? [] : [{ kind: 'file', path, sizeBytes: FILE_BYTES, keep: true }],
  });
  const array = swap.array({ type: 'uint8', length: PAGES * PAGE, residentBytes: MiB / 2 });
  for (let page = 0; page < PAGES; page++) array.write(page * PAGE, noise(page));
  array.evict();
  assert.ok(path === null || swap.stats().devicePages > PAGES / 2);
  return { swap, array };
}

function pageOf(array: PagedArray, page: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(PAGE);
  array.read(page * PAGE, bytes);
  return bytes;
}

/** Each access to a lost page fails until the page is discarded; then it reads as zeros and can be used again. */
function isLostThenZeros(array: PagedArray, page: number): void {
  for (const touch of [() => array.get(page * PAGE), () => array.set(page * PAGE + 1, 1)])
    assert.throws(touch, (error: SwapError) => {
      assert.ok(error instanceof SwapError);
      assert.deepEqual([error.code, error.facts['page']], ['ERR_IO_LOST', page]);
      assert.match(error.message, new RegExp(`page ${page} `));
      return true;
    });
  assert.ok(array.stats().lostPages > 0);
  array.discard({ offset: page * PAGE, length: PAGE });
  assert.deepEqual(pageOf(array, page), new Uint8Array(PAGE));
  array.write(page * PAGE, noise(page + 1));
  assert.ok(isNoise(pageOf(array, page), page + 1));
}

for (const [what, damage] of [
  ['its swap file is cut short', (path: string) => truncateSync(path, PAGE)],
  ['its swap file is written over', overwrite],
] as const)
  test(`an access to an array names the lost page when ${what}, and resident pages stay`, (t) => {
    const path = fileFor(t);
    const { swap, array } = filledArray(path);
    using _swap = swap;
    assert.ok(isNoise(pageOf(array, KEPT), KEPT));
    damage(path);
    assert.ok(isNoise(pageOf(array, KEPT), KEPT));
    isLostThenZeros(array, DAMAGED);
    assert.ok(isNoise(pageOf(array, KEPT), KEPT));
    assert.equal(array.stats().lostPages, 0);
    // Pages written from now on are stored in the same file and can be read back.
    for (let page = PAGES / 2; page < PAGES; page++) {
      array.discard({ offset: page * PAGE, length: PAGE });
      array.write(page * PAGE, noise(page));
    }
    array.evict();
    for (let page = PAGES / 2; page < PAGES; page++) assert.ok(isNoise(pageOf(array, page), page));
  });

test('an access to an array names the lost page when its bytes in compressed RAM change; other pages are intact', {
  skip: process.platform === 'linux' ? false : 'reads /proc/self/maps',
}, () => {
  const { swap, array } = filledArray(null);
  using _swap = swap;
  assert.equal(damageStored(noise(DAMAGED).subarray(0, 64)), 1);
  for (let page = 0; page < PAGES; page++)
    if (page !== DAMAGED) assert.ok(isNoise(pageOf(array, page), page), `page ${page}`);
  assert.equal(array.stats().lostPages, 0);
  isLostThenZeros(array, DAMAGED);
  assert.equal(array.stats().lostPages, 0);
});
