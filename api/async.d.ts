// frontswap/async: what it exports. Written by scripts/api-docs.mjs; a change here is a change of the interface.

type AsyncFlushResult = FlushResult | typeof NOT_STARTED;
type AsyncGetResult = GetResult | typeof NOT_STARTED;
class AsyncPages extends QueuedPages {
    constructor(store: PageStore, options?: QueueOptions);
}
type AsyncPutResult = PutResult | typeof NOT_STARTED;
interface CallOptions {
    readonly signal?: AbortSignal;
}
const FlushResult: {
    readonly flushed: 0;
    readonly absent: 1;
};
type FlushResult = (typeof FlushResult)[keyof typeof FlushResult];
const NOT_STARTED = -1;
interface PageCalls extends AsyncDisposable {
    putMany(slots: readonly Slot[], pages: readonly Uint8Array[], options?: CallOptions): Promise<AsyncPutResult[]>;
    getMany(slots: readonly Slot[], into: readonly Uint8Array[], options?: CallOptions): Promise<AsyncGetResult[]>;
    flushMany(slots: readonly Slot[], options?: CallOptions): Promise<AsyncFlushResult[]>;
    put(slot: Slot, page: Uint8Array, options?: CallOptions): Promise<AsyncPutResult>;
    get(slot: Slot, into: Uint8Array, options?: CallOptions): Promise<AsyncGetResult>;
    flush(slot: Slot, options?: CallOptions): Promise<AsyncFlushResult>;
    ready(): Promise<void>;
    readonly queuedPages: number;
    close(): Promise<void>;
}
interface QueueOptions {
    readonly batchPages?: number;
    readonly queueMax?: number;
}
class WorkerPages extends QueuedPages {
    constructor(options: WorkerPagesOptions);
    get storedPages(): number;
    get usedBytes(): number;
    [Symbol.asyncDispose](): Promise<void>;
}
interface WorkerPagesOptions extends QueueOptions {
    readonly slots: number;
    readonly limitBytes: number;
}
