/**
 * Reports paging problems to the program. Each time a problem begins, the swap emits an event. Once per process there is also a
 * warning, or a line on stderr if the process ends before the next turn of its event loop.
 *
 *   fault thread ─ posts ProblemReport ─▶ event loop of the thread that opened the swap ─▶ listeners of 'problem'
 *                                                                                      └▶ process.emitWarning()
 *
 * Invariant: a listener runs from the event loop, never while a fault or a call is served.
 */
import { EventEmitter } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { PAGE_BYTES } from '../base/units.ts';
import { printAtExit, runAtExit } from './at-exit.ts';
import type { ControlBlock } from './control-block.ts';
import type { SwapStats } from './stats.ts';
import { type LostPage, Problem, type ProblemReport } from './tiers-problem.ts';

/** Stable codes; docs/reference/errors.md lists their facts and remedies. */
export type ProblemCode = 'OVER_BUDGET' | 'STORE_FULL' | 'PAGE_LOST' | 'NOT_PAGED';

/** The argument of a `problem` listener. */
export interface SwapProblem {
  readonly code: ProblemCode;
  /** What happened and what to do. The text may change between releases. */
  readonly message: string;
  /** Values for programs, by name. */
  readonly facts: Readonly<Record<string, number | string>>;
}

/** Listener of the `problem` event; called with the code, the message and the facts of the problem. */
export type ProblemListener = (problem: SwapProblem) => void;

/** Adds and removes listeners of `problem`, like an EventEmitter. */
export interface ProblemSource {
  on(event: 'problem', listener: ProblemListener): this;
  once(event: 'problem', listener: ProblemListener): this;
  off(event: 'problem', listener: ProblemListener): this;
}

/** The name of the event is passed on unchanged, because events.once() also listens for 'error', which is never emitted. */
export class Problems implements ProblemSource {
  readonly #emitter = new EventEmitter();

  on(event: 'problem', listener: ProblemListener): this {
    this.#emitter.on(event, listener);
    return this;
  }

  once(event: 'problem', listener: ProblemListener): this {
    this.#emitter.once(event, listener);
    return this;
  }

  off(event: 'problem', listener: ProblemListener): this {
    this.#emitter.off(event, listener);
    return this;
  }

  /** Calls the listeners. The caller must not be serving a call of the program. */
  emit(problem: SwapProblem): void {
    this.#emitter.emit('problem', problem);
  }

  /** Emits the problems of a report from the engine. */
  emitReport({ fresh, now, lost }: ProblemReport, stats: SwapStats): void {
    if ((fresh & Problem.full) !== 0) this.emit(storeFull(stats));
    if ((fresh & Problem.overBudget) !== 0) this.emit(overBudget(now, stats));
    for (const page of lost) this.emit(pageLost(page));
  }
}

const FULL =
  'compressed RAM is full, so pages stay in memory beyond the resident budget; raise the limit (frontswap.limitBytes, FRONTSWAP_LIMIT) or add a swap file (devices, FRONTSWAP_FILE)';
const ALL_FULL =
  'compressed RAM and the swap files are full, so pages stay in memory beyond the resident budget; raise the limit (frontswap.limitBytes, FRONTSWAP_LIMIT) or use a larger swap file (devices, FRONTSWAP_FILE)';
const fullText = ({ devicePages }: SwapStats): string => (devicePages === 0 ? FULL : ALL_FULL);
const INCOMPRESSIBLE =
  'pages that do not compress stay in memory beyond the resident budget; add a swap file for them (devices, FRONTSWAP_FILE)';

function storeFull(stats: SwapStats): SwapProblem {
  const { usedBytes, limitBytes, storedPages, devicePages } = stats;
  const facts = { usedBytes, limitBytes, storedPages, devicePages };
  return { code: 'STORE_FULL', message: fullText(stats), facts };
}

function overBudget(now: number, stats: SwapStats): SwapProblem {
  const { residentBytes } = stats;
  const facts = (reason: string): SwapProblem['facts'] => ({ reason, residentBytes });
  if ((now & Problem.incompressible) !== 0)
    return { code: 'OVER_BUDGET', message: INCOMPRESSIBLE, facts: facts('incompressible') };
  if ((now & Problem.full) !== 0)
    return { code: 'OVER_BUDGET', message: fullText(stats), facts: facts('full') };
  const message =
    'more pages are resident than the budget allows, and none of them can be evicted; pin less at a time, or raise the budget (residentBytes, FRONTSWAP_RESIDENT)';
  return { code: 'OVER_BUDGET', message, facts: facts('held') };
}

const pageLost = ({ region, page, reason }: LostPage): SwapProblem => ({
  code: 'PAGE_LOST',
  message: `page ${page} of region ${region} is lost: ${reason === 'checksum' ? 'its stored bytes fail their checksum' : 'its device could not read it'}; discard() makes it zeros`,
  facts: { region, page, offset: page * PAGE_BYTES, reason },
});

export const notPaged = (message: string, reason: string): SwapProblem => ({
  code: 'NOT_PAGED',
  message,
  facts: { reason },
});

const warnings: readonly (readonly [number, (stats: SwapStats) => string])[] = [
  [Problem.full, fullText],
  [Problem.incompressible, () => INCOMPRESSIBLE],
];

/**
 * Emits the problems that the fault thread posts, and warns once per process about each kind in `warnings`.
 * @param worker the fault thread
 */
export function forwardProblems(
  worker: Worker,
  control: ControlBlock,
  problems: Problems,
  statsNow: () => SwapStats,
): void {
  let warned = 0;
  const warn = (print: (text: string) => void): void => {
    const fresh = control.problem & ~warned;
    warned |= fresh;
    for (const [bit, text] of warnings) if ((fresh & bit) !== 0) print(text(statsNow()));
  };
  worker.on('message', (report: ProblemReport) => {
    warn((text) => process.emitWarning(text, { type: 'FrontswapWarning', code: 'ERR_IO_NO_ROOM' }));
    problems.emitReport(report, statsNow());
  });
  const cancel = runAtExit(() => warn((text) => printAtExit(`frontswap: ${text}\n`)));
  worker.once('exit', cancel); // the timer must not keep the control block from being collected
}
