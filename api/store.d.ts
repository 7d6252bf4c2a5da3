// frontswap/store: what it exports. Written by scripts/api-docs.mjs; a change here is a change of the interface.

class Budget {
    constructor(limitBytes: number, parent?: ParentBudget | null);
    get limitBytes(): number;
    setLimit(limitBytes: number): boolean;
    get usedBytes(): number;
    get peakBytes(): number;
    reserve(bytes: number): boolean;
    release(bytes: number): void;
}
type CodecFactory = (memory: LinearMemory, kernels: Kernels) => PageCodec;
const CounterAt: {
    readonly storedPages: 0;
    readonly samePages: 1;
    readonly rawPages: 2;
    readonly storedBytes: 3;
    readonly refusedByLimit: 4;
    readonly refusedBySpace: 5;
    readonly corruptions: 6;
    readonly moves: 7;
    readonly compactedPages: 8;
    readonly densePages: 9;
    readonly recompressed: 10;
    readonly recompressKept: 11;
    readonly recompressNoSpace: 12;
    readonly zeroPages: 13;
    readonly goodPages: 14;
    readonly refusedIncompressible: 15;
    readonly filteredPages: 16;
    readonly filterMissed: 17;
    readonly count: 18;
};
const GetResult: {
    readonly found: 0;
    readonly absent: 1;
    readonly corrupt: 2;
};
type GetResult = (typeof GetResult)[keyof typeof GetResult];
interface NativeCodec {
    readonly factory: CodecFactory | null;
    readonly reason: string;
}
const PAGE_BYTES: ByteCount;
interface PageCodec {
    readonly name: string;
    readonly format: PageFormat;
    readonly compress: (page: number, out: number, limit: number) => number;
    readonly decompress: (from: number, length: number, page: number) => number;
}
const PageFormat: {
    readonly none: 0;
    readonly same: 1;
    readonly raw: 2;
    readonly lz4: 3;
    readonly zstd: 4;
    readonly filtered: 5;
};
type PageFormat = (typeof PageFormat)[keyof typeof PageFormat];
interface PageRelease {
    release(at: number, length: number): boolean;
    releaseRanges?(ranges: Uint32Array, count: number): boolean;
}
type PageReleaseFactory = (memory: LinearMemory) => PageRelease;
interface ParentBudget {
    reserve(bytes: number): boolean;
    release(bytes: number): void;
}
const PutResult: {
    readonly stored: 0;
    readonly sameFilled: 1;
    readonly refused: 2;
    readonly incompressible: 3;
};
type PutResult = (typeof PutResult)[keyof typeof PutResult];
const RecompressResult: {
    readonly smaller: 0;
    readonly kept: 1;
    readonly noSpace: 2;
    readonly absent: 3;
    readonly corrupt: 4;
};
type RecompressResult = (typeof RecompressResult)[keyof typeof RecompressResult];
type Slot = Unit<'Slot'>;
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
const keepPages: PageReleaseFactory;
function loadNativeLz4(library?: string): NativeCodec;
function loadNativeZstd(level?: number, library?: string): NativeCodec;
const lz4: CodecFactory;
const slot: (n: number) => Slot;
function systemPageRelease(platform: NodeJS.Platform): PageReleaseFactory;
