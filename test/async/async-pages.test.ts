/** AsyncPages: the contract of the calls, and what a test can observe with the store in this thread. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { AsyncPages } from '../../src/async/async-pages.ts';
import { NOT_STARTED, PageOp, type PageStore } from '../../src/async/async-results.ts';
import { InvariantError } from '../../src/base/assert.ts';
import type { SwapError } from '../../src/base/errors.ts';
import { slot } from '../../src/base/units.ts';
import { PutResult } from '../../src/store/results.ts';
import { Store } from '../../src/store/store.ts';
import {
  checkHistory,
  type Setup,
  slots,
  somePage,
  somePages,
  testPageCalls,
} from './async-calls.ts';

const storeOf = ({ slots, limitBytes }: Setup): Store =>
  new Store({ slots, budget: new Budget(limitBytes) });

/** A store that reports the slot of each put before it runs. */
const watched = (store: Store, onPut: (slot: number) => void): PageStore => ({
  slots: store.slots,
  put: (at, source, from) => {
    onPut(at);
    return store.put(at, source, from);
  },
  get: (at, target, to) => store.get(at, target, to),
  drop: (at) => store.drop(at),
  maintain: (changed) => store.maintain(changed),
});

testPageCalls('AsyncPages', ({ slots, limitBytes, ...options }) => {
  return new AsyncPages(storeOf({ slots, limitBytes }), options);
});

test('C22 AsyncPages: a store that refuses, overwrites and frees', async () => {
  const setup = { slots: 300, limitBytes: 500_000 };
  const store = storeOf(setup);
  // The twin runs single calls without maintenance between them.
  const plain: PageStore = {
    slots: store.slots,
    put: (at, source, from) => store.put(at, source, from),
    get: (at, target, to) => store.get(at, target, to),
    drop: (at) => store.drop(at),
    maintain: () => false,
  };
  await using calls = new AsyncPages(plain, { batchPages: 5, queueMax: 50 });
  const seen = await checkHistory(calls, setup, [
    PageOp.put,
    PageOp.put,
    PageOp.put,
    PageOp.get,
    PageOp.flush,
  ]);
  assert.ok(seen.get(PageOp.put * 10 + PutResult.refused)! > 20, 'the store was sometimes full');
  store.verify();
});

test('AsyncPages: no page is processed in the turn of the call, and a batch takes one turn', async () => {
  const store = storeOf({ slots: 100, limitBytes: 0 });
  let turns = 0;
  const turnOf: number[] = [];
  const calls = new AsyncPages(
    watched(store, () => turnOf.push(turns)),
    { batchPages: 10 },
  );
  let done = false;
  const count = (): void => {
    turns++;
    if (!done) setImmediate(count);
  };
  count();
  const call = calls.putMany(slots(0, 30), somePages(0, 30));
  assert.equal(turnOf.length, 0);
  await call;
  done = true;
  const turnsUsed = new Set(turnOf);
  assert.equal(turnsUsed.size, 3, 'other work runs between batches');
  for (const at of turnsUsed) assert.equal(turnOf.filter((t) => t === at).length, 10);
});

test('AsyncPages: an abort within a batch lets the batch finish', async () => {
  const store = storeOf({ slots: 100, limitBytes: 0 });
  const aborter = new AbortController();
  const calls = new AsyncPages(
    watched(store, (at) => {
      if (at === 5) aborter.abort();
    }),
    { batchPages: 4, queueMax: 8 },
  );
  const { signal } = aborter;
  const answers = await calls.putMany(slots(0, 20), somePages(0, 20), { signal });
  assert.deepEqual(
    answers.map((answer) => answer === NOT_STARTED),
    Array.from({ length: 20 }, (_, n) => n >= 8),
  );
  assert.equal(store.storedPages, 8);
  assert.equal(calls.queuedPages, 0);
});

test('AsyncPages: an exception of the store ends the adapter and is the cause', async () => {
  const store = storeOf({ slots: 100, limitBytes: 0 });
  const bug = new InvariantError('made to fail');
  const calls = new AsyncPages(
    watched(store, (at) => {
      if (at === 5) throw bug;
    }),
    { batchPages: 4, queueMax: 8 },
  );
  const first = calls.putMany(slots(0, 4), somePages(0, 4));
  const second = calls.putMany(slots(4, 40), somePages(4, 40));
  const ready = calls.ready();
  const ended = (error: SwapError): boolean => error.code === 'ERR_IO_ENDED' && error.cause === bug;
  await Promise.all([assert.rejects(second, ended), assert.rejects(ready, ended)]);
  assert.equal((await first).length, 4);
  await assert.rejects(calls.put(slot(0), somePage(0)), ended);
  await calls[Symbol.asyncDispose]();
  assert.equal(calls.queuedPages, 0);
});

test('AsyncPages: store maintenance runs after each batch, with the number of changed pages', async () => {
  const store = storeOf({ slots: 100, limitBytes: 0 });
  const maintained: number[] = [];
  const calls = new AsyncPages(
    {
      ...watched(store, () => {}),
      maintain: (changed) => {
        maintained.push(changed);
        return store.maintain(changed);
      },
    },
    { batchPages: 4 },
  );
  await calls.putMany(slots(0, 10), somePages(0, 10));
  await calls.getMany(slots(0, 10), somePages(0, 10));
  await calls.flushMany(slots(0, 3));
  assert.deepEqual(maintained, [4, 4, 2, 3]);
});
