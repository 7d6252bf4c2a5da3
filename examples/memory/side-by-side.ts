/**
 * Runs a program twice, each time in its own process: with all data in RAM, and paged. Prints both side by side: time,
 * peak memory, paged pages, and whether the answers are equal.
 *
 *   program ─ stdout ─▶ one line of JSON: Outcome        ─ METER_FD ─▶ statistics of its swap (meter.ts)
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { formatSize, parseSize } from '../../src/base/size.ts';
import { formatTable } from '../../src/cli/table.ts';
import type { Sample } from './meter.ts';

/** The output of a program. */
interface Outcome {
  readonly steps: readonly {
    readonly name: string;
    readonly ms: number;
    /** Processor time of all threads; not of every program. */
    readonly cpuMs?: number;
    readonly answer: string;
  }[];
  /** Size of the data. */
  readonly bytes: number;
  /** VmHWM of the process. */
  readonly peakBytes: number;
  /** Processor time of all threads of the process; not of every program. */
  readonly cpuMs?: number;
}

export interface Run extends Outcome {
  readonly ms: number;
  /** The last sample; null if nothing was paged. */
  readonly swap: Sample | null;
  /** Maximum of all samples. */
  readonly peakCompressedBytes: number;
  readonly peakUsedBytes: number;
}

export interface Program {
  /** A compiled file in this folder. */
  readonly file: string;
  readonly args: readonly string[];
  readonly nodeArgs?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly onSample?: (sample: Sample, pid: number) => void;
}

export interface Example {
  /** Name of the example, without extension. */
  readonly name: string;
  /** Description for --help. */
  readonly about: string;
  /** The unit of --size; below, its default and its value with --full. */
  readonly unit: string;
  readonly small: { readonly size: number; readonly resident: string };
  readonly full: { readonly size: number; readonly resident: string };
  /** --json prints: default, one document instead of the table. */
  readonly json?: string;
}

export interface Options {
  readonly size: number;
  readonly residentBytes: number;
  readonly json: boolean;
  /** Set: this process runs the workload. */
  readonly mode: string | undefined;
}

const fileOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Parses the options of an example; ends the process after --help and on errors. */
export function optionsOf(example: Example): Options {
  const { name, about, unit, small, full, json = 'one document instead of a table' } = example;
  try {
    const { values } = parseArgs({
      options: {
        size: { type: 'string' },
        resident: { type: 'string' },
        full: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
        mode: { type: 'string' },
      },
    });
    if (values.help) {
      console.log(
        `node build/examples/memory/${name}.js [--size N] [--resident SIZE] [--full] [--json]\n\n${about}\n\n` +
          `  --size N         ${unit}; default ${small.size}, with --full ${full.size}\n` +
          `  --resident SIZE  resident budget; default ${small.resident}, with --full ${full.resident}\n` +
          `  --full           the full size, which takes minutes\n` +
          `  --json           ${json}`,
      );
      process.exit(0);
    }
    const base = values.full ? full : small;
    const size = values.size === undefined ? base.size : Number(values.size);
    if (!Number.isSafeInteger(size) || size < 1)
      throw new Error(`--size ${values.size} is not a valid number`);
    const residentBytes = parseSize('--resident', values.resident ?? base.resident);
    return { size, residentBytes, json: values.json, mode: values.mode };
  } catch (error) {
    console.error(`${name}: ${(error as Error).message}`);
    process.exit(2);
  }
}

export async function run(program: Program): Promise<Run> {
  const { file, args, nodeArgs = [], env = {}, signal, onSample } = program;
  const start = performance.now();
  const child = spawn(process.execPath, [...nodeArgs, fileOf(file), ...args], {
    stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
    env: { ...process.env, ...env, METER_FD: '3' },
    ...(signal === undefined ? {} : { signal, killSignal: 'SIGKILL' as const }),
  });
  const ended = new Promise<string>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, by) => resolve(code === 0 ? '' : String(by ?? `status ${code}`)));
  });
  let swap: Sample | null = null;
  let peakCompressedBytes = 0;
  let peakUsedBytes = 0;
  createInterface({ input: child.stdio[3] as Readable }).on('line', (line) => {
    swap = JSON.parse(line) as Sample;
    peakCompressedBytes = Math.max(peakCompressedBytes, swap.compressedBytes);
    peakUsedBytes = Math.max(peakUsedBytes, swap.usedBytes);
    onSample?.(swap, child.pid!);
  });
  let printed = '';
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
  });
  const why = await ended;
  if (why !== '') throw new Error(`${file} ${args.join(' ')} ended by ${why}`);
  const outcome = JSON.parse(printed) as Outcome;
  const ms = Math.round(performance.now() - start);
  return { ...outcome, ms, swap, peakCompressedBytes, peakUsedBytes };
}

/** Processor time of this process so far. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return Math.round((user + system) / 1000);
}

/** Prints the Outcome of this process on stdout. */
export class Work {
  readonly #steps: { name: string; ms: number; cpuMs: number; answer: string }[] = [];

  step<Answer>(name: string, work: () => Answer): Answer {
    const start = performance.now();
    const before = cpuMs();
    const answer = work();
    const ms = Math.round(performance.now() - start);
    this.#steps.push({ name, ms, cpuMs: cpuMs() - before, answer: String(answer) });
    return answer;
  }

  print(bytes: number): void {
    const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
    const outcome: Outcome = {
      steps: this.#steps,
      bytes,
      peakBytes: Number(peak?.[1] ?? 0) * 1024,
      cpuMs: cpuMs(),
    };
    console.log(JSON.stringify(outcome));
  }
}

/** One of the modes that are compared. */
export interface Column {
  readonly name: string;
  readonly run: Run;
  readonly residentBytes: number;
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

function table(columns: readonly Column[]): string {
  const row = (name: string, cell: (column: Column) => string): string[] => [
    name,
    ...columns.map(cell),
  ];
  const paged = (cell: (swap: Sample) => string | number) => (column: Column) =>
    column.run.swap === null ? '-' : String(cell(column.run.swap));
  const rows = [
    row('data', ({ run }) => formatSize(run.bytes)),
    row('resident budget', ({ run, residentBytes }) =>
      run.swap === null ? '-' : formatSize(residentBytes),
    ),
    row('peak RSS', ({ run }) => formatSize(run.peakBytes)),
    row('time', ({ run }) => seconds(run.ms)),
    ...columns[0]!.run.steps.map(({ name }, at) =>
      row(`  ${name}`, ({ run }) => seconds(run.steps[at]!.ms)),
    ),
    row(
      'page-outs',
      paged(({ pageOuts }) => pageOuts),
    ),
    row(
      'dropped, copy kept',
      paged(({ pagesDropped }) => pagesDropped),
    ),
    row(
      'page-ins',
      paged(({ pageIns }) => pageIns),
    ),
    row(
      'faults',
      paged(({ faults }) => faults),
    ),
    row(
      'stored at the end',
      paged(({ storedPages }) => formatSize(storedPages * 4096)),
    ),
    row('  compressed, peak', ({ run }) =>
      run.swap === null ? '-' : formatSize(run.peakCompressedBytes),
    ),
    row('  with all tables, peak', ({ run }) =>
      run.swap === null ? '-' : formatSize(run.peakUsedBytes),
    ),
    row(
      '  ratio',
      paged(({ ratio }) => ratio.toFixed(2)),
    ),
    row(
      'in files',
      paged(({ devicePages }) => formatSize(devicePages * 4096)),
    ),
  ];
  const heads = [{ name: '', right: false }, ...columns.map(({ name }) => ({ name, right: true }))];
  return formatTable(heads, rows, { raw: false, headings: true });
}

/** A claim about the runs, and whether it holds. */
export interface Claim {
  readonly claim: string;
  readonly holds: boolean;
}

const BAR = 40;

/** Prints a line per run: peak RSS and time, on a terminal with a bar. */
export function peakLines(runs: readonly Pick<Column, 'name' | 'run'>[]): string[] {
  const most = Math.max(...runs.map(({ run: { peakBytes } }) => peakBytes));
  const width = Math.max(...runs.map(({ name }) => name.length));
  return runs.map(({ name, run: { peakBytes, ms } }) => {
    const bar = '#'.repeat(Math.round((BAR * peakBytes) / most)).padEnd(BAR);
    const shown = process.stdout.isTTY === true ? `${bar} ` : '';
    return `${name.padEnd(width)} ${shown}${formatSize(peakBytes).padStart(8)} ${seconds(ms).padStart(9)}`;
  });
}

/** The claims that paging saves memory: each paged run against the first, which has all data in RAM. */
export function lessMemory([plain, ...paged]: readonly Column[]): Claim[] {
  const most = plain!.run.peakBytes;
  return paged.map(({ name, run: { peakBytes } }) => ({
    claim: `peak RSS, ${name}: ${formatSize(peakBytes)}, is less than ${plain!.name}: ${formatSize(most)}`,
    holds: peakBytes < most,
  }));
}

export function sameAnswers(columns: readonly Column[]): Claim {
  const answers = columns.map(({ run }) => run.steps.map(({ answer }) => answer).join());
  return { claim: 'the answers are the same', holds: answers.every((a) => a === answers[0]) };
}

/** Prints the table, or the JSON document; sets exit status 1 if a claim does not hold. */
export function finish(
  example: Example,
  options: Options,
  columns: readonly Column[],
  claims: readonly Claim[],
): void {
  if (options.json) {
    const runs = Object.fromEntries(columns.map(({ name, run }) => [name, run]));
    const { size, residentBytes } = options;
    const document = { schemaVersion: 1, example: example.name, size, residentBytes, runs, claims };
    console.log(JSON.stringify(document));
  } else {
    process.stdout.write(table(columns));
    console.log('\npeak RSS and time:');
    for (const line of peakLines(columns)) console.log(line);
    console.log('\nRSS = base + floor + resident + data / ratio\n');
    for (const { claim, holds } of claims) console.log(`${holds ? 'yes' : 'NO '}  ${claim}`);
  }
  if (claims.some(({ holds }) => !holds)) process.exitCode = 1;
}

/** Runs the example's own file in each mode, one after the other. */
export async function runModes(
  example: Example,
  options: Options,
  modes: Readonly<Record<string, string>>,
): Promise<Column[]> {
  const columns: Column[] = [];
  for (const [mode, name] of Object.entries(modes)) {
    const args = ['--mode', mode, '--size', String(options.size)];
    args.push('--resident', String(options.residentBytes));
    const done = await run({ file: `${example.name}.js`, args });
    columns.push({ name, run: done, residentBytes: options.residentBytes });
  }
  return columns;
}
