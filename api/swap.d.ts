// frontswap/swap: what it exports. Written by scripts/api-docs.mjs; a change here is a change of the interface.

interface Admission extends FrontswapBackend {
    readonly isWaiting: boolean;
    readonly refused: number;
}
interface AreaOptions {
    readonly priority?: number;
    readonly allocator?: AllocatorKind;
    readonly discard?: DiscardMode;
    readonly pageCluster?: number;
    readonly writeback?: boolean;
}
class Bio implements Range {
    op: BioOp;
    flags: number;
    offset: number;
    length: number;
    data: Uint8Array;
    at: number;
    owner: BioOwner;
    tag: number;
    status: BioStatus;
    next: Bio | null;
    enter(owner: BioOwner, mark: number): void;
    leave(): number;
    get mark(): number;
    reset(): void;
}
const BioOp: {
    readonly read: 0;
    readonly write: 1;
    readonly discard: 2;
    readonly writeZeroes: 3;
    readonly flush: 4;
};
type BioOp = (typeof BioOp)[keyof typeof BioOp];
const BioStatus: {
    readonly ok: 0;
    readonly ioError: 1;
    readonly noSpace: 2;
    readonly invalid: 3;
    readonly notSupported: 4;
    readonly readOnly: 5;
};
type BioStatus = (typeof BioStatus)[keyof typeof BioStatus];
class Budget {
    constructor(limitBytes: number, parent?: ParentBudget | null);
    get limitBytes(): number;
    setLimit(limitBytes: number): boolean;
    get usedBytes(): number;
    get peakBytes(): number;
    reserve(bytes: number): boolean;
    release(bytes: number): void;
}
type DiscardMode = (typeof DISCARD_MODES)[number];
interface Disk {
    readonly sizeBytes: ByteCount;
    readonly limits: DiskLimits;
    readonly readOnly: boolean;
    readonly synchronous: boolean;
    submit(bio: Bio): void;
    tick(): number;
    extents(offset: number, length: number, sink: ExtentSink): void;
    slotFree?(slot: number): void;
}
interface FrontEnd {
    readonly enabled: boolean;
    readonly exclusiveGets: boolean;
    onShrink: ((type: number, pages: number) => number) | null;
    init(type: number, slots: number): void;
    store(type: number, offset: number, page: Uint8Array, at: number): boolean;
    load(type: number, offset: number, page: Uint8Array, at: number): LoadResult;
    peek(type: number, offset: number, page: Uint8Array, at: number): LoadResult;
    invalidatePage(type: number, offset: number): void;
    warm?(type: number, offsets: Int32Array, count: number): number;
    invalidateArea(type: number): void;
    has(type: number, offset: number): boolean;
    completeWriteback(type: number, offset: number): void;
    coldPages(type: number): ColdPages | null;
}
class Frontswap {
    readonly counters: Counters<FrontswapCounter>;
    exclusiveGets: boolean;
    onShrink: ((type: number, pages: number) => number) | null;
    get enabled(): boolean;
    get writethrough(): boolean;
    set writethrough(on: boolean);
    register(backend: FrontswapBackend): void;
    init(type: number, slots: number): void;
    store(type: number, offset: number, page: Uint8Array, at: number): boolean;
    load(type: number, offset: number, page: Uint8Array, at: number): LoadResult;
    peek(type: number, offset: number, page: Uint8Array, at: number): LoadResult;
    invalidatePage(type: number, offset: number): void;
    warm(type: number, offsets: Int32Array, count: number): number;
    completeWriteback(type: number, offset: number): void;
    coldPages(type: number): ColdPages | null;
    invalidateArea(type: number): void;
    has(type: number, offset: number): boolean;
    currPages(): number;
    currPagesOf(type: number): number;
    shrink(targetPages: number): number;
    verify(): void;
}
interface FrontswapBackend {
    readonly name: string;
    init(type: number, slots: number): void;
    store(type: number, offset: number, page: Uint8Array, at: number): boolean;
    load(type: number, offset: number, page: Uint8Array, at: number): LoadResult;
    invalidatePage(type: number, offset: number): void;
    warm?(type: number, offsets: Int32Array, count: number): number;
    invalidateArea(type: number): void;
    coldPages?(type: number): ColdPages | null;
}
const LoadResult: {
    readonly loaded: 0;
    readonly absent: 1;
    readonly corrupt: 2;
    readonly loadedExclusive: 3;
};
type LoadResult = (typeof LoadResult)[keyof typeof LoadResult];
interface MemoryManager {
    readonly memory: Uint8Array;
    allocFrame(isReadAhead: boolean): number;
    freeFrame(frame: number): void;
    removedFromCache(frame: number): void;
    readDone(entry: SwapEntry, frame: number, ok: boolean): void;
    writeDone(entry: SwapEntry, frame: number, ok: boolean): void;
    unuse(entry: SwapEntry, frame: number): void;
}
const NO_ENTRY: SwapEntry;
interface ParentBudget {
    reserve(bytes: number): boolean;
    release(bytes: number): void;
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
class Swap implements BioOwner {
    readonly counters: SwapCounters;
    frame: number;
    warmed: number;
    readonly areas: (SwapArea | null)[];
    readonly order: AreaOrder;
    readonly front: FrontEnd;
    readonly mm: MemoryManager;
    readonly cache: SwapCache;
    readonly discarder: Discarder;
    constructor(front: FrontEnd, mm: MemoryManager, options?: SwapOptions);
    addToSwap(frame: number): SwapEntry;
    duplicate(entry: SwapEntry): DuplicateResult;
    addContinuation(entry: SwapEntry): void;
    markDirty(frame: number): void;
    isDirty(frame: number): boolean;
    isBusy(frame: number): boolean;
    lookup(entry: SwapEntry): number;
    swapOut(frame: number): SwapOutResult;
    dropFromCache(frame: number): void;
    swapIn(entry: SwapEntry): SwapInResult;
    readCached(area: SwapArea, entry: SwapEntry): SwapInResult;
    free(entry: SwapEntry): void;
    freeMany(entries: Int32Array, from: number, to: number): void;
    freeAndCache(entry: SwapEntry): void;
    tryFree(frame: number): boolean;
    reclaimCacheOnly(slotsMax: number): number;
    tick(): number;
    scanDiscard(clusters: number): number;
    bioEnd(bio: Bio): void;
}
interface SwapDisk extends Disk {
    slotFree?(slot: number): void;
}
type SwapEntry = number & {
    readonly [entryUnit]: 'SwapEntry';
};
interface SwapHeader {
    readonly lastPage: number;
    readonly badPages: readonly number[];
    readonly uuid: string;
    readonly label: string;
}
const SwapInResult: {
    readonly done: 0;
    readonly pending: 1;
    readonly noFrame: 2;
    readonly busy: 3;
    readonly ioError: 4;
    readonly corrupt: 5;
    readonly badEntry: 6;
};
type SwapInResult = (typeof SwapInResult)[keyof typeof SwapInResult];
const SwapOffResult: {
    readonly done: 0;
    readonly again: 1;
    readonly noFrame: 2;
    readonly ioError: 3;
    readonly refused: 4;
};
type SwapOffResult = (typeof SwapOffResult)[keyof typeof SwapOffResult];
interface SwapOptions {
    readonly bios?: number;
    readonly discardBios?: number;
}
const SwapOutResult: {
    readonly done: 0;
    readonly pending: 1;
    readonly freed: 2;
    readonly busy: 3;
    readonly ioError: 4;
};
type SwapOutResult = (typeof SwapOutResult)[keyof typeof SwapOutResult];
class Writeback implements BioOwner {
    budget: number;
    incompressibleOnly: boolean;
    constructor(swap: Swap, options: WritebackOptions);
    get inFlight(): number;
    get isShrinking(): boolean;
    tick(): number;
    write(type: number, pages: number): number;
    bioEnd(bio: Bio): void;
}
interface WritebackOptions {
    readonly usedBytes: () => number;
    readonly limitBytes: number;
    readonly startPercent?: number;
    readonly acceptPercent?: number;
    readonly isRequested?: () => boolean;
    readonly bios?: number;
}
function admission(next: FrontswapBackend, usedBytes: () => number, limitBytes: number, acceptPercent?: number): Admission;
function entryOf(type: number, offset: number): SwapEntry;
function offerShrink(swap: Swap): void;
const offsetOf: (entry: SwapEntry) => number;
function readHeader(page: Uint8Array, diskPages: number): SwapHeader;
function storeBackend(budget: Budget, codec: CodecFactory, release: PageReleaseFactory, dense?: CodecFactory | null, startsEmpty?: boolean, onShard?: OnShard): StoreBackend;
function swapOff(swap: Swap, type: number, slots: number): SwapOffResult;
function swapOn(swap: Swap, disk: SwapDisk, page: Uint8Array, options?: AreaOptions): number;
const typeOf: (entry: SwapEntry) => number;
function writeHeader(header: SwapHeader, page: Uint8Array): void;
