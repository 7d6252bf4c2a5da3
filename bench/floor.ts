/**
 * The cost of frontswap before it pages anything: memory and start-up time, compared with the same program alone. It
 * builds and measures the published package.
 *
 *   program                alone                         with frontswap
 *   nothing                node -e 0                     node --import frontswap/register -e 0
 *   one WebAssembly memory of 1 MiB                      the same
 *   nothing                node -e 0                     openSwap()
 *
 * Memory: RSS half a second after the program's last statement, when the runtime is idle. Time: from spawn to exit of
 * the same program without that wait.
 */
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type BenchOptions, median, ofRounds, type Table } from './measure.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const publicFile = (name: string): string => pathToFileURL(join(root, 'dist', name)).href;

/** Sleeps without the event loop, then prints RSS, private memory and file pages, KiB. */
const report = `
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
  const status = require('node:fs').readFileSync('/proc/self/status', 'utf8');
  const of = (name) => Number(new RegExp(name + ':\\\\s+(\\\\d+)').exec(status)[1]);
  console.log(JSON.stringify([of('VmRSS'), of('RssAnon')]));`;
const memory =
  'const memory = new WebAssembly.Memory({ initial: 16 }); new Uint8Array(memory.buffer).fill(1);';

interface Contender {
  readonly name: string;
  readonly args: readonly string[];
  readonly code: string;
  /** Index of the contender without frontswap. */
  readonly base: number;
}

const withRegister = ['--import', publicFile('memory/register.js')];
const open = `const { openSwap } = require('${join(root, 'dist/memory/open-swap.cjs')}'); openSwap({ residentBytes: 2 ** 24 });`;
const contenders: readonly Contender[] = [
  { name: 'node, nothing', args: [], code: '', base: 0 },
  { name: 'node, a memory of 1 MiB', args: [], code: memory, base: 1 },
  { name: 'register, nothing', args: withRegister, code: '', base: 0 },
  { name: 'register, a memory of 1 MiB', args: withRegister, code: memory, base: 1 },
  { name: 'openSwap()', args: [], code: open, base: 0 },
];

function run({ args, code }: Contender, more: string): { ms: number; printed: string } {
  const start = performance.now();
  const printed = execFileSync(process.execPath, [...args, '-e', `${code}${more}`], {
    encoding: 'utf8',
    env: { ...process.env, FRONTSWAP_RESIDENT: '16M' },
  });
  return { ms: performance.now() - start, printed };
}

export async function floor({ rounds }: BenchOptions): Promise<Table> {
  execFileSync(process.execPath, [join(root, 'scripts/build.mjs'), 'publish'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const seen = contenders.map(() => ({
    rss: [] as number[],
    own: [] as number[],
    ms: [] as number[],
  }));
  for (let round = 0; round < rounds; round++)
    for (const [at, contender] of contenders.entries()) {
      const [rss, own] = JSON.parse(run(contender, report).printed) as [number, number];
      seen[at]!.rss.push(rss / 1024);
      seen[at]!.own.push(own / 1024);
      seen[at]!.ms.push(run(contender, ';0').ms);
    }
  const rows = contenders.map(({ name, base }, at) => {
    const { rss, own, ms } = seen[at]!;
    const over = (values: readonly number[], of: readonly number[]): number | string =>
      base === at ? '' : median(values) - median(of);
    const alone = seen[base]!;
    return [
      ...[name, median(rss), over(rss, alone.rss), over(own, alone.own)],
      ...[median(ms), over(ms, alone.ms)],
    ];
  });
  return {
    title: 'floor: memory and start-up time before paging',
    columns: ['program', 'RSS MiB', 'over alone', 'of it private', 'ms', 'over alone '],
    rows,
    notes: [
      `${ofRounds(rounds)}; programs in turn. Private: RssAnon; the rest is code, shared with other Node.js processes.`,
    ],
  };
}
