/**
 * Runs a program to completion in a separate process and measures it: plain, or with a resident budget. The figures come from
 * the reports that frontswap/register writes (memory/report.ts). If several processes of the program have paged memory, the
 * figures are those of the one with the most.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SwapError } from '../base/errors.ts';
import type { Report } from '../memory/report.ts';
import type { Measured } from './budget.ts';
import { notStarted, startProgram } from './program.ts';
import { nodeOptions, plainNodeOptions } from './run-program.ts';

export interface RunRequest {
  readonly words: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Null: without paging. */
  readonly residentBytes: number | null;
  /** True: the program prints on stderr. False: its output is dropped. */
  readonly showsOutput: boolean;
  /** The program is stopped after this time, ms; Infinity: never. */
  readonly limitMs: number;
}

export interface RunResult {
  /** Null: ended by a signal. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly isStopped: boolean;
  /** Null: no process has written its figures. */
  readonly measured: Measured | null;
  /** Processes that have written figures. */
  readonly processes: number;
}

/** A module that writes the peak RSS of a process at exit. Without spaces and double quotes, for NODE_OPTIONS. */
const recorder = `data:text/javascript,${encodeURIComponent(
  `import { writeFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
if (isMainThread) process.on('exit', () => {
  const maxRssBytes = process.resourceUsage().maxRSS * 1024;
  const text = JSON.stringify({ process: { maxRssBytes, durationMs: performance.now() } });
  writeFileSync(process.env.FRONTSWAP_RECORD + process.pid + '.json', text);
});`,
)}`;

/** Ends a program that ignores SIGTERM. */
const KILL_AFTER_MS = 2000;

/** @throws SwapError ERR_IO_NO_PROGRAM, ERR_IO_NOT_EXECUTABLE */
export async function measureRun(request: RunRequest): Promise<RunResult> {
  const folder = mkdtempSync(join(tmpdir(), 'frontswap-doctor-'));
  try {
    const end = await endOf(request, folder);
    return { ...end, ...figuresIn(folder) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function variablesFor(request: RunRequest, folder: string): NodeJS.ProcessEnv {
  const env = { ...request.env };
  for (const name of Object.keys(env)) if (name.startsWith('FRONTSWAP_')) delete env[name];
  if (request.residentBytes === null)
    return {
      ...env,
      FRONTSWAP_RECORD: `${folder}/`,
      NODE_OPTIONS: `${plainNodeOptions(env['NODE_OPTIONS'])} --import=${recorder}`.trim(),
    };
  return {
    ...env,
    FRONTSWAP_RESIDENT: String(request.residentBytes),
    FRONTSWAP_REPORT: join(folder, 'report.json'),
    NODE_OPTIONS: nodeOptions(env['NODE_OPTIONS']),
  };
}

type End = Pick<RunResult, 'status' | 'signal' | 'isStopped'>;

function endOf(request: RunRequest, folder: string): Promise<End> {
  const { words } = request;
  const output = request.showsOutput ? 2 : 'ignore';
  const child = startProgram(words, {
    stdio: ['ignore', output, output],
    env: variablesFor(request, folder),
  });
  const stop = stopAfter(child, request.limitMs);
  return new Promise((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(notStarted(words[0] ?? '', Math.abs(error.errno ?? 0))),
    );
    child.once('exit', (status, signal) => resolve({ status, signal, isStopped: stop() }));
  });
}

/** Returns a function that ends the watch and returns whether the child was stopped. */
function stopAfter(child: ChildProcess, limitMs: number): () => boolean {
  if (limitMs === Number.POSITIVE_INFINITY) return () => false;
  let isStopped = false;
  const timers = [
    setTimeout(() => {
      isStopped = true;
      child.kill('SIGTERM');
    }, limitMs),
    setTimeout(() => child.kill('SIGKILL'), limitMs + KILL_AFTER_MS),
  ];
  return () => {
    for (const timer of timers) clearTimeout(timer);
    return isStopped;
  };
}

/** The record of a plain run has only the first part of a report. */
type Recorded = Pick<Report, 'process'> & Partial<Report>;

const peakOf = ({ process, peaks }: Recorded): number =>
  peaks === undefined ? process.maxRssBytes : peaks.residentBytes + peaks.storedBytes;

function figuresIn(folder: string): Pick<RunResult, 'measured' | 'processes'> {
  const all = readdirSync(folder)
    .map((name): Recorded => JSON.parse(readFileSync(join(folder, name), 'utf8')))
    .filter(({ memories }) => memories !== 0)
    .sort((a, b) => peakOf(b) - peakOf(a));
  const [largest] = all;
  return { measured: largest === undefined ? null : figuresOf(largest), processes: all.length };
}

const figuresOf = ({ process, totals, peaks }: Recorded): Measured => ({
  durationMs: Math.round(process.durationMs),
  maxRssBytes: process.maxRssBytes,
  stalledMs: totals?.stalledMs ?? 0,
  faults: totals?.faults ?? 0,
  pageIns: totals?.pageIns ?? 0,
  pageOuts: totals?.pageOuts ?? 0,
  peakResidentBytes: peaks?.residentBytes ?? 0,
  peakStoredBytes: peaks?.storedBytes ?? 0,
});

/** The error of a run that must succeed. @param which names the run */
export function failedRun(which: string, { status, signal }: RunResult): SwapError {
  const how =
    signal === null ? `exited with status ${status}` : `was ended by the signal ${signal}`;
  return new SwapError(
    'ERR_IO_PROGRAM_FAILED',
    `the program ${how} in the run ${which}; only a program that ends with status 0 can be measured`,
    { status: status ?? -1, signal: signal ?? '' },
  );
}
