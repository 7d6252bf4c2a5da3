/**
 * RSS of disk servers over time. The same client writes a disk full at a fixed rate, waits, discards all of it, and
 * waits: every server sees the same requests at the same time after its start. The clock of a round begins when the
 * server is ready.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { median } from '../measure.ts';
import { loadPages } from '../pages.ts';
import { frontswap, installed, nbdkitSparse, nbdkitZstd, Server } from '../peers/server.ts';

const SIZE_MIB = 1024;
/** Size of a write: the maximum that a kernel sends. A server may have a buffer of that size per thread. */
const WRITE_MIB = 1;
const TRIM_MIB = 16;
const SAMPLE_MS = 250;
const LEAD_MS = 2000;
const WRITE_MS = 24_000;
const HOLD_MS = 4000;
const TRIM_MS = 4000;
const REST_MS = 8000;
const END_MS = LEAD_MS + WRITE_MS + HOLD_MS + TRIM_MS + REST_MS;

/** RSS of a server, MiB, at each time of `seconds`. */
interface Line {
  readonly name: string;
  readonly rssMib: readonly number[];
  /** Largest delay of a request's completion after its scheduled time, ms. */
  readonly lateMs: number;
}

export interface DiskRss {
  readonly sizeMib: number;
  readonly rounds: number;
  readonly pages: string;
  readonly seconds: readonly number[];
  /** Start and end of each part, s. */
  readonly parts: readonly { readonly name: string; readonly from: number; readonly to: number }[];
  readonly servers: readonly Line[];
}

interface Command {
  /** Time after the start. */
  readonly dueMs: number;
  /** For qemu-io. */
  readonly command: string;
}

/** Commands over the whole disk, evenly spaced in time. */
function spread(name: string, stepMib: number, fromMs: number, lengthMs: number): Command[] {
  const count = SIZE_MIB / stepMib;
  return Array.from({ length: count }, (_, i) => ({
    dueMs: fromMs + (i * lengthMs) / count,
    command: `${name} ${i * stepMib}M ${stepMib}M`,
  }));
}

const schedule = (pages: string): Command[] => [
  ...spread(`write -s ${pages}`, WRITE_MIB, LEAD_MS, WRITE_MS),
  ...spread('discard', TRIM_MIB, LEAD_MS + WRITE_MS + HOLD_MS, TRIM_MS),
];

/** Counts the requests that the client reports as done: one line of `write` and `discard` each. */
function countDone(client: ChildProcess, onDone: (count: number) => void): void {
  let count = 0;
  createInterface({ input: client.stdout! }).on('line', (line) => {
    if (/^(?:qemu-io> )*(?:wrote|discard) \d+/.test(line)) onDone(++count);
  });
}

async function round(server: Server, pages: string): Promise<{ rss: number[]; lateMs: number }> {
  const client = spawn('qemu-io', ['-f', 'raw', '-d', 'unmap', server.uri], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((resolve) => client.once('close', resolve));
  const commands = schedule(pages);
  const start = performance.now();
  let done = 0;
  let lateMs = 0;
  countDone(client, (count) => {
    done = count;
    lateMs = Math.max(lateMs, performance.now() - start - commands[count - 1]!.dueMs);
  });
  const rss: number[] = [];
  let next = 0;
  for (let sample = 0; sample * SAMPLE_MS <= END_MS; sample++) {
    const at = sample * SAMPLE_MS;
    // Commands that are due before the next sample are sent when they are due.
    await sleep(Math.max(0, start + at - performance.now()));
    rss.push(server.rssBytes() / 2 ** 20);
    while (next < commands.length && commands[next]!.dueMs < at + SAMPLE_MS) {
      const { dueMs, command } = commands[next++]!;
      await sleep(Math.max(0, start + dueMs - performance.now()));
      client.stdin.write(`${command}\n`);
    }
  }
  client.stdin.end('quit\n');
  const status = await ended;
  if (status !== 0 || done !== commands.length)
    throw new Error(`qemu-io ended with ${status} after ${done} of ${commands.length} requests`);
  return { rss, lateMs: Math.round(lateMs) };
}

function parts(): DiskRss['parts'] {
  const writeTo = LEAD_MS + WRITE_MS;
  const all = [
    { name: 'write 1 GiB', from: LEAD_MS, to: writeTo },
    { name: 'hold', from: writeTo, to: writeTo + HOLD_MS },
    { name: 'trim all', from: writeTo + HOLD_MS, to: writeTo + HOLD_MS + TRIM_MS },
    { name: 'idle', from: END_MS - REST_MS, to: END_MS },
  ];
  return all.map(({ name, from, to }) => ({ name, from: from / 1000, to: to / 1000 }));
}

export async function measureDiskRss(rounds: number, corpus?: string): Promise<DiskRss> {
  const missing = ['nbdkit', 'qemu-io'].filter((tool) => !installed(tool));
  if (missing.length > 0) throw new Error(`disk-rss needs ${missing.join(' and ')}; install them`);
  const pages = await loadPages(corpus);
  const folder = mkdtempSync(join(tmpdir(), 'frontswap-rss-'));
  const file = join(folder, 'pages');
  const kinds = [frontswap, nbdkitZstd, nbdkitSparse];
  const all = kinds.map(() => ({ rss: [] as number[][], lateMs: 0 }));
  try {
    writeFileSync(file, pages.bytes);
    for (let turn = 0; turn < rounds * kinds.length; turn++) {
      const at = (turn + Math.floor(turn / kinds.length)) % kinds.length;
      await using server = await Server.start(kinds[at]!, SIZE_MIB);
      const { rss, lateMs } = await round(server, file);
      all[at]!.rss.push(rss);
      all[at]!.lateMs = Math.max(all[at]!.lateMs, lateMs);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const count = all[0]!.rss[0]!.length;
  return {
    sizeMib: SIZE_MIB,
    rounds,
    pages: pages.origin,
    seconds: Array.from({ length: count }, (_, i) => (i * SAMPLE_MS) / 1000),
    parts: parts(),
    servers: kinds.map(({ name }, at) => ({
      name,
      lateMs: all[at]!.lateMs,
      rssMib: Array.from({ length: count }, (_, i) =>
        Number(median(all[at]!.rss.map((rss) => rss[i]!)).toFixed(1)),
      ),
    })),
  };
}
