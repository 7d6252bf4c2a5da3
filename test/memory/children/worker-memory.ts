/**
 * Workers that page memories of their own and end in every way; run under frontswap/register:
 *
 *   worker-memory.js ends [COUNT]   one after the other; prints the wrong words, and what is left of them
 *   worker-memory.js random COUNT   terminated at random times; then the main thread pages a memory
 *   worker-memory.js default        both threads create memories; run without FRONTSWAP_WORKERS
 *   worker-memory.js nested         a worker of a worker
 *   worker-memory.js exit           the process exits while workers read; a wrong word is printed
 *   worker-memory.js shared         a worker creates a shared memory
 */
import { writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { types } from 'node:util';
import vm from 'node:vm';
import {
  getEnvironmentData,
  isMainThread,
  parentPort,
  Worker,
  workerData,
} from 'node:worker_threads';
import * as register from '../../../src/memory/register.ts';

interface Task {
  readonly end:
    | 'return'
    | 'exit'
    | 'throw'
    | 'oom'
    | 'wait'
    | 'collect'
    | 'nest'
    | 'read'
    | 'shared';
  readonly seed: number;
}

interface GrowingMemory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

declare const WebAssembly: {
  Memory: new (descriptor: { initial: number; maximum: number; shared?: boolean }) => GrowingMemory;
};

const file = fileURLToPath(import.meta.url);
const [mode = '', count = '1'] = process.argv.slice(2);
/** Words between two that are written: four in a page. */
const STEP = 256;
const WASM_PAGES = 128;

function start(end: Task['end'], seed: number): Worker {
  const resourceLimits = end === 'oom' ? { maxOldGenerationSizeMb: 24 } : {};
  const workerData: Task = { end, seed };
  const worker = new Worker(file, { workerData, resourceLimits, stderr: true });
  worker.on('error', () => {}); // `throw` and `oom`
  return worker;
}

/** The number of wrong words that the worker found. */
function wrongOf(worker: Worker): Promise<number> {
  return new Promise((resolve) => void worker.once('message', resolve));
}

const exitOf = (worker: Worker): Promise<void> =>
  new Promise((resolve) => void worker.once('exit', () => resolve()));

/** Fills a memory of 8 MiB, grows it, and reads all words; returns the number of wrong ones. */
function work(seed: number): number {
  const memory = new WebAssembly.Memory({ initial: WASM_PAGES, maximum: 65_536 });
  const wordAt = (i: number): number => (Math.imul(i, 0x9e3779b1) + seed) >>> 0;
  let wrong = 0;
  for (let round = 0; round < 2; round++) {
    if (round > 0) memory.grow(WASM_PAGES / 2);
    const words = new Uint32Array(memory.buffer);
    for (let i = 0; i < words.length; i += STEP) {
      const isNew = words[i] === 0;
      if (!isNew && words[i] !== wordAt(i)) wrong++;
      words[i] = wordAt(i);
    }
    for (let i = 0; i < words.length; i += STEP) if (words[i] !== wordAt(i)) wrong++;
  }
  return wrong;
}

/** At most the budget, unless a thread that has ended still holds up eviction. */
const residentNow = (): number => register.swap!.stats().residentBytes;

async function left(): Promise<object> {
  const swap = register.swap!;
  const deadline = Date.now() + 10_000;
  while (swap.stats().storedPages > 0 && Date.now() < deadline)
    await new Promise((done) => setTimeout(done, 20));
  const { storedPages, residentBytes, pageIns } = swap.stats();
  return { storedPages, residentBytes, hasPaged: pageIns > 0 };
}

async function runMain(): Promise<void> {
  let wrong = 0;
  if (mode === 'ends') {
    const ends = ['return', 'exit', 'throw', 'oom', 'wait', 'collect'] as const;
    for (let i = 0; i < Number(count); i++) {
      const end = ends[i % ends.length]!;
      const worker = start(end, i);
      const ended = exitOf(worker);
      wrong += await wrongOf(worker);
      if (end === 'wait') await worker.terminate();
      else await ended;
    }
    const rest = await left();
    wrong += work(1);
    console.log(JSON.stringify({ wrong, ...rest, residentAtLast: residentNow() }));
  } else if (mode === 'random') {
    for (let i = 0; i < Number(count); i += 4) {
      const workers = [0, 1, 2, 3].map((k) => start('read', i + k));
      for (const worker of workers) {
        await new Promise((done) => setTimeout(done, Math.random() * 300));
        await worker.terminate();
      }
    }
    const rest = await left();
    wrong += work(1);
    console.log(JSON.stringify({ wrong, ...rest, residentAtLast: residentNow() }));
  } else if (mode === 'default') {
    const wrong = work(1) + (await wrongOf(start('return', 2)));
    const environment = getEnvironmentData('frontswap/register') !== undefined;
    const isNative = !types.isProxy(Worker.prototype.terminate); // buffer-transfers.ts wraps Worker
    console.log(JSON.stringify({ wrong, environment, isNative }));
  } else if (mode === 'exit') {
    for (let i = 0; i < 3; i++) await wrongOf(start('read', i));
    await new Promise((done) => setTimeout(done, 300));
    process.exit(7);
  } else {
    const worker = start(mode === 'nested' ? 'nest' : 'shared', 5);
    const ended = exitOf(worker);
    wrong += await wrongOf(worker);
    await ended;
    console.log(JSON.stringify({ wrong, ...(register.swap === null ? {} : await left()) }));
  }
}

async function runWorker({ end, seed }: Task): Promise<void> {
  if (end === 'nest') {
    const inner = start('return', seed + 1);
    const wrong = await wrongOf(inner);
    parentPort!.postMessage(wrong + work(seed));
    return;
  }
  if (end === 'shared') {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    parentPort!.postMessage(new Uint8Array(memory.buffer)[0]);
    return;
  }
  // V8's gc() of collected-memories.ts, which gets it when the worker joins.
  if (end === 'collect') vm.Script.prototype.runInContext = () => () => process.exit(3);
  const wrong = work(seed);
  parentPort!.postMessage(wrong);
  if (end === 'read') for (;;) if (work(seed) > 0) writeSync(1, 'wrong\n');
  if (end === 'collect') for (;;) work(seed);
  if (end === 'exit') process.exit(3);
  if (end === 'throw') throw new Error('thrown on purpose');
  if (end === 'wait') setInterval(() => {}, 1000);
  const arrays: unknown[] = [];
  while (end === 'oom') arrays.push(new Array(1000).fill({}));
}

if (isMainThread) await runMain();
else await runWorker(workerData as Task);
