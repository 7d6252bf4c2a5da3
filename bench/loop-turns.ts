/**
 * Loaded into a host of a bench by --import. The message 'start' starts a measurement of the turns of its event loop, 'stop' ends
 * it and is answered with TurnTimes. Processor time, because other programs delay a turn on a shared machine; meanwhile
 * the loop does not sleep.
 */
import { createHistogram } from 'node:perf_hooks';

/** ms of processor time of all threads. */
export interface TurnTimes {
  readonly p50: number;
  readonly p999: number;
  readonly max: number;
}

const histogram = createHistogram();
let isRunning = false;
let last: NodeJS.CpuUsage | undefined;

function turn(): void {
  if (!isRunning) return;
  const { user, system } = process.cpuUsage(last);
  if (last !== undefined) histogram.record(Math.max(1, user + system));
  last = process.cpuUsage();
  setImmediate(turn);
}

process.on('message', (message) => {
  isRunning = message === 'start';
  if (isRunning) {
    last = undefined;
    histogram.reset();
    turn();
    return;
  }
  const ms = (quantile: number): number => histogram.percentile(quantile) / 1000;
  process.send?.({ p50: ms(50), p999: ms(99.9), max: histogram.max / 1000 });
});
process.channel?.unref();
