/** WorkerPages: the terms of the calls, and how a worker starts, ends and dies. */
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
import { slots, somePage, somePages, type Terms, testPageCalls } from './async-calls.ts';

const terms: Terms = { slots: 500, limitBytes: 0, batchPages: 8, queueMax: 32 };

/** Opens, and catches the worker as the process makes it. */
async function openWithWorker(): Promise<{ calls: WorkerPages; worker: Worker }> {
  const made = once(process, 'worker') as Promise<[Worker]>;
  const calls = new WorkerPages(terms);
  const [worker] = await made;
  return { calls, worker };
}

testPageCalls('WorkerPages', (t) => new WorkerPages(t));

test('WorkerPages: says what its store holds', async () => {
  const twin = new Store({ slots: terms.slots, budget: new Budget(0) });
  await using calls = new WorkerPages(terms);
  assert.deepEqual([calls.storedPages, calls.usedBytes], [0, 0]);
  await calls.putMany(slots(0, 300), somePages(0, 300));
  for (let n = 0; n < 300; n++) twin.put(slot(n), somePage(n), 0);
  assert.deepEqual([calls.storedPages, calls.usedBytes], [300, twin.usedBytes]);
  await calls.flushMany(slots(0, 300));
  assert.equal(calls.storedPages, 0);
  assert.ok(calls.usedBytes < twin.usedBytes / 4, 'a flush that is answered has freed its bytes');
});

test('WorkerPages: closing ends the worker in order', async () => {
  const { calls, worker } = await openWithWorker();
  const exit = once(worker, 'exit');
  const call = calls.putMany(slots(0, 200), somePages(0, 200));
  await calls[Symbol.asyncDispose]();
  assert.deepEqual(await exit, [0]);
  assert.ok(!(await call).includes(PutResult.refused));
});

test('WorkerPages: a worker that is gone rejects what it owes and what is asked after', async () => {
  const { calls, worker } = await openWithWorker();
  await calls.putMany(slots(0, 10), somePages(0, 10));
  const under = calls.putMany(slots(0, 500), somePages(0, 500));
  const room = calls.ready();
  const gone = { code: 'ERR_IO_ENDED', message: /the worker that held them is gone/ };
  const rejected = Promise.all([assert.rejects(under, gone), assert.rejects(room, gone)]);
  await worker.terminate();
  await rejected;
  await assert.rejects(calls.put(slot(0), somePage(0)), gone);
  await calls[Symbol.asyncDispose]();
});

test('WorkerPages: a fault in the worker reaches the caller as the cause', async () => {
  const { calls, worker } = await openWithWorker();
  const call = calls.putMany(slots(0, 500), somePages(0, 500));
  worker.postMessage(1000); // no such cell
  await assert.rejects(call, (error: SwapError) => {
    assert.equal(error.code, 'ERR_IO_ENDED');
    assert.match(error.message, /failed/);
    const cause = error.cause as Error;
    return cause.message === new InvariantError('a cell is in its ring').message;
  });
  await calls[Symbol.asyncDispose]();
  await assert.rejects(calls.ready(), { code: 'ERR_IO_ENDED' });
});

test('WorkerPages: options that no store takes are an error at once', () => {
  const wrong = { code: 'ERR_ARG_VALUE' };
  assert.throws(() => new WorkerPages({ ...terms, slots: 0 }), wrong);
  assert.throws(() => new WorkerPages({ ...terms, limitBytes: -1 }), wrong);
});
