/**
 * npm packages that use WebAssembly: one small program each (bench/packages/*.mjs), run plain and with the published
 * frontswap/register, each run in a separate process. Plain and paged runs alternate.
 *
 *   bench/packages/ ─ copy, npm ci ─▶ .cache/packages/ ─▶ node                             report.mjs PROGRAM ─ stdout ─▶ {"hash"}
 *                                                      └▶ node --import frontswap/register report.mjs PROGRAM ─ fd 3 ──▶ peak, swap
 *
 * Versions and integrity: package.json and package-lock.json in bench/packages. npm runs no install scripts.
 */
import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { SwapStats } from '../src/index.ts';
import { type BenchOptions, median, type Table } from './measure.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const MIB = 2 ** 20;
const BUDGET_BYTES = 64 * MIB;
/** One round of all packages takes minutes. */
const ROUNDS_MAX = 3;
const RUN_MS_MAX = 300_000;
/** Paging pays if RSS is at most this share of the plain run's, at no more than TIME_MAX times its time. */
const RSS_MAX = 0.9;
const TIME_MAX = 4;

export interface Package {
  readonly name: string;
  /** In bench/packages, without `.mjs`. */
  readonly program: string;
  /** FRONTSWAP_BUFFERS of the paged run; default: not set. */
  readonly buffers?: string;
}

export const packages: readonly Package[] = [
  { name: 'node-sqlite3-wasm', program: 'sqlite3' },
  { name: '@duckdb/duckdb-wasm', program: 'duckdb' },
  { name: 'pyodide', program: 'python' },
  { name: 'quickjs-emscripten', program: 'quickjs' },
  { name: 'loro-crdt', program: 'loro' },
  { name: 'web-tree-sitter', program: 'tree-sitter' },
  { name: '@resvg/resvg-wasm', program: 'resvg' },
  { name: 'yoga-layout', program: 'yoga' },
  { name: 'oxigraph', program: 'oxigraph' },
  { name: 'sql.js', program: 'sql', buffers: '16M' },
  { name: 'onnxruntime-web', program: 'onnx' },
  { name: 'tiktoken', program: 'tiktoken' },
];

/** The result of a successful run. */
export interface Outcome {
  readonly hash: string;
  readonly ms: number;
  /** VmHWM: the peak of RSS. */
  readonly peakBytes: number;
  /** Null: nothing was paged. */
  readonly swap: Pick<SwapStats, 'residentBytes' | 'storedPages' | 'ratio' | 'pageIns'> | null;
  /** The warning of frontswap/register; '': none. */
  readonly warning: string;
}

/** A run, or why it failed. */
export type Run = Outcome | { readonly failed: string };

export interface Runs {
  readonly name: string;
  readonly plain: readonly Run[];
  readonly paged: readonly Run[];
}

/** The row of a package, and why paging does not pay for it; null if it does. */
export function rowOf(runs: Runs): {
  readonly row: readonly (string | number)[];
  readonly whyNot: string | null;
} {
  const { name } = runs;
  const broken = failureOf(runs);
  if (broken !== null) {
    const none = Array.from({ length: 8 }, () => '');
    return { row: [name, 'no', ...none, 'no'], whyNot: broken };
  }
  const plain = runs.plain as readonly Outcome[];
  const paged = runs.paged as readonly Outcome[];
  const mib = (of: readonly Outcome[]): number => median(of.map((r) => r.peakBytes)) / MIB;
  const seconds = (of: readonly Outcome[]): number => median(of.map((r) => r.ms)) / 1000;
  const { swap, warning } = paged[0]!;
  const dataMib = swap === null ? 0 : (swap.residentBytes + swap.storedPages * 4096) / MIB;
  const ratio = swap === null || swap.storedPages === 0 ? Number.NaN : swap.ratio;
  const rss = mib(paged) / mib(plain);
  const time = seconds(paged) / seconds(plain);
  const back = swap === null ? 0 : (swap.pageIns * 4096) / (dataMib * MIB);
  const whyNot =
    swap === null
      ? `not paged: ${warning === '' ? 'it exports no memory' : warning}`
      : reasonOf({ dataMib, rss, time, back });
  const row = [
    ...[name, 'yes', dataMib, ratio, mib(plain), mib(paged), rss],
    ...[seconds(plain), seconds(paged), time, whyNot === null ? 'yes' : 'no'],
  ];
  return { row, whyNot };
}

function failureOf({ plain, paged }: Runs): string | null {
  const first = plain[0]!;
  if ('failed' in first) return `fails plain: ${first.failed}`;
  for (const [how, all] of [
    ['plain', plain],
    ['paged', paged],
  ] as const)
    for (const run of all) {
      if ('failed' in run) return `fails ${how}: ${run.failed}`;
      if (run.hash !== first.hash) return `${how}: its result differs`;
    }
  return null;
}

interface Figures {
  readonly dataMib: number;
  /** Paged to plain. */
  readonly rss: number;
  readonly time: number;
  /** Page-ins per page. */
  readonly back: number;
}

function reasonOf({ dataMib, rss, time, back }: Figures): string | null {
  if (dataMib * MIB < BUDGET_BYTES)
    return `its WebAssembly memory takes ${dataMib.toFixed(0)} MiB: nothing is evicted`;
  const reasons = [];
  if (rss > RSS_MAX) reasons.push(`${rss.toFixed(2)} of the memory: the floor exceeds the savings`);
  if (time > TIME_MAX)
    reasons.push(
      `${time.toFixed(1)} times the time: each page was swapped in ${back.toFixed(1)} times`,
    );
  return reasons.length === 0 ? null : reasons.join('; ');
}

const folder = join(root, '.cache/packages');
const registerUrl = pathToFileURL(join(root, 'dist/memory/register.js')).href;

/** Copies the programs to where they run; runs npm only if the lock file has changed. */
function install(): void {
  const own = join(root, 'bench/packages');
  const lockOf = (at: string): string => {
    const path = join(at, 'package-lock.json');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  };
  // npm writes node_modules/.package-lock.json when it is done.
  const isThere =
    lockOf(own) === lockOf(folder) && existsSync(join(folder, 'node_modules/.package-lock.json'));
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(own)) copyFileSync(join(own, name), join(folder, name));
  if (isThere) return;
  process.stderr.write('packages: npm ci, about 400 MB\n');
  execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

function run({ program, buffers }: Package, paged: boolean): Promise<Run> {
  const imports = [...(paged ? [registerUrl] : []), './report.mjs'].flatMap((f) => ['--import', f]);
  const env = {
    FRONTSWAP_RESIDENT: String(BUDGET_BYTES),
    BENCH_REGISTER: registerUrl,
    ...(buffers === undefined ? {} : { FRONTSWAP_BUFFERS: buffers }),
  };
  const start = performance.now();
  const child = spawn(process.execPath, [...imports, `${program}.mjs`], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...(paged ? env : {}) },
    timeout: RUN_MS_MAX,
    killSignal: 'SIGKILL',
  });
  const texts = ['', '', ''];
  for (const [at, stream] of child.stdio.slice(1).entries())
    stream!.on('data', (chunk: Buffer) => {
      texts[at] = `${texts[at]}${chunk}`;
    });
  return new Promise((resolve) => {
    child.once('error', ({ message }) => resolve({ failed: message }));
    child.once('close', (code, signal) => {
      const ms = performance.now() - start;
      const [stdout, stderr, report] = texts as [string, string, string];
      try {
        if (code !== 0) throw new Error(errorIn(stderr) ?? String(signal ?? `status ${code}`));
        const warning = /FrontswapWarning: ([^:;\n]*)/.exec(stderr)?.[1] ?? '';
        resolve({ ...JSON.parse(stdout), ...JSON.parse(report), ms, warning });
      } catch (error) {
        resolve({ failed: (error as Error).message });
      }
    });
  });
}

/** The line of a stack trace with the error message. */
function errorIn(stderr: string): string | null {
  return stderr.split('\n').find((line) => /^(?:\w*Error|frontswap)\b/.test(line)) ?? null;
}

async function measure(rounds: number): Promise<Runs[]> {
  try {
    install();
  } catch (error) {
    const none = [{ failed: (error as Error).message }];
    return packages.map(({ name }) => ({ name, plain: none, paged: none }));
  }
  const all = packages.map(({ name }) => ({ name, plain: [] as Run[], paged: [] as Run[] }));
  for (let round = 0; round < rounds; round++)
    for (const [at, of] of packages.entries())
      for (const paged of round % 2 === 0 ? [false, true] : [true, false]) {
        const how = paged ? 'paged' : 'plain';
        process.stderr.write(`packages: round ${round + 1} of ${rounds}, ${of.name}, ${how}\n`);
        all[at]![how].push(await run(of, paged));
      }
  return all;
}

export async function packagesTable(options: BenchOptions): Promise<Table> {
  const rounds = Math.min(options.rounds, ROUNDS_MAX);
  execFileSync(process.execPath, [join(root, 'scripts/build.mjs'), 'publish'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const before = loadavg()[0]!;
  const rows = (await measure(rounds)).map(rowOf);
  const losers = rows.filter(({ whyNot }) => whyNot !== null);
  return {
    title: 'packages: programs with npm packages, plain and with frontswap/register',
    columns: [
      ...['package', 'works', 'data MiB', 'ratio', 'RSS plain', 'RSS paged', 'x'],
      ...['s plain', 's paged', 'x ', 'pays'],
    ],
    rows: rows.map(({ row }) => row),
    notes: [
      `FRONTSWAP_RESIDENT=${BUDGET_BYTES / MIB}M for all; FRONTSWAP_BUFFERS=16M for sql.js, which keeps its file in a typed array. Works: the hash of the result is that of the plain run. Data: size of the paged memories at the end, and its compression ratio. RSS: the peak of the process (VmHWM), MiB; time: wall time of the process. Medians of ${rounds} rounds, plain and paged alternate. Pays: at most ${RSS_MAX} of the memory in at most ${TIME_MAX} times the time. Load average ${before.toFixed(2)} before, ${loadavg()[0]!.toFixed(2)} after.`,
      ...losers.map(({ row, whyNot }) => `Does not pay: ${row[0]}: ${whyNot}.`),
    ],
  };
}
