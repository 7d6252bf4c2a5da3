/**
 * Writes statistics of a swap to another process: a line of JSON ten times a second, and one at the end, on the
 * descriptor METER_FD. A worker writes them, because the program's thread may be busy for minutes.
 */
import { writeSync } from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { joinSwap, type MemorySwap, type SwapStats } from '../../src/index.ts';

export interface Sample extends SwapStats {
  /** False: nothing is paged; `reason` says why. */
  readonly transparent: boolean;
  readonly reason: string;
}

const EVERY_MS = 100;
/** Longest wait at exit for a worker that is still starting. */
const START_MS = 10_000;

function writeLine(swap: MemorySwap, fd: number): void {
  const sample: Sample = {
    ...swap.stats(),
    transparent: swap.transparent,
    reason: swap.reason,
  };
  writeSync(fd, `${JSON.stringify(sample)}\n`);
}

/**
 * Does nothing without METER_FD. Do not dispose of the swap before the process exits: the last line would be empty.
 *
 * Invariant: the process does not exit while the worker loads koffi: terminating a thread there aborts the process.
 */
export function meter(swap: MemorySwap): void {
  const fd = Number(process.env['METER_FD']);
  if (!(fd > 2)) return;
  process.once('exit', () => writeLine(swap, fd));
  if (swap.control === null) return;
  const started = new Int32Array(new SharedArrayBuffer(4));
  const data = { meterOf: swap.control, fd, started };
  new Worker(new URL(import.meta.url), { workerData: data, execArgv: [] }).unref();
  process.once('exit', () => Atomics.wait(started, 0, 0, START_MS));
}

interface Watched {
  readonly meterOf?: SharedArrayBuffer;
  readonly fd: number;
  /** 1 once the worker has loaded native code. */
  readonly started: Int32Array;
}

const watched = workerData as Watched | null;
if (!isMainThread && watched?.meterOf !== undefined) {
  const swap = joinSwap(watched.meterOf);
  Atomics.store(watched.started, 0, 1);
  Atomics.notify(watched.started, 0);
  setInterval(() => writeLine(swap, watched.fd), EVERY_MS);
}
