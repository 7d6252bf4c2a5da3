/**
 * The program of a worker that holds pages (see WorkerPages): it owns a store, does the batch of each cell whose number
 * it is sent, and sends the number back. Whatever it throws ends it, and its owner hears of it: a store with a broken
 * invariant answers nothing more.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Budget } from '../arena/budget.ts';
import { assert } from '../base/assert.ts';
import { slot } from '../base/units.ts';
import { systemPageRelease } from '../os/linux/page-release.ts';
import { Store } from '../store/store.ts';
import { PageOp, runPage } from './async-results.ts';
import { END, Ring, type RingData, StoreUsage } from './async-ring.ts';

/** Quiet time after which the worker gives all free memory back, milliseconds. */
const SETTLE_AFTER_MS = 100;

const port = parentPort;
assert(port !== null, 'this program runs in a worker');
const data = workerData as RingData;
const ring = new Ring(data);
const store = new Store({
  slots: data.slots,
  budget: new Budget(data.limitBytes),
  release: systemPageRelease(process.platform),
});

const settling: NodeJS.Timeout = setTimeout(() => {
  if (store.compactIdle()) settling.refresh();
  ring.usage[StoreUsage.usedBytes] = store.usedBytes;
}, SETTLE_AFTER_MS).unref();

function runCell(cell: number): void {
  const count = ring.count(cell);
  let changed = 0;
  for (let i = 0; i < count; i++) {
    const op = ring.op(cell, i) as PageOp;
    const at = ring.pageAt(cell, i);
    ring.setAnswer(cell, i, runPage(store, op, slot(ring.slot(cell, i)), ring.pages, at));
    if (op !== PageOp.get) changed++;
  }
  if (changed > 0) store.maintain(changed);
  ring.usage[StoreUsage.storedPages] = store.storedPages;
  ring.usage[StoreUsage.usedBytes] = store.usedBytes;
}

port.on('message', (cell: number) => {
  if (cell === END) {
    port.close();
    return;
  }
  runCell(cell);
  settling.refresh();
  port.postMessage(cell);
});
