/**
 * A region of a million pages and more, on a machine that has less: every page is written, and read again.
 *
 *   node build/examples/memory/large.js [--gib 4] [--resident 256] [--json]
 *
 * 4 GiB is what one ArrayBuffer of Node 20 can have; Node 22 and later take --gib 16 and more, as a SharedArrayBuffer.
 * To see that it does so with less memory than that, give the process less: in a control group with a limit of 1 GiB it
 * runs the same.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { openSwap } from '../../src/index.ts';

const { values } = parseArgs({
  options: {
    gib: { type: 'string', default: '4' },
    resident: { type: 'string', default: '256' },
    json: { type: 'boolean', default: false },
  },
});
const MiB = 2 ** 20;
const bytes = Number(values.gib) * 2 ** 30;
const pages = bytes / 4096;
const words = 512;

using swap = openSwap({ frontswap: { limitBytes: 4 * 2 ** 30 } });
const region = swap.map({ bytes, residentBytes: Number(values.resident) * MiB });
const numbers = new Float64Array(region.buffer);

function timed(body: (page: number) => void): number {
  const start = performance.now();
  for (let page = 0; page < pages; page++) body(page);
  return ((performance.now() - start) * 1000) / pages;
}

const writeUs = timed((page) => {
  numbers[page * words] = page + 1;
  numbers[page * words + 100] = page * 3;
});
let wrong = 0;
const readUs = timed((page) => {
  if (numbers[page * words] !== page + 1 || numbers[page * words + 100] !== page * 3) wrong++;
});

/** VmHWM: the most that was ever resident. */
const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;
const { usedBytes, ratio } = swap.stats();
const report = {
  node: process.version,
  buffer: region.buffer.constructor.name,
  gib: bytes / 2 ** 30,
  pages,
  wrong,
  writeUsPerPage: Number(writeUs.toFixed(2)),
  readUsPerPage: Number(readUs.toFixed(2)),
  peakRssMiB: Math.round(peak),
  compressedMiB: Math.round(usedBytes / MiB),
  ratio: Number(ratio.toFixed(1)),
};
if (values.json) console.log(JSON.stringify(report));
else for (const [name, value] of Object.entries(report)) console.log(`${name.padEnd(16)} ${value}`);
process.exitCode = wrong === 0 ? 0 : 1;
