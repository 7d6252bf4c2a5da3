/**
 * What the asynchronous page calls answer, and what one page of a call does to a store. The answers are the store's own
 * (Put, Get), so that a call of k pages can be held against k single ones, and one more: not begun.
 */
import type { Slot } from '../base/units.ts';
import type { GetResult, PutResult } from '../store/results.ts';
import type { Store } from '../store/store.ts';

/** The page's turn had not come when the call was aborted: nothing was done for it. */
export const NOT_STARTED = -1;

export const AsyncFlush = {
  /** The page was there and its bytes are free. */
  flushed: 0,
  /** Nothing was stored under the slot. */
  absent: 1,
} as const;
export type AsyncFlush = (typeof AsyncFlush)[keyof typeof AsyncFlush];

export type AsyncPutResult = PutResult | typeof NOT_STARTED;
export type AsyncGetResult = GetResult | typeof NOT_STARTED;
export type AsyncFlushResult = AsyncFlush | typeof NOT_STARTED;

/** What a call does, and what each of its pages does. */
export const PageOp = { put: 0, get: 1, flush: 2 } as const;
export type PageOp = (typeof PageOp)[keyof typeof PageOp];

export interface CallOptions {
  /** Its abort takes back the pages of this call that have not begun. */
  readonly signal?: AbortSignal;
}

/** The vectored calls, over whatever store. See AsyncPages for the terms. */
export interface PageCalls extends AsyncDisposable {
  putMany(
    slots: readonly Slot[],
    pages: readonly Uint8Array[],
    options?: CallOptions,
  ): Promise<AsyncPutResult[]>;
  getMany(
    slots: readonly Slot[],
    into: readonly Uint8Array[],
    options?: CallOptions,
  ): Promise<AsyncGetResult[]>;
  flushMany(slots: readonly Slot[], options?: CallOptions): Promise<AsyncFlushResult[]>;
  put(slot: Slot, page: Uint8Array, options?: CallOptions): Promise<AsyncPutResult>;
  get(slot: Slot, into: Uint8Array, options?: CallOptions): Promise<AsyncGetResult>;
  flush(slot: Slot, options?: CallOptions): Promise<AsyncFlushResult>;
  /** Resolves when a call would enter the queue without waiting for others. */
  ready(): Promise<void>;
  /** Pages in the queue that have not begun, 0 .. queueMax. */
  readonly queuedPages: number;
}

/** What the calls need of a store. */
export type PageStore = Pick<Store, 'slots' | 'put' | 'get' | 'drop' | 'maintain'>;

/** Does one page at array[at .. at + 4096), which a flush ignores; what the store answers. */
export function runPage(
  store: PageStore,
  op: PageOp,
  slot: Slot,
  array: Uint8Array,
  at: number,
): PutResult | GetResult | AsyncFlush {
  if (op === PageOp.put) return store.put(slot, array, at);
  if (op === PageOp.get) return store.get(slot, array, at);
  return store.drop(slot) ? AsyncFlush.flushed : AsyncFlush.absent;
}
