/** Starts the fault thread of a swap and waits until it runs, without a turn of the event loop. */
import { Worker } from 'node:worker_threads';
import { PAGE_BYTES } from '../base/units.ts';
import { Affinity } from '../os/linux/affinity.ts';
import type { Linux } from '../os/linux/system-call.ts';
import { Caller, parseError } from './caller.ts';
import { ControlBlock, EngineState, SwapStat } from './control-block.ts';
import type { EngineOptions } from './engine-options.ts';
import type { FaultThreadData } from './fault-thread.ts';
import { forwardProblems, Problems } from './problem.ts';
import { swapStatsOf } from './stats.ts';

/** Longest wait for the fault thread to start. */
const START_MS_MAX = 30_000;

interface Started {
  readonly caller: Caller;
  readonly problems: Problems;
}

/**
 * Returns the thread's caller and problems, or the reason why memory cannot be paged here.
 * @param sharesCore pins this thread, and the thread that serves its faults, to one processor
 * @throws SwapError if an option cannot be used: the error of the option, its swap file or its tmem socket
 */
export function startFaultThread(
  linux: Linux,
  engine: Omit<EngineOptions, 'processor'>,
  sharesCore: boolean,
): Started | string {
  if (linux.pageBytes !== PAGE_BYTES)
    return `this kernel has pages of ${linux.pageBytes} bytes, not ${PAGE_BYTES}`;
  const control = new ControlBlock(linux);
  control.swapStats[SwapStat.sharedPages] = engine.sharedPages;
  const affinity = sharesCore ? new Affinity(linux) : null;
  const processor = affinity?.current() ?? null;
  const data: FaultThreadData = {
    kind: 'frontswap/fault-thread',
    shared: control.shared,
    options: { ...engine, processor },
  };
  const worker = new Worker(new URL('../memory/fault-thread.cjs', import.meta.url), {
    workerData: data,
    execArgv: [],
    name: 'frontswap faults',
  });
  const problems = new Problems();
  forwardProblems(worker, control, problems, () => swapStatsOf(control.swapStats));
  worker.unref();
  if (!control.waitForStart(START_MS_MAX)) {
    void worker.terminate();
    return `the fault thread did not start within ${START_MS_MAX / 1000} s`;
  }
  if (control.faultPathReason !== '')
    process.emitWarning(control.faultPathReason, {
      type: 'FrontswapWarning',
      code: 'ERR_IO_UNSUPPORTED',
    });
  if (control.state !== EngineState.failed) {
    // After the fault thread has started, because it would inherit the setting, but evicts on any processor.
    if (processor !== null) affinity!.pin([processor]);
    return { caller: new Caller(linux, control), problems };
  }
  const optionError = parseError(control.reason);
  if (optionError === null) return control.reason;
  throw optionError;
}
