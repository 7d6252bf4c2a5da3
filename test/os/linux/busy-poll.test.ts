/** When a thread polls before it sleeps. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BusyPoll } from '../../../src/os/linux/busy-poll.ts';

/** The waits without polling before the next one with it. */
function pausesOf(poll: BusyPoll): number {
  for (let pauses = 0; ; pauses++) {
    if (poll.begins()) return pauses;
    assert.ok(pauses < 10_000, 'polling resumes');
  }
}

/** `count` waits whose polling finds an answer. */
function answered(poll: BusyPoll, count: number): void {
  for (let i = 0; i < count; i++) {
    assert.ok(poll.begins());
    poll.ends(true);
  }
}

test('after each wait in vain, twice as many waits go without polling, up to 1023', () => {
  const poll = new BusyPoll(() => 0);
  answered(poll, 1000);
  const pauses: number[] = [];
  for (let i = 0; i < 12; i++) {
    pauses.push(pausesOf(poll));
    poll.ends(false);
  }
  assert.deepEqual(pauses, [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 1023]);
});

test('sixteen answers in a row make the next pause short again', () => {
  for (const [answers, pause] of [
    [15, 7],
    [16, 1],
  ] as const) {
    const poll = new BusyPoll(() => 0);
    for (let i = 0; i < 2; i++) {
      pausesOf(poll);
      poll.ends(false);
    }
    assert.equal(pausesOf(poll), 3);
    poll.ends(true);
    answered(poll, answers - 1);
    assert.ok(poll.begins());
    poll.ends(false);
    assert.equal(pausesOf(poll), pause);
  }
});

test('a thread that loses its processor while it polls stops polling', () => {
  let switches = 1000;
  const poll = new BusyPoll(() => switches);
  const answersWith = (added: number): void => {
    answered(poll, 15);
    switches += added;
    answered(poll, 1);
  };
  answersWith(3); // every busy thread has some
  switches += 100; // while it does not poll
  answersWith(3);
  assert.equal(pausesOf(poll), 0);
  poll.ends(true);
  answered(poll, 14);
  switches += 4;
  answered(poll, 1);
  assert.equal(pausesOf(poll), 1);
});
