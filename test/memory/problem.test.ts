/** What is wrong is an event of the swap: once each time that it begins, from the event loop, with a code and facts. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, truncateSync, writeSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { explicitSwap } from '../../src/memory/explicit-swap.ts';
import { type MemorySwap, memorySwap } from '../../src/memory/memory-swap.ts';
import { openSwap } from '../../src/memory/open-swap.ts';
import type { ProblemCode, SwapProblem } from '../../src/memory/problem.ts';
import { testFolder } from '../support/fixtures/folder.ts';
import { canPoison, skipUnlessPaging } from '../support/fixtures/paging.ts';
import { endingOf } from './ending.ts';
import { DAMAGED, noise, overwrite, PAGES } from './noise.ts';

const MiB = 2 ** 20;
const PAGE = 4096;
const register = new URL('../../src/memory/register.js', import.meta.url).href;
const options = { skip: skipUnlessPaging, timeout: 60_000 };

const fileFor = (t: TestContext): string => `${testFolder(t)}/swap`;

/** Notes what a swap tells. */
function listen(swap: MemorySwap): SwapProblem[] {
  const told: SwapProblem[] = [];
  swap.on('problem', (problem) => told.push(problem));
  return told;
}

const codes = (told: readonly SwapProblem[]): ProblemCode[] => told.map(({ code }) => code);

/** Until so many are told, or for as long as the test may last. */
async function until(told: readonly SwapProblem[], count: number): Promise<void> {
  while (told.length < count) await sleep(20);
}

/** Pages of a buffer get what compresses to a third, or not at all. */
function fill(buffer: ArrayBufferLike, pages: number, isPoor: boolean): void {
  for (let page = 0; page < pages; page++)
    new Uint8Array(buffer, page * PAGE, PAGE).set(isPoor ? noise(page) : noise(page).fill(0, 1365));
}

test(
  'a full store is told, and again when it has had room; never while the program works',
  options,
  async () => {
    using swap = openSwap({ frontswap: { limitBytes: 2 * MiB }, residentBytes: MiB });
    const told = listen(swap);
    const region = swap.map({ bytes: 32 * MiB });
    fill(region.buffer, 8192, false);
    fill(region.buffer, 8192, false);
    assert.deepEqual(codes(told), [], 'no event loop has turned');
    await until(told, 2);
    assert.deepEqual(codes(told), ['STORE_FULL', 'OVER_BUDGET']);
    const [full, over] = told;
    assert.equal(full!.facts['limitBytes'], 2 * MiB);
    assert.ok(Number(full!.facts['usedBytes']) > 1.5 * MiB);
    assert.equal(over!.facts['reason'], 'full');
    assert.ok(Number(over!.facts['residentBytes']) > MiB);
    assert.match(full!.message, /raise the limit/);
    fill(region.buffer, 8192, false);
    await sleep(600); // two quiet polls of the fault thread
    assert.equal(told.length, 2, 'it goes on, and is not told again');
    region.discard();
    await sleep(600);
    fill(region.buffer, 8192, false);
    await until(told, 4);
    assert.deepEqual(codes(told.slice(2)), ['STORE_FULL', 'OVER_BUDGET']);
  },
);

test('pages that do not compress: over budget, and why', options, async () => {
  using swap = openSwap({ residentBytes: MiB });
  const told = listen(swap);
  const region = swap.map({ bytes: 8 * MiB });
  fill(region.buffer, 2048, true);
  await until(told, 1);
  assert.deepEqual(codes(told), ['OVER_BUDGET']);
  assert.equal(told[0]!.facts['reason'], 'incompressible');
  assert.match(told[0]!.message, /swap file/);
});

test('a swap that has room is never in problem', options, async () => {
  using swap = openSwap({ residentBytes: MiB });
  const told = listen(swap);
  const region = swap.map({ bytes: 16 * MiB });
  fill(region.buffer, 4096, false);
  fill(region.buffer, 4096, false);
  await sleep(600);
  assert.equal(told.length, 0);
});

test('a lost page is told, with its region and place', {
  ...options,
  skip: skipUnlessPaging || (!canPoison && 'this kernel cannot poison a page'),
}, async (t) => {
  const path = fileFor(t);
  using swap = openSwap({
    frontswap: { limitBytes: MiB },
    devices: [{ kind: 'file', path, sizeBytes: 8 * MiB, keep: true }],
  });
  const told = listen(swap);
  const region = swap.map({ bytes: PAGES * PAGE, residentBytes: MiB / 2 });
  fill(region.buffer, PAGES, true);
  region.evict();
  truncateSync(path, PAGE);
  const given = new Uint8Array(region.buffer, DAMAGED * PAGE, PAGE);
  if (swap.needsPin(given)) return t.skip('a fault in a system call is not served here');
  assert.throws(() => writeSync(openSync(`${path}.copy`, 'w'), given), { code: 'EFAULT' });
  assert.equal(told.length, 0);
  await until(told, 1);
  assert.deepEqual(codes(told), ['PAGE_LOST']);
  const { id } = region.handle;
  const facts = { region: id, page: DAMAGED, offset: DAMAGED * PAGE, reason: 'device' };
  assert.deepEqual(told[0]!.facts, facts);
});

test('once() and off(), and events.once() waits for it', options, async () => {
  using swap = openSwap({ residentBytes: MiB });
  let calls = 0;
  const count = (): void => {
    calls++;
  };
  assert.equal(swap.on('problem', count).once('problem', count).off('problem', count), swap);
  const came = once(swap as unknown as NodeJS.EventEmitter, 'problem');
  fill(swap.map({ bytes: 8 * MiB }).buffer, 2048, true);
  const [problem] = (await came) as [SwapProblem];
  assert.equal(problem.code, 'OVER_BUDGET');
  assert.equal(calls, 1, 'of two listeners one is gone');
});

test('only the thread that opened a swap has listeners', options, async () => {
  using swap = openSwap({ residentBytes: MiB });
  const code = `const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.url).then(({ joinSwap }) => {
      try { joinSwap(workerData.control).on('problem', () => {}); }
      catch (error) { parentPort.postMessage([error.code, error.facts.reason]); }
    });`;
  const url = new URL('../../src/index.js', import.meta.url).href;
  const worker = new Worker(code, { eval: true, workerData: { url, control: swap.control } });
  const [message] = await once(worker, 'message');
  assert.deepEqual(message, ['ERR_IO_UNSUPPORTED', 'thread']);
});

// Without userfaultfd.

test('memory that cannot be paged is told to who wanted it to be', async () => {
  using swap = memorySwap(explicitSwap({ limitBytes: MiB, devices: [] }, 'because', true));
  using quiet = memorySwap(explicitSwap({ limitBytes: MiB, devices: [] }, 'because', false));
  const [told, none] = [listen(swap), listen(quiet)];
  await sleep(10);
  assert.deepEqual(codes(told), ['NOT_PAGED']);
  assert.deepEqual(told[0]!.facts, { reason: 'because' });
  assert.deepEqual(none, []);
});

test('an array: a full store, and a lost page, after the call that met them', async (t) => {
  const path = fileFor(t);
  using swap = openSwap({
    transparent: false,
    frontswap: { limitBytes: MiB },
    devices: [{ kind: 'file', path, sizeBytes: 4 * MiB, keep: true }],
  });
  const told = listen(swap);
  swap.array({ type: 'uint8', length: PAGE, residentBytes: MiB / 2 });
  const array = swap.array({ type: 'uint8', length: 8 * MiB, residentBytes: MiB / 2 });
  let page = 0;
  assert.throws(
    () => {
      for (; ; page++) array.write(page * PAGE, noise(page));
    },
    { code: 'ERR_IO_NO_ROOM' },
  );
  assert.equal(told.length, 0);
  await sleep(10);
  // The spare frames of an array are beyond its budget.
  assert.deepEqual(codes(told), ['STORE_FULL', 'OVER_BUDGET']);
  overwrite(path);
  const last = page;
  let lost = 0;
  for (page = 0; page < last && lost === 0; page++)
    try {
      array.get(page * PAGE);
    } catch (error) {
      if ((error as { code: string }).code === 'ERR_IO_LOST') lost = page;
    }
  await sleep(10);
  assert.deepEqual(codes(told), ['STORE_FULL', 'OVER_BUDGET', 'PAGE_LOST']);
  const facts = { region: 2, page: lost, offset: lost * PAGE, reason: 'device' };
  assert.deepEqual(told[2]!.facts, facts);
});

// Under register.

test(
  'register tells of memories that are left alone, and what its engine tells',
  options,
  async () => {
    const code = `import { problems } from ${JSON.stringify(register)};
    const told = [];
    problems.on('problem', ({ code, facts }) => told.push(code + ' ' + facts.reason));
    new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    const bytes = new Uint8Array(new WebAssembly.Memory({ initial: 64 }).buffer);
    for (let at = 0; at < bytes.length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
    if (told.length > 0) throw new Error('too early');
    while (told.length < 3) await new Promise((done) => setTimeout(done, 20));
    console.log(JSON.stringify(told));`;
    const env = { ...process.env, FRONTSWAP_RESIDENT: '1M' };
    const args = ['--import', register, '--input-type=module', '-e', code];
    const ending = await endingOf(spawn(process.execPath, args, { env }));
    assert.equal(ending.code, 0, ending.stderr);
    const wanted = ['NOT_PAGED shared', 'NOT_PAGED shared', 'OVER_BUDGET incompressible'];
    assert.deepEqual(JSON.parse(ending.stdout), wanted);
  },
);
