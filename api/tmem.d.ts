// frontswap/tmem: what it exports. Written by scripts/api-docs.mjs; a change here is a change of the interface.

class BlockingPool implements Disposable {
    constructor(options: BlockingPoolOptions);
    get isUp(): boolean;
    start(): void;
    put(oid: Uint32Array, index: number, source: Uint8Array, at: number): TmemPutResult;
    get(oid: Uint32Array, index: number, target: Uint8Array, at: number): TmemGetResult;
    flushPage(oid: Uint32Array, index: number): TmemFlushResult;
    flushObject(oid: Uint32Array): TmemFlushResult;
    putMany(keys: Uint32Array, count: number, source: Uint8Array, at: number, results: Uint8Array): number;
    getMany(keys: Uint32Array, count: number, target: Uint8Array, at: number, results: Uint8Array): number;
    flushMany(keys: Uint32Array, count: number, results: Uint8Array): number;
    destroy(): TmemFlushResult;
    [Symbol.dispose](): void;
}
interface BlockingPoolOptions {
    readonly open: OpenStream;
    readonly clock: Clock;
    readonly uuid: string;
    readonly persistent?: boolean;
    readonly exclusiveGets?: boolean;
    readonly leaseSeconds?: number;
    readonly deadlineMs?: number;
    readonly pauseMs?: number;
    readonly pauseMsMax?: number;
}
class Budget {
    constructor(limitBytes: number, parent?: ParentBudget | null);
    get limitBytes(): number;
    setLimit(limitBytes: number): boolean;
    get usedBytes(): number;
    get peakBytes(): number;
    reserve(bytes: number): boolean;
    release(bytes: number): void;
}
interface ClientOptions {
    readonly weight?: number;
    readonly cap?: number;
}
const KEY_WORDS = 7;
class KernelComparer implements PageComparer {
    readonly page: Uint8Array;
    readonly candidate: Uint8Array;
    hashLow: number;
    hashHigh: number;
    constructor();
    load(source: Uint8Array, at: number): void;
    isEqual(): boolean;
}
const NewPoolError: {
    readonly noClient: -1;
    readonly tooMany: -2;
    readonly sharedPersistent: -3;
    readonly tooManyShared: -4;
    readonly otherKind: -5;
};
type OpenStream = (memory: Uint8Array, timeoutMs: number) => Stream;
type OpenStreamSocket = (address: StreamAddress, memory: Uint8Array, timeoutMs: number) => StreamSocket;
interface PageComparer {
    readonly page: Uint8Array;
    readonly candidate: Uint8Array;
    load(source: Uint8Array, at: number): void;
    readonly hashLow: number;
    readonly hashHigh: number;
    isEqual(): boolean;
}
interface PageStore {
    readonly slots: number;
    readonly storedBytes: number;
    readonly usedBytes: number;
    put(slot: Slot, source: Uint8Array, at: number, isRaw: boolean): PutResult;
    get(slot: Slot, target: Uint8Array, at: number): GetResult;
    drop(slot: Slot): boolean;
    maintain(changed: number): boolean;
}
interface ParentBudget {
    reserve(bytes: number): boolean;
    release(bytes: number): void;
}
interface PoolOptions {
    readonly persistent?: boolean;
    readonly shared?: string;
    readonly exclusiveGets?: boolean;
}
class Restore implements Disposable {
    state: RestoreState;
    client: number;
    weight: number;
    cap: number;
    refusal: TmemPutResult;
    pages: number;
    constructor(tmem: Tmem, authorised?: readonly string[], target?: RestoreTarget | null);
    [Symbol.dispose](): void;
    close(): void;
    push(chunk: Uint8Array): RestoreState;
    take(chunk: Uint8Array): number;
    end(): RestoreState;
}
const RestoreState: {
    readonly receiving: 0;
    readonly done: 1;
    readonly refused: 2;
};
type RestoreState = (typeof RestoreState)[keyof typeof RestoreState];
interface RestoreTarget {
    readonly client: number;
    readonly pagesMax: number;
}
class Save implements Disposable {
    sentPages: number;
    damagedPages: number;
    constructor(tmem: Tmem, client: number, isSaved?: (pool: number) => boolean);
    [Symbol.dispose](): void;
    close(): void;
    get isCaughtUp(): boolean;
    step(sink: Sink, pagesMax: number, rowsMax?: number): number;
    finish(sink: Sink): number;
}
type Sink = (chunk: Uint8Array) => void;
interface SocketPoolOptions {
    readonly persistent?: boolean;
    readonly exclusiveGets?: boolean;
    readonly uuid?: string;
    readonly leaseSeconds?: number;
}
class Store {
    readonly slots: number;
    constructor(options: StoreOptions);
    put(slot: Slot, source: Uint8Array, at: number, payloadMax?: number): PutResult;
    putRaw(slot: Slot, source: Uint8Array, at: number): PutResult;
    putWord(slot: Slot, low: number, high: number): PutResult;
    get(slot: Slot, target: Uint8Array, at: number): GetResult;
    drop(slot: Slot): boolean;
    warm(slots: Int32Array, count: number): number;
    dropRange(from: Slot, to: number): number;
    skipEmpty(from: Slot, to: number): number;
    recompress(slot: Slot): RecompressResult;
    recompressIdle(pagesMax: number, age: number): number;
    age(from: Slot, to: number): void;
    coldest(from: Slot, to: number, age: number, incompressibleOnly: boolean): number;
    putCompressed(slot: Slot, format: PageFormat, source: Uint8Array, at: number, length: number): PutResult;
    compressedBytes(slot: Slot): number;
    readCompressed(slot: Slot, target: Uint8Array, at: number): number;
    formatOf(slot: Slot): PageFormat;
    isZero(slot: Slot): boolean;
    counter(at: number): number;
    get adopted(): Adopted;
    get storedPages(): number;
    get usedBytes(): number;
    maintain(changed: number): boolean;
    compactIdle(share?: number): boolean;
    releaseAll(): void;
    verify(): void;
}
interface StoreOptions {
    readonly slots: number;
    readonly budget: Budget;
    readonly codec?: CodecFactory;
    readonly dense?: CodecFactory | null;
    readonly release?: PageReleaseFactory;
    readonly startsEmpty?: boolean;
    readonly onShard?: OnShard | undefined;
    readonly images?: ShardImages | undefined;
}
interface Stream extends Disposable {
    send(at: number, length: number, timeoutMs: number): number;
    receive(at: number, length: number, timeoutMs: number): number;
}
type StreamAddress = {
    readonly path: string;
} | {
    readonly host: string;
    readonly port: number;
};
interface SwapPool {
    put(oid: Uint32Array, index: number, page: Uint8Array, at: number): TmemPutResult;
    get(oid: Uint32Array, index: number, page: Uint8Array, at: number): TmemGetResult;
    flushPage(oid: Uint32Array, index: number): TmemFlushResult;
    flushObject(oid: Uint32Array): TmemFlushResult;
}
class Tmem {
    readonly index: PageIndex;
    constructor(options: TmemOptions);
    addClient(options?: ClientOptions): number;
    destroyClient(id: number): boolean;
    setWeight(client: number, weight: number): void;
    setCap(client: number, cap: number): void;
    setCompress(client: number, compress: boolean): void;
    freeze(client: number): void;
    thaw(client: number): void;
    authorise(client: number, uuid: string): void;
    deauthorise(client: number, uuid: string): void;
    newPool(client: number, options?: PoolOptions, at?: number): number;
    destroyPool(client: number, pool: number): TmemFlushResult;
    emptyPool(client: number, pool: number, pagesMax: number): TmemFlushResult;
    put(client: number, pool: number, oid: Uint32Array, index: number, source: Uint8Array, at: number): TmemPutResult;
    get(client: number, pool: number, oid: Uint32Array, index: number, target: Uint8Array, at: number): TmemGetResult;
    flushPage(client: number, pool: number, oid: Uint32Array, index: number): TmemFlushResult;
    flushObject(client: number, pool: number, oid: Uint32Array, pagesMax?: number): TmemFlushResult;
    putMany(client: number, pool: number, keys: Uint32Array, count: number, source: Uint8Array, at: number, results: Uint8Array): number;
    getMany(client: number, pool: number, keys: Uint32Array, count: number, target: Uint8Array, at: number, results: Uint8Array): number;
    get freeableBytes(): number;
    relinquish(bytes: number): number;
    maintain(): boolean;
    clientOf(id: number): Client | null;
    poolOf(client: number, pool: number): Pool | null;
    verify(): void;
}
class TmemCleancache implements CleancacheBackend {
    readonly name = "tmem";
    constructor(tmem: Tmem, client: number);
    initFs(pageBytes: number): number;
    initSharedFs(uuid: Uint8Array, pageBytes: number): number;
    put(pool: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean;
    get(pool: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean;
    invalidatePage(pool: number, key: Uint32Array, index: number): void;
    invalidateInode(pool: number, key: Uint32Array): void;
    invalidateFs(pool: number): void;
}
class TmemClient implements Disposable {
    private constructor();
    static connect(path: string, options?: TmemClientOptions): Promise<TmemClient>;
    get isUp(): boolean;
    newPool(options?: SocketPoolOptions): Promise<TmemClientPool>;
    [Symbol.dispose](): void;
    close(): void;
    request<T>({ op, pool, count }: {
        readonly op: Op;
        readonly pool: number;
        readonly count: number;
    }, write: (writer: RequestWriter, id: number) => void, read: (reader: ReplyReader) => T): Promise<T>;
}
interface TmemClientOptions {
    readonly inFlightMax?: number;
}
class TmemClientPool {
    constructor(client: TmemClient, number: number);
    put(oid: Uint32Array, index: number, source: Uint8Array, at?: number): Promise<TmemPutResult>;
    get(oid: Uint32Array, index: number, target: Uint8Array, at?: number): Promise<TmemGetResult>;
    flushPage(oid: Uint32Array, index: number): Promise<TmemFlushResult>;
    flushObject(oid: Uint32Array): Promise<TmemFlushResult>;
    destroy(): Promise<TmemFlushResult>;
    putMany(keys: Uint32Array, count: number, source: Uint8Array, at: number, results: Uint8Array): Promise<number>;
    getMany(keys: Uint32Array, count: number, target: Uint8Array, at: number, results: Uint8Array): Promise<number>;
}
const TmemFlushResult: {
    readonly done: 0;
    readonly doneFrozen: 1;
    readonly noPool: 2;
    readonly more: 3;
    readonly down: 4;
};
type TmemFlushResult = (typeof TmemFlushResult)[keyof typeof TmemFlushResult];
class TmemFrontswap implements FrontswapBackend {
    readonly name = "tmem";
    constructor(tmem: Tmem, client: number);
    constructor(pool: SwapPool);
    init(type: number, slots: number): void;
    store(type: number, offset: number, page: Uint8Array, at: number): boolean;
    load(type: number, offset: number, page: Uint8Array, at: number): LoadResult;
    invalidatePage(type: number, offset: number): void;
    invalidateArea(type: number): void;
}
const TmemGetResult: {
    readonly found: 0;
    readonly absent: 1;
    readonly poolEmpty: 2;
    readonly corrupt: 3;
    readonly noPool: 4;
    readonly down: 5;
};
type TmemGetResult = (typeof TmemGetResult)[keyof typeof TmemGetResult];
interface TmemOptions {
    readonly store: PageStore;
    readonly pages?: number;
    readonly objects?: number;
    readonly clients?: number;
    readonly dedup?: Dedup;
    readonly comparer?: PageComparer;
    readonly sharing?: 'authorised' | 'everyone';
    readonly frozenPuts?: 'drop' | 'replace';
    readonly evictionsPerPut?: number;
    readonly sharedPools?: number;
    readonly seed?: number;
}
const TmemPutResult: {
    readonly stored: 0;
    readonly frozen: 1;
    readonly capped: 2;
    readonly noSpace: 3;
    readonly noRows: 4;
    readonly noPool: 5;
    readonly down: 6;
};
type TmemPutResult = (typeof TmemPutResult)[keyof typeof TmemPutResult];
function streamSockets(platform: NodeJS.Platform): OpenStreamSocket | null;
const tmemStore: (store: Store) => PageStore;
