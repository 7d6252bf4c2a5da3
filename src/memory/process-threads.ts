/**
 * Shares the swap of a process under frontswap/register with its worker threads (FRONTSWAP_WORKERS), so that their memories are
 * paged in the same budget. A worker gets what it needs from the environment data that Node copies into each new worker
 * (setEnvironmentData). So each thread wraps `Worker`: the main thread opens the swap before it creates its first worker, and
 * each worker gets its own word; its creator sets the word to request a stop (thread-gate.ts).
 *
 *   main: new Worker ─▶ opens the swap ─▶ environment data: control block, words of the worker and of its ancestors
 *   worker: first memory ─▶ join()
 *   terminate(), or the exit of a worker with workers:   word = 1 ─▶ wait for threads that join ─▶ stop
 *
 * At exit Node stops all workers, including the fault thread, in any order. Memory must be paged until its last access. So the
 * exit handler first stops the workers that have paged memory or started a thread that has (armed threads), and waits for them.
 * It runs after the program's own exit handlers, because they may need such a worker.
 */
import { syncBuiltinESMExports } from 'node:module';
import workerThreads, {
  getEnvironmentData,
  setEnvironmentData,
  threadId,
  Worker,
  workerData,
} from 'node:worker_threads';
import { SwapError } from '../base/errors.ts';
import type { FaultThreadData } from './fault-thread.ts';
import {
  type Callable,
  hideWrappers,
  replace,
  wrapConstructor,
  wrapFunction,
} from './platform-wrapper.ts';
import { requestStop, ThreadGate } from './thread-gate.ts';

const KEY = 'frontswap/register';
/** Longest wait of terminate() for threads that join: joining takes about 25 ms. */
const STOP_WAIT_MS_MAX = 2000;

/** What worker threads get. */
interface Published {
  readonly addsDiscard: boolean;
  /** One word: the number of memories adopted by all threads. */
  readonly count: SharedArrayBuffer;
  /** Control block of the swap; null: no swap is open. */
  readonly control: SharedArrayBuffer | null;
  /** One word for the worker and each of its ancestors, the main thread excepted; see thread-gate.ts. */
  readonly stops: readonly SharedArrayBuffer[];
  /** Node's id of the ancestor that the main thread started; null: the worker itself. */
  readonly root: number | null;
}

const publishedNow = (): Published | undefined =>
  getEnvironmentData(KEY) as unknown as Published | undefined;
const publish = (published: Published): void => setEnvironmentData(KEY, published as never);

/** Workers that this thread starts. */
class OwnWorkers {
  #published: Published;
  readonly #workers = new Set<WeakRef<Worker>>();
  readonly #stops = new WeakMap<Worker, SharedArrayBuffer>();
  readonly #terminate = Worker.prototype.terminate;

  /** @param before called before a worker is created */
  constructor(published: Published, before: () => void) {
    this.#published = published;
    publish(published);
    let stop: SharedArrayBuffer;
    const wrapper = wrapConstructor(
      Worker as unknown as Callable,
      (worker) => {
        publish(this.#published);
        this.#add(worker as Worker, stop);
      },
      () => {
        before();
        stop = new SharedArrayBuffer(4);
        publish({ ...this.#published, stops: [...this.#published.stops, stop] });
      },
    );
    const terminate = wrapFunction(this.#terminate as Callable, (native, worker, args) => {
      this.#prepareStop(worker as Worker);
      return Reflect.apply(native, worker, args as never[]);
    });
    replace(Worker.prototype, 'terminate', terminate);
    replace(workerThreads, 'Worker', wrapper);
    hideWrappers(Function.prototype);
    syncBuiltinESMExports();
  }

  /** The swap is open: new workers can join it. */
  set control(control: SharedArrayBuffer) {
    this.#published = { ...this.#published, control };
    publish(this.#published);
  }

  /** Waits until no thread is joining; the threads of these words cannot start to join any more. */
  waitForJoins(stops: readonly SharedArrayBuffer[]): void {
    for (const stop of stops) requestStop(stop);
    const { control } = this.#published;
    if (control !== null) new ThreadGate(control).waitForJoins(STOP_WAIT_MS_MAX);
  }

  /** Stops the workers with these ids of Node. */
  stop(ids: ReadonlySet<number>): void {
    for (const reference of this.#workers) {
      const worker = reference.deref();
      if (worker !== undefined && ids.has(worker.threadId))
        void Reflect.apply(this.#terminate, worker, []);
    }
  }

  #add(worker: Worker, stop: SharedArrayBuffer): void {
    for (const known of this.#workers) {
      const other = known.deref();
      if (other === undefined || hasEnded(other)) this.#workers.delete(known);
    }
    this.#workers.add(new WeakRef(worker));
    this.#stops.set(worker, stop);
  }

  #prepareStop(worker: Worker): void {
    const stop = this.#stops.get(worker);
    if (stop !== undefined && !hasEnded(worker)) this.waitForJoins([stop]);
  }
}

/** Node changes the id of a worker that has ended. */
const hasEnded = ({ threadId: id }: Worker): boolean => id === -1;

/** The main thread's side. */
export class PublishedSwap {
  readonly #count: Int32Array;
  readonly #workers: OwnWorkers;

  /**
   * @param addsDiscard of the settings
   * @param open opens the swap if there is none
   */
  constructor(addsDiscard: boolean, open: () => void) {
    const count = new SharedArrayBuffer(4);
    this.#count = new Int32Array(count);
    this.#workers = new OwnWorkers(
      { addsDiscard, count, control: null, stops: [], root: null },
      open,
    );
  }

  /**
   * The swap is open: workers can join it.
   * @param armedRoots ids of the workers to stop at exit
   * @param waitForThreads waits until they have ended
   */
  publish(
    control: SharedArrayBuffer,
    armedRoots: (control: SharedArrayBuffer) => ReadonlySet<number>,
    waitForThreads: (control: SharedArrayBuffer) => void,
  ): void {
    this.#workers.control = control;
    atExitLast(() => {
      this.#workers.stop(armedRoots(control));
      waitForThreads(control);
    });
  }

  /** Number of adopted memories, of all threads. */
  get count(): number {
    return Atomics.load(this.#count, 0);
  }

  countOne(): void {
    Atomics.add(this.#count, 0, 1);
  }
}

/** Calls `listener` at exit, after all listeners of the program, even those added later. */
function atExitLast(listener: () => void): void {
  process.on('exit', listener);
  process.on('newListener', (name, added) => {
    if (name !== 'exit' || added === listener) return;
    queueMicrotask(() => process.off('exit', listener).on('exit', listener));
  });
}

/** A worker thread's side. */
export interface JoinedProcess {
  readonly addsDiscard: boolean;
  /**
   * Runs `body`; it loads the foreign function interface and joins the swap of the process.
   * @throws SwapError ERR_IO_UNSUPPORTED: there is none; ERR_IO_ENDED: the process or this thread is ending
   */
  join<Result>(body: (control: SharedArrayBuffer, root: number) => Result): Result;
  countOne(): void;
}

/** What the process published for this worker thread; null: its memories are not paged, or it is the fault thread. */
export function joinedProcess(): JoinedProcess | null {
  const published = publishedNow();
  if (published === undefined || isFaultThread()) return null;
  const { addsDiscard, control, stops } = published;
  const root = published.root ?? threadId;
  const count = new Int32Array(published.count);
  let hasWorkers = false;
  const workers = new OwnWorkers({ ...published, root }, () => {
    if (hasWorkers) return;
    hasWorkers = true;
    // Node stops the workers of this worker when it has ended.
    process.on('exit', () => workers.waitForJoins(stops.slice(-1)));
  });
  return {
    addsDiscard,
    join: (body) => {
      if (control === null)
        throw new SwapError(
          'ERR_IO_UNSUPPORTED',
          'memory of this worker thread is not paged: the process has no paged memory',
          { reason: 'unsupported' },
        );
      return new ThreadGate(control).join(stops, () => body(control, root));
    },
    countOne: () => void Atomics.add(count, 0, 1),
  };
}

/** An engine must not wait for another one. */
const isFaultThread = (): boolean =>
  (workerData as Partial<FaultThreadData> | null)?.kind === 'frontswap/fault-thread';
