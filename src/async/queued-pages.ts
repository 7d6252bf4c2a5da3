/**
 * The asynchronous page calls over a queue: the only implementation of PageCalls. AsyncPages and WorkerPages differ
 * only in how the queue runs a batch.
 */
import { checkOptions } from '../base/options.ts';
import type { Slot } from '../base/units.ts';
import type { PageQueue } from './async-queue.ts';
import {
  type AsyncFlushResult,
  type AsyncGetResult,
  type AsyncPutResult,
  type CallOptions,
  type PageCalls,
  PageOp,
} from './async-results.ts';

export class QueuedPages implements PageCalls {
  readonly #queue: PageQueue;

  constructor(queue: PageQueue) {
    this.#queue = queue;
  }

  get queuedPages(): number {
    return this.#queue.queuedPages;
  }

  async putMany(
    slots: readonly Slot[],
    pages: readonly Uint8Array[],
    options?: CallOptions,
  ): Promise<AsyncPutResult[]> {
    return (await this.#call(PageOp.put, slots, pages, options)) as AsyncPutResult[];
  }

  async getMany(
    slots: readonly Slot[],
    into: readonly Uint8Array[],
    options?: CallOptions,
  ): Promise<AsyncGetResult[]> {
    return (await this.#call(PageOp.get, slots, into, options)) as AsyncGetResult[];
  }

  async flushMany(slots: readonly Slot[], options?: CallOptions): Promise<AsyncFlushResult[]> {
    return (await this.#call(PageOp.flush, slots, [], options)) as AsyncFlushResult[];
  }

  async put(slot: Slot, page: Uint8Array, options?: CallOptions): Promise<AsyncPutResult> {
    return (await this.putMany([slot], [page], options))[0]!;
  }

  async get(slot: Slot, into: Uint8Array, options?: CallOptions): Promise<AsyncGetResult> {
    return (await this.getMany([slot], [into], options))[0]!;
  }

  async flush(slot: Slot, options?: CallOptions): Promise<AsyncFlushResult> {
    return (await this.flushMany([slot], options))[0]!;
  }

  ready(): Promise<void> {
    return this.#queue.ready();
  }

  /** Accepts no more calls; resolves when all calls are answered. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#queue.end();
  }

  /** The same as `[Symbol.asyncDispose]()`. */
  close(): Promise<void> {
    return this[Symbol.asyncDispose]();
  }

  #call(
    op: PageOp,
    slots: readonly Slot[],
    pages: readonly Uint8Array[],
    options: CallOptions | undefined,
  ): Promise<number[]> {
    if (options !== undefined) checkOptions(options, 'the options of a page call', ['signal']);
    return this.#queue.add(op, slots, pages, options?.signal);
  }
}
