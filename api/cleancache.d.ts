// frontswap/cleancache: what it exports. Written by scripts/api-docs.mjs; a change here is a change of the interface.

class Cleancache {
    readonly counters: Counters<CleancacheCounter>;
    get enabled(): boolean;
    register(backend: CleancacheBackend): void;
    initFs(blockBytes: number): number;
    initSharedFs(uuid: Uint8Array, blockBytes: number): number;
    put(fs: number, key: Uint32Array, index: number, page: Uint8Array, at: number): void;
    get(fs: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean;
    invalidatePage(fs: number, key: Uint32Array, index: number): void;
    invalidateInode(fs: number, key: Uint32Array): void;
    invalidateFs(fs: number): void;
}
interface CleancacheBackend {
    readonly name: string;
    initFs(pageBytes: number): number;
    initSharedFs(uuid: Uint8Array, pageBytes: number): number;
    put(pool: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean;
    get(pool: number, key: Uint32Array, index: number, page: Uint8Array, at: number): boolean;
    invalidatePage(pool: number, key: Uint32Array, index: number): void;
    invalidateInode(pool: number, key: Uint32Array): void;
    invalidateFs(pool: number): void;
}
const NO_FILESYSTEM = -1;
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
function inodeKey(inode: number, key: Uint32Array): void;
