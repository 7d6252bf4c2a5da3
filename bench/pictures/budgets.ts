/**
 * One unmodified program (examples/memory/readings.ts) with several resident budgets, and without frontswap: peak RSS,
 * processor time, and that of its look-ups, which have a working set. A round runs all of them; the order rotates.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { median } from '../measure.ts';

const ROWS = 32_000;
const BUDGETS_MIB = [16, 32, 64, 128, 256, 512];
const program = fileURLToPath(new URL('../../examples/memory/readings.js', import.meta.url));
const register = new URL('../../src/memory/register.js', import.meta.url).href;

interface Result {
  readonly rssMib: number;
  readonly seconds: number;
  /** Processor time of all threads. */
  readonly cpuSeconds: number;
  readonly lookUpCpuSeconds: number;
}

export interface Budgets {
  readonly rounds: number;
  readonly program: string;
  readonly dataMib: number;
  readonly plain: Result;
  readonly paged: readonly (Result & { readonly budgetMib: number })[];
}

interface Outcome {
  readonly steps: readonly {
    readonly name: string;
    readonly cpuMs: number;
    readonly answer: string;
  }[];
  readonly bytes: number;
  readonly peakBytes: number;
  readonly cpuMs: number;
}

interface Ran extends Result {
  readonly answers: string;
  readonly dataMib: number;
}

async function run(budgetMib: number | null): Promise<Ran> {
  const paging = budgetMib === null ? [] : ['--import', register];
  const env = budgetMib === null ? {} : { FRONTSWAP_RESIDENT: `${budgetMib}M` };
  const start = performance.now();
  const child = spawn(process.execPath, [...paging, program, String(ROWS)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  });
  const ended = new Promise((resolve) => child.once('close', resolve));
  let printed = '';
  for await (const line of createInterface({ input: child.stdout as Readable })) printed += line;
  const status = await ended;
  if (status !== 0) throw new Error(`${program} with ${budgetMib} MiB ended with ${status}`);
  const { steps, bytes, peakBytes, cpuMs } = JSON.parse(printed) as Outcome;
  return {
    rssMib: peakBytes / 2 ** 20,
    seconds: (performance.now() - start) / 1000,
    cpuSeconds: cpuMs / 1000,
    lookUpCpuSeconds: steps.find(({ name }) => name === 'look-ups')!.cpuMs / 1000,
    answers: steps.map(({ answer }) => answer).join(),
    dataMib: bytes / 2 ** 20,
  };
}

function medians(runs: readonly Ran[]): Result {
  const of = (figure: (ran: Ran) => number): number => Number(median(runs.map(figure)).toFixed(2));
  return {
    rssMib: of(({ rssMib }) => rssMib),
    seconds: of(({ seconds }) => seconds),
    cpuSeconds: of(({ cpuSeconds }) => cpuSeconds),
    lookUpCpuSeconds: of(({ lookUpCpuSeconds }) => lookUpCpuSeconds),
  };
}

export async function measureBudgets(rounds: number): Promise<Budgets> {
  const contenders = [null, ...BUDGETS_MIB];
  const all = contenders.map((): Ran[] => []);
  for (let round = 0; round < rounds; round++)
    for (let turn = 0; turn < contenders.length; turn++) {
      const at = (round + turn) % contenders.length;
      all[at]!.push(await run(contenders[at]!));
    }
  const [plain, ...paged] = all;
  const { answers, dataMib } = plain![0]!;
  if (all.flat().some((ran) => ran.answers !== answers))
    throw new Error('budgets: the answers of two runs differ');
  return {
    rounds,
    program: `examples/memory/readings.ts, ${ROWS} rows`,
    dataMib: Math.round(dataMib),
    plain: medians(plain!),
    paged: BUDGETS_MIB.map((budgetMib, at) => ({ budgetMib, ...medians(paged[at]!) })),
  };
}
