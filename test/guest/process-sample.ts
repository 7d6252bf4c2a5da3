/** What a server process costs, read from /proc: resident memory and processor time of all its threads. */
import { readFileSync } from 'node:fs';

/** Linux counts utime and stime in ticks of 1/100 s for user space on every architecture (USER_HZ). */
const ticksPerSecond = 100;

/**
 * Resident bytes, the program's own pages included. smaps_rollup walks the page tables, so the figure
 * is exact where VmRSS may lag by some pages a thread; the walk is charged to the reader.
 */
export function residentBytes(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kib = /^Rss:\s+(\d+) kB/m.exec(text)?.[1];
  if (kib === undefined) throw new Error(`/proc/${pid}/smaps_rollup has no Rss`);
  return Number(kib) * 1024;
}

/** User and system time since the process began, seconds, to 10 ms. */
export function processorSeconds(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // the name in parentheses may hold spaces; utime and stime are the 12th and 13th fields after it
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}
