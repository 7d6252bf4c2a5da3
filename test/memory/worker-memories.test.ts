/** Memories of worker threads under `frontswap/register`: paged in the budget of the process, and freed with the thread. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { type Ending, endingOf } from './ending.ts';

const options = { skip: skipUnlessPaging, timeout: 240_000 };
const register = new URL('../../src/memory/register.js', import.meta.url).href;
const program = fileURLToPath(new URL('./children/worker-memory.js', import.meta.url));

const RESIDENT = 2 * 2 ** 20;

function run(...args: readonly string[]): Promise<Ending> {
  const env = {
    ...process.env,
    FRONTSWAP_WORKERS: args[0] === 'default' ? '' : '1',
    FRONTSWAP_RESIDENT: `${RESIDENT}`,
    FRONTSWAP_STATS: '1',
  };
  return endingOf(spawn(process.execPath, ['--import', register, program, ...args], { env }));
}

const memories = ({ stderr }: Ending): number =>
  Number(/frontswap: (\d+) memor(?:y|ies)/.exec(stderr)?.[1] ?? -1);

/** What is left of threads that have ended. */
const nothing = { storedPages: 0, residentBytes: 0, hasPaged: true };

/** Nothing is left of the workers, and the memory that the main thread pages after them is kept in the budget. */
function checkMain({ stdout, stderr }: Ending): void {
  const { residentAtLast, ...rest } = JSON.parse(stdout) as { residentAtLast: number };
  assert.deepEqual(rest, { wrong: 0, ...nothing }, stderr);
  assert.ok(residentAtLast <= RESIDENT, `${residentAtLast} bytes are resident`);
}

test(
  'a worker pages its memory, and its end frees every page: return, exit, error, no memory, terminate, in a collection',
  options,
  async () => {
    const ended = await run('ends', '12');
    assert.equal(ended.code, 0, ended.stderr);
    checkMain(ended);
  },
);

test(
  'workers terminated at any time leak nothing and do not end the process',
  options,
  async () => {
    const ended = await run('random', '40');
    assert.deepEqual([ended.code, ended.signal], [0, null], ended.stderr);
    checkMain(ended);
  },
);

test('the worker of a worker also pages its memory', options, async () => {
  const ended = await run('nested');
  assert.deepEqual(JSON.parse(ended.stdout), { wrong: 0, ...nothing }, ended.stderr);
  assert.equal(memories(ended), 2);
});

test('when the process exits, no worker reads a wrong page', options, async () => {
  for (let i = 0; i < 4; i++) {
    const { code, stdout, stderr } = await run('exit');
    assert.deepEqual([code, stdout], [7, ''], stderr);
  }
});

test('without FRONTSWAP_WORKERS no memory of a worker is paged, and the process has no hooks for workers', {
  ...options,
  timeout: 15_000,
}, async () => {
  const ended = await run('default');
  const { stdout, stderr } = ended;
  assert.deepEqual(JSON.parse(stdout), { wrong: 0, environment: false, isNative: true }, stderr);
  assert.equal(memories(ended), 1, 'that of the main thread');
});

test('a shared memory of a worker is not paged', options, async () => {
  const ended = await run('shared');
  const expected = { wrong: 0, ...nothing, hasPaged: false };
  assert.deepEqual([ended.code, JSON.parse(ended.stdout)], [0, expected], ended.stderr);
  assert.equal(memories(ended), 0);
});

test('NODE_OPTIONS loads register in the fault thread, too, which does not page itself', {
  ...options,
  timeout: 60_000,
}, async () => {
  const env = {
    ...process.env,
    FRONTSWAP_RESIDENT: `${RESIDENT}`,
    FRONTSWAP_WORKERS: '1',
    FRONTSWAP_STATS: '1',
    NODE_OPTIONS: `--import=${register}`,
  };
  const ended = await endingOf(spawn(process.execPath, [program, 'ends', '2'], { env }));
  assert.equal(ended.code, 0, ended.stderr);
  checkMain(ended);
});
