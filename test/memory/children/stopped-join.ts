/** A worker that claims every slot of a gate and is then stopped. Run by joining.test.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { GATE_AT } from '../../../src/memory/gate-words.ts';
import { ThreadGate } from '../../../src/memory/thread-gate.ts';

const shared = workerData as SharedArrayBuffer;
new ThreadGate(shared).join([], () => {
  const slots = new Int32Array(shared, GATE_AT + 4, 255);
  slots.fill(slots[0]!);
  parentPort!.postMessage('joining');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
