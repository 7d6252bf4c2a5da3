/**
 * Import it before a program (`--import`), and after frontswap/register if that is used. At the end of the process it
 * writes a line of JSON to descriptor 3: peak memory and swap statistics. The program is not changed.
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
