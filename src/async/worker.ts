/**
 * The worker of WorkerPages: owns a store, runs the batch in each cell whose number it receives, and sends the number back.
 * An exception ends the worker and is reported to its owner: a store with a broken invariant must not serve more.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Budget } from '../arena/budget.ts';
import { assert } from '../base/assert.ts';
import { slot } from '../base/units.ts';
import { systemPageRelease } from '../os/linux/page-release.ts';
import { Store } from '../store/store.ts';
import { PageOp, runPage } from './async-results.ts';
import { EXIT, Ring, type RingData, StoreUsage } from './async-ring.ts';

/** Idle time after which the worker compacts its store and releases free memory, ms. */
const COMPACT_AFTER_MS = 100;

const port = parentPort;
assert(port !== null, 'worker.ts runs in a worker');
const data = workerData as RingData;
const ring = new Ring(data);
const store = new Store({
  slots: data.slots,
  budget: new Budget(data.limitBytes),
  release: systemPageRelease(process.platform),
});

const idleTimer: NodeJS.Timeout = setTimeout(() => {
  if (store.compactIdle()) idleTimer.refresh();
  ring.usage[StoreUsage.usedBytes] = store.usedBytes;
}, COMPACT_AFTER_MS).unref();

function runCell(cell: number): void {
  const count = ring.count(cell);
  let changed = 0;
  for (let i = 0; i < count; i++) {
    const op = ring.op(cell, i) as PageOp;
    const at = ring.pageAt(cell, i);
    ring.setResult(cell, i, runPage(store, op, slot(ring.slot(cell, i)), ring.pages, at));
    if (op !== PageOp.get) changed++;
  }
  if (changed > 0) store.maintain(changed);
  ring.usage[StoreUsage.storedPages] = store.storedPages;
  ring.usage[StoreUsage.usedBytes] = store.usedBytes;
}

port.on('message', (cell: number) => {
  if (cell === EXIT) {
    port.close();
    return;
  }
  runCell(cell);
  idleTimer.refresh();
  port.postMessage(cell);
});
