/** The event `problem`: emitted once each time a problem starts, from the event loop, with a code and facts. */
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

/** Records the problems of a swap. */
function listen(swap: MemorySwap): SwapProblem[] {
  const reported: SwapProblem[] = [];
  swap.on('problem', (problem) => reported.push(problem));
  return reported;
}

const codes = (reported: readonly SwapProblem[]): ProblemCode[] => reported.map(({ code }) => code);

/** Waits until `count` problems were reported, or for the timeout of the test. */
async function until(reported: readonly SwapProblem[], count: number): Promise<void> {
  while (reported.length < count) await sleep(20);
}

/** Fills pages with data that compresses to a third, or not at all. */
function fill(buffer: ArrayBufferLike, pages: number, isPoor: boolean): void {
  for (let page = 0; page < pages; page++)
    new Uint8Array(buffer, page * PAGE, PAGE).set(isPoor ? noise(page) : noise(page).fill(0, 1365));
}

test(
  'a full store is reported once each time it becomes full, from the event loop',
  options,
  async () => {
    using swap = openSwap({ frontswap: { limitBytes: 2 * MiB }, residentBytes: MiB });
    const reported = listen(swap);
    const region = swap.map({ bytes: 32 * MiB });
    fill(region.buffer, 8192, false);
    fill(region.buffer, 8192, false);
    assert.deepEqual(codes(reported), [], 'no event loop has turned');
    await until(reported, 2);
    assert.deepEqual(codes(reported), ['STORE_FULL', 'OVER_BUDGET']);
    const [full, over] = reported;
    assert.equal(full!.facts['limitBytes'], 2 * MiB);
    // The facts are of this turn: slots of pages that were written since are free already.
    assert.ok(Number(full!.facts['usedBytes']) > MiB);
    assert.equal(over!.facts['reason'], 'full');
    assert.ok(Number(over!.facts['residentBytes']) > MiB);
    assert.match(full!.message, /raise the limit/);
    fill(region.buffer, 8192, false);
    await sleep(600); // two quiet polls of the fault thread
    assert.equal(reported.length, 2, 'the condition continues, and is not reported again');
    region.discard();
    await sleep(2000); // a problem that is absent for a second has ended
    fill(region.buffer, 8192, false);
    await until(reported, 4);
    assert.deepEqual(codes(reported.slice(2)), ['STORE_FULL', 'OVER_BUDGET']);
  },
);

test('many swaps, open together or closed in one turn, cause no warning', options, async () => {
  const warnings: Error[] = [];
  const listen = (warning: Error): number => warnings.push(warning);
  process.on('warning', listen);
  const before = process.listenerCount('exit');
  const swaps = Array.from({ length: 12 }, () => openSwap({ residentBytes: MiB }));
  for (const swap of swaps) swap.close();
  for (let i = 0; i < 12; i++) openSwap({ residentBytes: MiB }).close();
  await sleep(1);
  process.off('warning', listen);
  assert.deepEqual(warnings, []);
  while (process.listenerCount('exit') > before) await sleep(20); // the fault threads end
});

test('incompressible pages are reported as over budget, with the reason', options, async () => {
  using swap = openSwap({ residentBytes: MiB });
  const reported = listen(swap);
  const region = swap.map({ bytes: 8 * MiB });
  fill(region.buffer, 2048, true);
  await until(reported, 1);
  assert.deepEqual(codes(reported), ['OVER_BUDGET']);
  assert.equal(reported[0]!.facts['reason'], 'incompressible');
  assert.match(reported[0]!.message, /swap file/);
});

test('a swap with free space reports nothing', options, async () => {
  using swap = openSwap({ residentBytes: MiB });
  const reported = listen(swap);
  const region = swap.map({ bytes: 16 * MiB });
  fill(region.buffer, 4096, false);
  fill(region.buffer, 4096, false);
  await sleep(600);
  assert.equal(reported.length, 0);
});

test('a lost page is reported with its region and offset', {
  ...options,
  skip: skipUnlessPaging || (!canPoison && 'this kernel cannot poison a page'),
}, async (t) => {
  const path = fileFor(t);
  using swap = openSwap({
    frontswap: { limitBytes: MiB },
    devices: [{ kind: 'file', path, sizeBytes: 8 * MiB, keep: true }],
  });
  const reported = listen(swap);
  const region = swap.map({ bytes: PAGES * PAGE, residentBytes: MiB / 2 });
  fill(region.buffer, PAGES, true);
  region.evict();
  truncateSync(path, PAGE);
  const given = new Uint8Array(region.buffer, DAMAGED * PAGE, PAGE);
  if (swap.needsPin(given)) return t.skip('a fault in a system call is not served here');
  assert.throws(() => writeSync(openSync(`${path}.copy`, 'w'), given), { code: 'EFAULT' });
  assert.equal(reported.length, 0);
  await until(reported, 1);
  assert.deepEqual(codes(reported), ['PAGE_LOST']);
  const { id } = region.handle;
  const facts = { region: id, page: DAMAGED, offset: DAMAGED * PAGE, reason: 'device' };
  assert.deepEqual(reported[0]!.facts, facts);
});

test('once() and off() work, and events.once() waits for a problem', options, async () => {
  using swap = openSwap({ residentBytes: MiB });
  let calls = 0;
  const count = (): void => {
    calls++;
  };
  assert.equal(swap.on('problem', count).once('problem', count).off('problem', count), swap);
  const came = once(swap as unknown as NodeJS.EventEmitter, 'problem');
  fill(swap.map({ bytes: 8 * MiB }).buffer, 2048, true);
  const wait = setInterval(() => {}, 1000); // a listener does not keep the event loop alive
  const [problem] = (await came) as [SwapProblem];
  clearInterval(wait);
  assert.equal(problem.code, 'OVER_BUDGET');
  assert.equal(calls, 1, 'one of two listeners was removed');
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

test('memory that cannot be paged is reported only if paging was requested', async () => {
  using swap = memorySwap(explicitSwap({ limitBytes: MiB, devices: [] }, 'because', true));
  using quiet = memorySwap(explicitSwap({ limitBytes: MiB, devices: [] }, 'because', false));
  const [reported, none] = [listen(swap), listen(quiet)];
  await sleep(10);
  assert.deepEqual(codes(reported), ['NOT_PAGED']);
  assert.deepEqual(reported[0]!.facts, { reason: 'because' });
  assert.deepEqual(none, []);
});

test('an array reports a full store and a lost page after the call that found them', async (t) => {
  const path = fileFor(t);
  using swap = openSwap({
    transparent: false,
    frontswap: { limitBytes: MiB },
    devices: [{ kind: 'file', path, sizeBytes: 4 * MiB, keep: true }],
  });
  const reported = listen(swap);
  swap.array({ type: 'uint8', length: PAGE, residentBytes: MiB / 2 });
  const array = swap.array({ type: 'uint8', length: 8 * MiB, residentBytes: MiB / 2 });
  let page = 0;
  assert.throws(
    () => {
      for (; ; page++) array.write(page * PAGE, noise(page));
    },
    { code: 'ERR_IO_NO_ROOM' },
  );
  assert.equal(reported.length, 0);
  await sleep(10);
  // The spare frames of an array are beyond its budget.
  assert.deepEqual(codes(reported), ['STORE_FULL', 'OVER_BUDGET']);
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
  assert.deepEqual(codes(reported), ['STORE_FULL', 'OVER_BUDGET', 'PAGE_LOST']);
  const facts = { region: 2, page: lost, offset: lost * PAGE, reason: 'device' };
  assert.deepEqual(reported[2]!.facts, facts);
});

// Under register.

test(
  'register reports memories that are not paged, and the problems of its swap',
  options,
  async () => {
    const code = `import { problems } from ${JSON.stringify(register)};
    const reported = [];
    problems.on('problem', ({ code, facts }) => reported.push(code + ' ' + facts.reason));
    new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    const bytes = new Uint8Array(new WebAssembly.Memory({ initial: 64 }).buffer);
    for (let at = 0; at < bytes.length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
    if (reported.length > 0) throw new Error('too early');
    while (reported.length < 3) await new Promise((done) => setTimeout(done, 20));
    console.log(JSON.stringify(reported));`;
    const env = { ...process.env, FRONTSWAP_RESIDENT: '1M', FRONTSWAP_SHARED: '0' };
    const args = ['--import', register, '--input-type=module', '-e', code];
    const ending = await endingOf(spawn(process.execPath, args, { env }));
    assert.equal(ending.code, 0, ending.stderr);
    const expected = ['NOT_PAGED shared', 'NOT_PAGED shared', 'OVER_BUDGET incompressible'];
    assert.deepEqual(JSON.parse(ending.stdout), expected);
  },
);
