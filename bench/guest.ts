/**
 * A real kernel swapping on nbdkit and on ours, in one sitting: whole run, the guest's phases, the
 * server's processor time, resident memory at each boundary. Servers take turns within a round, so a
 * slow minute of the machine falls on all of them; figures are medians over the rounds. Everything is
 * pinned to one core, as a host with a busy guest has it.
 */
import { prepareGuest } from '../test/guest/artefacts.ts';
import { type GuestResult, type Point, runGuest } from '../test/guest/guest-run.ts';
import { columns } from '../test/guest/report.ts';
import { type GuestServer, nbdkitServer, ownServer } from '../test/guest/servers.ts';

export interface GuestBenchOptions {
  /** How often each server is measured; default 1, about 80 s a server. */
  readonly rounds?: number;
  readonly json?: boolean;
  /** The core that all share; default 0. */
  readonly cpu?: number;
  /** Default: nbdkit's two allocators and ours. */
  readonly servers?: readonly GuestServer[];
}

/** Medians of one server's runs; bytes, seconds. */
export interface GuestBenchRow {
  readonly server: string;
  readonly wholeSeconds: number;
  readonly phaseSeconds: Readonly<Record<string, number>>;
  /** Up to the hog's end. */
  readonly serverSeconds: number;
  readonly residentBytes: Readonly<Record<string, number>>;
  readonly wrongPages: number;
}

const shape = { discard: 'pages', ramMib: 128, hogMib: 300, seed: 1 } as const;
const timed = ['fill', 'seq', 'rewrite', 'rand', 'kept'];
const weighed = ['booted', 'fill', 'seq', 'rand', 'half', 'gone', 'discarded'];

export async function run(options: GuestBenchOptions = {}): Promise<GuestBenchRow[]> {
  const { rounds = 1, json = false, cpu = 0 } = options;
  const servers = options.servers ?? [
    nbdkitServer('512M', 'sparse'),
    nbdkitServer('512M', 'zstd'),
    ownServer('512M'),
  ];
  const artefacts = await prepareGuest();
  const results = servers.map((): GuestResult[] => []);
  for (let round = 0; round < rounds; round++)
    for (const [i, server] of servers.entries())
      results[i]?.push(
        await runGuest(server, artefacts, {
          ...shape,
          cpu,
          asksFigures: false,
          timeoutMs: 300_000,
        }),
      );
  const rows = results.map(rowOf);
  const text = json
    ? JSON.stringify({ ...shape, rounds, rows })
    : tableOf(rows, artefacts.kernelName);
  process.stdout.write(`${text}\n`);
  return rows;
}

function rowOf(runs: readonly GuestResult[]): GuestBenchRow {
  const at = (name: string, of: (p: Point) => number): number =>
    median(runs.map((r) => of(r.points.find((p) => p.name === name)!)));
  const each = (names: readonly string[], of: (p: Point) => number): Record<string, number> =>
    Object.fromEntries(names.map((name) => [name, at(name, of)]));
  return {
    server: runs[0]!.server,
    wholeSeconds: median(runs.map((r) => r.seconds)),
    phaseSeconds: each(timed, (p) => p.seconds),
    serverSeconds: at('gone', (p) => p.serverSeconds),
    residentBytes: each(weighed, (p) => p.residentBytes),
    wrongPages: Math.max(...runs.map((r) => r.points.find((p) => p.name === 'kept')?.errors ?? 0)),
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function tableOf(rows: readonly GuestBenchRow[], kernel: string): string {
  const mib = (n: number): string => (n / 2 ** 20).toFixed(0);
  const head = ['server', 'run s', ...timed.map((n) => `${n} s`), 'server s', 'wrong'];
  const body = rows.map((r) => [
    ...[r.server, r.wholeSeconds.toFixed(1)],
    ...timed.map((n) => r.phaseSeconds[n]!.toFixed(1)),
    ...[r.serverSeconds.toFixed(2), String(r.wrongPages)],
  ]);
  const memory = rows.map((r) => [r.server, ...weighed.map((n) => mib(r.residentBytes[n]!))]);
  return [
    `${kernel}, ${shape.ramMib} MiB RAM, ${shape.hogMib} MiB filled, discard=${shape.discard}`,
    columns([head, ...body]),
    'resident MiB of the server at each boundary',
    columns([['server', ...weighed], ...memory]),
  ].join('\n');
}
