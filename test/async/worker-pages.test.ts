/** WorkerPages: the contract of the calls, and how its worker starts, ends and fails. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import { Budget } from '../../src/arena/budget.ts';
import { WorkerPages } from '../../src/async/worker-pages.ts';
import { InvariantError } from '../../src/base/assert.ts';
import type { SwapError } from '../../src/base/errors.ts';
import { slot } from '../../src/base/units.ts';
import { PutResult } from '../../src/store/results.ts';
import { Store } from '../../src/store/store.ts';
import { type Setup, slots, somePage, somePages, testPageCalls } from './async-calls.ts';

const setup: Setup = { slots: 500, limitBytes: 0, batchPages: 8, queueMax: 32 };

/** Also returns the worker, which the process announces. */
async function openWithWorker(): Promise<{ calls: WorkerPages; worker: Worker }> {
  const made = once(process, 'worker') as Promise<[Worker]>;
  const calls = new WorkerPages(setup);
  const [worker] = await made;
  return { calls, worker };
}

testPageCalls('WorkerPages', (t) => new WorkerPages(t));

test('WorkerPages: storedPages and usedBytes are those of its store', async () => {
  const twin = new Store({ slots: setup.slots, budget: new Budget(0) });
  await using calls = new WorkerPages(setup);
  assert.deepEqual([calls.storedPages, calls.usedBytes], [0, 0]);
  await calls.putMany(slots(0, 300), somePages(0, 300));
  for (let n = 0; n < 300; n++) twin.put(slot(n), somePage(n), 0);
  assert.deepEqual([calls.storedPages, calls.usedBytes], [300, twin.usedBytes]);
  await calls.flushMany(slots(0, 300));
  assert.equal(calls.storedPages, 0);
  assert.ok(calls.usedBytes < twin.usedBytes / 4, 'after the result of a flush its bytes are free');
});

test('WorkerPages: closing ends the worker with status 0', async () => {
  const { calls, worker } = await openWithWorker();
  const exit = once(worker, 'exit');
  const call = calls.putMany(slots(0, 200), somePages(0, 200));
  await calls[Symbol.asyncDispose]();
  assert.deepEqual(await exit, [0]);
  assert.ok(!(await call).includes(PutResult.refused));
});

test('WorkerPages: when the worker ends, unanswered and later calls reject', async () => {
  const { calls, worker } = await openWithWorker();
  await calls.putMany(slots(0, 10), somePages(0, 10));
  const call = calls.putMany(slots(0, 500), somePages(0, 500));
  const ready = calls.ready();
  const gone = { code: 'ERR_IO_ENDED', message: /the worker that stored them has ended/ };
  const rejected = Promise.all([assert.rejects(call, gone), assert.rejects(ready, gone)]);
  await worker.terminate();
  await rejected;
  await assert.rejects(calls.put(slot(0), somePage(0)), gone);
  await calls[Symbol.asyncDispose]();
});

test('WorkerPages: an exception in the worker is the cause of the rejection', async () => {
  const { calls, worker } = await openWithWorker();
  const call = calls.putMany(slots(0, 500), somePages(0, 500));
  worker.postMessage(1000); // no such cell
  await assert.rejects(call, (error: SwapError) => {
    assert.equal(error.code, 'ERR_IO_ENDED');
    assert.match(error.message, /failed/);
    const cause = error.cause as Error;
    return cause.message === new InvariantError('0 <= cell < cells').message;
  });
  await calls[Symbol.asyncDispose]();
  await assert.rejects(calls.ready(), { code: 'ERR_IO_ENDED' });
});

test('WorkerPages: invalid options are an error at once', () => {
  const wrong = { code: 'ERR_ARG_VALUE' };
  assert.throws(() => new WorkerPages({ ...setup, slots: 0 }), wrong);
  assert.throws(() => new WorkerPages({ ...setup, limitBytes: -1 }), wrong);
});
