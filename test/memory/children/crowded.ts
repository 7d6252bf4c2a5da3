/**
 * A WebAssembly memory of which no page can be evicted; run plain and under register by crowded.test.ts.
 *
 *   node crowded.js MEBIBYTES noise|text WARNINGS
 *
 * Prints the process's RSS at the end, and whether each page has its contents.
 */
import { readFileSync } from 'node:fs';
import { until } from '../../support/fixtures/until.ts';

const PAGE_WORDS = 1024;
const mebibytes = Number(process.argv[2]);
const isNoise = process.argv[3] === 'noise';
const expectedWarnings = Number(process.argv[4]);

interface WasmApi {
  readonly Memory: new (limits: { initial: number }) => { readonly buffer: ArrayBuffer };
}
const { Memory } = (globalThis as unknown as { WebAssembly: WasmApi }).WebAssembly;
const words = new Uint32Array(new Memory({ initial: mebibytes * 16 }).buffer);

let warnings = 0;
process.on('warning', ({ name }) => {
  if (name === 'FrontswapWarning') warnings++;
});

/** xorshift32; or words of which two thirds repeat. */
function next(state: number, at: number): number {
  if (!isNoise && at % 3 !== 0) return 0x20202020;
  let x = state;
  x ^= x << 13;
  x ^= x >>> 17;
  return (x ^ (x << 5)) >>> 0;
}

let state = 1;
for (let at = 0; at < words.length; at++) {
  const word = next(state, at);
  if (word !== 0x20202020) state = word;
  words[at] = word;
}
state = 1;
let wrong = 0;
for (let at = 0; at < words.length; at++) {
  const word = next(state, at);
  if (word !== 0x20202020) state = word;
  if (words[at] !== word) wrong++;
}
await until('the warnings', () => warnings >= expectedWarnings);
await new Promise((resolve) => setTimeout(resolve, 500)); // so that surplus warnings are printed
const status = readFileSync('/proc/self/status', 'utf8');
const residentKib = Number(/VmRSS:\s+(\d+)/.exec(status)![1]);
const report = {
  wrong,
  warnings,
  residentMib: residentKib / 1024,
  pages: words.length / PAGE_WORDS,
};
process.stdout.write(`${JSON.stringify(report)}\n`);
