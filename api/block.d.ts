// frontswap/block: what it exports. Written by scripts/api-docs.mjs; a change here is a change of the interface.

interface BackingOptions {
    readonly disk: Disk & Partial<Disposable>;
    readonly showsOldData: boolean;
    readonly bioCount?: number;
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
const BioFlag: {
    readonly fua: 1;
    readonly noUnmap: 2;
    readonly writeBack: 4;
};
const BioOp: {
    readonly read: 0;
    readonly write: 1;
    readonly discard: 2;
    readonly writeZeroes: 3;
    readonly flush: 4;
};
type BioOp = (typeof BioOp)[keyof typeof BioOp];
interface BioOwner {
    bioEnd(bio: Bio): void;
}
class BioPool {
    readonly capacity: number;
    readonly reserve: number;
    readonly counters: Counters<BioPoolCounter>;
    constructor(capacity: number, reserve?: number);
    get freeCount(): number;
    alloc(): Bio | null;
    allocFromReserve(): Bio | null;
    free(bio: Bio): void;
}
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
interface ChecksumDisk extends Disk {
    readonly counters: Counters<ChecksumCounter>;
}
interface ChecksumOptions {
    readonly unknown: 'fail' | 'pass';
}
interface Clock {
    nowNs(): number;
}
interface DelayDisk extends Disk {
    readonly heldCount: number;
    readonly dueNs: number | null;
    readonly slotFreeMisses: number;
}
interface DelayOptions {
    readonly readNs: number;
    readonly writeNs: number;
    readonly flushNs: number;
    readonly byteNs: number;
}
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
interface DiskLimits {
    readonly physicalBlockBytes: number;
    readonly discardGranularityBytes: number;
    readonly maxTransferBytes: number;
}
const Extent: {
    readonly data: 0;
    readonly hole: 1;
    readonly zero: 2;
};
type Extent = (typeof Extent)[keyof typeof Extent];
type ExtentSink = (kind: Extent, length: number) => boolean;
interface FaultDisk extends Disk {
    isGone: boolean;
    readonly counters: Counters<FaultCounter>;
}
interface FaultOptions {
    readonly failOneIn: Readonly<Record<keyof typeof BioOp, number>>;
    readonly tearOneIn: number;
    readonly badRanges: readonly Range[];
}
class FileDisk implements Disk, Disposable {
    readonly sizeBytes: ByteCount;
    readonly readOnly: boolean;
    readonly synchronous = false;
    readonly counters: Counters<FileCounter>;
    readonly limits: DiskLimits;
    constructor(io: FileIo, options: FileDiskOptions);
    get queued(): number;
    submit(bio: Bio): void;
    tick(): number;
    extents(_offset: number, length: number, sink: ExtentSink): void;
    [Symbol.dispose](): void;
    close(): void;
}
interface FileDiskOptions {
    readonly sizeBytes: number;
    readonly readOnly: boolean;
    readonly isDirect: boolean;
    readonly biosPerTick: number;
    readonly bytesPerTick?: number;
}
interface FileIo {
    read(data: Uint8Array, at: number, length: number, position: number): number;
    write(data: Uint8Array, at: number, length: number, position: number): number;
    sync(): void;
    punchHole(position: number, length: number): boolean;
    close(): void;
}
class Histogram {
    static of({ counts, count, sum, max }: HistogramValue): Histogram;
    get value(): HistogramValue;
    get count(): number;
    get sum(): number;
    get max(): number;
    add(value: number): void;
    quantile(q: number): number;
    static readonly bucketCount: number;
    static limitOf(bucket: number): number;
    addCounts(out: Float64Array): void;
    countsBelow(limits: readonly number[], out: Float64Array): void;
}
interface LimitDisk extends Disk {
    readonly heldCount: number;
    readonly delayedCount: number;
    readonly slotFreeMisses: number;
}
interface LimitOptions {
    readonly bios: Rate;
    readonly bytes: Rate;
}
class MemoryDisk implements Disk {
    readonly sizeBytes: ByteCount;
    readonly limits: DiskLimits;
    readonly readOnly: boolean;
    readonly synchronous = true;
    constructor(sizeBytes: number, options?: {
        readonly readOnly?: boolean;
    });
    submit(bio: Bio): void;
    tick(): number;
    extents(offset: number, length: number, sink: ExtentSink): void;
}
interface OpenOptions {
    readonly readOnly: boolean;
    readonly direct: boolean;
    readonly punchHole: PunchHole | null;
    readonly isExclusive?: boolean;
    readonly check?: (stat: Stats, fd: number) => void;
}
interface OpenedFile {
    readonly io: FileIo;
    readonly sizeBytes: number;
    readonly isDirect: boolean;
}
interface PageRelease {
    release(at: number, length: number): boolean;
    releaseRanges?(ranges: Uint32Array, count: number): boolean;
}
type PageReleaseFactory = (memory: LinearMemory) => PageRelease;
interface ParentBudget {
    reserve(bytes: number): boolean;
    release(bytes: number): void;
}
interface QueueOptions {
    readonly requests: number;
    readonly depth: number;
    readonly mergeBytes: number;
}
interface QueuedDisk extends Disk {
    readonly counters: Counters<QueueCounter>;
    readonly inFlight: number;
    plug(): void;
    unplug(): void;
}
class Ramzswap implements Disk, Disposable {
    readonly sizeBytes: ByteCount;
    readonly readOnly = false;
    readonly synchronous: boolean;
    readonly limits: DiskLimits;
    constructor(options: RamzswapOptions);
    get adopted(): Adopted;
    get fault(): InvariantError | null;
    submit(bio: Bio): void;
    tick(): number;
    extents(offset: number, length: number, sink: ExtentSink): void;
    compactIdle(share?: number): boolean;
    dropPages(from: number, to: number): void;
    slotFree(slot: number): void;
    setLimit(limitBytes: number): boolean;
    nextInRam(slot: number): number;
    nextAtBacking(slot: number): number;
    reset(): boolean;
    [Symbol.dispose](): void;
    close(): void;
    stats(): RamzswapStats;
    verify(): void;
}
interface RamzswapOptions {
    readonly sizeBytes: number;
    readonly limitBytes: number;
    readonly total?: ParentBudget;
    readonly codec?: {
        readonly name: string;
        readonly factory: CodecFactory;
    };
    readonly release?: PageReleaseFactory;
    readonly backing?: BackingOptions;
    readonly firstPage?: Uint8Array;
    readonly images?: RamzswapImages;
}
interface RamzswapStats {
    readonly algorithm: string;
    readonly diskSizeBytes: number;
    readonly limitBytes: number;
    readonly storedPages: number;
    readonly dataBytes: number;
    readonly compressedBytes: number;
    readonly usedBytes: number;
    readonly peakUsedBytes: number;
    readonly sameFilledPages: number;
    readonly zeroPages: number;
    readonly goodPages: number;
    readonly incompressiblePages: number;
    readonly compactedPages: number;
    readonly reads: number;
    readonly writes: number;
    readonly discards: number;
    readonly notifyFree: number;
    readonly missFree: number;
    readonly invalidIo: number;
    readonly failedReads: number;
    readonly failedWrites: number;
    readonly backingBytes: number;
    readonly backingReads: number;
    readonly backingWrites: number;
    readonly backingDiscardedBytes: number;
    readonly backingFailures: number;
    readonly backingNoSpace: number;
    readonly backingMismatches: number;
}
interface RzsStats {
    readonly DiskSize: number;
    readonly MemLimit: number;
    readonly NumReads: number;
    readonly NumWrites: number;
    readonly FailedReads: number;
    readonly FailedWrites: number;
    readonly InvalidIO: number;
    readonly NotifyFree: number;
    readonly ZeroPages: number;
    readonly GoodCompress: number;
    readonly NoCompress: number;
    readonly PagesStored: number;
    readonly PagesUsed: number;
    readonly OrigDataSize: number;
    readonly ComprDataSize: number;
    readonly MemUsedTotal: number;
    readonly BDevNumReads: number;
    readonly BDevNumWrites: number;
}
interface StatsDisk extends Disk {
    readonly counters: Counters<StatsCounter>;
    readonly inFlight: number;
    latency(op: BioOp): Histogram;
}
interface TraceDisk extends Disk {
    readonly ended: number;
    readonly lost: number;
    replay(take: (record: TraceRecord) => void): void;
}
interface TraceRecord {
    readonly submittedNs: number;
    readonly endedNs: number;
    readonly op: BioOp;
    readonly flags: number;
    readonly offset: number;
    readonly length: number;
    readonly status: BioStatus;
}
function checksumDisk(next: Disk, { unknown }: ChecksumOptions): ChecksumDisk;
function delayDisk(next: Disk, clock: Clock, options: DelayOptions): DelayDisk;
function faultDisk(next: Disk, prng: Prng, options: FaultOptions): FaultDisk;
const keepPages: PageReleaseFactory;
function limitDisk(next: Disk, clock: Clock, options: LimitOptions): LimitDisk;
function nullDisk(sizeBytes: number): Disk;
function openFile(path: string, options: OpenOptions): OpenedFile;
const queuedDisk: (next: Disk, options: QueueOptions) => QueuedDisk;
function readOnlyDisk(next: Disk): Disk;
function refusingDisk(sizeBytes: number): Disk;
function rzsStats(stats: RamzswapStats): RzsStats;
function statsDisk(next: Disk, clock: Clock): StatsDisk;
function systemPageRelease(platform: NodeJS.Platform): PageReleaseFactory;
function traceDisk(next: Disk, clock: Clock, capacity: number): TraceDisk;
