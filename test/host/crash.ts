/**
 * A host with --persist that is killed again and again under write and trim load. After each start a client reconnects under
 * the name it had, and reads every page.
 *
 *   npm run crash -- [--rounds 50] [--seed N] [--backing] [--json]
 *
 * Prints the pages lost and revived, and the time from the start of a new host to its first answer to the client: wall time,
 * and the processor time that the host used until then, which does not depend on the load of the machine.
 *
 * With --backing the disk has a backing file, where it stores the pages that compress to more than half.
 *
 * Exit status: 0, or 1 if a page was lost or revived.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Prng } from '../../src/base/prng.ts';
import { environment, must, root, TemporaryFolder } from '../support/fixtures/processes.ts';
import { CrashDisk } from './crash-disk.ts';

const DISK_BYTES = 32 << 20;
const REPORTS_MAX = 20;
/** USER_HZ of Linux. */
const TICK_MS = 10;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '50' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    backing: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const [rounds, seed] = [Number(values.rounds), Number(values.seed)];
if (!Number.isInteger(rounds) || rounds < 1 || !Number.isInteger(seed)) {
  console.error('crash: --rounds and --seed are whole numbers');
  process.exit(2);
}

const mainPath = join(root, 'build', 'src', 'cli', 'main.js');
using folder = new TemporaryFolder();
const images = mkdtempSync('/dev/shm/frontswap-crash-');
process.once('exit', () => rmSync(images, { recursive: true, force: true }));
const [socketPath, control] = [folder.file('nbd.sock'), folder.file('control.sock')];

const backing = folder.file('backing');
if (values.backing) {
  writeFileSync(backing, '', { mode: 0o600 });
  truncateSync(backing, DISK_BYTES);
}
const diskText = `swap0=${DISK_BYTES}${values.backing ? `,backing=${backing}` : ''}`;

const start = (): ChildProcess =>
  spawn(
    process.execPath,
    [
      ...[mainPath, 'host', '-U', socketPath, '--control', control, '--quiet'],
      ...['--disk', diskText, '--total-limit', '256M', '--persist', images],
    ],
    { env: environment, stdio: ['ignore', 'ignore', 'inherit'] },
  );

async function kill(host: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => host.once('exit', resolve));
  host.kill('SIGKILL');
  await ended;
}

/** Processor time of a process, user and system, ms; proc_pid_stat(5). */
function processorMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

async function firstExport(): Promise<string> {
  for (;;) {
    if (host.exitCode !== null) throw new Error('the host does not start');
    const text = await must(process.execPath, [
      mainPath,
      'list',
      '--control',
      control,
      '--json',
    ]).catch(() => null);
    if (text === null) continue;
    const { disks } = JSON.parse(text) as { disks: { uris: string[] }[] };
    return decodeURIComponent(new URL(disks[0]!.uris[0]!).pathname.slice(1));
  }
}

const problems: string[] = [];
const prng = new Prng(seed);
let host = start();
const exportName = await firstExport();
const disk = new CrashDisk({ socketPath, exportName, bytes: DISK_BYTES }, prng, (line) => {
  if (problems.length < REPORTS_MAX) problems.push(line);
});
await disk.connect();
const wallMs: number[] = [];
const cpuMs: number[] = [];
let done = 0;
let isStopping = false; // a signal ends the run, with the result so far
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    isStopping = true;
  });
for (; done < rounds && !isStopping; done++) {
  const load = disk.load();
  await sleep(prng.below(60));
  await kill(host);
  await load;
  const began = performance.now();
  host = start();
  await disk.connect();
  wallMs.push(performance.now() - began);
  cpuMs.push(processorMs(host.pid!));
  await disk.verify();
  if (!values.json && (done + 1) % 50 === 0) console.error(`${done + 1} rounds`);
}
disk.close();
await kill(host);

const { acknowledged, inFlight, pagesVerified, lost, revived } = disk.counts;
const result = {
  ...{ rounds: done, seed, acknowledged, inFlight, pagesVerified, lost, revived },
  backMs: Math.round(median(wallMs)),
  backProcessorMs: median(cpuMs),
};
for (const line of problems) console.error(line);
if (values.json) console.log(JSON.stringify(result));
else
  console.log(
    `${done} rounds (seed ${seed}): ${lost} pages lost, ${revived} revived; ` +
      `${acknowledged} requests acknowledged, ${inFlight} in flight at a kill, ${pagesVerified} pages verified; ` +
      `back in ${result.backMs} ms (median), ${result.backProcessorMs} ms of processor time`,
  );
process.exit(lost + revived === 0 ? 0 : 1);
