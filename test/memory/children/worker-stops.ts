/**
 * Threads that page memory and are stopped, or run, at an inconvenient time; run under frontswap/register:
 *
 *   worker-stops.js churn COUNT    COUNT workers, eight at a time, each ends when its memory is paged
 *   worker-stops.js joining COUNT  COUNT workers are terminated as they create their first memory, and as many end while
 *                                  one that they started does so
 *   worker-stops.js subs COUNT     workers are terminated that start and terminate others all the time
 *   worker-stops.js exit           exit handlers wait for the answers of two workers; one has paged memory
 *   worker-stops.js close          the swap is closed while a worker collects garbage
 *   worker-stops.js pipe           a worker closes the pipe of its thread
 *   worker-stops.js blocked        the main thread waits for its worker in Atomics.wait()
 */
import { closeSync, readdirSync, readlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import * as register from '../../../src/memory/register.ts';

interface Task {
  readonly mode: string;
  readonly words: Int32Array;
}

declare const WebAssembly: {
  Memory: new (descriptor: { initial: number }) => { readonly buffer: ArrayBuffer };
};

const file = fileURLToPath(import.meta.url);
const [mode = '', count = '0'] = process.argv.slice(2);
/** Longest time of a first memory: koffi is loaded and bound. */
const JOIN_MS = 25;
/** Words between two that are written: four in a page. */
const STEP = 256;

const newWords = (): Int32Array => new Int32Array(new SharedArrayBuffer(64));
const start = (task: string, words = newWords()): Worker =>
  new Worker(file, { workerData: { mode: task, words } satisfies Task, trackUnmanagedFds: false });
const nextOf = (worker: Worker, event: string): Promise<unknown> =>
  new Promise((resolve) => void worker.once(event, resolve));
const sleep = (ms: number): Promise<void> => new Promise((done) => void setTimeout(done, ms));

function spin(): void {
  for (const end = performance.now() + Math.random() * JOIN_MS; performance.now() < end; );
}

function set(words: Int32Array, i: number): void {
  Atomics.store(words, i, 1);
  Atomics.notify(words, i);
}

async function churn(): Promise<void> {
  let left = Number(count);
  const lane = async (): Promise<void> => {
    while (left-- > 0) await nextOf(start('one'), 'exit');
  };
  await Promise.all(Array.from({ length: 8 }, lane));
}

async function stopJoining(): Promise<void> {
  for (let i = 0; i < Number(count); i++) {
    const worker = start('join');
    await nextOf(worker, 'message');
    spin();
    await worker.terminate();
    await nextOf(start('parent'), 'exit');
  }
}

async function stopParents(): Promise<void> {
  for (let i = 0; i < Number(count); i++) {
    const worker = start('subs');
    await nextOf(worker, 'message');
    await sleep(50 + Math.random() * 150);
    await worker.terminate();
  }
  const words = newWords(); // no stopped thread delays a later one
  await nextOf(start('one', words), 'exit');
  console.log(Atomics.load(words, 0));
}

async function exitLast(): Promise<void> {
  const workers = [start('plain'), start('answer')].map((worker) => {
    worker.unref();
    return nextOf(worker, 'message') as Promise<Int32Array>;
  });
  const words = await Promise.all(workers);
  new WebAssembly.Memory({ initial: 1 });
  process.on('exit', () => {
    const answers = words.map((word) => {
      set(word, 0);
      Atomics.wait(word, 1, 0, 3000);
      return Atomics.load(word, 1);
    });
    console.log(answers.join());
  });
}

async function closeInCollection(): Promise<void> {
  const words = newWords();
  const worker = start('collect', words);
  await nextOf(worker, 'message');
  Atomics.wait(words, 0, 0, 5000); // it collects
  register.swap!.close();
  console.log(`closed after the collection: ${Atomics.load(words, 1) === 1}`);
  await worker.terminate();
}

async function runMain(): Promise<void> {
  const words = newWords();
  if (mode !== 'blocked') new WebAssembly.Memory({ initial: 1 });
  if (mode === 'churn') await churn();
  else if (mode === 'joining') await stopJoining();
  else if (mode === 'subs') await stopParents();
  else if (mode === 'exit') return exitLast();
  else if (mode === 'close') await closeInCollection();
  else if (mode === 'pipe') await nextOf(start('pipe', words), 'exit');
  else {
    start('one', words);
    console.log(Atomics.wait(words, 0, 0, 5000));
  }
  process.exit(0);
}

const pipes = (): string[] =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('pipe:');
    } catch {
      return false; // the folder that is read
    }
  });

/** Fills a memory, closes the write end of the new pipe, waits, and prints the number of words that are wrong. */
function closePipe(): void {
  const before = pipes();
  const { buffer } = new WebAssembly.Memory({ initial: 256 });
  const words = new Uint32Array(buffer);
  for (let i = 0; i < words.length; i += STEP) words[i] = i + 1;
  const own = pipes().filter((fd) => !before.includes(fd));
  closeSync(Math.max(...own.map(Number)));
  Atomics.wait(newWords(), 0, 0, 400);
  let wrong = 0;
  for (let i = 0; i < words.length; i += STEP) if (words[i] !== i + 1) wrong++;
  console.log(`${own.length} descriptors, ${wrong} wrong words`);
}

/** Creates memories until they are collected; says when the collection begins, and 300 ms later when it ends. */
function collect(words: Int32Array): never {
  const { runInContext } = vm.Script.prototype;
  vm.Script.prototype.runInContext = function (...args) {
    const found: unknown = runInContext.apply(this, args);
    if (typeof found !== 'function') return found;
    return () => {
      found();
      set(words, 0);
      Atomics.wait(newWords(), 0, 0, 300);
      set(words, 1);
    };
  };
  for (;;) new Uint8Array(new WebAssembly.Memory({ initial: 16 }).buffer).fill(7);
}

/** Starts three workers with memories, and terminates and restarts them. */
async function keepStopping(): Promise<void> {
  new WebAssembly.Memory({ initial: 1 });
  parentPort!.postMessage('up');
  for (const subs = [0, 1, 2].map(() => start('one')); ; ) {
    void subs.shift()!.terminate();
    subs.push(start('one'));
    await sleep(5);
  }
}

async function runWorker({ mode: task, words }: Task): Promise<void> {
  if (task === 'join' || task === 'collect') parentPort!.postMessage('up');
  if (task === 'pipe') closePipe();
  else if (task === 'collect') collect(words);
  else if (task === 'subs') await keepStopping();
  else if (task === 'parent') {
    await nextOf(start('join'), 'message');
    spin();
    process.exit(0);
  } else {
    if (task !== 'plain') new WebAssembly.Memory({ initial: 1 });
    set(words, 0);
  }
  if (task !== 'plain' && task !== 'answer') return;
  Atomics.store(words, 0, 0);
  parentPort!.postMessage(words);
  Atomics.wait(words, 0, 0);
  set(words, 1);
}

if (isMainThread) await runMain();
else await runWorker(workerData as Task);
