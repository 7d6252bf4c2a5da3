/** Tests of the contract that AsyncPages and WorkerPages share. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Budget } from '../../src/arena/budget.ts';
import type { QueueOptions } from '../../src/async/async-queue.ts';
import {
  type CallOptions,
  FlushResult,
  NOT_STARTED,
  type PageCalls,
  PageOp,
  runPage,
} from '../../src/async/async-results.ts';
import { Prng } from '../../src/base/prng.ts';
import { type Slot, slot } from '../../src/base/units.ts';
import { GetResult, PutResult } from '../../src/store/results.ts';
import { Store } from '../../src/store/store.ts';
import { makePage, pageKinds } from '../support/fixtures/pages.ts';

export interface Setup extends QueueOptions {
  readonly slots: number;
  readonly limitBytes: number;
}
export type Open = (setup: Setup) => PageCalls;

/** A queue that loses a page hangs; the timeout makes it a failure. */
const guard = { timeout: 60_000 };

export const slots = (from: number, to: number): Slot[] =>
  Array.from({ length: to - from }, (_, i) => slot(from + i));
const emptyPages = (count: number): Uint8Array[] =>
  Array.from({ length: count }, () => new Uint8Array(4096).fill(0xee));
/** A page whose kind and bytes depend on the seed. */
export function somePage(seed: number): Uint8Array {
  const page = new Uint8Array(4096);
  makePage(pageKinds[seed % pageKinds.length]!, new Prng(seed), page);
  return page;
}
export const somePages = (from: number, to: number): Uint8Array[] =>
  Array.from({ length: to - from }, (_, i) => somePage(from + i));

const seed = Number(process.env['SEED'] ?? 22);

/** One call of a random history, with the results and pages of the same single calls. */
interface Step {
  readonly op: PageOp;
  readonly slots: Slot[];
  readonly pages: Uint8Array[];
  readonly expected: number[];
  readonly expectedPages: Uint8Array[];
}

/** Makes a random call and runs it as single calls on the twin. */
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

/** Runs a random history without awaits between calls; compares every result and page with those of single calls. */
export async function checkHistory(
  calls: PageCalls,
  setup: Setup,
  ops: readonly PageOp[],
): Promise<Map<number, number>> {
  const twin = new Store({ slots: setup.slots, budget: new Budget(setup.limitBytes) });
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

/** Declares the tests of the contract. */
export function testPageCalls(name: string, open: Open): void {
  test(`C22 ${name}: a call of k pages has the results of k single calls`, guard, async () => {
    const setup = { slots: 300, limitBytes: 0, batchPages: 7, queueMax: 100 };
    await using calls = open(setup);
    const seen = await checkHistory(calls, setup, [
      PageOp.put,
      PageOp.put,
      PageOp.get,
      PageOp.flush,
    ]);
    for (const [op, answers] of [
      [PageOp.put, [PutResult.stored, PutResult.sameFilled]],
      [PageOp.get, [GetResult.found, GetResult.absent]],
      [PageOp.flush, [FlushResult.flushed, FlushResult.absent]],
    ] as const)
      for (const answer of answers) assert.ok(seen.get(op * 10 + answer)! > 100);
  });

  test(`${name}: a page without space is refused, and no other`, guard, async () => {
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

  test(`${name}: operations on one slot run in call order without awaits`, guard, async () => {
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
      FlushResult.flushed,
      GetResult.absent,
      FlushResult.absent,
    ]);
    assert.deepEqual([first, second], [somePage(5), somePage(6)]);
    assert.deepEqual(last, emptyPages(1)[0], 'a get that finds nothing leaves the page unchanged');
  });

  test(
    `${name}: an abort cancels the pages that have not been started, and no others`,
    guard,
    async () => {
      await using calls = open({ slots: 100, limitBytes: 0, batchPages: 1, queueMax: 8 });
      const aborter = new AbortController();
      const { signal } = aborter;
      const call = calls.putMany(slots(0, 50), somePages(0, 50), { signal });
      const other = calls.putMany(slots(50, 60), somePages(50, 60));
      const behind = calls.put(slot(60), somePage(60), { signal });
      for (let i = 0; i < 3; i++) await turn();
      aborter.abort();
      const answers = await call;
      const started = answers.indexOf(NOT_STARTED);
      assert.ok(started >= 1 && started <= 4, `${started} pages were started`);
      assert.ok(answers.slice(started).every((answer) => answer === NOT_STARTED));
      assert.equal(await behind, NOT_STARTED);
      assert.ok(!(await other).includes(NOT_STARTED));
      const got = await calls.getMany(slots(0, 61), emptyPages(61));
      for (let n = 0; n < 61; n++)
        assert.equal(
          got[n],
          n < started || (n >= 50 && n < 60) ? GetResult.found : GetResult.absent,
          `page ${n}`,
        );
      assert.deepEqual(await calls.flushMany(slots(0, 2), { signal }), [NOT_STARTED, NOT_STARTED]);
      assert.equal(await calls.get(slot(0), emptyPages(1)[0]!), GetResult.found);
    },
  );

  test(`${name}: the queue holds queueMax pages, the others wait in order`, guard, async () => {
    await using calls = open({ slots: 200, limitBytes: 0, batchPages: 4, queueMax: 8 });
    const order: number[] = [];
    const all = Array.from({ length: 20 }, async (_, i) => {
      await calls.putMany(slots(i * 10, i * 10 + 10), somePages(i * 10, i * 10 + 10));
      order.push(i);
    });
    let isReady = false;
    const ready = calls.ready().then(() => {
      isReady = true;
      assert.ok(calls.queuedPages < 8);
    });
    let most = 0;
    while (order.length < 20) {
      most = Math.max(most, calls.queuedPages);
      if (order.length < 15) assert.equal(isReady, false);
      await turn();
    }
    await Promise.all([...all, ready]);
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

  test(`${name}: a producer that awaits ready() stays within queueMax`, guard, async () => {
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
    assert.ok(most <= 8, `${most} pages: the queue, and as many in flight`);
  });

  test(
    `${name}: closing answers the calls in progress and refuses further ones`,
    guard,
    async () => {
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
      assert.ok(answered, 'all calls are answered before the adapter is closed');
      assert.ok((await call).every((a) => a === PutResult.stored || a === PutResult.sameFilled));
      await calls[Symbol.asyncDispose]();
      await assert.rejects(calls.getMany([], []), ended);
      await assert.rejects(calls.ready(), ended);
    },
  );

  test(`${name}: an invalid argument is an error before any page is started`, guard, async () => {
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
    await assert.rejects(calls.put(slot(0), 'page' as unknown as Uint8Array), wrong);
    const noSignal = { signal: {} as AbortSignal };
    await assert.rejects(calls.flush(slot(0), noSignal), wrong);
    const misspelt = { singal: new AbortController().signal } as CallOptions;
    await assert.rejects(calls.flush(slot(0), misspelt), {
      code: 'ERR_ARG_UNKNOWN',
      message: /no option 'singal'; did you mean 'signal'\?/,
    });
    const outside = { code: 'ERR_ARG_VALUE', message: /slot is 10; use an integer from 0 to 9/ };
    await assert.rejects(calls.flush(10 as Slot), outside);
    assert.deepEqual(await calls.flushMany(slots(0, 10)), new Array(10).fill(FlushResult.absent));
    assert.deepEqual(await calls.putMany([], []), []);
    const none = { slots: 10, limitBytes: 0 };
    assert.throws(() => open({ ...none, batchPages: 0 }), wrong);
    assert.throws(() => open({ ...none, batchPages: 4, queueMax: 3 }), wrong);
    assert.throws(() => open({ ...none, batchSize: 4 } as Setup), {
      code: 'ERR_ARG_UNKNOWN',
      message: /no option 'batchSize'; available options: .*batchPages/,
    });
  });
}
