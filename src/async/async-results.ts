/**
 * The results of the asynchronous page calls, their interface, and the store operation of one page. The results are
 * those of the store (PutResult, GetResult), plus NOT_STARTED; so a call of k pages can be compared with k single
 * calls.
 */
import type { Slot } from '../base/units.ts';
import type { GetResult, PutResult } from '../store/results.ts';
import type { Store } from '../store/store.ts';

/** The call was aborted before this page was started; it had no effect. */
export const NOT_STARTED = -1;

/** Result of flushing one slot. */
export const FlushResult = {
  /** The page was stored and its bytes are now free. */
  flushed: 0,
  /** Nothing was stored in the slot. */
  absent: 1,
} as const;
export type FlushResult = (typeof FlushResult)[keyof typeof FlushResult];

/** Result of one page of putMany(): PutResult, or NOT_STARTED after an abort. */
export type AsyncPutResult = PutResult | typeof NOT_STARTED;
/** Result of one page of getMany(): GetResult, or NOT_STARTED after an abort. */
export type AsyncGetResult = GetResult | typeof NOT_STARTED;
/** Result of one slot of flushMany(): FlushResult, or NOT_STARTED after an abort. */
export type AsyncFlushResult = FlushResult | typeof NOT_STARTED;

/** The operation of a call, the same for all of its pages. */
export const PageOp = { put: 0, get: 1, flush: 2 } as const;
export type PageOp = (typeof PageOp)[keyof typeof PageOp];

/** Options of one vectored call. */
export interface CallOptions {
  /** Aborting this signal cancels the pages of this call that have not been started. */
  readonly signal?: AbortSignal;
}

/** The vectored calls over a store. AsyncPages documents the contract. */
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
  /** Resolves when the queue has space and no call waits for it. */
  ready(): Promise<void>;
  /** Pages in the queue that have not been started, 0 .. queueMax. */
  readonly queuedPages: number;
  /** The same as `[Symbol.asyncDispose]()`. */
  close(): Promise<void>;
}

/** The part of a store that the calls use. */
export type PageStore = Pick<Store, 'slots' | 'put' | 'get' | 'drop' | 'maintain'>;

/** Runs one operation on the page array[at .. at + 4096); a flush ignores the array. */
export function runPage(
  store: PageStore,
  op: PageOp,
  slot: Slot,
  array: Uint8Array,
  at: number,
): PutResult | GetResult | FlushResult {
  if (op === PageOp.put) return store.put(slot, array, at);
  if (op === PageOp.get) return store.get(slot, array, at);
  return store.drop(slot) ? FlushResult.flushed : FlushResult.absent;
}
