/** Two threads wait at the same time until no fault uses what has been replaced: the engine, and the exit of a process. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { controlStruct } from '../../src/native/layout.ts';
import { loadNativeFaults } from '../../src/os/native-faults.ts';
import { Rig, skipUnlessNative } from './rig.ts';

const { native } = loadNativeFaults();
/** Long enough for a thread that has nothing to wait for. */
const WAIT_MS = 200;

if (isMainThread)
  test('two threads that wait at the same time for faults in progress each wait for all of them', {
    skip: skipUnlessNative,
    timeout: 60_000,
  }, async () => {
    const rig = new Rig();
    const { control } = rig;
    const readers = controlStruct.at.readers >>> 2;
    try {
      const count = (parity: number, by: number): unknown =>
        Atomics.add(control.words, readers + parity, by);
      const epoch = control.get('epoch');
      // A fault of each kind: one that began just now, and one that read the epoch before it moved on.
      count(0, 1);
      count(1, 1);
      const first = new Waiting(control.at);
      while (control.get('epoch') === epoch) await delay(1);
      const second = new Waiting(control.at);
      while (control.get('epoch') === epoch + 1) await delay(1);
      count(epoch & 1, -1);
      await delay(WAIT_MS);
      assert.deepEqual([first.isOver, second.isOver], [false, false], 'a fault is still served');
      count((epoch + 1) & 1, -1);
      await Promise.all([first.end, second.end]);
    } finally {
      control.words.fill(0, readers, readers + 2);
      rig[Symbol.dispose]();
    }
  });
else {
  native!.synchronize((workerData as { readonly at: number }).at);
  parentPort!.postMessage('over');
}

class Waiting {
  isOver = false;
  readonly end: Promise<void>;

  constructor(at: number) {
    const worker = new Worker(new URL(import.meta.url), { workerData: { at } });
    this.end = new Promise((resolve, reject) => {
      worker.once('error', reject);
      worker.once('message', () => {
        this.isOver = true;
        resolve();
      });
    });
  }
}
