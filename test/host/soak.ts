/**
 * A host for a long time: disks are added, frozen, resized, reset and removed through its control socket, while clients
 * verify every page that they read.
 *
 *   npm run soak -- [--minutes 20] [--disks 4] [--seed N] [--json]
 *
 * One disk has a backing. Memory and descriptors of the host are sampled twice a second.
 *
 * `stalls` shows whether the machine caused a late reply: samples that came late, and the time that the host waited for a
 * processor between two of them.
 *
 * Exit status: 0, or 1 if a page had other contents, a request or an operation failed, the host logged a bug, it has other
 * descriptors at the end than at the start, or its median resident memory in the last quarter of the time is more than
 * RSS_GROWTH_MAX above that in the second quarter. (The first quarter has the compiler's
 * and the allocator's start; runs of less than some minutes still grow.)
 */
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { Progress, parseTool, positive, refuse } from '../../bench/tool.ts';
import { Prng } from '../../src/base/prng.ts';
import { OwnHost } from '../support/fixtures/own-host.ts';
import { residentBytes } from '../support/fixtures/process-sample.ts';
import { TemporaryFolder } from '../support/fixtures/processes.ts';
import { type SoakCounts, SoakDisk } from './soak-disk.ts';

const RSS_GROWTH_MAX = 0.05;
const SAMPLE_MS = 500;
const BACKING_BYTES = 64 * 2 ** 20;
const REPORTS_MAX = 20;

const help = `Usage: npm run soak -- [OPTION]...

Serves disks that are added, frozen, resized, reset and removed, while clients verify every page that they read. The status
is 1 if a page was wrong, a request failed, or the memory of the host grew.

  --minutes N   time (default 20); runs of less than some minutes still grow
  --disks N     disks at a time (default 4)
  --seed N      of the random operations (default: the time)
  --json        one line of JSON

Example: npm run soak -- --minutes 5`;

const { values } = parseTool('soak', help, {
  minutes: { type: 'string', default: '20' },
  disks: { type: 'string', default: '4' },
  seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  json: { type: 'boolean', default: false },
});
const minutes = positive('soak', 'minutes', values.minutes, false);
const diskCount = positive('soak', 'disks', values.disks);
const seed = Number(values.seed);
if (!Number.isInteger(seed)) refuse('soak', `--seed '${values.seed}' is not a whole number`);
const progress = new Progress();

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Open descriptors of a process, once its sockets have closed. */
async function restingDescriptors(pid: number): Promise<number> {
  await sleep(1500);
  return readdirSync(`/proc/${pid}/fd`).length;
}

const counts: SoakCounts = {
  requests: 0,
  pagesVerified: 0,
  miscompares: 0,
  disconnects: 0,
  operations: {},
};
const problems: string[] = [];
const report = (line: string): void => {
  if (problems.length < REPORTS_MAX) problems.push(line);
};

using folder = new TemporaryFolder();
const controlPath = folder.file('control.sock');
const backing = folder.file('backing');
writeFileSync(backing, '', { mode: 0o600 });
truncateSync(backing, BACKING_BYTES);
await using host = await OwnHost.start({ disks: ['first=16M'], controlPath });
const descriptorsBefore = await restingDescriptors(host.pid);
const endMs = performance.now() + minutes * 60_000;
const rss: number[] = [];
const descriptors: number[] = [];
/** Longest time between two samples, and longest time that the host waited for a processor between two, ms. */
const stalls = { ownMs: 0, hostWaitMs: 0 };
const hostWaitMs = (): number =>
  Number(readFileSync(`/proc/${host.pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6;
let last = { atMs: performance.now(), waitMs: hostWaitMs() };
const sampler = setInterval(() => {
  if (!host.isRunning) return;
  const now = { atMs: performance.now(), waitMs: hostWaitMs() };
  stalls.ownMs = Math.max(stalls.ownMs, Math.round(now.atMs - last.atMs));
  stalls.hostWaitMs = Math.max(stalls.hostWaitMs, Math.round(now.waitMs - last.waitMs));
  last = now;
  rss.push(residentBytes(host.pid));
  descriptors.push(readdirSync(`/proc/${host.pid}/fd`).length);
  const leftMinutes = Math.max(0, (endMs - now.atMs) / 60_000).toFixed(1);
  progress.show(`soak: ${counts.requests} requests, ${leftMinutes} minutes left`);
}, SAMPLE_MS);

const isOver = (): boolean => performance.now() >= endMs || !host.isRunning;
const runs = Array.from({ length: diskCount }, (_, index) => {
  const target = {
    socketPath: host.socketPath,
    controlPath,
    backing: index === 0 ? backing : null,
    counts,
    report,
  };
  return new SoakDisk(`disk${index}`, target, new Prng(seed + index)).run(isOver);
});
for (const result of await Promise.allSettled(runs))
  if (result.status === 'rejected') report(String((result.reason as Error).stack));
clearInterval(sampler);
progress.end();

const descriptorsAfter = host.isRunning ? await restingDescriptors(host.pid) : Number.NaN;
if (!host.isRunning) report('the host has ended');
if (host.log.includes('bug of frontswap')) report(host.log);
const quarter = (index: number): readonly number[] =>
  rss.slice(Math.floor((rss.length * index) / 4), Math.floor((rss.length * (index + 1)) / 4));
const quarters = [0, 1, 2, 3].map((index) => median(quarter(index)));
const growth = quarters[3]! / quarters[1]! - 1;
if (!(growth <= RSS_GROWTH_MAX)) report(`resident memory: ${(growth * 100).toFixed(1)} % more`);
if (descriptorsAfter !== descriptorsBefore)
  report(`descriptors: ${descriptorsBefore} at the start, ${descriptorsAfter} at the end`);

const result = {
  minutes,
  seed,
  ...counts,
  rssMibOfQuarters: quarters.map((bytes) => Number((bytes / 2 ** 20).toFixed(1))),
  rssMaxMib: Number((rss.reduce((a, b) => Math.max(a, b), 0) / 2 ** 20).toFixed(1)),
  rssGrowth: Number(growth.toFixed(4)),
  rssGrowthMax: RSS_GROWTH_MAX,
  descriptors: {
    before: descriptorsBefore,
    max: descriptors.reduce((a, b) => Math.max(a, b), 0),
    after: descriptorsAfter,
  },
  stalls,
  problems,
  passed: problems.length === 0,
};
if (values.json) console.log(JSON.stringify(result));
else console.log(JSON.stringify(result, null, 2));
process.exitCode = result.passed ? 0 : 1;
