/** What AsyncPages and WorkerPages must both do: the terms of the asynchronous page calls, as tests. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Budget } from '../../src/arena/budget.ts';
import type { QueueOptions } from '../../src/async/async-queue.ts';
import {
  AsyncFlush,
  NOT_STARTED,
  type PageCalls,
  PageOp,
  runPage,
} from '../../src/async/async-results.ts';
import { Prng } from '../../src/base/prng.ts';
import { type Slot, slot } from '../../src/base/units.ts';
import { GetResult, PutResult } from '../../src/store/results.ts';
import { Store } from '../../src/store/store.ts';
import { makePage, pageKinds } from '../model/pages.ts';

export interface Terms extends QueueOptions {
  readonly slots: number;
  readonly limitBytes: number;
}
export type Open = (terms: Terms) => PageCalls;

/** A queue that loses a page hangs; this makes it a failure. */
const guard = { timeout: 60_000 };

export const slots = (from: number, to: number): Slot[] =>
  Array.from({ length: to - from }, (_, i) => slot(from + i));
const emptyPages = (count: number): Uint8Array[] =>
  Array.from({ length: count }, () => new Uint8Array(4096).fill(0xee));
/** A page of any kind, told by its seed. */
export function somePage(seed: number): Uint8Array {
  const page = new Uint8Array(4096);
  makePage(pageKinds[seed % pageKinds.length]!, new Prng(seed), page);
  return page;
}
export const somePages = (from: number, to: number): Uint8Array[] =>
  Array.from({ length: to - from }, (_, i) => somePage(from + i));

const seed = Number(process.env['SEED'] ?? 22);

/** One call of a random history: its slots, its pages, and the single calls' answers and pages. */
interface Step {
  readonly op: PageOp;
  readonly slots: Slot[];
  readonly pages: Uint8Array[];
  readonly expected: number[];
  readonly expectedPages: Uint8Array[];
}

/** A random call, and the same as single calls on the twin. */
function nextStep(prng: Prng, twin: Store, ops: readonly PageOp[]): Step {
  const op = ops[prng.below(ops.length)]!;
  const count = prng.below(40);
  const chosen = Array.from({ length: count }, () => slot(prng.below(twin.slots)));
  const pages =
    op === PageOp.put
      ? Array.from({ length: count }, () => somePage(prng.below(1 << 20)))
      : op === PageOp.get
        ? emptyPages(count)
        : [];
  const expectedPages = pages.map((page) => page.slice());
  const none = new Uint8Array(0);
  const expected = chosen.map((s, i) => runPage(twin, op, s, expectedPages[i] ?? none, 0));
  return { op, slots: chosen, pages, expected, expectedPages };
}

const callOf = (calls: PageCalls, { op, slots: chosen, pages }: Step): Promise<number[]> =>
  op === PageOp.put
    ? calls.putMany(chosen, pages)
    : op === PageOp.get
      ? calls.getMany(chosen, pages)
      : calls.flushMany(chosen);

/** Runs a random history without awaiting between calls; every answer and page as from single calls. */
export async function checkHistory(
  calls: PageCalls,
  terms: Terms,
  ops: readonly PageOp[],
): Promise<Map<number, number>> {
  const twin = new Store({ slots: terms.slots, budget: new Budget(terms.limitBytes) });
  const prng = new Prng(seed);
  const seen = new Map<number, number>();
  for (let round = 0; round < 10; round++) {
    const steps = Array.from({ length: 30 }, () => nextStep(prng, twin, ops));
    const answers = await Promise.all(steps.map((step) => callOf(calls, step)));
    for (const [i, step] of steps.entries()) {
      assert.deepEqual(answers[i], step.expected, `SEED=${seed} round ${round} call ${i}`);
      assert.deepEqual(step.pages, step.expectedPages, `SEED=${seed} round ${round} call ${i}`);
      for (const answer of answers[i]!) {
        const key = step.op * 10 + answer;
        seen.set(key, (seen.get(key) ?? 0) + 1);
      }
    }
  }
  return seen;
}

/** Declares the tests of the terms. */
export function testPageCalls(name: string, open: Open): void {
  test(`${name}: C22 calls of k pages answer as k single calls do`, guard, async () => {
    const terms = { slots: 300, limitBytes: 0, batchPages: 7, queueMax: 100 };
    await using calls = open(terms);
    const seen = await checkHistory(calls, terms, [
      PageOp.put,
      PageOp.put,
      PageOp.get,
      PageOp.flush,
    ]);
    for (const [op, answers] of [
      [PageOp.put, [PutResult.stored, PutResult.sameFilled]],
      [PageOp.get, [GetResult.found, GetResult.absent]],
      [PageOp.flush, [AsyncFlush.flushed, AsyncFlush.absent]],
    ] as const)
      for (const answer of answers) assert.ok(seen.get(op * 10 + answer)! > 100);
  });

  test(`${name}: a page that finds no room is refused alone`, guard, async () => {
    await using calls = open({ slots: 1000, limitBytes: 600_000, batchPages: 16 });
    const answers = await calls.putMany(slots(0, 1000), somePages(0, 1000));
    assert.ok(answers.includes(PutResult.refused) && answers.includes(PutResult.stored));
    const into = emptyPages(1000);
    const got = await calls.getMany(slots(0, 1000), into);
    for (let n = 0; n < 1000; n++) {
      assert.equal(got[n], answers[n] === PutResult.refused ? GetResult.absent : GetResult.found);
      if (got[n] === GetResult.found) assert.deepEqual(into[n], somePage(n));
    }
  });

  test(`${name}: the calls of a slot are done in their order without an await`, guard, async () => {
    await using calls = open({ slots: 4, limitBytes: 0, batchPages: 1, queueMax: 2 });
    const [first, second, last] = emptyPages(3) as [Uint8Array, Uint8Array, Uint8Array];
    const answers = await Promise.all([
      calls.put(slot(1), somePage(5)),
      calls.get(slot(1), first),
      calls.put(slot(1), somePage(6)),
      calls.get(slot(1), second),
      calls.flush(slot(1)),
      calls.get(slot(1), last),
      calls.flush(slot(1)),
    ]);
    assert.deepEqual(answers, [
      PutResult.stored,
      GetResult.found,
      PutResult.stored,
      GetResult.found,
      AsyncFlush.flushed,
      GetResult.absent,
      AsyncFlush.absent,
    ]);
    assert.deepEqual([first, second], [somePage(5), somePage(6)]);
    assert.deepEqual(last, emptyPages(1)[0], 'what is absent leaves the page alone');
  });

  test(`${name}: an abort takes back what has not begun, and nothing else`, guard, async () => {
    await using calls = open({ slots: 100, limitBytes: 0, batchPages: 1, queueMax: 8 });
    const aborter = new AbortController();
    const { signal } = aborter;
    const call = calls.putMany(slots(0, 50), somePages(0, 50), { signal });
    const other = calls.putMany(slots(50, 60), somePages(50, 60));
    const behind = calls.put(slot(60), somePage(60), { signal });
    for (let i = 0; i < 3; i++) await turn();
    aborter.abort();
    const answers = await call;
    const begun = answers.indexOf(NOT_STARTED);
    assert.ok(begun >= 1 && begun <= 4, `${begun} pages had begun`);
    assert.ok(answers.slice(begun).every((answer) => answer === NOT_STARTED));
    assert.equal(await behind, NOT_STARTED);
    assert.ok(!(await other).includes(NOT_STARTED));
    const got = await calls.getMany(slots(0, 61), emptyPages(61));
    for (let n = 0; n < 61; n++)
      assert.equal(
        got[n],
        n < begun || (n >= 50 && n < 60) ? GetResult.found : GetResult.absent,
        `page ${n}`,
      );
    assert.deepEqual(await calls.flushMany(slots(0, 2), { signal }), [NOT_STARTED, NOT_STARTED]);
    assert.equal(await calls.get(slot(0), emptyPages(1)[0]!), GetResult.found);
  });

  test(`${name}: the queue holds queueMax pages, the others wait at the door`, guard, async () => {
    await using calls = open({ slots: 200, limitBytes: 0, batchPages: 4, queueMax: 8 });
    const order: number[] = [];
    const all = Array.from({ length: 20 }, async (_, i) => {
      await calls.putMany(slots(i * 10, i * 10 + 10), somePages(i * 10, i * 10 + 10));
      order.push(i);
    });
    let hasRoom = false;
    const room = calls.ready().then(() => {
      hasRoom = true;
      assert.ok(calls.queuedPages < 8);
    });
    let most = 0;
    while (order.length < 20) {
      most = Math.max(most, calls.queuedPages);
      if (order.length < 15) assert.equal(hasRoom, false);
      await turn();
    }
    await Promise.all([...all, room]);
    assert.equal(most, 8);
    assert.equal(calls.queuedPages, 0);
    assert.deepEqual(
      order,
      Array.from({ length: 20 }, (_, i) => i),
    );
    await calls.ready();
    const got = await calls.getMany(slots(0, 200), emptyPages(200));
    assert.ok(got.every((answer) => answer === GetResult.found));
  });

  test(`${name}: a producer that awaits room stays within queueMax and a call`, guard, async () => {
    await using calls = open({ slots: 200, limitBytes: 0, batchPages: 2, queueMax: 4 });
    const answers: Promise<number>[] = [];
    let unanswered = 0;
    let most = 0;
    for (let n = 0; n < 200; n++) {
      await calls.ready();
      assert.ok(calls.queuedPages < 4);
      unanswered++;
      most = Math.max(most, unanswered);
      const answer = calls.put(slot(n), somePage(n));
      answers.push(answer);
      answer.then(() => unanswered--);
    }
    assert.ok(!(await Promise.all(answers)).includes(PutResult.refused));
    assert.ok(most <= 8, `${most}: a queue and as many under way`);
  });

  test(`${name}: closing answers what is there and takes nothing more`, guard, async () => {
    const calls = open({ slots: 100, limitBytes: 0, batchPages: 4, queueMax: 8 });
    const call = calls.putMany(slots(0, 100), somePages(0, 100));
    let answered = false;
    call.then(() => {
      answered = true;
    });
    const closed = calls[Symbol.asyncDispose]();
    const ended = { code: 'ERR_IO_ENDED', facts: { reason: 'the adapter is closed' } };
    await assert.rejects(calls.put(slot(0), somePage(0)), ended);
    await closed;
    assert.ok(answered, 'answered before the adapter is closed');
    assert.ok((await call).every((a) => a === PutResult.stored || a === PutResult.sameFilled));
    await calls[Symbol.asyncDispose]();
    await assert.rejects(calls.getMany([], []), ended);
    await assert.rejects(calls.ready(), ended);
  });

  test(`${name}: what cannot be used is an error before anything is begun`, guard, async () => {
    await using calls = open({ slots: 10, limitBytes: 0 });
    const wrong = { code: 'ERR_ARG_VALUE' };
    const [a, b] = somePages(0, 2) as [Uint8Array, Uint8Array];
    await assert.rejects(calls.putMany([slot(0), 10 as Slot], [a, b]), wrong);
    await assert.rejects(calls.putMany([slot(0), -1 as Slot], [a, b]), wrong);
    await assert.rejects(calls.putMany([slot(0), 1.5 as Slot], [a, b]), wrong);
    await assert.rejects(calls.putMany([slot(0), slot(1)], [a]), wrong);
    await assert.rejects(calls.putMany([slot(0), slot(1)], [a, b.subarray(1)]), wrong);
    await assert.rejects(calls.get(slot(0), new Uint8Array(4097)), wrong);
    await assert.rejects(calls.flush(10 as Slot), wrong);
    assert.deepEqual(await calls.flushMany(slots(0, 10)), new Array(10).fill(AsyncFlush.absent));
    assert.deepEqual(await calls.putMany([], []), []);
    const none = { slots: 10, limitBytes: 0 };
    assert.throws(() => open({ ...none, batchPages: 0 }), wrong);
    assert.throws(() => open({ ...none, batchPages: 4, queueMax: 3 }), wrong);
  });
}
