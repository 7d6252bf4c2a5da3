/** WebAssembly memories with 64-bit addresses, under register. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { type Ending, endingOf } from './ending.ts';

const register = new URL('../../src/memory/register.js', import.meta.url).href;
const program = fileURLToPath(new URL('./children/memory64.js', import.meta.url));
const major = Number(process.versions.node.split('.')[0]);
const options = {
  skip: skipUnlessPaging || (major < 24 && 'needs Node 24: Memory64'),
  timeout: 120_000,
};

const run = (args: readonly string[]): Promise<Ending> => {
  const env = { ...process.env, FRONTSWAP_RESIDENT: '1M', FRONTSWAP_STATS: '1' };
  return endingOf(spawn(process.execPath, [...args], { env }));
};
const under = (...args: readonly string[]): Promise<Ending> => run(['--import', register, ...args]);
const warningsOf = ({ stderr }: Ending): readonly string[] =>
  stderr.split('\n').filter((line) => line.startsWith('(node:'));

test('a memory that grows past 4 GiB is paged on both sides of it', options, async () => {
  const [plain, paged] = [await run([program]), await under(program)];
  assert.deepEqual([plain.code, paged.code], [0, 0], plain.stderr + paged.stderr);
  assert.equal(plain.stdout, '1882 pages, 0 wrong, RuntimeError\n');
  assert.equal(paged.stdout, plain.stdout);
  assert.deepEqual(warningsOf(paged), []);
  const [, resident, stored] =
    /1 memory, ([\d.]+)K resident, ([\d.]+)M stored/.exec(paged.stderr) ?? [];
  assert.ok(Number(resident) <= 1024, paged.stderr);
  assert.ok(Number(stored) > 6, paged.stderr); // of 7.4 MiB, 4 of which lie beyond 4 GiB
});

test('a memory that begins above 4 GiB is paged', options, async () => {
  const code = `const memory = new WebAssembly.Memory({ address: 'i64', initial: 65552n, maximum: 65552n });
    const bytes = new Uint8Array(memory.buffer);
    for (let i = 0; i < 512; i++) bytes[2 ** 32 + (i % 256) * 4096 - (i >> 8) * 2 ** 20] = i % 255 + 1;
    for (let i = 0; i < 512; i++)
      if (bytes[2 ** 32 + (i % 256) * 4096 - (i >> 8) * 2 ** 20] !== i % 255 + 1) throw i;`;
  const ending = await under('-e', code);
  assert.equal(ending.code, 0, ending.stderr);
  assert.deepEqual(warningsOf(ending), []);
  assert.match(ending.stderr, /1 memory, .* resident, [\d.]+M stored/);
});

test(
  'a memory that may move when it grows is not paged, and one warning gives that reason',
  options,
  async () => {
    const ending = await under('--no-wasm-memory64-trap-handling', program);
    assert.equal(ending.stdout, '1882 pages, 0 wrong, RuntimeError\n', ending.stderr);
    assert.equal(warningsOf(ending).length, 1, ending.stderr);
    assert.match(warningsOf(ending)[0]!, /it may move when it grows/);
    assert.match(ending.stderr, /frontswap: 0 memories/);
  },
);
