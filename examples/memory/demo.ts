/**
 * SQLite in less memory than it needs, with a line that shows pages resident, stored and moving while it works.
 *
 *   npm run demo                              a database of about 60 MiB in 10 MiB
 *   npm run demo -- --size 1000000 --resident 32M
 *
 * The line is rewritten in place on a terminal; elsewhere there is one a second. Ctrl-C ends the program and leaves the
 * terminal as it was.
 */
import { readFileSync } from 'node:fs';
import { formatSize } from '../../src/base/size.ts';
import { StatusLine } from '../../src/cli/status-line.ts';
import type { Sample } from './meter.ts';
import { pagedDatabase } from './paged-database.ts';
import { optionsOf, type Run, run } from './side-by-side.ts';

const example = {
  name: 'demo',
  about:
    'An in-memory SQLite database in less RAM than it needs, and what the pager does meanwhile.',
  unit: 'rows, about 200 bytes each',
  small: { size: 300_000, resident: '10M' },
  full: { size: 1_000_000, resident: '32M' },
  json: 'what the pager does, a document a line',
};

const { size, residentBytes, json } = optionsOf(example);
const { stdout } = process;
const isTerminal = stdout.isTTY === true && !json;
const LINE_MS = isTerminal ? 200 : 1000;
const hideCursor = '\x1b[?25l';
const showCursor = '\x1b[?25h';

const line = new StatusLine({
  isTerminal,
  write: (text) => {
    stdout.write(text);
  },
  get columns() {
    return stdout.columns || 80; // 0: nobody has said how wide it is
  },
});

interface Moment {
  readonly at: number;
  readonly ins: number;
  readonly outs: number;
}

let last: Moment = { at: performance.now(), ins: 0, outs: 0 };

function rss(pid: number): string {
  try {
    const [, kib] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return formatSize(Number(kib ?? 0) * 1024);
  } catch {
    return '-'; // it has just ended
  }
}

function show(swap: Sample, pid: number): void {
  const at = performance.now();
  const ms = at - last.at;
  if (ms < LINE_MS) return;
  const now = { at, ins: swap.pageIns, outs: swap.pageOuts + swap.pagesDropped };
  const rate = (pages: number): number => Math.round((pages * 1000) / ms);
  const text = [
    `resident ${formatSize(swap.residentBytes)}`,
    `stored ${formatSize(swap.storedPages * 4096)} in ${formatSize(swap.usedBytes)}`,
    `ratio ${swap.ratio.toFixed(1)}`,
    `out ${rate(now.outs - last.outs)}/s`,
    `in ${rate(now.ins - last.ins)}/s`,
    `process ${rss(pid)}`,
  ].join('  ');
  last = now;
  if (json) console.log(JSON.stringify(swap));
  else if (isTerminal) line.show(text);
  else console.log(text);
}

function restore(): void {
  if (!isTerminal) return;
  line.erase();
  stdout.write(showCursor);
}

const stop = new AbortController();
for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
] as const)
  process.once(signal, () => {
    process.exitCode = 128 + number;
    stop.abort();
  });

function introduce(): void {
  console.log(`${size} orders in SQLite, of which ${formatSize(residentBytes)} may be in RAM:`);
  console.log('  node --import frontswap/register database.js');
}

function summarise(done: Run): void {
  const { swap } = done;
  if (swap === null) throw new Error('nothing was paged; the warning above says why');
  for (const { name, ms, answer } of done.steps)
    console.log(
      `${name.padEnd(10)} ${(ms / 1000).toFixed(1).padStart(7)} s  ${answer.slice(0, 16)}`,
    );
  const times = (done.bytes / residentBytes).toFixed(1);
  console.log(
    `a database of ${formatSize(done.bytes)}, ${times} times what was in RAM; ` +
      `${swap.pageOuts + swap.pagesDropped} pages out, ${swap.pageIns} in, ` +
      `at most ${formatSize(done.peakUsedBytes)} for what was out; the process took ${formatSize(done.peakBytes)}`,
  );
}

if (!json) introduce();
if (isTerminal) stdout.write(hideCursor);
try {
  const program = pagedDatabase(size, residentBytes);
  const done = await run({ ...program, signal: stop.signal, onSample: show });
  restore();
  if (!json) summarise(done);
} catch (error) {
  restore();
  if (!stop.signal.aborted) {
    console.error(`demo: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}
