/**
 * NBD: our host and nbdkit's memory plugin, with fio's nbd engine over a Unix socket; server and client on one core,
 * pages 60 % compressible, servers in turn within each round. Then rss: memory after filling 1 GiB, and after trimming
 * all of it.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type BenchOptions, median, ofRounds, type Table } from './measure.ts';
import { loadPages } from './pages.ts';
import {
  frontswap,
  installed,
  nbdkitSparse,
  nbdkitZstd,
  Server,
  type ServerKind,
} from './peers/server.ts';

const run = promisify(execFile);
const SIZE_MIB = 256;
const CPU = 1;
const SECONDS = 3;

const jobs: readonly { name: string; rw: string; depth: number }[] = [
  { name: 'write, depth 32', rw: 'randwrite', depth: 32 },
  { name: 'read, depth 32', rw: 'randread', depth: 32 },
  { name: 'write, depth 1', rw: 'randwrite', depth: 1 },
  { name: 'read, depth 1', rw: 'randread', depth: 1 },
];

/** Of one job. */
export interface FioResult {
  readonly iops: number;
  readonly p50us: number;
  readonly p99us: number;
  readonly serverNs: number;
}

interface FioSide {
  readonly iops: number;
  readonly total_ios: number;
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
}

export interface FioJob {
  readonly rw: string;
  readonly depth: number;
  readonly sizeMib: number;
  /** The processor of the client. */
  readonly cpu: number;
  /** 0: writes the disk once, in pieces of 256 KiB; otherwise random pages for this time. */
  readonly seconds: number;
}

export async function fio(server: Server, job: FioJob): Promise<FioResult> {
  const { rw, depth, sizeMib, cpu, seconds } = job;
  const length =
    seconds === 0 ? ['--bs=256k'] : ['--bs=4k', '--time_based', `--runtime=${seconds}`];
  const before = server.cpuNs();
  const { stdout } = await run(
    'taskset',
    [
      ...['-c', String(cpu), 'fio', '--name=j', '--ioengine=nbd', `--uri=${server.uri}`],
      ...[`--rw=${rw}`, `--iodepth=${depth}`, `--size=${sizeMib}M`, ...length],
      ...['--buffer_compress_percentage=60', '--output-format=json', '--randrepeat=1'],
    ],
    { maxBuffer: 1 << 26 },
  );
  const used = server.cpuNs() - before;
  const json = stdout.slice(stdout.indexOf('{'));
  const found = (JSON.parse(json) as { jobs: { read: FioSide; write: FioSide }[] }).jobs[0]!;
  const side = rw.endsWith('read') ? found.read : found.write;
  return {
    iops: side.iops,
    p50us: (side.clat_ns.percentile?.['50.000000'] ?? Number.NaN) / 1000,
    p99us: (side.clat_ns.percentile?.['99.000000'] ?? Number.NaN) / 1000,
    serverNs: used / side.total_ios,
  };
}

export async function nbd(options: BenchOptions): Promise<Table> {
  const missing = ['fio', 'nbdkit', 'taskset'].filter((tool) => !installed(tool));
  const columns = ['job', 'server', 'iops', 'of zstd', 'p50 us', 'p99 us', 'server us/op'];
  const title = 'NBD: 4 KiB random over a Unix socket, server and client on one core';
  if (missing.length > 0)
    return { title, columns, rows: [], notes: [`Not measured: ${missing.join(', ')} missing.`] };
  const kinds: readonly ServerKind[] = [frontswap, nbdkitZstd, nbdkitSparse];
  const results = new Map<string, FioResult[]>();
  for (let round = 0; round < options.rounds; round++) {
    for (const kind of kinds) {
      await using server = await Server.start(kind, SIZE_MIB, CPU);
      const shared = { sizeMib: SIZE_MIB, cpu: CPU };
      await fio(server, { ...shared, rw: 'write', depth: 8, seconds: 0 });
      for (const { name, rw, depth } of jobs) {
        const key = `${name} ${kind.name}`;
        const result = await fio(server, { ...shared, rw, depth, seconds: SECONDS });
        results.set(key, [...(results.get(key) ?? []), result]);
      }
    }
  }
  const of = (job: string, kind: ServerKind, field: keyof FioResult): number =>
    median((results.get(`${job} ${kind.name}`) ?? []).map((r) => r[field]));
  const rows = jobs.flatMap(({ name }) =>
    kinds.map((kind) => [
      name,
      kind.name,
      Math.round(of(name, kind, 'iops')),
      of(name, kind, 'iops') / of(name, nbdkitZstd, 'iops'),
      of(name, kind, 'p50us'),
      of(name, kind, 'p99us'),
      of(name, kind, 'serverNs') / 1000,
    ]),
  );
  return {
    title,
    columns,
    rows,
    notes: [
      `fio's nbd engine, ${SIZE_MIB} MiB written first, 60 % compressible, ${SECONDS} s per job. ${ofRounds(options.rounds)}; servers in turn.`,
    ],
  };
}

/** RSS after filling 1 GiB with pages of the corpus, and after trimming all of it. */
export async function rss(options: BenchOptions): Promise<Table> {
  const columns = ['server', 'idle MiB', 'filled MiB', 'of sparse', 'trimmed + 1 s MiB', 'of idle'];
  const title = 'rss: with 1 GiB of mixed pages, and after trimming it';
  const missing = ['nbdcopy', 'qemu-io', 'nbdkit'].filter((tool) => !installed(tool));
  if (missing.length > 0)
    return { title, columns, rows: [], notes: [`Not measured: ${missing.join(', ')} missing.`] };
  const pages = await loadPages(options.corpus);
  const folder = mkdtempSync(join(tmpdir(), 'frontswap-fill-'));
  const file = join(folder, 'pages');
  const sizes = new Map<string, [number, number, number]>();
  try {
    const gib = Buffer.alloc(2 ** 30);
    for (let at = 0; at < gib.length; at += pages.bytes.length)
      gib.set(pages.bytes.subarray(0, Math.min(pages.bytes.length, gib.length - at)), at);
    writeFileSync(file, gib);
    for (const kind of [frontswap, nbdkitSparse, nbdkitZstd]) {
      await using server = await Server.start(kind, 1024);
      const idle = server.rssBytes();
      execFileSync('nbdcopy', ['--allocated', file, server.uri]);
      await new Promise((r) => setTimeout(r, 1000));
      const filled = server.rssBytes();
      const trims = Array.from({ length: 64 }, (_, i) => ['-c', `discard ${i * 16}M 16M`]).flat();
      execFileSync('qemu-io', ['-f', 'raw', '-d', 'unmap', ...trims, server.uri], {
        stdio: 'ignore',
      });
      await new Promise((r) => setTimeout(r, 1000));
      sizes.set(kind.name, [idle, filled, server.rssBytes()]);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const sparse = sizes.get(nbdkitSparse.name)![1];
  return {
    title,
    columns,
    rows: [...sizes].map(([name, [idle, filled, trimmed]]) => [
      name,
      idle / 2 ** 20,
      filled / 2 ** 20,
      filled / sparse,
      trimmed / 2 ** 20,
      trimmed / idle,
    ]),
    notes: [`Pages: ${pages.origin}, repeated to 1 GiB, copied in by nbdcopy.`],
  };
}
