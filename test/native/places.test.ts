/** Several threads of a process may open a swap in signal mode at the same time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { loadNativeFaults } from '../../src/os/native-faults.ts';
import { skipUnlessNative } from './rig.ts';

/** Places for control blocks in native code. */
const PLACES = 8;
const ROUNDS = 3000;
/** Stands for the control block of the other thread. */
const OTHER = 16;
const At = { round: 0, ready: 1 } as const;

if (isMainThread)
  test('threads that register for signal mode at the same time get a place each', {
    skip: skipUnlessNative,
    timeout: 60_000,
  }, async () => {
    const { native } = loadNativeFaults();
    const words = new Int32Array(new SharedArrayBuffer(8));
    const worker = new Worker(new URL(import.meta.url), { workerData: words });
    const ended = new Promise((resolve) => worker.once('exit', resolve));
    await new Promise((resolve) => worker.once('message', resolve));
    // Addresses of no control block: no fault is served meanwhile.
    const [mine, other, more] = [8, OTHER, 24] as const;
    try {
      for (let round = 1; round <= ROUNDS; round++) {
        Atomics.store(words, At.round, round);
        // The other thread sees the round a little later.
        for (let i = (round % 32) * 4; i > 0; i--) Atomics.load(words, At.ready);
        native!.signalOn(mine);
        while (Atomics.load(words, At.ready) !== round);
        let free = 0;
        while (free < PLACES && native!.signalOn(more + free * 8) === 0) free++;
        for (let i = 0; i < free; i++) native!.signalOff(more + i * 8);
        native!.signalOff(mine);
        native!.signalOff(other);
        assert.equal(free, PLACES - 2, `round ${round}`);
      }
    } finally {
      Atomics.store(words, At.round, -1);
      await ended;
    }
  });
else {
  const { native } = loadNativeFaults();
  const words = workerData as Int32Array;
  parentPort!.postMessage('ready');
  for (let round = 1; Atomics.load(words, At.round) !== -1; round++) {
    while (Atomics.load(words, At.round) < round && Atomics.load(words, At.round) !== -1);
    if (Atomics.load(words, At.round) === -1) break;
    native!.signalOn(OTHER);
    Atomics.store(words, At.ready, round);
  }
}
