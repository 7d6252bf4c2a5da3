/**
 * Exits as soon as one of its workers runs, while the workers join its swap. Run by joining.test.ts.
 * Without a top-level await: Node 22 aborts when a worker is terminated as it begins to evaluate such a module.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { joinSwap, openSwap } from '../../../src/memory/open-swap.ts';

if (isMainThread) {
  const swap = openSwap({ residentBytes: 2 ** 20 });
  for (let i = 0; i < 3; i++)
    new Worker(new URL(import.meta.url), { workerData: swap.control }).once('message', () =>
      process.exit(0),
    );
} else {
  parentPort!.postMessage('joining');
  const swap = joinSwap(workerData as SharedArrayBuffer);
  for (;;) swap.map({ bytes: 65536 });
}
