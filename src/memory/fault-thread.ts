/**
 * The fault thread: a worker that owns the engine and serves the faults of every other thread of the process.
 *
 * It never returns to its event loop, never accesses paged memory and never waits for the main thread, which may itself be
 * waiting for the fault thread. It posts problems to the program. No fault waits forever, however the thread ends: Node closes
 * the userfaultfd together with the worker, which ends the registration.
 *
 *   an error in here       prints a line on stderr and ends the process, which would otherwise hang or read zeros
 *   the process exits      polls become short, so that the worker stops quickly; faults are served until then
 */
import { parentPort, workerData } from 'node:worker_threads';
import { SwapError } from '../base/errors.ts';
import { Process } from '../os/linux/process.ts';
import { type Linux, loadLinux } from '../os/linux/system-call.ts';
import { UffdFeature } from '../os/linux/uffd-constants.ts';
import { Userfaultfd } from '../os/linux/userfaultfd.ts';
import { type OpenedUffd, openUserfaultfd } from '../os/linux/userfaultfd-open.ts';
import { loadNativeFaults, type NativeFaults } from '../os/native-faults.ts';
import { ControlBlock, EngineState, FaultPath, nameOf } from './control-block.ts';
import { Engine } from './engine.ts';
import { type EngineOptions, OPTIONAL_FEATURES, REQUIRED_FEATURES } from './engine-options.ts';
import { keepWithWorker } from './worker-descriptor.ts';

export interface FaultThreadData {
  /** Tells frontswap/register, which NODE_OPTIONS also loads in this thread, not to page this thread's memories. */
  readonly kind: 'frontswap/fault-thread';
  readonly shared: SharedArrayBuffer;
  readonly options: EngineOptions;
}

/** sysexits.h: EX_SOFTWARE. */
const EXIT_SOFTWARE = 70;
/** Maximum characters of an error: Process.writeStderr() truncates longer lines, and would drop the newline. */
const ERROR_TEXT_MAX = 800;

function start(control: ControlBlock, options: EngineOptions): Engine | null {
  try {
    if (linux === null) throw new Error(reason);
    const { path, native, uffd } = pathFor(linux, control, options);
    control.faultPath = path;
    if (path === FaultPath.memfd) control.isUserModeOnly = true;
    return new Engine(linux, uffd, control, options, native);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    control.reason = error instanceof SwapError ? `${error.code}: ${text}` : text;
    control.state = EngineState.failed;
    return null;
  }
}

/**
 * Chooses who serves faults: native code if it is requested and loads, with a userfaultfd if there is one, and otherwise with
 * memory files.
 */
function pathFor(linux: Linux, control: ControlBlock, options: EngineOptions): Served {
  const { faults, areFaultsChosen } = options;
  const isWanted = faults !== FaultPath.javascript;
  const { native, reason } = isWanted || !areFaultsChosen ? loadNativeFaults() : noNative;
  if (isWanted && areFaultsChosen && native === null)
    control.faultPathReason = `native code cannot serve page faults: ${reason}; JavaScript serves them`;
  const path = native === null ? FaultPath.javascript : faults;
  if (path === FaultPath.memfd) return { path, native, uffd: null };
  const { uffd, access, reason: refused } = openDescriptor(linux, path);
  if (uffd !== null) {
    control.isUserModeOnly = access === 'user-mode' || path === FaultPath.signal;
    return { path, native: path === FaultPath.javascript ? null : native, uffd };
  }
  if (native === null) throw new Error(refused);
  if (areFaultsChosen)
    control.faultPathReason = `page faults are served by memfd, not ${nameOf(faults)}: ${refused}`;
  return { path: FaultPath.memfd, native, uffd: null };
}

const noNative = { native: null, reason: '' };

interface Served {
  readonly path: FaultPath;
  /** Null: JavaScript serves faults. */
  readonly native: NativeFaults | null;
  /** Null: memory files. */
  readonly uffd: Userfaultfd | null;
}

function openDescriptor(linux: Linux, path: FaultPath): OpenedUffd {
  const opened = openUserfaultfd(linux, {
    required: REQUIRED_FEATURES | (path === FaultPath.signal ? UffdFeature.sigbus : 0),
    optional: OPTIONAL_FEATURES | UffdFeature.threadId,
  });
  const { uffd } = opened;
  if (uffd === null || path !== FaultPath.javascript) return opened; // native code serves until the process ends
  const kept = new Userfaultfd(linux, keepWithWorker(linux, uffd.fd), uffd.features);
  return { ...opened, uffd: kept };
}

/** The error and its stack in one line of at most ERROR_TEXT_MAX characters. */
function inOneLine(error: unknown): string {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return text.replace(/\s*\n\s*/g, ' ').slice(0, ERROR_TEXT_MAX);
}

function run(engine: Engine, control: ControlBlock): void {
  engine.problems.onProblem = (report) => parentPort?.postMessage(report);
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
