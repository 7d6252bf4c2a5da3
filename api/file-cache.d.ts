// frontswap/file-cache: what it exports. Written by scripts/api-docs.mjs; a change here is a change of the interface.

class FileCache implements Disposable {
    constructor(options: FileCacheOptions);
    read(path: PathLike, offset: number, length: number): Buffer;
    invalidate(path: PathLike): number;
    stats(): FileCacheStats;
    [Symbol.dispose](): void;
    close(): void;
    verify(): void;
}
interface FileCacheOptions {
    readonly limitBytes: number;
    readonly release?: PageReleaseFactory;
    readonly clock?: () => number;
}
interface FileCacheStats {
    readonly limitBytes: number;
    readonly usedBytes: number;
    readonly files: number;
    readonly pages: number;
    readonly hits: number;
    readonly misses: number;
    readonly evictions: number;
    readonly invalidated: number;
    readonly refused: number;
    readonly plainReads: number;
    readonly damaged: number;
}
