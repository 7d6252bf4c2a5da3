/** `frontswap doctor --run`: measures a program at several resident budgets and suggests one. */
import { SwapError } from '../base/errors.ts';
import { formatSize } from '../base/size.ts';
import { unsupportedReason } from '../memory/paging-support.ts';
import { usableMemory } from '../os/linux/usable-memory.ts';
import {
  type Budget,
  findBudget,
  type Measured,
  RUNS_MAX,
  roundBudget,
  type Trial,
} from './budget.ts';
import { type Arguments, Exit, flag } from './command.ts';
import { failedRun, measureRun, type RunResult } from './measured-run.ts';
import { StatusLine } from './status-line.ts';
import { formatTable } from './table.ts';
import type { World } from './world.ts';

/** A run is stopped after this multiple of the time of the plain run, plus one second. */
const SLOW_TIMES = 4;
const SLOW_MS = 1000;

interface Program {
  readonly words: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/** A script is run by this Node; other words are a command line. */
const programOf = (words: readonly string[]): readonly string[] =>
  /\.[cm]?[jt]s$/.test(words[0] ?? '') ? [process.execPath, ...words] : words;

function checkPaging(): void {
  const reason = unsupportedReason();
  if (reason === '') return;
  throw new SwapError(
    'ERR_IO_UNSUPPORTED',
    `memory cannot be paged here: ${reason}; 'frontswap doctor' says what to change`,
    { reason },
  );
}

/** The figures of a run that must succeed. */
function figures(which: string, result: RunResult): Measured | null {
  if (result.status !== 0) throw failedRun(which, result);
  return result.measured;
}

interface Outcome {
  readonly plain: Measured;
  readonly budget: Budget;
  /** Processes with paged memory in the run with the full budget. */
  readonly processes: number;
}

async function measureAll(program: Program, line: StatusLine | null): Promise<Outcome> {
  const quiet = { ...program, showsOutput: false, limitMs: Number.POSITIVE_INFINITY };
  const show = (run: string): void => line?.show(`${run}: ${program.words.join(' ')}`);
  const plain = figures(
    'without paging',
    await measureRun({ ...quiet, residentBytes: null, showsOutput: true }),
  );
  if (plain === null) throw nothingMeasured('none of its Node processes ran to completion');
  const limitMs = plain.durationMs * SLOW_TIMES + SLOW_MS;
  const fullBytes = roundBudget(usableMemory().bytes);
  show('run with all memory resident');
  const first = await measureRun({ ...quiet, residentBytes: fullBytes });
  const measured = figures('with all memory resident', first);
  if (measured === null) throw nothingMeasured('it has no WebAssembly memory that can be paged');
  const full = { residentBytes: fullBytes, outcome: 'ok' as const, measured };
  let count = 1;
  const budget = await findBudget(full, async (residentBytes): Promise<Trial> => {
    show(`run ${++count} of up to ${RUNS_MAX}, budget ${formatSize(residentBytes)}`);
    const result = await measureRun({ ...quiet, residentBytes, limitMs });
    if (result.isStopped) return { residentBytes, outcome: 'slow', measured: null };
    const isGood = result.status === 0 && result.measured !== null;
    return isGood
      ? { residentBytes, outcome: 'ok', measured: result.measured }
      : { residentBytes, outcome: 'failed', measured: null };
  });
  return { plain, budget, processes: first.processes };
}

const nothingMeasured = (why: string): SwapError =>
  new SwapError('ERR_IO_UNSUPPORTED', `the program cannot be measured: ${why}`, {
    reason: 'not-paged',
  });

/** The run whose budget is suggested for --resident; null: no measured budget saves memory. */
function suggestionOf({ plain, budget }: Outcome): Trial | null {
  const { workingSet } = budget;
  const saved = plain.maxRssBytes - (workingSet?.measured?.maxRssBytes ?? plain.maxRssBytes);
  return saved > 0 ? workingSet : null;
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
const columns = ['BUDGET', 'TIME', 'STALLED', 'PAGES-IN', 'PEAK-RSS'].map((name) => ({
  name,
  right: true,
}));

function rowOf(name: string, outcome: string, measured: Measured | null): string[] {
  if (measured === null) return [name, outcome === 'slow' ? 'too slow' : outcome, '-', '-', '-'];
  const { durationMs, stalledMs, pageIns, maxRssBytes } = measured;
  const share = ((stalledMs / durationMs) * 100).toFixed(1);
  return [name, seconds(durationMs), `${share}%`, String(pageIns), formatSize(maxRssBytes)];
}

function textOf(outcome: Outcome): string {
  const { plain, budget, processes } = outcome;
  const rows = [
    rowOf('none', 'ok', plain),
    ...budget.trials.map((trial, i) =>
      rowOf(i === 0 ? 'all' : formatSize(trial.residentBytes), trial.outcome, trial.measured),
    ),
  ];
  return [
    formatTable(columns, rows, { raw: false, headings: true }),
    processes > 1
      ? `${processes} processes have paged memory, each with its own budget; the figures are those of the largest.\n`
      : '',
    `Peak of paged memory: ${formatSize(budget.peakBytes)}\n`,
    conclusion(outcome),
  ].join('');
}

function conclusion(outcome: Outcome): string {
  const { plain, budget } = outcome;
  const { workingSet } = budget;
  if (workingSet?.measured == null)
    return 'Working set: all of it; with a smaller budget the program takes more than four times as long, or fails\nNo budget is suggested.\n';
  const { residentBytes, measured } = workingSet;
  const text = `Working set: at most ${formatSize(residentBytes)}; a smaller budget swaps in more pages, or was not measured\n`;
  if (suggestionOf(outcome) === null)
    return `${text}No budget is suggested: with this budget the program uses ${formatSize(measured.maxRssBytes)} of RAM, and without paging ${formatSize(plain.maxRssBytes)}.\n`;
  return `${text}Suggested: --resident ${formatSize(residentBytes)}
Measured saving: ${formatSize(plain.maxRssBytes - measured.maxRssBytes)} of peak RSS (${formatSize(plain.maxRssBytes)} without paging, ${formatSize(measured.maxRssBytes)} with it); time ${seconds(measured.durationMs)} instead of ${seconds(plain.durationMs)}\n`;
}

function documentOf(words: readonly string[], outcome: Outcome): object {
  const { plain, budget, processes } = outcome;
  const suggested = suggestionOf(outcome);
  return {
    schemaVersion: 1,
    program: words,
    processes,
    peakBytes: budget.peakBytes,
    workingSetBytes: budget.workingSet?.residentBytes ?? null,
    suggestedResidentBytes: suggested?.residentBytes ?? null,
    savedBytes: suggested === null ? 0 : plain.maxRssBytes - suggested.measured!.maxRssBytes,
    plain: { durationMs: plain.durationMs, maxRssBytes: plain.maxRssBytes },
    runs: budget.trials,
  };
}

/** @throws SwapError ERR_ARG_VALUE, ERR_IO_UNSUPPORTED, ERR_IO_PROGRAM_FAILED, ERR_IO_NO_PROGRAM, ERR_IO_NOT_EXECUTABLE */
export async function suggestBudget(args: Arguments, world: World): Promise<number> {
  if (args.positionals.length === 0)
    throw new SwapError(
      'ERR_ARG_VALUE',
      '--run: specify what to run, such as: frontswap doctor --run app.js',
      { key: '--run' },
    );
  checkPaging();
  const words = programOf(args.positionals);
  const { stderr } = world;
  const line = stderr.isTerminal && !flag(args, 'quiet') ? new StatusLine(stderr) : null;
  try {
    const outcome = await measureAll({ words, env: { ...world.env } }, line);
    line?.erase();
    world.stdout.write(
      flag(args, 'json')
        ? `${JSON.stringify(documentOf(words, outcome), null, 2)}\n`
        : textOf(outcome),
    );
    return Exit.ok;
  } finally {
    line?.erase();
  }
}
