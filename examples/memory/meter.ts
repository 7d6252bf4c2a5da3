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

function report(swap: MemorySwap, fd: number): void {
  const sample: Sample = {
    ...swap.stats(),
    transparent: swap.transparent,
    reason: swap.reason,
  };
  writeSync(fd, `${JSON.stringify(sample)}\n`);
}

/** Does nothing without METER_FD. Keep the swap open until the process ends: the last line is written then. */
export function meter(swap: MemorySwap): void {
  const fd = Number(process.env['METER_FD']);
  if (!(fd > 2)) return;
  process.once('exit', () => report(swap, fd));
  if (swap.control === null) return;
  const data: Watched = { meterOf: swap.control, fd };
  new Worker(new URL(import.meta.url), { workerData: data, execArgv: [] }).unref();
}

interface Watched {
  readonly meterOf: SharedArrayBuffer;
  readonly fd: number;
}

const watched = workerData as Partial<Watched> | null;
if (!isMainThread && watched?.meterOf !== undefined) {
  const swap = joinSwap(watched.meterOf);
  setInterval(() => {
    try {
      report(swap, watched.fd!);
    } catch {
      process.kill(process.pid, 'SIGTERM'); // the reader has ended: no process uses the results of this process
    }
  }, EVERY_MS);
}
