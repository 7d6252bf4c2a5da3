/**
 * LZ4 engines: the WebAssembly kernels, liblz4 through the foreign function interface, and liblz4 called from C
 * (bench/reference/lz4.c), the reference. Same pages, same order, processor time; rounds alternate, so that a
 * disturbance affects all engines; ratios of times are medians of each round's ratio. A page that compresses to more
 * than 3072 bytes counts as 4096: it would be stored raw.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { PAGE_BYTES } from '../src/base/units.ts';
import type { PageCodec } from '../src/codec/codec.ts';
import { KERNEL_SCRATCH_BYTES, loadKernels } from '../src/codec/kernels.ts';
import { createMemory, type LinearMemory } from '../src/codec/linear-memory.ts';
import { lz4 } from '../src/codec/lz4.ts';
import { loadNativeLz4 } from '../src/os/native-codec.ts';
import {
  type BenchOptions,
  median,
  medianRatio,
  medianRatioNote,
  ofRounds,
  type Table,
} from './measure.ts';
import type { PageSet } from './page-set.ts';
import { loadPages } from './pages.ts';

/** One round, by class: processor ns per page, bytes stored. */
export interface Round {
  readonly compress: number[];
  readonly decompress: number[];
  readonly bytes: number[];
}

interface Engine extends Disposable {
  readonly name: string;
  round(): Round | Promise<Round>;
}

const LIMIT = 3072;
const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

export async function codec(options: BenchOptions): Promise<Table> {
  const pages = await loadPages(options.corpus);
  const engines = startEngines(pages, passesFor(pages));
  try {
    // Warm-up: compiles, tiers up, accesses every page.
    for (const engine of engines) for (let n = 0; n < 3; n++) await engine.round();
    const results: Round[][] = engines.map(() => []);
    for (let r = 0; r < options.rounds; r++)
      for (let k = 0; k < engines.length; k++) {
        const e = (k + r) % engines.length;
        results[e]!.push(await engines[e]!.round());
      }
    return codecTable(
      pages,
      engines.map(({ name }) => name),
      results,
    );
  } finally {
    for (const engine of engines) engine[Symbol.dispose]();
  }
}

/** Enough passes that the clock, exact to 1 us, can measure the smallest class. */
function passesFor(pages: PageSet): number {
  const counts = pages.classes.map((_, c) => pages.classOfPage.filter((x) => x === c).length);
  return Math.max(4, Math.ceil(800 / Math.max(1, Math.min(...counts.filter((n) => n > 0)))));
}

/** The reference first, if it can be built. */
function startEngines(pages: PageSet, passes: number): Engine[] {
  const native = loadNativeLz4();
  if (native.factory === null) console.error(native.reason);
  const factories = native.factory === null ? [lz4] : [lz4, native.factory];
  const engines: Engine[] = factories.map((factory) => {
    const count = pages.classOfPage.length;
    const bytes = KERNEL_SCRATCH_BYTES * 3 + count * (PAGE_BYTES * 2 + 64);
    const memory = createMemory(Math.ceil(bytes / 65536) * 65536);
    return codecEngine(factory(memory, loadKernels(memory)), memory, pages, passes);
  });
  const c = cEngine(pages, passes);
  return c === null ? engines : [c, ...engines];
}

function codecEngine(
  codec: PageCodec,
  memory: LinearMemory,
  pages: PageSet,
  passes: number,
): Engine {
  const { classes, classOfPage } = pages;
  const from = KERNEL_SCRATCH_BYTES + PAGE_BYTES;
  const to = from + pages.bytes.length;
  const back = to + classOfPage.length * (PAGE_BYTES + 64);
  new Uint8Array(memory.buffer).set(pages.bytes, from);
  const lengths = new Int32Array(classOfPage.length);
  const members = classes.map((_, c) =>
    Int32Array.from([...classOfPage.keys()].filter((i) => classOfPage[i] === c)),
  );
  const compress = (list: Int32Array): void => {
    for (const i of list)
      lengths[i] = codec.compress(from + i * PAGE_BYTES, to + i * (PAGE_BYTES + 64), LIMIT);
  };
  const decompress = (list: Int32Array): void => {
    for (const i of list)
      if (codec.decompress(to + i * (PAGE_BYTES + 64), lengths[i]!, back) < 0)
        throw new Error(`${codec.name} cannot decompress its own block of page ${i}`);
  };
  return {
    name: codec.name,
    round: () => {
      const round: Round = { compress: [], decompress: [], bytes: [] };
      for (const list of members) {
        round.compress.push(cpuNsPerItem(passes, list, compress));
        round.decompress.push(
          cpuNsPerItem(
            passes,
            list.filter((i) => lengths[i] !== 0),
            decompress,
          ),
        );
        round.bytes.push(list.reduce((sum, i) => sum + (lengths[i] || PAGE_BYTES), 0));
      }
      return round;
    },
    [Symbol.dispose]: () => {},
  };
}

function cpuNsPerItem(passes: number, list: Int32Array, work: (list: Int32Array) => void): number {
  if (list.length === 0) return 0;
  const start = process.cpuUsage();
  for (let pass = 0; pass < passes; pass++) work(list);
  const { user, system } = process.cpuUsage(start);
  return ((user + system) * 1000) / (passes * list.length);
}

/** liblz4 from C, as a child process that runs a round per input line; null if it cannot be compiled. */
function cEngine(pages: PageSet, passes: number): Engine | null {
  const source = join(root, 'bench/reference/lz4.c');
  if (!existsSync(source)) return null;
  const folder = mkdtempSync(join(tmpdir(), 'frontswap-bench-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  const program = join(folder, 'lz4');
  try {
    execFileSync('cc', ['-O3', '-o', program, source, '-llz4'], { stdio: 'pipe' });
  } catch (error) {
    console.error(
      `codec: liblz4 from C is not available: ${error instanceof Error ? error.message : String(error)}`,
    );
    remove();
    return null;
  }
  writeFileSync(join(folder, 'pages'), pages.bytes);
  writeFileSync(join(folder, 'classes'), pages.classOfPage);
  const child: ChildProcess = spawn(
    program,
    [join(folder, 'pages'), join(folder, 'classes'), String(passes)],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return {
    name: 'liblz4 in C',
    round: async () => {
      child.stdin!.write('\n');
      const line = await lines.next();
      if (line.done === true) throw new Error('bench/reference/lz4.c ended early');
      return JSON.parse(line.value) as Round;
    },
    [Symbol.dispose]: () => {
      child.stdin!.end();
      remove();
    },
  };
}

/**
 * Makes a table of the rounds of each engine; the first engine is the reference. The row `mixed` weights each class by
 * its share of the pages.
 */
export function codecTable(
  pages: Omit<PageSet, 'bytes'>,
  engines: readonly string[],
  results: readonly (readonly Round[])[],
): Table {
  const counts = pages.classes.map((_, c) => pages.classOfPage.filter((x) => x === c).length);
  const value = (round: Round, key: keyof Round, c: number): number => {
    if (c < pages.classes.length) return round[key][c]! / (key === 'bytes' ? counts[c]! : 1);
    const sum = counts.reduce((acc, n, i) => acc + n * value(round, key, i), 0);
    return sum / pages.classOfPage.length;
  };
  const rows = [...pages.classes, 'mixed'].flatMap((name, c) =>
    engines.map((engine, e) => {
      const all = (key: keyof Round, of: number): number[] =>
        results[of]!.map((r) => value(r, key, c));
      const of = (key: keyof Round): number => median(all(key, e));
      const over = (key: keyof Round): number => medianRatio(all(key, e), all(key, 0));
      return [
        name,
        engine,
        Math.round(of('compress')),
        over('compress'),
        Math.round(of('decompress')),
        over('decompress'),
        (of('bytes') / PAGE_BYTES).toFixed(3),
        over('bytes').toFixed(3),
      ];
    }),
  );
  return {
    title: `codec: one page, ns of processor time, and ratio to ${engines[0]!}`,
    columns: ['pages', 'engine', 'compress', 'median x', 'decompress', 'median x ', 'kept', 'x'],
    rows,
    notes: [
      `Pages: ${pages.origin}; pages above ${LIMIT} bytes count as stored raw. ${ofRounds(results[0]!.length, 'interleaved')}.`,
      medianRatioNote(engines[0]!),
    ],
  };
}
