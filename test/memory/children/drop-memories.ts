/**
 * Creates, fills, checks and drops 32 memories of 16 MiB, one after the other. `turns`: each in its own turn of the
 * event loop. Waits for a byte on stdin first; prints the peak RSS, KiB.
 */
import { readFileSync, readSync } from 'node:fs';
import { wasm } from '../wasm-api.ts';

const MEMORIES = 32;
const PAGES_OF_WASM = 256;

/** Two words of three are equal in neighbouring pages, the third is noise. */
function fillAndCheck(seed: number): void {
  const memory = new wasm.Memory({ initial: PAGES_OF_WASM });
  const words = new Uint32Array(memory.buffer);
  let state = seed;
  for (let i = 0; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[i] = i % 3 === 0 ? state : i >>> 4;
  }
  for (let i = 1; i < words.length; i += 999)
    if (words[i] !== i >>> 4 && i % 3 !== 0) throw new Error(`word ${i} is wrong`);
}

readSync(0, Buffer.alloc(1));
for (let i = 0; i < MEMORIES; i++) {
  fillAndCheck(i + 1);
  if (process.argv[2] === 'turns') await new Promise((resolve) => setImmediate(resolve));
}
console.log(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
