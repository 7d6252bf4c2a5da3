// frontswap: what it exports. Written by scripts/api-docs.mjs; a change here is a change of the interface.

interface AdoptOptions {
    readonly residentBytes?: number;
}
interface ArrayOptions {
    readonly type: ElementType;
    readonly length: number;
    readonly residentBytes: number;
}
interface ByteRange {
    readonly offset?: number;
    readonly length?: number;
}
interface DeviceOptions {
    readonly kind: 'file';
    readonly path: string;
    readonly sizeBytes: number;
    readonly priority?: number;
    readonly discard?: DiscardMode;
    readonly keep?: boolean;
}
type ElementArray = InstanceType<ElementTypes[ElementType]>;
type ElementType = keyof ElementTypes;
type ErrorCode = 'ERR_ARG_VALUE' | 'ERR_ARG_UNKNOWN' | 'ERR_ARG_CONFLICT' | 'ERR_ARG_AREA' | 'ERR_ARG_CONSTRUCTOR' | 'ERR_IO_SWAP_HEADER' | 'ERR_IO_IN_USE' | 'ERR_IO_NOT_REACHABLE' | 'ERR_IO_LOCAL_ONLY' | 'ERR_IO_UNSAFE_PATH' | 'ERR_IO_ENDED' | 'ERR_IO_UNSUPPORTED' | 'ERR_IO_NO_ROOM' | 'ERR_IO_LOST' | 'ERR_IO_NO_PROGRAM' | 'ERR_IO_NOT_EXECUTABLE' | 'ERR_IO_PROGRAM_FAILED' | 'ERR_IO_IMAGE' | 'ERR_IO_SYSTEM' | 'ERR_PEER_PROTOCOL' | 'ERR_PEER_UNFIT';
type FaultsMode = 'thread' | 'signal' | 'javascript' | 'memfd';
class InvariantError extends Error {
    readonly name: string;
    readonly code = "ERR_INVARIANT";
    constructor(claim: string);
}
interface MapOptions {
    readonly bytes: number;
    readonly residentBytes?: number;
    readonly shared?: boolean;
}
class MemorySwap implements Disposable {
    readonly transparent: boolean;
    readonly faults: FaultsMode | null;
    readonly reason: string;
    private constructor();
    map(options: MapOptions & {
        readonly shared: true;
    }): SwapRegion<SharedArrayBuffer>;
    map(options: MapOptions & {
        readonly shared?: false;
    }): SwapRegion<ArrayBuffer>;
    map(options: MapOptions): SwapRegion;
    adopt<Memory extends WasmMemory>(memory: Memory, options?: AdoptOptions): SwapRegion<Memory['buffer']>;
    adopt(buffer: ArrayBuffer, options?: AdoptOptions): SwapRegion<ArrayBuffer>;
    array(options: ArrayOptions): PagedArray;
    get regions(): readonly SwapRegion[];
    needsPin(view: ArrayBufferView): boolean;
    get control(): SharedArrayBuffer | null;
    stats(): SwapStats;
    on(event: 'problem', listener: ProblemListener): this;
    once(event: 'problem', listener: ProblemListener): this;
    off(event: 'problem', listener: ProblemListener): this;
    [Symbol.dispose](): void;
    close(): void;
}
interface OpenSwapOptions {
    readonly frontswap?: {
        readonly limitBytes?: number;
        readonly tmem?: string;
    };
    readonly devices?: readonly DeviceOptions[];
    readonly residentBytes?: number;
    readonly sameCore?: boolean;
    readonly faults?: FaultsMode;
    readonly transparent?: boolean;
}
const PAGE_BYTES: ByteCount;
class PagedArray implements Disposable {
    readonly type: ElementType;
    readonly length: number;
    private constructor();
    get(index: number): number;
    set(index: number, value: number): void;
    pin(index: number): PinnedPage;
    read(index: number, target: ElementArray): number;
    write(index: number, source: ElementArray): void;
    evict(range?: ByteRange): number;
    discard(range?: ByteRange): void;
    stats(): RegionStats;
    [Symbol.dispose](): void;
    close(): void;
}
interface PinnedPage extends Disposable {
    readonly array: ElementArray;
    readonly first: number;
}
type ProblemCode = 'OVER_BUDGET' | 'STORE_FULL' | 'PAGE_LOST' | 'NOT_PAGED';
type ProblemListener = (problem: SwapProblem) => void;
interface RegionHandle {
    readonly control: SharedArrayBuffer;
    readonly id: number;
    readonly address: number;
    readonly bytes: number;
    readonly memory: SharedArrayBuffer | null;
}
interface RegionStats {
    readonly bytes: number;
    readonly residentBytes: number;
    readonly storedBytes: number;
    readonly pinnedBytes: number;
    readonly faults: number;
    readonly writeFaults: number;
    readonly pageIns: number;
    readonly pagesPrefetched: number;
    readonly pageOuts: number;
    readonly pagesDropped: number;
    readonly lostPages: number;
}
class SwapError extends Error {
    readonly name: string;
    readonly code: ErrorCode;
    readonly facts: Readonly<Record<string, number | string>>;
    constructor(code: ErrorCode, message: string, facts?: SwapError['facts'], options?: ErrorOptions);
}
interface SwapProblem {
    readonly code: ProblemCode;
    readonly message: string;
    readonly facts: Readonly<Record<string, number | string>>;
}
class SwapRegion<RegionBuffer extends ArrayBufferLike = ArrayBufferLike> implements Disposable {
    get buffer(): RegionBuffer;
    private constructor();
    get bytes(): number;
    get handle(): RegionHandle;
    stats(): RegionStats;
    evict(range?: ByteRange): number;
    prefetch(range?: ByteRange): number;
    pin(range?: ByteRange): Disposable;
    discard(range?: ByteRange): void;
    [Symbol.dispose](): void;
    close(): void;
}
interface SwapStats {
    readonly usedBytes: number;
    readonly limitBytes: number;
    readonly storedPages: number;
    readonly compressedBytes: number;
    readonly samePages: number;
    readonly devicePages: number;
    readonly ratio: number;
    readonly overBudget: number;
    readonly refused: number;
    readonly residentBytes: number;
    readonly faults: number;
    readonly pageIns: number;
    readonly pageOuts: number;
    readonly pagesDropped: number;
}
interface WasmMemory {
    readonly buffer: ArrayBuffer | SharedArrayBuffer;
}
function attachRegion(handle: RegionHandle): SwapRegion;
function joinSwap(shared: SharedArrayBuffer): MemorySwap;
function openSwap(options?: OpenSwapOptions): MemorySwap;
function regionOf<Memory extends WasmMemory>(memory: Memory): SwapRegion<Memory['buffer']> | null;
function regionOf(buffer: ArrayBuffer): SwapRegion<ArrayBuffer> | null;
