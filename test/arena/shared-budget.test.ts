import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Budget } from '../../src/arena/budget.ts';
import { SharedBudget } from '../../src/arena/shared-budget.ts';
import { Prng } from '../../src/base/prng.ts';
import { testSeed } from '../support/fixtures/replay.ts';

const PAGE = 4096;

test('the limit is shared: the last page fits, one byte more does not', () => {
  const memory = SharedBudget.memory(4 * PAGE);
  const [a, b] = [new SharedBudget(memory), new SharedBudget(memory)];
  assert.equal(a.reserve(3 * PAGE), true);
  assert.equal(b.reserve(PAGE + 1), false);
  assert.equal(b.usedBytes, 3 * PAGE, 'a refusal changes nothing');
  assert.equal(b.reserve(PAGE), true);
  assert.equal(a.reserve(1), false);
  b.release(PAGE);
  assert.equal(a.reserve(1), true);
});

test('limit 0 is unlimited; a limit below the usage is refused', () => {
  const memory = SharedBudget.memory(0);
  const [a, b] = [new SharedBudget(memory), new SharedBudget(memory)];
  assert.equal(a.reserve(100 * PAGE), true);
  assert.equal(b.setLimit(100 * PAGE - 1), false);
  assert.equal(a.limitBytes, 0);
  assert.equal(b.setLimit(100 * PAGE), true);
  assert.deepEqual([a.limitBytes, a.reserve(1)], [100 * PAGE, false]);
  assert.throws(() => b.release(1), /released bytes <= reserved bytes/);
});

test("the usage of a shared budget is the sum of each thread's, rounded up to a page", () => {
  const seed = testSeed();
  const prng = new Prng(seed);
  const memory = SharedBudget.memory(64 * PAGE);
  const budgets = [new SharedBudget(memory), new SharedBudget(memory)];
  const held: number[][] = [[], []];
  const pagesOf = (at: number): number =>
    Math.ceil(held[at]!.reduce((sum, bytes) => sum + bytes, 0) / PAGE);
  for (let step = 0; step < 5000; step++) {
    const at = prng.below(2);
    if (prng.below(2) === 0) {
      const bytes = 1 + prng.below(3 * PAGE);
      held[at]!.push(bytes);
      const fits = pagesOf(0) + pagesOf(1) <= 64;
      if (!fits) held[at]!.pop();
      assert.equal(budgets[at]!.reserve(bytes), fits, `SEED=${seed}, step ${step}`);
    } else if (held[at]!.length > 0) budgets[at]!.release(held[at]!.pop()!);
    assert.equal(budgets[0]!.usedBytes, (pagesOf(0) + pagesOf(1)) * PAGE, `SEED=${seed}`);
  }
});

test('threads that reserve at the same time never exceed the limit', {
  timeout: 60_000,
}, async () => {
  const memory = SharedBudget.memory(10 * PAGE);
  const budget = new SharedBudget(memory);
  const url = new URL('../../src/arena/shared-budget.js', import.meta.url).href;
  const code = `
    const { workerData } = require('node:worker_threads');
    import(workerData.url).then(({ SharedBudget }) => {
      const budget = new SharedBudget(workerData.memory);
      for (let i = 0; i < 200000; i++) if (budget.reserve(4096 * (1 + i % 7))) {
        if (budget.usedBytes > 10 * 4096) process.exitCode = 2;
        budget.release(4096 * (1 + i % 7));
      }
    });`;
  const codes = await Promise.all(
    [0, 1].map(
      () =>
        new Promise<number>((resolve) => {
          const worker = new Worker(code, { eval: true, workerData: { url, memory } });
          worker.once('exit', resolve);
        }),
    ),
  );
  assert.deepEqual([codes, budget.usedBytes], [[0, 0], 0]);
});

test('a refused limit makes no reservation of another thread fail', {
  timeout: 60_000,
}, async () => {
  const memory = SharedBudget.memory(10 * PAGE);
  const budget = new SharedBudget(memory);
  const url = new URL('../../src/arena/shared-budget.js', import.meta.url).href;
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.url).then(({ SharedBudget }) => {
      const budget = new SharedBudget(workerData.memory);
      budget.reserve(2 * 4096);
      parentPort.postMessage('ready');
      for (let i = 0; i < 1000000; i++) {
        if (!budget.reserve(4096)) process.exitCode = 2;
        else budget.release(4096);
      }
    });`;
  const worker = new Worker(code, { eval: true, workerData: { url, memory } });
  const ended = new Promise<number>((resolve) => worker.once('exit', resolve));
  await new Promise((resolve) => worker.once('message', resolve));
  for (let i = 0; i < 1_000_000; i++) assert.equal(budget.setLimit(PAGE), false);
  assert.equal(await ended, 0);
});

test("a shared budget can be the parent of a disk's budget", () => {
  const budget = new SharedBudget(SharedBudget.memory(2 * PAGE));
  const disk = new Budget(0, budget);
  assert.deepEqual(
    [disk.reserve(2 * PAGE), disk.reserve(1), budget.usedBytes],
    [true, false, 2 * PAGE],
  );
});
