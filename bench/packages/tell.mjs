/**
 * `--import` this before a program, after frontswap/register if that is imported: at the end of the process a line of JSON
 * on descriptor 3, which says the most memory that it took and what was paged. The program is not concerned.
 */
import { readFileSync, writeSync } from 'node:fs';

const register = process.env.BENCH_REGISTER;
const paged = register === undefined ? null : await import(register);

process.once('exit', () => {
  const [, kib] = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  writeSync(
    3,
    JSON.stringify({ peakBytes: Number(kib) * 1024, swap: paged?.swap?.stats() ?? null }),
  );
});
