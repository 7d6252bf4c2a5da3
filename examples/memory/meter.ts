/**
 * Tells another process what a swap does while its program works: a line of JSON ten times a second, and one at the
 * end, on the descriptor that METER_FD names. A thread of its own looks, because the program's may be busy for minutes.
 */
import { writeSync } from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { joinSwap, type MemorySwap, type SwapStats } from '../../src/index.ts';

export interface Sample extends SwapStats {
  /** False: nothing is paged, `reason` says why. */
  readonly transparent: boolean;
  readonly reason: string;
}

const EVERY_MS = 100;
/** How long the end of the process waits for a thread that is still starting. */
const START_MS = 10_000;

function tell(swap: MemorySwap, fd: number): void {
  const sample: Sample = {
    ...swap.stats(),
    transparent: swap.transparent,
    reason: swap.reason,
  };
  writeSync(fd, `${JSON.stringify(sample)}\n`);
}

/**
 * Nothing without METER_FD. The swap is not disposed of before the process ends, or the last line says nothing.
 *
 * Invariant: the process does not end while its thread loads koffi: a thread that is terminated there aborts the
 * process.
 */
export function meter(swap: MemorySwap): void {
  const fd = Number(process.env['METER_FD']);
  if (!(fd > 2)) return;
  process.once('exit', () => tell(swap, fd));
  if (swap.control === null) return;
  const started = new Int32Array(new SharedArrayBuffer(4));
  const data = { meterOf: swap.control, fd, started };
  new Worker(new URL(import.meta.url), { workerData: data, execArgv: [] }).unref();
  process.once('exit', () => Atomics.wait(started, 0, 0, START_MS));
}

interface Watched {
  readonly meterOf?: SharedArrayBuffer;
  readonly fd: number;
  /** 1 when the thread is past loading native code. */
  readonly started: Int32Array;
}

const watched = workerData as Watched | null;
if (!isMainThread && watched?.meterOf !== undefined) {
  const swap = joinSwap(watched.meterOf);
  Atomics.store(watched.started, 0, 1);
  Atomics.notify(watched.started, 0);
  setInterval(() => tell(swap, watched.fd), EVERY_MS);
}
