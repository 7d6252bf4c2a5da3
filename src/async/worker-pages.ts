/**
 * The asynchronous page calls over a store in a worker: pages are compressed on another core, and this event loop only
 * copies them.
 *
 *   putMany ──▶ queue ──▶ copy into a free cell of the ring ──▶ "cell 3" ──▶ worker: store.put, page by page
 *   results ◀── copy pages out, free the cell               ◀── "cell 3" ◀──┘
 *
 * The contract is that of AsyncPages. A page is started when it is copied into the ring, which has space for up to
 * queueMax pages besides those in the queue; an abort cannot cancel these. A batch costs one message in each
 * direction; a page costs one 4 KiB copy and one view per direction in which it is sent.
 *
 * If the worker ends early (a broken invariant, no address space, terminated from outside), every page that it stored is
 * lost: every unanswered call and every later call rejects with ERR_IO_ENDED. The worker is not restarted, because an
 * empty store would answer `absent` for pages that were accepted.
 *
 * The worker keeps the process alive: close with `await using` or [Symbol.asyncDispose]().
 */
import { Worker } from 'node:worker_threads';
import { checkInteger } from '../base/arguments.ts';
import { assert } from '../base/assert.ts';
import type { SwapError } from '../base/errors.ts';
import { checkOptions } from '../base/options.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { GetResult } from '../store/results.ts';
import { endedError, PageQueue, type QueueOptions, queueLimits, type Span } from './async-queue.ts';
import { PageOp } from './async-results.ts';
import { EXIT, Ring, type RingData, ringMemory, StoreUsage } from './async-ring.ts';
import { QueuedPages } from './queued-pages.ts';

/** Size and memory limit of the store in the worker, and the queue limits. */
export interface WorkerPagesOptions extends QueueOptions {
  /** Number of slots, 1 .. 2^31. */
  readonly slots: number;
  /**
   * Maximum number of bytes that the worker's store may make resident, metadata included; 0: no limit. The ring is not
   * included.
   */
  readonly limitBytes: number;
}

/** Vectored put, get and flush calls on a store in a worker thread, which the constructor starts. */
export class WorkerPages extends QueuedPages {
  readonly #worker: StoreWorker;

  /** @throws SwapError ERR_ARG_VALUE, ERR_ARG_UNKNOWN */
  constructor(options: WorkerPagesOptions) {
    const known = ['slots', 'limitBytes', 'batchPages', 'queueMax'];
    checkOptions(options, 'new WorkerPages(options)', known);
    const { slots, limitBytes } = options;
    checkInteger('slots', slots, 1, 2 ** 31);
    checkInteger('limitBytes', limitBytes, 0, Number.MAX_SAFE_INTEGER);
    const { batchPages, queueMax } = queueLimits(options);
    const cells = Math.floor(queueMax / batchPages);
    const memory = ringMemory(cells, batchPages);
    const worker = new StoreWorker({ memory, cells, batchPages, slots, limitBytes });
    const run = (batch: readonly Span[]): Promise<void> => worker.run(batch);
    const queue = new PageQueue({ batchPages, queueMax, slots, batchesMax: cells, run });
    worker.onEnd = (error) => queue.fail(error);
    super(queue);
    this.#worker = worker;
  }

  /** Pages that the worker stored after its last batch. */
  get storedPages(): number {
    return this.#worker.usage(StoreUsage.storedPages);
  }

  /** Bytes of RAM that the worker's store used after its last batch, metadata included; without the ring. */
  get usedBytes(): number {
    return this.#worker.usage(StoreUsage.usedBytes);
  }

  /** Resolves when all calls are answered and the worker has ended; its pages are gone. */
  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    await this.#worker.end();
  }
}

/** Runs batches in a worker that owns a store (worker.ts). */
class StoreWorker {
  /** Called when the worker has ended, with the reason. */
  onEnd: (error: SwapError) => void = () => {};
  readonly #ring: Ring;
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  readonly #freeCells: number[];
  /** By cell: resolves the batch in it; null: the cell is free. */
  readonly #onDone: ((() => void) | null)[];

  constructor(workerData: RingData) {
    const { cells } = workerData;
    this.#ring = new Ring(workerData);
    this.#freeCells = Array.from({ length: cells }, (_, cell) => cell);
    this.#onDone = new Array<(() => void) | null>(cells).fill(null);
    this.#worker = new Worker(new URL('../async/worker.js', import.meta.url), { workerData });
    this.#exited = new Promise((resolve) => this.#watch(resolve));
  }

  usage(index: number): number {
    return this.#ring.usage[index]!;
  }

  async run(batch: readonly Span[]): Promise<void> {
    const cell = this.#freeCells.pop();
    assert(cell !== undefined, 'a cell is free: batches in flight < cells');
    this.#fill(cell, batch);
    await new Promise<void>((resolve) => {
      this.#onDone[cell] = resolve;
      this.#worker.postMessage(cell);
    });
    this.#collect(cell, batch);
  }

  async end(): Promise<void> {
    this.#worker.postMessage(EXIT);
    await this.#exited;
  }

  #watch(exited: () => void): void {
    this.#worker.on('message', (cell: number) => {
      const done = this.#onDone[cell];
      assert(typeof done === 'function', 'the batch in the cell is in flight');
      this.#onDone[cell] = null;
      this.#freeCells.push(cell);
      done();
    });
    this.#worker.on('error', (error) => {
      this.onEnd(endedError('the worker that stored them failed', error));
    });
    this.#worker.on('exit', (code) => {
      this.onEnd(endedError(`the worker that stored them has ended (exit ${code})`));
      exited();
    });
  }

  #fill(cell: number, batch: readonly Span[]): void {
    const ring = this.#ring;
    let page = 0;
    for (const { call, from, to } of batch)
      for (let i = from; i < to; i++, page++) {
        ring.setPage(cell, page, call.op, call.slots[i]!);
        if (call.op === PageOp.put) ring.pages.set(call.pages[i]!, ring.pageAt(cell, page));
      }
    ring.setCount(cell, page);
  }

  #collect(cell: number, batch: readonly Span[]): void {
    const ring = this.#ring;
    let page = 0;
    for (const { call, from, to } of batch)
      for (let i = from; i < to; i++, page++) {
        const result = ring.result(cell, page);
        call.results[i] = result;
        if (call.op !== PageOp.get || result !== GetResult.found) continue;
        const at = ring.pageAt(cell, page);
        call.pages[i]!.set(ring.pages.subarray(at, at + PAGE_BYTES));
      }
  }
}
