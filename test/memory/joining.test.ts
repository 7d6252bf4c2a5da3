/** Threads that join a swap while the process exits: exit waits for those that have begun, and refuses others. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SwapError } from '../../src/base/errors.ts';
import { ControlBlock } from '../../src/memory/control-block.ts';
import { loadLinux } from '../../src/os/linux/system-call.ts';
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

test('no thread can join once the process has begun to exit', options, () => {
  const { linux } = loadLinux();
  const control = new ControlBlock(linux);
  assert.equal(
    control.join(() => 'joined'),
    'joined',
  );
  control.setExiting();
  assert.throws(
    () => control.join(() => assert.fail('it must not begin')),
    (error: SwapError) =>
      error instanceof SwapError &&
      error.code === 'ERR_IO_ENDED' &&
      error.facts['reason'] === 'exiting',
  );
  assert.equal(control.waitForJoins(), true);
});

test('exit waits for a thread that has begun to join, but not without limit', options, () => {
  const { linux } = loadLinux();
  const control = new ControlBlock(linux);
  control.join(() => {
    control.setExiting();
    assert.equal(control.waitForJoins(), false, 'this thread is the one that is waited for');
  });
  assert.equal(control.waitForJoins(), true);
});
