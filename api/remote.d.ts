// frontswap/remote: what it exports. Written by scripts/api-docs.mjs; a change here is a change of the interface.

type LocalPages = FrontswapBackend & Pick<StoreBackend, 'formatOf' | 'compressedBytes' | 'readCompressed' | 'storeCompressed'>;
type OpenStream = (memory: Uint8Array, timeoutMs: number) => Stream;
type OpenStreamSocket = (address: StreamAddress, memory: Uint8Array, timeoutMs: number) => StreamSocket;
class RemoteBackend implements FrontswapBackend {
    readonly name = "remote";
    readonly counters: Counters<RemoteCounter>;
    constructor(local: LocalPages, remote: RemotePages, options: RemoteBackendOptions);
    get remotePages(): number;
    get movablePages(): number;
    get waitingFlushes(): number;
    init(type: number, slots: number): void;
    store(type: number, offset: number, page: Uint8Array, at: number): boolean;
    load(type: number, offset: number, page: Uint8Array, at: number): LoadResult;
    invalidatePage(type: number, offset: number): void;
    invalidateArea(type: number): void;
    remotify(pagesMax: number): number;
    maintain(): boolean;
    verify(): void;
}
interface RemoteBackendOptions {
    readonly budget: Budget;
    readonly flushesMax?: number;
}
type RemoteCounter = 'pers_pages_remoted' | 'pers_pages_remote_failed' | 'pers_pages_remote_nomem' | 'remote_pers_pages_succ_get' | 'remote_pers_pages_unsucc_get' | 'remote_pages_flushed' | 'remote_page_flushes_failed' | 'remote_objects_flushed' | 'remote_object_flushes_failed' | 'remoteLost' | 'remoteLate' | 'remoteDamaged' | 'pagesRepatriated' | 'repatriationsRefused' | 'remotePagesFreed' | 'remotifyStopped' | 'localDamaged' | 'areasRefused';
interface RemoteOptions {
    readonly open: OpenStream;
    readonly clock: Clock;
    readonly client: string;
    readonly boot: string;
    readonly password?: string;
    readonly user?: string;
    readonly deadlineMs?: number;
    readonly leaseMs?: number;
    readonly pauseMs?: number;
    readonly pauseMsMax?: number;
    readonly codec?: CodecFactory;
}
class RemotePages implements Disposable {
    readonly memory: Uint8Array;
    fetchedAt: number;
    fetchedBytes: number;
    fetchedFormat: PageFormat;
    constructor(options: RemoteOptions);
    keeps(format: PageFormat): boolean;
    get isUp(): boolean;
    get end(): LinkEnd;
    get hasLease(): boolean;
    get sweptKeys(): number;
    start(): void;
    ready(): boolean;
    maintain(): boolean;
    stagePut(epoch: number, offset: number, generation: number, length: number): number;
    sealPut(format: PageFormat, length: number): void;
    unstage(): void;
    stageDelete(epoch: number, offset: number, generation: number): boolean;
    stageUnlink(epoch: number, chunk: number): boolean;
    send(): void;
    readReply(): RemoteResult;
    fetch(epoch: number, offset: number, generation: number, target: Uint8Array, at: number): FetchResult;
    [Symbol.dispose](): void;
    close(): void;
}
interface StoreBackend extends FrontswapBackend {
    payloadMax: number;
    readonly isIncompressible: boolean;
    maintain(changed: number): boolean;
    compactIdle(): boolean;
    recompressIdle(pagesMax: number, age: number): number;
    counter(at: number): number;
    usedBytes(): number;
    formatOf(type: number, offset: number): PageFormat;
    compressedBytes(type: number, offset: number): number;
    readCompressed(type: number, offset: number, target: Uint8Array, at: number): number;
    storeCompressed(type: number, offset: number, format: PageFormat, source: Uint8Array, at: number, length: number): boolean;
    verify(): void;
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
function storeBackend(budget: Budget, codec: CodecFactory, release: PageReleaseFactory, dense?: CodecFactory | null, startsEmpty?: boolean, onShard?: OnShard): StoreBackend;
function streamSockets(platform: NodeJS.Platform): OpenStreamSocket | null;
