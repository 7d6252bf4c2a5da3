/**
 * How the benches measure: contenders alternate in one run (A B A B), and figures are medians over rounds, of processor
 * time rather than wall time, because the machine is shared. Quote the ratios.
 *
 * A ratio is the quotient of two figures of its table. In a column "median x" it is the median of each round's ratio,
 * which a disturbed round hardly changes; it is not the quotient of the two medians.
 */
import { execFileSync } from 'node:child_process';
import { cpus, loadavg, release, totalmem } from 'node:os';

/**
 * Processor time of this process so far, ns; all threads count, with those of the compiler and the garbage collector.
 */
export function cpuNs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >>> 1;
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2;
}

/** Median over the rounds of value / base value of the same round. */
export function medianRatio(values: readonly number[], base: readonly number[]): number {
  return median(values.map((value, round) => value / (base[round] ?? Number.NaN)));
}

/** `Medians of 7 rounds`, `Medians of 7 interleaved rounds`. */
export function ofRounds(rounds: number, kind = ''): string {
  if (rounds === 1) return 'One round, no medians';
  return `Medians of ${rounds} ${kind === '' ? '' : `${kind} `}rounds`;
}

/** The note of a table with a column "median x". */
export const medianRatioNote = (base: string): string =>
  `"median x": median of the ratios to ${base} in the same round; not the quotient of the two medians.`;

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
  readonly notes?: readonly string[];
}

export interface BenchOptions {
  readonly corpus?: string;
  readonly rounds: number;
  readonly json: boolean;
  /** For `memory`: size of the region, and its resident budget. */
  readonly regionMib: number;
  readonly budgetMib: number;
}

/** Prints a table in Markdown, as docs/benchmarks.md contains it. */
export function printTable(table: Table): void {
  const cell = (v: string | number): string => (typeof v === 'number' ? format(v) : v);
  const rows = [table.columns, ...table.rows.map((r) => r.map(cell))];
  const widths = table.columns.map((_, i) => Math.max(...rows.map((r) => String(r[i]).length), 3));
  const line = (r: readonly (string | number)[]): string =>
    `| ${r.map((v, i) => (i === 0 ? String(v).padEnd(widths[i] ?? 0) : String(v).padStart(widths[i] ?? 0))).join(' | ')} |`;
  const rule = `| ${widths.map((w, i) => (i === 0 ? '-'.repeat(w) : `${'-'.repeat(w - 1)}:`)).join(' | ')} |`;
  process.stdout.write(`\n### ${table.title}\n\n${line(table.columns)}\n${rule}\n`);
  for (const row of rows.slice(1)) process.stdout.write(`${line(row)}\n`);
  for (const note of table.notes ?? []) process.stdout.write(`\n${note}\n`);
}

/** Three significant digits; counts whole. */
function format(v: number): string {
  if (!Number.isFinite(v)) return '-';
  if (Number.isInteger(v) && Math.abs(v) >= 100) return String(v);
  return Math.abs(v) >= 100 ? v.toFixed(0) : v.toPrecision(3);
}

/** Machine, versions and commit: the context of every figure. */
export function machine(): Record<string, string | number> {
  const tool = (command: string, args: string[]): string => {
    try {
      return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
        .split('\n')[0]!
        .trim();
    } catch {
      return 'not found';
    }
  };
  const model = cpus()[0]?.model ?? 'unknown';
  return {
    processor: `${cpus().length} x ${model}`,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    commit: tool('git', ['rev-parse', '--short', 'HEAD']),
    nbdkit: tool('nbdkit', ['--version']),
    fio: tool('fio', ['--version']),
    loadAverage: (loadavg()[0] ?? 0).toFixed(2),
  };
}
