/**
 * fairness: what one hostile client costs three normal ones that the same host serves. Processes: the host, the normal
 * clients, the hostile client. Rounds alternate: alone, with the first kind, alone, with the second kind, ...
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TurnTimes } from './loop-turns.ts';
import {
  type BenchOptions,
  median,
  medianRatio,
  medianRatioNote,
  ofRounds,
  type Table,
} from './measure.ts';

export const hostileKinds = [
  'reads, never read',
  'reads of 32 MiB',
  'trims of the disk',
  'write-zeroes of the disk',
  'connection storm',
  'block status of the disk',
  '1,024 small requests',
] as const;
export type HostileKind = (typeof hostileKinds)[number];

/** Of the normal clients. */
export interface Latencies {
  readonly p50us: number;
  readonly p99us: number;
  readonly count: number;
}

export interface Round extends Latencies {
  /** Of the event loop of the host. */
  readonly turns: TurnTimes;
  /** Resident memory of the host at the end of the round. */
  readonly rssBytes: number;
}

const here = fileURLToPath(new URL('.', import.meta.url));
const mainPath = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const clientPath = join(here, 'fair-client.js');
/** Time before a measurement starts, ms. */
const SETTLE_MS = 200;
/** Length of the measurement of the event loop, ms. */
const TURNS_MS = 1000;
const NOT_MEASURED: TurnTimes = { p50: Number.NaN, p999: Number.NaN, max: Number.NaN };

const answerOf = async <T>(child: ChildProcess, question?: object | string): Promise<T> => {
  const answer = once(child, 'message');
  if (question !== undefined) child.send(question);
  return ((await answer) as [T])[0];
};

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** At the lowest priority of Linux: the host is measured, not the competition of clients for a processor. */
function startHostile(socket: string, kind: HostileKind): ChildProcess {
  const args = ['--idle', '0', process.execPath, clientPath, 'hostile', socket, kind];
  return spawn('chrt', args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

/** A host, and the three normal clients. */
export class FairRig implements AsyncDisposable {
  readonly #folder: string;
  readonly #socket: string;
  readonly #host: ChildProcess;
  readonly #normal: ChildProcess;

  private constructor(folder: string, socket: string, host: ChildProcess, normal: ChildProcess) {
    this.#folder = folder;
    this.#socket = socket;
    this.#host = host;
    this.#normal = normal;
  }

  /** FAIR_MAIN: path of the command of another build, to compare with. */
  static async start(): Promise<FairRig> {
    const main = process.env['FAIR_MAIN'] ?? mainPath;
    const folder = mkdtempSync(join(tmpdir(), 'frontswap-fair-'));
    const socket = join(folder, 'nbd.sock');
    const disks = ['a=64M', 'b=64M', 'c=64M', 'hostile=2G'].flatMap((disk) => ['--disk', disk]);
    const host = spawn(
      process.execPath,
      [
        ...['--import', join(here, 'loop-turns.js'), main, 'host', '-q'],
        '-U',
        socket,
        ...disks,
        '--control',
        join(folder, 'control.sock'),
      ],
      { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] },
    );
    while (!existsSync(join(folder, 'control.sock'))) {
      if (host.exitCode !== null) throw new Error('the host did not start');
      await sleep(20);
    }
    const normal = fork(clientPath, ['normal', socket]);
    await answerOf(normal);
    return new FairRig(folder, socket, host, normal);
  }

  /**
   * Measures for `ms`, alone or with a hostile client.
   * @param options.turns also measures the turns of the event loop
   */
  async round(
    ms: number,
    kind: HostileKind | null,
    { turns = true }: { readonly turns?: boolean } = {},
  ): Promise<Round> {
    const hostile = kind === null ? null : startHostile(this.#socket, kind);
    try {
      if (hostile !== null) await answerOf(hostile);
      await sleep(SETTLE_MS);
      const latencies = await answerOf<Latencies>(this.#normal, { ms });
      const times = turns ? await this.#measureTurns() : NOT_MEASURED;
      return { ...latencies, turns: times, rssBytes: this.rssBytes() };
    } finally {
      if (hostile !== null) await kill(hostile);
      await sleep(SETTLE_MS);
    }
  }

  /** While the normal clients go on. */
  async #measureTurns(): Promise<TurnTimes> {
    this.#host.send('start');
    await answerOf(this.#normal, { ms: TURNS_MS });
    return answerOf<TurnTimes>(this.#host, 'stop');
  }

  rssBytes(): number {
    const status = readFileSync(`/proc/${this.#host.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([kill(this.#normal), kill(this.#host)]);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

const ROUND_MS = 1500;

export async function fairness(options: BenchOptions): Promise<Table> {
  const alone = new Map<HostileKind, Round[]>();
  const beside = new Map<HostileKind, Round[]>();
  await using rig = await FairRig.start();
  await rig.round(ROUND_MS, null); // compiles
  for (let round = 0; round < options.rounds; round++)
    for (const kind of hostileKinds) {
      alone.set(kind, [...(alone.get(kind) ?? []), await rig.round(ROUND_MS, null)]);
      beside.set(kind, [...(beside.get(kind) ?? []), await rig.round(ROUND_MS, kind)]);
    }
  const rows = hostileKinds.map((kind) => {
    const [without, with_] = [alone.get(kind) ?? [], beside.get(kind) ?? []];
    const of = (rounds: readonly Round[], value: (round: Round) => number): number =>
      median(rounds.map(value));
    const p99 = (rounds: readonly Round[]): number[] => rounds.map(({ p99us }) => p99us);
    return [
      kind,
      of(without, (r) => r.p50us),
      of(without, (r) => r.p99us),
      of(with_, (r) => r.p50us),
      of(with_, (r) => r.p99us),
      medianRatio(p99(with_), p99(without)),
      of(without, (r) => r.turns.p999),
      of(with_, (r) => r.turns.p999),
      of(with_, (r) => r.turns.max),
      of(with_, (r) => r.rssBytes) / 2 ** 20,
    ];
  });
  return {
    title:
      'fairness: three clients with 4 KiB reads and writes at depth 1, 4 and 8, beside a hostile one',
    columns: [
      'hostile client',
      'alone p50 us',
      'p99 us',
      'beside p50 us',
      'p99 us',
      'median x p99',
      'turn p99.9 ms alone',
      'beside',
      'max',
      'RSS MiB',
    ],
    rows,
    notes: [
      `${ofRounds(options.rounds, 'interleaved')} of ${ROUND_MS / 1000} s. ${medianRatioNote('alone')}`,
    ],
  };
}
