import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { AcceptQueue, GRACE_MS } from '../../../src/nbd/server/accept-queue.ts';

interface Rig {
  readonly queue: AcceptQueue<number>;
  readonly started: number[];
  readonly refused: number[];
  readonly endedBefore: number[];
  readonly wait: (ms: number) => void;
}

function rig(
  t: TestContext,
  limits: { negotiatingMax: number; perSecond: number; waitingMax: number },
): Rig {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 0;
  const [started, refused, endedBefore]: [number[], number[], number[]] = [[], [], []];
  const queue = new AcceptQueue<number>({
    ...limits,
    nowMs: () => now,
    start: (one) => started.push(one),
    refuse: (one) => refused.push(one),
    endOldest: (beforeMs) => endedBefore.push(beforeMs),
  });
  const wait = (ms: number): void => {
    for (let i = 0; i < ms; i++) {
      now++;
      t.mock.timers.tick(1);
    }
  };
  return { queue, started, refused, endedBefore, wait };
}

const offer = ({ queue }: Rig, count: number): void => {
  for (let i = 0; i < count; i++) queue.offer(i);
};

test('a burst of connections starts at once, the rest at the rate, in order', (t) => {
  const made = rig(t, { negotiatingMax: 1000, perSecond: 100, waitingMax: 1000 });
  offer(made, 100);
  assert.equal(made.started.length, 50);
  assert.equal(made.queue.waitingCount, 50);
  made.wait(101);
  assert.equal(made.started.length, 60);
  made.wait(450);
  assert.deepEqual(
    made.started,
    Array.from({ length: 100 }, (_, i) => i),
  );
  assert.equal(made.queue.waitingCount, 0);
});

test('rate 0 is unlimited', (t) => {
  const made = rig(t, { negotiatingMax: 1000, perSecond: 0, waitingMax: 1 });
  offer(made, 1000);
  assert.equal(made.started.length, 1000);
});

test('at most negotiatingMax connections negotiate and waitingMax wait; the others are refused', (t) => {
  const made = rig(t, { negotiatingMax: 3, perSecond: 0, waitingMax: 2 });
  offer(made, 7);
  assert.deepEqual(
    [made.started, made.refused],
    [
      [0, 1, 2],
      [5, 6],
    ],
  );
  made.wait(10);
  assert.equal(made.started.length, 3);
  made.queue.ended();
  made.wait(1);
  assert.deepEqual([made.started, made.queue.negotiatingCount], [[0, 1, 2, 3], 3]);
});

test('while connections wait, old negotiations are ended', (t) => {
  const made = rig(t, { negotiatingMax: 1, perSecond: 0, waitingMax: 2 });
  offer(made, 1);
  made.wait(500);
  assert.deepEqual(made.endedBefore, [], 'none waits');
  offer(made, 1);
  made.wait(1);
  assert.deepEqual(made.endedBefore, [501 - GRACE_MS]);
});

test('dispose() refuses the waiting connections', (t) => {
  const made = rig(t, { negotiatingMax: 1, perSecond: 0, waitingMax: 5 });
  offer(made, 3);
  made.queue.dispose();
  assert.deepEqual(made.refused, [1, 2]);
  made.queue.ended();
  made.wait(10);
  assert.deepEqual(made.started, [0]);
});
