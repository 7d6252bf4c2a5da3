/**
 * Runs SQLite with all its data in RAM, then in less memory than it needs. A status line shows resident, stored and
 * moving pages. Prints both runs side by side at the end, and a breakdown of the memory.
 *
 *   npm run demo                              a database of 530 MiB, 32 MiB of it resident
 *   npm run demo -- --size 16000 --resident 16M
 *
 * On a terminal the line is rewritten in place; elsewhere a line is printed every second. Ctrl-C ends the program and
 * restores the terminal.
 */
import { readFileSync } from 'node:fs';
import { formatSize } from '../../src/base/size.ts';
import { StatusLine } from '../../src/cli/status-line.ts';
import type { Sample } from './meter.ts';
import { pagedDatabase } from './paged-database.ts';
import { optionsOf, peakLines, type Run, run } from './side-by-side.ts';

const example = {
  name: 'demo',
  about: 'An in-memory SQLite database in less RAM than it needs, with the activity of the pager.',
  unit: 'rows, about 17,000 bytes each',
  small: { size: 32_000, resident: '32M' },
  full: { size: 120_000, resident: '64M' },
  json: 'the activity of the pager, one document per line',
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
    return stdout.columns || 80; // 0: the terminal has not reported its width
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
    return '-'; // the process has just ended
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
  console.log(
    `${size} rows in an in-memory SQLite database, ${formatSize(residentBytes)} of it resident:`,
  );
  console.log('  node --import frontswap/register readings.js');
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`.padStart(9);
/** @param one the paged run with one row: the memory of the process without data */
function summarize(plain: Run, paged: Run, one: Run): void {
  const { swap } = paged;
  if (swap === null) throw new Error('nothing was paged; the warning above says why');
  console.log(`${''.padEnd(10)} ${'plain'.padStart(9)} ${'paged'.padStart(9)}`);
  for (const [at, { name, ms, answer }] of paged.steps.entries()) {
    const before = plain.steps[at]!;
    if (before.answer !== answer)
      throw new Error(`${name}: plain ${before.answer}, paged ${answer}`);
    console.log(`${name.padEnd(10)} ${seconds(before.ms)} ${seconds(ms)}  ${answer.slice(0, 32)}`);
  }
  const times = (paged.bytes / residentBytes).toFixed(1);
  console.log(
    `a database of ${formatSize(paged.bytes)}, ${times} times what was in RAM; ` +
      `${swap.pageOuts + swap.pagesDropped} pages out, ${swap.pageIns} in`,
  );
  console.log('\npeak RSS and time:');
  const both = [
    { name: 'plain', run: plain },
    { name: 'paged', run: paged },
  ];
  for (const text of peakLines(both)) console.log(text);
  console.log('\nRSS = base + floor + resident + data / ratio');
  console.log(
    `here about ${formatSize(one.peakBytes)} (base + floor: measured with one row) + ` +
      `${formatSize(residentBytes)} + ${formatSize(paged.peakUsedBytes)} (compressed, ratio ${swap.ratio.toFixed(1)})`,
  );
  if (paged.peakBytes >= plain.peakBytes)
    console.log('Paging does not pay at this size: the floor is more than compression saves.');
}

if (!json) introduce();
if (isTerminal) stdout.write(hideCursor);
try {
  const { signal } = stop;
  const plain = json ? null : await run({ file: 'readings.js', args: [String(size)], signal });
  const one = json
    ? null
    : await run({ ...pagedDatabase(1, residentBytes, 'readings.js'), signal });
  const program = pagedDatabase(size, residentBytes, 'readings.js');
  const paged = await run({ ...program, signal, onSample: show });
  restore();
  if (plain !== null && one !== null) summarize(plain, paged, one);
} catch (error) {
  restore();
  if (!stop.signal.aborted) {
    console.error(`demo: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}
