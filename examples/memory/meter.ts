/**
 * Tells another process what a swap does while its program works: a line of JSON ten times a second, and one at the end,
 * on the descriptor that METER_FD names. A thread of its own looks, because the program's may be busy for minutes.
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

function tell(swap: MemorySwap, fd: number): void {
  const sample: Sample = {
    ...swap.stats(),
    transparent: swap.transparent,
    reason: swap.reason,
  };
  writeSync(fd, `${JSON.stringify(sample)}\n`);
}

/** Nothing without METER_FD. The swap is not disposed of before the process ends, or the last line says nothing. */
export function meter(swap: MemorySwap): void {
  const fd = Number(process.env['METER_FD']);
  if (!(fd > 2)) return;
  process.once('exit', () => tell(swap, fd));
  if (swap.control === null) return;
  const data = { meterOf: swap.control, fd };
  new Worker(new URL(import.meta.url), { workerData: data, execArgv: [] }).unref();
}

const watched = workerData as { readonly meterOf?: SharedArrayBuffer; fd: number } | null;
if (!isMainThread && watched?.meterOf !== undefined) {
  const swap = joinSwap(watched.meterOf);
  setInterval(() => tell(swap, watched.fd), EVERY_MS);
}
