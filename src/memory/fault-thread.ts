/**
 * The fault thread: a worker that owns the engine and serves the faults of every other thread of the process.
 *
 * It never returns to its event loop, never accesses paged memory and never waits for the main thread, which may be
 * waiting for it; it posts problems to the program. However it ends, no fault waits forever: Node closes the
 * userfaultfd with the worker, which ends the registration.
 *
 *   an error in here       prints a line on stderr and ends the process, which would otherwise hang or read zeros for data
 *   the process exits      polls become short, so that the worker stops quickly; faults are served until then
 */
import { parentPort, workerData } from 'node:worker_threads';
import { SwapError } from '../base/errors.ts';
import { Process } from '../os/linux/process.ts';
import { type Linux, loadLinux } from '../os/linux/system-call.ts';
import { Userfaultfd } from '../os/linux/userfaultfd.ts';
import { openUserfaultfd } from '../os/linux/userfaultfd-open.ts';
import { ControlBlock, EngineState } from './control-block.ts';
import { Engine, type EngineOptions, OPTIONAL_FEATURES, REQUIRED_FEATURES } from './engine.ts';
import { keepWithWorker } from './worker-descriptor.ts';

export interface FaultThreadData {
  readonly shared: SharedArrayBuffer;
  readonly options: EngineOptions;
}

/** sysexits.h: EX_SOFTWARE. */
const EXIT_SOFTWARE = 70;
/** Maximum characters of an error: Process.writeStderr() truncates longer lines, with their line end. */
const ERROR_TEXT_MAX = 800;

function start(control: ControlBlock, options: EngineOptions): Engine | null {
  try {
    if (linux === null) throw new Error(reason);
    return new Engine(linux, openDescriptor(linux, control), control, options);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    control.reason = error instanceof SwapError ? `${error.code}: ${text}` : text;
    control.state = EngineState.failed;
    return null;
  }
}

function openDescriptor(linux: Linux, control: ControlBlock): Userfaultfd {
  const { uffd, access, reason } = openUserfaultfd(linux, {
    required: REQUIRED_FEATURES,
    optional: OPTIONAL_FEATURES,
  });
  if (uffd === null) throw new Error(reason);
  control.isUserModeOnly = access === 'user-mode';
  return new Userfaultfd(linux, keepWithWorker(linux, uffd.fd), uffd.features);
}

/** The error and its stack in one line of at most ERROR_TEXT_MAX characters. */
function inOneLine(error: unknown): string {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return text.replace(/\s*\n\s*/g, ' ').slice(0, ERROR_TEXT_MAX);
}

function run(engine: Engine, control: ControlBlock): void {
  engine.onProblem = (report) => parentPort?.postMessage(report);
  try {
    engine.announce();
    while (!engine.isEnded) engine.step();
    control.state = EngineState.ended;
    engine.close();
  } catch (error) {
    const process = new Process(linux!);
    process.writeStderr(
      `frontswap: the fault thread has failed, ending the process: ${inOneLine(error)}\n`,
    );
    process.exitNow(EXIT_SOFTWARE);
  }
}

const { shared, options } = workerData as FaultThreadData;
const { linux, reason } = loadLinux();
const control = new ControlBlock(linux, shared);
const engine = start(control, options);
if (engine !== null) run(engine, control);
