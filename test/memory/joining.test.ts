/** Threads that join a swap while the process exits: exit waits for those that have begun, and refuses others. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { SwapError } from '../../src/base/errors.ts';
import { CONTROL_BYTES } from '../../src/memory/control-block.ts';
import { requestStop, ThreadGate } from '../../src/memory/thread-gate.ts';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';
import { endingOf } from './ending.ts';

const options = { skip: skipUnlessPaging, timeout: 300_000 };
const program = fileURLToPath(new URL('./children/joining.js', import.meta.url));
/** Without the wait one run in some dozens aborts. */
const RUNS = 12;

test('a process ends while its workers join the swap', options, async () => {
  for (let run = 0; run < RUNS; run++) {
    const { code, signal, stderr } = await endingOf(spawn(process.execPath, [program]));
    assert.deepEqual([code, signal], [0, null], `run ${run}: ${stderr}`);
  }
});

const isEnding =
  (reason: string) =>
  (error: unknown): boolean =>
    error instanceof SwapError && error.code === 'ERR_IO_ENDED' && error.facts['reason'] === reason;

const gateOf = (): ThreadGate => new ThreadGate(new SharedArrayBuffer(CONTROL_BYTES));

test('no thread can join once the process has begun to exit', options, () => {
  const gate = gateOf();
  assert.equal(
    gate.join([], () => 'joined'),
    'joined',
  );
  gate.setExiting();
  assert.throws(() => gate.join([], () => assert.fail('it must not begin')), isEnding('exiting'));
  assert.equal(gate.waitForJoins(), true);
});

test('no thread can join once a stop of it or of its creator was requested', options, () => {
  const gate = gateOf();
  const stops = [new SharedArrayBuffer(4), new SharedArrayBuffer(4)];
  assert.equal(
    gate.join(stops, () => 'joined'),
    'joined',
  );
  requestStop(stops[0]!);
  assert.throws(() => gate.join(stops, () => assert.fail('it must not begin')), isEnding('thread'));
  assert.equal(
    gate.join(stops.slice(1), () => 'another one'),
    'another one',
  );
  assert.equal(gate.waitForJoins(), true);
});

test('exit waits for a thread that has begun to join, but not without limit', options, () => {
  const gate = gateOf();
  gate.join([], () => {
    gate.setExiting();
    assert.equal(gate.waitForJoins(), false, 'this thread is the one that is waited for');
  });
  assert.equal(gate.waitForJoins(), true);
});

test('exit does not wait for threads that were stopped while joining, and other threads reuse their slots', {
  ...options,
  timeout: 15_000,
}, async () => {
  const shared = new SharedArrayBuffer(CONTROL_BYTES);
  const file = new URL('./children/stopped-join.js', import.meta.url);
  const worker = new Worker(file, { workerData: shared });
  await new Promise((resolve) => void worker.once('message', resolve));
  const gate = new ThreadGate(shared);
  assert.equal(gate.waitForJoins(20), false, 'it joins');
  await worker.terminate();
  assert.equal(gate.waitForJoins(0), true);
  for (let i = 0; i < 2; i++)
    assert.equal(
      gate.join([], () => i),
      i,
    );
});
