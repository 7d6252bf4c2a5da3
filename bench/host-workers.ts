/**
 * host-workers: a host with one and with two engine workers, two disks, and one fio for each disk, both at the same time. Hosts and clients
 * share the machine's processors and are not pinned. Within a round each job runs on both hosts, in alternating order.
 *
 * Requests per second depend on what else runs. The processor time of the host's busiest thread for a request does not: it
 * limits what the host can serve when processors are free.
 */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { OwnHost } from '../test/support/fixtures/own-host.ts';
import {
  type BenchOptions,
  median,
  medianRatio,
  medianRatioNote,
  ofRounds,
  type Table,
} from './measure.ts';
import { installed } from './peers/server.ts';

const run = promisify(execFile);
const SIZE_MIB = 128;
const SECONDS = 1;
const DISKS = ['a', 'b'] as const;

/** Contents of written pages, as options of fio. */
const classes = {
  '60 %': ['--buffer_compress_percentage=60'],
  zeros: ['--zero_buffers'],
} as const;
type PageClass = keyof typeof classes;

const jobs = [
  { name: 'write 4 KiB', rw: 'randwrite', bytes: '4k', depth: 32 },
  { name: 'read 4 KiB', rw: 'randread', bytes: '4k', depth: 32 },
  { name: 'write 64 KiB', rw: 'randwrite', bytes: '64k', depth: 8 },
  { name: 'read 64 KiB', rw: 'randread', bytes: '64k', depth: 8 },
] as const;
type Job = (typeof jobs)[number];

interface Side {
  readonly iops: number;
  readonly total_ios: number;
}

/** Of one client, or of both. */
interface Rate {
  readonly perSecond: number;
  readonly count: number;
}

async function fio(host: OwnHost, disk: string, job: readonly string[]): Promise<Rate> {
  const { stdout } = await run(
    'fio',
    [
      ...['--name=j', '--ioengine=nbd', `--uri=${host.uri(disk)}`, `--size=${SIZE_MIB}M`],
      ...['--output-format=json', '--randrepeat=1', '--thread', ...job],
    ],
    { maxBuffer: 1 << 26 },
  );
  const text = stdout.slice(stdout.indexOf('{'));
  const [first] = (JSON.parse(text) as { jobs: { read: Side; write: Side }[] }).jobs;
  const { read, write } = first!;
  return { perSecond: read.iops + write.iops, count: read.total_ios + write.total_ios };
}

/** Processor time of each thread so far, ns. */
function threadNs({ pid }: OwnHost): Map<string, number> {
  const folder = `/proc/${pid}/task`;
  return new Map(
    readdirSync(folder).map((thread) => {
      const [ns = ''] = readFileSync(`${folder}/${thread}/schedstat`, 'utf8').split(' ');
      return [thread, Number(ns)];
    }),
  );
}

interface Measured {
  /** Of both clients together. */
  readonly perSecond: number;
  /** Processor time of the busiest thread of the host for a request. */
  readonly busiestUs: number;
}

async function measure(
  host: OwnHost,
  { rw, bytes, depth }: Job,
  pages: PageClass,
): Promise<Measured> {
  const rest = [`--rw=${rw}`, `--bs=${bytes}`, `--iodepth=${depth}`, ...classes[pages]];
  const timed = [...rest, '--time_based', `--runtime=${SECONDS}`];
  const before = threadNs(host);
  const rates = await Promise.all(DISKS.map((disk) => fio(host, disk, timed)));
  const used = [...threadNs(host)].map(([thread, ns]) => ns - (before.get(thread) ?? 0));
  const sum = (of: (rate: Rate) => number): number =>
    rates.reduce((all, rate) => all + of(rate), 0);
  return {
    perSecond: sum(({ perSecond }) => perSecond),
    busiestUs: Math.max(...used) / 1000 / sum(({ count }) => count),
  };
}

const residentMib = ({ pid }: OwnHost): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;

const start = (workers: number): Promise<OwnHost> =>
  OwnHost.start({
    disks: DISKS.map((disk) => `${disk}=${SIZE_MIB}M`),
    arguments: ['--workers', String(workers)],
  });

/** By job and page class, with one worker and with two, by round. */
type Results = Map<string, { readonly one: Measured[]; readonly two: Measured[] }>;

async function measureRound(round: number, results: Results): Promise<readonly number[]> {
  await using one = await start(1);
  await using two = await start(2);
  const idle = [residentMib(one), residentMib(two)];
  for (const pages of Object.keys(classes) as PageClass[]) {
    const fill = ['--rw=write', '--bs=256k', '--iodepth=4', ...classes[pages]];
    for (const host of [one, two]) for (const disk of DISKS) await fio(host, disk, fill);
    for (const job of jobs) {
      const key = `${job.name}|${pages}`;
      const result = results.get(key) ?? { one: [], two: [] };
      results.set(key, result);
      const order = [
        async () => result.one.push(await measure(one, job, pages)),
        async () => result.two.push(await measure(two, job, pages)),
      ];
      for (const step of round % 2 === 0 ? order : order.reverse()) await step();
    }
  }
  return idle;
}

export async function hostWorkers({ rounds }: BenchOptions): Promise<Table> {
  const title = 'host: two disks on one engine worker and on two, one fio for each disk';
  const columns = [
    ...['job', 'pages', '1 worker /s', '2 workers /s', 'median x'],
    ...['busiest thread us, 1', '2', 'median 1/2'],
  ];
  if (!installed('fio')) return { title, columns, rows: [], notes: ['Not measured: fio missing.'] };
  const results: Results = new Map();
  const idle: (readonly number[])[] = [];
  for (let round = 0; round < rounds; round++) idle.push(await measureRound(round, results));
  const rows = [...results].map(([key, { one, two }]) => {
    const rates = [one, two].map((all) => all.map(({ perSecond }) => perSecond));
    const times = [one, two].map((all) => all.map(({ busiestUs }) => busiestUs));
    return [
      ...key.split('|'),
      ...rates.map((all) => Math.round(median(all))),
      medianRatio(rates[1]!, rates[0]!),
      ...times.map(median),
      medianRatio(times[0]!, times[1]!),
    ];
  });
  const [mibOne, mibTwo] = [0, 1].map((at) => Math.round(median(idle.map((row) => row[at]!))));
  return {
    title,
    columns,
    rows,
    notes: [
      `${ofRounds(rounds, 'interleaved')}. The clients use the same processors.`,
      medianRatioNote('one worker'),
      `Resident memory of an idle host: ${mibOne} MiB with one, ${mibTwo} MiB with two workers.`,
    ],
  };
}
