/**
 * Threads touch, evict, prefetch, discard, pin and grow paged memory at random, and every page that is read must
 * contain what was last written to it.
 *
 *   node build/test/memory/stress.js [--seconds 10] [--threads 3] [--waiters 2] [--ram] [--paged-turn] [--inject]
 *                                    [--tmem PATH] [--faults N] [--seed N] [--json]
 *
 * Meanwhile memories are created, adopted, checked and dropped; threads are terminated in the middle of their calls; and
 * waiters pass a turn around by Atomics.wait and notify, each faulting on its turn.
 *
 * Two memories: a mapped region, and a shared WebAssembly memory that grows meanwhile; RAM for compressed pages is so
 * small that a swap file is needed, except with --ram. A page is 1024 words that are computed from its number and its
 * generation; generations, the turn, and a lock for each page lie in memory that is not paged. With --paged-turn they lie
 * in a shared region that is evicted all the time; with --file there is a swap file as well. That needs
 * FRONTSWAP_FAULTS=thread or signal. With --inject system calls of native code fail in turn, one in two to seven, each
 * with each of four errors.
 *
 * Exit status: 0, every page was right; 1, a page had other contents; 3, one of the threads made no progress for a minute,
 * or did not end (it waits for a lock whose release was lost).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Progress, parseTool, positive, refuse } from '../../bench/tool.ts';
import { Prng } from '../../src/base/prng.ts';
import { attachRegion, openSwap, type RegionHandle, type SwapRegion } from '../../src/index.ts';
import { FailingCalls } from './stress-failures.ts';
import { DroppedMemories } from './stress-memories.ts';

const MiB = 2 ** 20;
const PAGE = 4096;
const WORDS = PAGE / 4;
const REGION_PAGES = 4096;
const WASM_PAGES_MAX = 2048;
const WASM_PAGES_MIN = 256;
const THREADS_MAX = 8;
const WAITERS_MAX = 8;
const STUCK_MS = 60_000;
const EVICT_MS = 3;
/** Time for which each system call fails, in turn. */
const INJECT_MS = 50;

const help = `Usage: npm run stress -- [OPTION]...

Threads touch, evict, discard, pin and grow paged memory at random; every page that is read is checked. The status is 1 if
a page was wrong, 3 if a thread hung.

  --seconds N    time (default 10)
  --threads N    threads that touch pages, at most ${THREADS_MAX} (default 3)
  --waiters N    threads that pass a turn around, at most ${WAITERS_MAX} (default 2)
  --faults N     goes on after that time until N page faults were served
  --ram          no swap file: faster
  --paged-turn   locks and the turn lie in paged memory, too
  --file         with --paged-turn: also a swap file
  --tmem PATH    pages that do not fit go to the tmem socket PATH of a host
  --inject       system calls of native code fail in turn
  --seed N       of the random operations (default: SEED of the environment, or the time)
  --json         one line of JSON

FRONTSWAP_FAULTS=thread|signal|javascript selects who serves faults.

Example: FRONTSWAP_FAULTS=signal npm run stress -- --threads 8 --ram --faults 100000000`;

/** Not paged. Words: 0 stop, 1 pages of the wasm memory, 2 error page, 3 error word, 4 turn; 16.. steps of each thread. */
const At = { stop: 0, wasmPages: 1, badPage: 2, badWord: 3, turn: 4, steps: 16 } as const;
const TABLE_AT = 64;

interface Job {
  readonly thread: number;
  readonly seed: number;
  readonly table: SharedArrayBuffer;
  readonly region: RegionHandle;
  readonly wasm: { readonly buffer: SharedArrayBuffer };
  /** A doomed thread accesses no memory, and is terminated in the middle of a call. */
  readonly role: 'toucher' | 'waiter' | 'doomed';
  /** Position in the ring of waiters, and their number. */
  readonly place: number;
  readonly waiters: number;
}

interface Part {
  readonly words: () => Int32Array;
  readonly base: number;
  readonly pages: () => number;
  readonly region: SwapRegion | null;
}

/** A word of page `page` in generation `generation`; half of the words are equal, so that pages compress. */
const wordOf = (page: number, generation: number, at: number): number =>
  generation === 0
    ? 0
    : (Math.imul(page + 1, 0x9e3779b1) ^ Math.imul(generation, 0x85ebca6b)) +
      ((at & 1) === 0 ? at : Math.imul(at, 0x27d4eb2f) & 0xff);

class Toucher {
  readonly #prng: Prng;
  readonly #control: Int32Array;
  readonly #generations: Int32Array;
  readonly #locks: Int32Array;
  readonly #parts: readonly Part[];
  readonly #thread: number;
  #pin: Disposable | null = null;

  constructor(job: Job, region: SwapRegion) {
    const { thread, table } = job;
    const all = REGION_PAGES + WASM_PAGES_MAX;
    this.#thread = thread;
    this.#prng = new Prng(job.seed + thread * 7919);
    this.#control = new Int32Array(table, 0, TABLE_AT);
    this.#generations = new Int32Array(table, TABLE_AT * 4, all);
    this.#locks = new Int32Array(table, (TABLE_AT + all) * 4, all);
    const words = new Int32Array(region.buffer);
    let grown = new Int32Array(job.wasm.buffer);
    const wasmWords = (): Int32Array => {
      const pages = Atomics.load(this.#control, At.wasmPages);
      if (grown.length < pages * WORDS) grown = new Int32Array(job.wasm.buffer);
      return grown;
    };
    // This thread may see the number of pages before it sees the longer buffer.
    const pages = (): number => wasmWords().length / WORDS;
    this.#parts = [
      { words: () => words, base: 0, pages: () => REGION_PAGES, region },
      { words: wasmWords, base: REGION_PAGES, pages, region: null },
    ];
  }

  run(): number {
    let steps = 0;
    while (Atomics.load(this.#control, At.stop) === 0) {
      this.#step();
      Atomics.store(this.#control, At.steps + this.#thread, ++steps & 0x7fffffff);
    }
    this.#pin?.[Symbol.dispose]();
    return steps;
  }

  /** Steps only while the turn is its own, and sleeps in Atomics.wait until then. */
  runInTurns(place: number, waiters: number): number {
    let steps = 0;
    while (Atomics.load(this.#control, At.stop) === 0) {
      const turn = Atomics.load(this.#control, At.turn);
      if (turn % waiters !== place) {
        Atomics.wait(this.#control, At.turn, turn, 1000);
        continue;
      }
      this.#step();
      Atomics.store(this.#control, At.steps + this.#thread, ++steps & 0x7fffffff);
      Atomics.store(this.#control, At.turn, (turn + 1) % (waiters << 20));
      Atomics.notify(this.#control, At.turn);
    }
    this.#pin?.[Symbol.dispose]();
    return steps;
  }

  #step(): void {
    const part = this.#parts[this.#prng.oneIn(3) ? 1 : 0]!;
    const page = this.#prng.below(part.pages());
    const what = this.#prng.below(1000);
    if (what < 450) this.#verify(part, page);
    else if (what < 900) this.#write(part, page);
    else if (what < 960) this.#scan(part, page);
    else if (part.region !== null) this.#call(part.region, page, what);
  }

  #call(region: SwapRegion, page: number, what: number): void {
    const pages = Math.min(1 + this.#prng.below(64), REGION_PAGES - page);
    const range = { offset: page * PAGE, length: pages * PAGE };
    if (what < 970) region.evict(range);
    else if (what < 980) region.prefetch(range);
    else if (what < 990) this.#discard(region, page, Math.min(pages, 8));
    else if (this.#pin === null) this.#pin = region.pin({ ...range, length: PAGE });
    else {
      this.#pin[Symbol.dispose]();
      this.#pin = null;
    }
  }

  #verify(part: Part, page: number): void {
    this.#lock(part.base + page);
    this.#check(part, page);
    this.#unlock(part.base + page);
  }

  #scan(part: Part, from: number): void {
    for (let page = from; page < Math.min(from + 48, part.pages()); page++)
      this.#verify(part, page);
  }

  #write(part: Part, page: number): void {
    const id = part.base + page;
    this.#lock(id);
    if (this.#prng.oneIn(4)) this.#check(part, page);
    const generation = this.#prng.oneIn(16) ? 0 : this.#generations[id]! + 1;
    this.#generations[id] = generation;
    const words = part.words();
    for (let at = 0; at < WORDS; at++) words[page * WORDS + at] = wordOf(id, generation, at);
    this.#unlock(id);
  }

  #discard(region: SwapRegion, page: number, pages: number): void {
    for (let i = page; i < page + pages; i++) this.#lock(i);
    region.discard({ offset: page * PAGE, length: pages * PAGE });
    for (let i = page; i < page + pages; i++) {
      this.#generations[i] = 0;
      this.#unlock(i);
    }
  }

  #check(part: Part, page: number): void {
    const id = part.base + page;
    const generation = this.#generations[id]!;
    const words = part.words();
    for (let at = 0; at < WORDS; at++) {
      if (words[page * WORDS + at] === (wordOf(id, generation, at) | 0)) continue;
      Atomics.store(this.#control, At.badPage, id);
      Atomics.store(this.#control, At.badWord, at);
      Atomics.store(this.#control, At.stop, 2);
      return;
    }
  }

  #lock(id: number): void {
    while (Atomics.compareExchange(this.#locks, id, 0, 1) !== 0)
      Atomics.wait(this.#locks, id, 1, 1);
  }

  #unlock(id: number): void {
    Atomics.store(this.#locks, id, 0);
    Atomics.notify(this.#locks, id, 1);
  }
}

interface Report {
  readonly seed: number;
  readonly seconds: number;
  readonly threads: number;
  readonly waiters: number;
  readonly steps: number;
  /** Turns of the waiters. */
  readonly turns: number;
  /** Memories that were made and dropped, threads that were terminated. */
  readonly dropped: number;
  readonly terminated: number;
  /** Calls of native code that were made to fail, by name. */
  readonly failed: object | undefined;
  readonly wrong: string;
  readonly stats: object;
}

async function main(): Promise<number> {
  const { values } = parseTool('stress', help, {
    seconds: { type: 'string', default: '10' },
    threads: { type: 'string', default: '3' },
    waiters: { type: 'string', default: '2' },
    seed: { type: 'string', default: process.env['SEED'] ?? String(Date.now() % 2 ** 31) },
    json: { type: 'boolean', default: false },
    faults: { type: 'string' },
    ram: { type: 'boolean', default: false },
    'paged-turn': { type: 'boolean', default: false },
    file: { type: 'boolean', default: false },
    tmem: { type: 'string' },
    inject: { type: 'boolean', default: false },
  });
  const seconds = positive('stress', 'seconds', values.seconds, false);
  const threads = Math.min(positive('stress', 'threads', values.threads), THREADS_MAX);
  const waiters = Math.min(Number(values.waiters), WAITERS_MAX);
  const seed = Number(values.seed);
  if (!Number.isInteger(waiters) || waiters < 0)
    refuse('stress', `--waiters '${values.waiters}' is not a whole number`);
  if (!Number.isInteger(seed)) refuse('stress', `--seed '${values.seed}' is not a whole number`);
  process.stderr.write(`stress: seed ${seed}\n`);
  const folder = mkdtempSync(join(tmpdir(), 'frontswap-stress-'));
  try {
    const isTurnPaged = values['paged-turn'];
    const isInRam = values.ram || (isTurnPaged && !values.file);
    const path = isInRam ? null : join(folder, 'swap');
    const injects = values.inject;
    const faults = values.faults === undefined ? 0 : positive('stress', 'faults', values.faults);
    const { tmem } = values;
    const report = await stress({
      ...{ seconds, faults, threads, waiters, seed, isTurnPaged, injects },
      path: tmem === undefined ? path : null,
      ...(tmem === undefined ? {} : { tmem }),
    });
    if (values.json) process.stdout.write(`${JSON.stringify(report)}\n`);
    else console.log(report);
    return report.wrong === '' ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Settings {
  readonly seconds: number;
  /** Page faults to serve at least. */
  readonly faults: number;
  readonly threads: number;
  readonly waiters: number;
  readonly seed: number;
  /** Of the swap file; null: none. */
  readonly path: string | null;
  /** Tmem socket of a host, instead of the swap file. */
  readonly tmem?: string;
  readonly isTurnPaged: boolean;
  readonly injects: boolean;
}

async function stress(settings: Settings): Promise<Report> {
  const { seconds, faults, threads, waiters, seed, path, isTurnPaged, injects, tmem } = settings;
  const swap = openSwap({
    frontswap: {
      limitBytes: (path === null && tmem === undefined ? 64 : 2) * MiB,
      ...(tmem === undefined ? {} : { tmem }),
    },
    devices: path === null ? [] : [{ kind: 'file', path, sizeBytes: 256 * MiB }],
    residentBytes: 4 * MiB,
  });
  const region = swap.map({ bytes: REGION_PAGES * PAGE, residentBytes: 4 * MiB });
  const memory = new SharedMemory(WASM_PAGES_MIN / 16, WASM_PAGES_MAX / 16);
  const adopted = swap.adopt(memory.memory);
  const all = REGION_PAGES + WASM_PAGES_MAX;
  const tableBytes = (TABLE_AT + 2 * all) * 4;
  const paged = isTurnPaged
    ? swap.map({ bytes: tableBytes, shared: true, residentBytes: MiB })
    : null;
  const table = paged?.buffer ?? new SharedArrayBuffer(tableBytes);
  const evicting = setInterval(() => paged?.evict(), EVICT_MS);
  const control = new Int32Array(table, 0, TABLE_AT);
  Atomics.store(control, At.wasmPages, WASM_PAGES_MIN);
  const start = (role: Job['role'], thread: number): Worker => {
    const place = thread - threads;
    const shared = { table, region: region.handle, wasm: memory.memory };
    const job: Job = { role, thread, seed, place, waiters, ...shared };
    return new Worker(new URL(import.meta.url), { workerData: job });
  };
  const running = Array.from({ length: threads + waiters }, (_, thread) => {
    const worker = start(thread < threads ? 'toucher' : 'waiter', thread);
    return new Promise<number>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  });
  const dropped = new DroppedMemories(swap, new Prng(seed));
  const prng = new Prng(seed + 1);
  const failing = injects ? new FailingCalls(swap.control!, new Prng(seed + 2)) : null;
  let wrongMemory = '';
  let terminated = 0;
  const injecting = setInterval(() => failing?.step(), INJECT_MS);
  const each = async (): Promise<void> => {
    if (memory.grow()) Atomics.store(control, At.wasmPages, memory.pages);
    wrongMemory ||= dropped.step();
    if (wrongMemory !== '') Atomics.compareExchange(control, At.stop, 0, 1);
    if (!prng.oneIn(8)) return;
    const worker = start('doomed', 0);
    await new Promise((resolve) => worker.once('message', resolve));
    await new Promise((resolve) => setTimeout(resolve, prng.below(20)));
    await worker.terminate();
    terminated++;
  };
  const endMs = Date.now() + seconds * 1000;
  const progress = new Progress();
  const isOver = (): boolean => {
    const served = swap.stats().faults;
    progress.show(`stress: ${served.toLocaleString('en')} page faults`);
    return Date.now() >= endMs && served >= faults;
  };
  await watch(control, threads + waiters, isOver, each);
  progress.end();
  clearInterval(evicting);
  clearInterval(injecting);
  failing?.stop();
  Atomics.compareExchange(control, At.stop, 0, 1);
  Atomics.notify(control, At.turn);
  const stuck = setTimeout(() => {
    process.stderr.write(`stress: the threads did not end within ${STUCK_MS} ms\n`);
    process.exit(3);
  }, STUCK_MS);
  const ended = await Promise.all(running);
  clearTimeout(stuck);
  const steps = ended.reduce((sum, n) => sum + n, 0);
  const turns = ended.slice(threads).reduce((sum, n) => sum + n, 0);
  const wrong =
    control[At.stop] === 2
      ? `page ${control[At.badPage]}, word ${control[At.badWord]} is not what was written last`
      : wrongMemory;
  const stats = { region: region.stats(), wasm: adopted.stats(), swap: swap.stats() };
  swap.close();
  const counts = { steps, turns, dropped: dropped.count, terminated, failed: failing?.calls };
  return { seed, seconds, threads, waiters, ...counts, wrong, stats };
}

/** Waits until it is over or a page was wrong; calls `each` ten times a second. Exits if a thread is stuck. */
async function watch(
  control: Int32Array,
  threads: number,
  isOver: () => boolean,
  each: () => Promise<void>,
): Promise<void> {
  const last = new Int32Array(threads);
  const since = new Float64Array(threads).fill(Date.now());
  while (!isOver() && Atomics.load(control, At.stop) === 0) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    await each();
    const now = control.slice(At.steps, At.steps + threads);
    for (let thread = 0; thread < threads; thread++) {
      if (now[thread] !== last[thread]) since[thread] = Date.now();
      if (Date.now() - since[thread]! < STUCK_MS) continue;
      process.stderr.write(
        `stress: thread ${thread} made no progress for ${STUCK_MS} ms: ${now}\n`,
      );
      process.exit(3);
    }
    last.set(now);
  }
}

interface WasmApi {
  readonly Memory: new (limits: {
    initial: number;
    maximum: number;
    shared: boolean;
  }) => {
    readonly buffer: SharedArrayBuffer;
    grow(pages: number): number;
  };
}

/** A shared memory that grows by 64 KiB at a time. */
class SharedMemory {
  readonly memory: InstanceType<WasmApi['Memory']>;
  readonly #maximum: number;

  constructor(initial: number, maximum: number) {
    const { Memory } = (globalThis as unknown as { WebAssembly: WasmApi }).WebAssembly;
    this.memory = new Memory({ initial, maximum, shared: true });
    this.#maximum = maximum;
  }

  get pages(): number {
    return this.memory.buffer.byteLength / PAGE;
  }

  grow(): boolean {
    if (this.memory.buffer.byteLength >= this.#maximum * 65536) return false;
    this.memory.grow(1);
    return true;
  }
}

/** Calls that change no page, until the thread is terminated. */
function callForEver(job: Job): never {
  const region = attachRegion(job.region);
  const prng = new Prng(job.seed);
  parentPort?.postMessage('calling');
  for (;;) {
    const range = { offset: prng.below(REGION_PAGES - 64) * PAGE, length: 64 * PAGE };
    if (prng.oneIn(2)) region.evict(range);
    else region.prefetch(range);
  }
}

if (isMainThread) process.exitCode = await main();
else {
  const job = workerData as Job;
  if (job.role === 'doomed') callForEver(job);
  const toucher = new Toucher(job, attachRegion(job.region));
  const steps = job.role === 'waiter' ? toucher.runInTurns(job.place, job.waiters) : toucher.run();
  parentPort?.postMessage(steps);
}
