/**
 * host: our host and nbdkit's uncompressed memory plugin, in one run: operations per second of 4 KiB at depth 32 on one
 * disk, processor time of the server for each, and resident memory once the disk is full of mixed pages. Server and client
 * are on separate processors where there are two. In each round the order of the servers alternates.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Table } from './measure.ts';
import { type BenchOptions, median, medianRatio, medianRatioNote, ofRounds } from './measure.ts';
import { type FioResult, fio } from './nbd.ts';
import type { PageSet } from './page-set.ts';
import { loadPages } from './pages.ts';
import { frontswap, installed, nbdkitMalloc, nbdkitSparse, Server } from './peers/server.ts';

const run = promisify(execFile);
const SIZE_MIB = 1024;
const SERVER_CPU = 1;
const SECONDS = 2;
const kinds = [frontswap, nbdkitSparse, nbdkitMalloc];
const base = nbdkitSparse.name;
const jobs = [
  { name: 'read', rw: 'randread' },
  { name: 'write', rw: 'randwrite' },
] as const;

interface Round extends FioResult {
  readonly rssBytes: number;
}

/** Writes the pages, repeated, to a file of the size of the disk. */
function writePages(pages: PageSet, path: string): void {
  const all = Buffer.alloc(SIZE_MIB * 2 ** 20);
  for (let at = 0; at < all.length; at += pages.bytes.length)
    all.set(pages.bytes.subarray(0, Math.min(pages.bytes.length, all.length - at)), at);
  writeFileSync(path, all);
}

export async function hostAgainstMemory(options: BenchOptions): Promise<Table> {
  const columns = ['job', 'server', 'iops', 'median x', 'server us/op', 'median x', 'RSS MiB'];
  const title = 'host: 4 KiB random at depth 32 on one disk full of mixed pages';
  const missing = ['fio', 'nbdkit', 'nbdcopy', 'taskset'].filter((tool) => !installed(tool));
  if (missing.length > 0)
    return { title, columns, rows: [], notes: [`Not measured: ${missing.join(', ')} missing.`] };
  const clientCpu = availableParallelism() > 1 ? 0 : SERVER_CPU;
  const pages = await loadPages(options.corpus);
  const folder = mkdtempSync(join(tmpdir(), 'frontswap-host-'));
  const file = join(folder, 'pages');
  const results = new Map<string, Round[]>();
  try {
    writePages(pages, file);
    for (let round = 0; round < options.rounds; round++)
      for (const kind of round % 2 === 0 ? kinds : [...kinds].reverse()) {
        await using server = await Server.start(kind, SIZE_MIB, SERVER_CPU);
        await run('nbdcopy', ['--allocated', file, server.uri]);
        await new Promise((r) => setTimeout(r, 1000));
        const rssBytes = server.rssBytes();
        for (const { name, rw } of jobs) {
          const key = `${name} ${kind.name}`;
          const job = { rw, depth: 32, sizeMib: SIZE_MIB, cpu: clientCpu, seconds: SECONDS };
          const result = { ...(await fio(server, job)), rssBytes };
          results.set(key, [...(results.get(key) ?? []), result]);
        }
      }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const of = (job: string, kind: string, field: keyof Round): number[] =>
    (results.get(`${job} ${kind}`) ?? []).map((r) => r[field]);
  const rows = jobs.flatMap(({ name: job }) =>
    kinds.map(({ name }) => [
      job,
      name,
      Math.round(median(of(job, name, 'iops'))),
      medianRatio(of(job, name, 'iops'), of(job, base, 'iops')),
      median(of(job, name, 'serverNs')) / 1000,
      medianRatio(of(job, name, 'serverNs'), of(job, base, 'serverNs')),
      median(of(job, name, 'rssBytes')) / 2 ** 20,
    ]),
  );
  const ratio = medianRatio(of('read', frontswap.name, 'rssBytes'), of('read', base, 'rssBytes'));
  return {
    title,
    columns,
    rows,
    notes: [
      `fio's nbd engine, ${SIZE_MIB} MiB, ${SECONDS} s per job, writes 60 % compressible; server and client on ` +
        `${clientCpu === SERVER_CPU ? 'one processor' : 'a processor each'}. ${ofRounds(options.rounds, 'interleaved')}. ${medianRatioNote(base)}`,
      `RSS once the disk is full, before the jobs; ours is ${ratio.toFixed(2)} of that of ${base}. Pages: ${pages.origin}, repeated.`,
    ],
  };
}
