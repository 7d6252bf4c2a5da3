/**
 * The asynchronous page calls over a store that a worker owns: compression runs on another core, and the event loop of
 * this one only copies.
 *
 *   putMany ──▶ queue ──▶ copy into a free cell of the ring ──▶ "cell 3" ──▶ worker: store.put, page by page
 *   answers ◀── copy found pages out, free the cell         ◀── "cell 3" ◀──┘
 *
 * The terms are those of AsyncPages. "Begun" is: copied into the ring, which holds up to queueMax pages beside those
 * in the queue; an abort cannot take these back. A batch costs one message each way; a page one copy of 4 KiB each way it
 * travels, and no garbage but a view of it.
 *
 * When the worker dies (a broken invariant, no address space, terminated from outside) every page that it held is lost:
 * whatever was asked and is not answered rejects with ERR_IO_ENDED, and so does whatever is asked from then on. Nothing
 * restarts by itself, for an empty store would answer "absent" for pages that were accepted.
 *
 * The worker keeps the process alive: close with `await using` or [Symbol.asyncDispose]().
 */
import { Worker } from 'node:worker_threads';
import { assert } from '../base/assert.ts';
import { PAGE_BYTES, type Slot } from '../base/units.ts';
import { GetResult } from '../store/results.ts';
import { checkPages, endedError, PageQueue, type QueueOptions, type Span } from './async-queue.ts';
import {
  type AsyncFlushResult,
  type AsyncGetResult,
  type AsyncPutResult,
  type CallOptions,
  type PageCalls,
  PageOp,
} from './async-results.ts';
import { END, Ring, type RingData, ringMemory, StoreUsage } from './async-ring.ts';

export interface WorkerPagesOptions extends QueueOptions {
  /** How many slots, 1 .. 2^31. */
  readonly slots: number;
  /** Ceiling for all that the worker's store may make resident, bytes; 0 = none. The ring comes on top. */
  readonly limitBytes: number;
}

export class WorkerPages implements PageCalls {
  readonly #queue: PageQueue;
  readonly #ring: Ring;
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  readonly #freeCells: number[];
  /** Index = cell. Who waits for it. */
  readonly #answered: ((() => void) | null)[];

  /** @throws SwapError ERR_ARG_VALUE */
  constructor(options: WorkerPagesOptions) {
    const slots = checkPages('slots', options.slots, 1, 2 ** 31);
    const limitBytes = checkPages('limitBytes', options.limitBytes, 0, Number.MAX_SAFE_INTEGER);
    const cellsOf = (q: PageQueue): number => Math.floor(q.queueMax / q.batchPages);
    this.#queue = new PageQueue(slots, options, cellsOf, (batch) => this.#run(batch));
    const cells = cellsOf(this.#queue);
    const batchPages = this.#queue.batchPages;
    const memory = ringMemory(cells, batchPages);
    const workerData: RingData = { memory, cells, batchPages, slots, limitBytes };
    this.#ring = new Ring(workerData);
    this.#freeCells = Array.from({ length: cells }, (_, cell) => cell);
    this.#answered = new Array<(() => void) | null>(cells).fill(null);
    this.#worker = new Worker(new URL('../async/worker.js', import.meta.url), { workerData });
    this.#exited = new Promise((resolve) => this.#watch(resolve));
  }

  get queuedPages(): number {
    return this.#queue.queuedPages;
  }

  /** Pages that the worker held after its last batch. */
  get storedPages(): number {
    return this.#ring.usage[StoreUsage.storedPages]!;
  }

  /** Bytes of RAM that the worker's store used after its last batch, all metadata included; without the ring. */
  get usedBytes(): number {
    return this.#ring.usage[StoreUsage.usedBytes]!;
  }

  async putMany(
    slots: readonly Slot[],
    pages: readonly Uint8Array[],
    options: CallOptions = {},
  ): Promise<AsyncPutResult[]> {
    return (await this.#queue.add(PageOp.put, slots, pages, options.signal)) as AsyncPutResult[];
  }

  async getMany(
    slots: readonly Slot[],
    into: readonly Uint8Array[],
    options: CallOptions = {},
  ): Promise<AsyncGetResult[]> {
    return (await this.#queue.add(PageOp.get, slots, into, options.signal)) as AsyncGetResult[];
  }

  async flushMany(slots: readonly Slot[], options: CallOptions = {}): Promise<AsyncFlushResult[]> {
    return (await this.#queue.add(PageOp.flush, slots, [], options.signal)) as AsyncFlushResult[];
  }

  async put(slot: Slot, page: Uint8Array, options: CallOptions = {}): Promise<AsyncPutResult> {
    return (await this.putMany([slot], [page], options))[0]!;
  }

  async get(slot: Slot, into: Uint8Array, options: CallOptions = {}): Promise<AsyncGetResult> {
    return (await this.getMany([slot], [into], options))[0]!;
  }

  async flush(slot: Slot, options: CallOptions = {}): Promise<AsyncFlushResult> {
    return (await this.flushMany([slot], options))[0]!;
  }

  ready(): Promise<void> {
    return this.#queue.ready();
  }

  /** Resolves when all calls are answered and the worker, with every page it held, is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#queue.end();
    this.#worker.postMessage(END);
    await this.#exited;
  }

  #watch(exited: () => void): void {
    this.#worker.on('message', (cell: number) => {
      const answered = this.#answered[cell];
      assert(typeof answered === 'function', 'a worker answers what it was asked');
      this.#answered[cell] = null;
      this.#freeCells.push(cell);
      answered();
    });
    this.#worker.on('error', (error) => {
      this.#queue.fail(endedError('the worker that held them failed', error));
    });
    this.#worker.on('exit', (code) => {
      this.#queue.fail(endedError(`the worker that held them is gone (exit ${code})`));
      exited();
    });
  }

  async #run(batch: readonly Span[]): Promise<void> {
    const cell = this.#freeCells.pop();
    assert(cell !== undefined, 'there is a cell for each batch under way');
    this.#fill(cell, batch);
    await new Promise<void>((resolve) => {
      this.#answered[cell] = resolve;
      this.#worker.postMessage(cell);
    });
    this.#collect(cell, batch);
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
        const answer = ring.answer(cell, page);
        call.results[i] = answer;
        if (call.op !== PageOp.get || answer !== GetResult.found) continue;
        const at = ring.pageAt(cell, page);
        call.pages[i]!.set(ring.pages.subarray(at, at + PAGE_BYTES));
      }
  }
}
