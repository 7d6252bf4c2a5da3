/**
 * Reports paging problems to the program: as an event of the swap each time a problem begins, and once per process as a
 * warning, or as a line on stderr if the process ends before the next turn of its event loop.
 *
 *   fault thread ─ ProblemNews, posted ─▶ the owner's event loop ─▶ listeners of 'problem'
 *                                                               └▶ process.emitWarning()
 *
 * Invariant: a listener runs in its own turn of the event loop, never while a fault or a call is served.
 */
import { EventEmitter } from 'node:events';
import { writeSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import { PAGE_BYTES } from '../base/units.ts';
import type { ControlBlock } from './control-block.ts';
import type { SwapStats } from './stats.ts';
import { type LostPage, Problem, type ProblemNews } from './tiers-problem.ts';

/** Stable; docs/reference/errors.md has each, its facts and its remedy. */
export type ProblemCode = 'OVER_BUDGET' | 'STORE_FULL' | 'PAGE_LOST' | 'NOT_PAGED';

/** The argument of a `problem` listener. */
export interface SwapProblem {
  readonly code: ProblemCode;
  /** What happened, and what to do about it. May change from one release to the next. */
  readonly message: string;
  /** The values in the message, by name. */
  readonly facts: Readonly<Record<string, number | string>>;
}

/** Listener of the `problem` event; called with the code, the message and the facts of the problem. */
export type ProblemListener = (problem: SwapProblem) => void;

/** Where listeners of `problem` are added and removed, as in an EventEmitter. */
export interface ProblemSource {
  on(event: 'problem', listener: ProblemListener): this;
  once(event: 'problem', listener: ProblemListener): this;
  off(event: 'problem', listener: ProblemListener): this;
}

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

  /** Calls the listeners. Not from within a call of the program's. */
  tell(problem: SwapProblem): void {
    this.#emitter.emit('problem', problem);
  }

  /** Emits the problems that the engine has found. */
  tellNews({ fresh, now, lost }: ProblemNews, stats: SwapStats): void {
    if ((fresh & Problem.full) !== 0) this.tell(storeFull(stats));
    if ((fresh & Problem.over) !== 0) this.tell(overBudget(now, stats));
    for (const page of lost) this.tell(pageLost(page));
  }
}

const FULL =
  'compressed RAM is full: pages stay in memory, beyond the resident budget; raise the limit (frontswap.limitBytes, FRONTSWAP_LIMIT) or add a swap file (devices, FRONTSWAP_FILE)';
const POOR =
  'pages that do not compress stay in memory, beyond the resident budget; a swap file with room takes them (devices, FRONTSWAP_FILE)';

const storeFull = ({
  usedBytes,
  limitBytes,
  storedPages,
  devicePages,
}: SwapStats): SwapProblem => ({
  code: 'STORE_FULL',
  message: FULL,
  facts: { usedBytes, limitBytes, storedPages, devicePages },
});

function overBudget(now: number, stats: SwapStats): SwapProblem {
  const { residentBytes } = stats;
  const facts = (reason: string): SwapProblem['facts'] => ({ reason, residentBytes });
  if ((now & Problem.poor) !== 0)
    return { code: 'OVER_BUDGET', message: POOR, facts: facts('incompressible') };
  if ((now & Problem.full) !== 0)
    return { code: 'OVER_BUDGET', message: FULL, facts: facts('full') };
  const message =
    'more is in memory than the resident budget says, and none of it may leave: pin less at once, or raise the budget (residentBytes, FRONTSWAP_RESIDENT)';
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

const warnings: readonly (readonly [number, string])[] = [
  [Problem.full, FULL],
  [Problem.poor, POOR],
];

/** @param worker the fault thread: it posts news */
export function followProblem(
  worker: Worker,
  control: ControlBlock,
  problems: Problems,
  statsNow: () => SwapStats,
): void {
  let warned = 0;
  const warn = (say: (text: string) => void): void => {
    const fresh = control.problem & ~warned;
    warned |= fresh;
    for (const [bit, text] of warnings) if ((fresh & bit) !== 0) say(text);
  };
  worker.on('message', (news: ProblemNews) => {
    warn((text) => process.emitWarning(text, { type: 'FrontswapWarning', code: 'ERR_IO_NO_ROOM' }));
    problems.tellNews(news, statsNow());
  });
  const warnAtExit = (): void => warn((text) => writeSync(2, `frontswap: ${text}\n`));
  process.on('exit', warnAtExit);
  // The swap was disposed of: the listener must not keep its control block.
  worker.once('exit', () => process.off('exit', warnAtExit));
}
