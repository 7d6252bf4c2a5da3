/** A program under frontswap/register, for test/memory/memfd.test. Prints what it found. */
import { readFileSync } from 'node:fs';
import { swap } from '../../../src/memory/register.ts';
import { loadLinux } from '../../../src/os/linux/system-call.ts';
import { wasm } from '../wasm-api.ts';

const MiB = 2 ** 20;
const PAGE = 4096;

/** Memory of this process that is shared, which memory files are: RssShmem of /proc/self/status, bytes. */
const sharedBytes = (): number =>
  Number(/^RssShmem:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;

/** A module that imports the memory m.m and exports g: i32.load of its argument. */
const module = [
  [0, 97, 115, 109, 1, 0, 0, 0],
  [1, 6, 1, 96, 1, 127, 1, 127],
  [2, 8, 1, 1, 109, 1, 109, 2, 0, 1],
  [3, 2, 1, 0],
  [7, 5, 1, 1, 103, 0, 0],
  [10, 9, 1, 7, 0, 32, 0, 40, 2, 0, 11],
].flat();

const memory = new wasm.Memory({ initial: 16, maximum: 4096 });
memory.grow(1024 - 16);
let words = new Uint32Array(memory.buffer);
const instance = new wasm.Instance(new wasm.Module(new Uint8Array(module)), { m: { m: memory } });
const load = instance.exports['g'] as (at: number) => number;

function page(): void {
  for (let i = 0; i < words.length; i += PAGE / 4) words.fill(i, i, i + 512);
  let wrong = 0;
  const { length } = words;
  for (let round = 0; round < 3; round++) {
    memory.grow(1); // V8 makes the entire memory writable: evicted pages must stay evicted
    words = new Uint32Array(memory.buffer);
    for (let i = 0; i < length; i += 64)
      if (words[i] !== (i % 1024 < 512 ? i - (i % 1024) : 0)) wrong++;
  }
  process.stdout.write(
    JSON.stringify({
      faults: swap!.faults,
      wrong,
      isPaged: swap!.stats().pageIns > 4096,
      isInBudget: sharedBytes() <= 8.5 * MiB && swap!.stats().residentBytes <= 8 * MiB,
    }),
  );
}

function trap(): void {
  words.fill(7); // in order up to the end: what is prefetched must not go beyond it
  const { byteLength: end } = words;
  const results = [0, memory.buffer.byteLength - 4, memory.buffer.byteLength - 3].map((at) => {
    try {
      return load(at);
    } catch (error) {
      return (error as Error).message;
    }
  });
  memory.grow(1); // V8 makes the entire memory writable
  results.push(load(end));
  process.stdout.write(JSON.stringify(results));
}

function die(): void {
  const linux = loadLinux().linux!;
  linux.bind('uintptr_t memcpy(uintptr_t to, uintptr_t from, size_t bytes)')(8, 16, 1);
}

({ page, trap, die })[process.argv[2] as 'page']();
