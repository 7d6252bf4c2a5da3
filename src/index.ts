/**
 * The engine as a library. From the bottom up: a page store with a hard byte ceiling; frontswap and cleancache, the
 * hooks of the memory manager, and tmem, what may stand behind them; the swap core, which decides where a
 * page goes; memory bigger than RAM, and a cache of files; another machine's memory behind a store. The daemon and its
 * protocol are not public yet.
 */
export { Budget } from './arena/budget.ts';
export {
  keepPages,
  type PageRelease,
  type PageReleaseFactory as PageReturnFactory,
} from './arena/ops.ts';
export { AsyncPages } from './async/async-pages.ts';
export { FlushResult as Flush, NOT_STARTED } from './async/async-results.ts';
export { WorkerPages } from './async/worker-pages.ts';
export { InvariantError } from './base/assert.ts';
export type { Clock } from './base/clock.ts';
export { type Code, SwapError } from './base/errors.ts';
export { PAGE_BYTES, type Slot, slot } from './base/units.ts';
export { type Bio, BioFlag, BioOp, type BioOwner, BioStatus } from './block/bio.ts';
export type { BackingOptions } from './block/disks/ramzswap/backing.ts';
export { Ramzswap, type RamzswapOptions } from './block/disks/ramzswap/ramzswap.ts';
export { type RamzswapStats, type RzsStats, rzsStats } from './block/disks/ramzswap/stats.ts';
export { type Disk, type DiskLimits, Extent, type ExtentSink } from './block/ops.ts';
export { TmemCleancache } from './cleancache/backends/tmem-cleancache.ts';
export { Cleancache, inodeKey, NO_FILESYSTEM } from './cleancache/cleancache.ts';
export type { CleancacheBackend } from './cleancache/ops.ts';
export { type CodecFactory, type PageCodec, PageFormat } from './codec/codec.ts';
export { lz4 } from './codec/lz4.ts';
export { type Admission, admission } from './frontswap/admission.ts';
export {
  type LocalPages,
  RemoteBackend,
  type RemoteBackendOptions,
} from './frontswap/backends/remote-backend.ts';
export { type StoreBackend, storeBackend } from './frontswap/backends/store-backend.ts';
export { TmemFrontswap } from './frontswap/backends/tmem-frontswap.ts';
export { Frontswap } from './frontswap/frontswap.ts';
export { type FrontswapBackend, LoadResult as Load } from './frontswap/ops.ts';
export { FileCache, type FileCacheOptions, type FileCacheStats } from './memory/file-cache.ts';
export type { AdoptOptions, MapOptions, MemorySwap } from './memory/memory-swap.ts';
export {
  attachRegion,
  joinSwap,
  type OpenSwapOptions,
  openSwap,
  regionOf,
} from './memory/open-swap.ts';
export type {
  ArrayOptions,
  ElementArray,
  ElementType,
  PagedArray,
  PinnedPage,
} from './memory/paged-array.ts';
export type { ByteRange, RegionHandle, SwapRegion } from './memory/region.ts';
export type { RegionStats, SwapStats } from './memory/stats.ts';
export type { DeviceOptions } from './memory/swap-file.ts';
export type { WasmMemory } from './memory/wasm-reserve.ts';
export { systemPageRelease } from './os/linux/page-release.ts';
export {
  type OpenStreamSocket,
  type StreamAddress,
  streamSockets,
} from './os/linux/stream-socket.ts';
export { loadNativeLz4, loadNativeZstd, type NativeCodec } from './os/native-codec.ts';
export type { RemoteCounter } from './remote/counters.ts';
export type { OpenStream, Stream } from './remote/ops.ts';
export { type RemoteOptions, RemotePages } from './remote/remote-pages.ts';
export {
  CounterAt,
  GetResult as Get,
  PutResult as Put,
  RecompressResult as Recompress,
} from './store/results.ts';
export { Store, type StoreOptions } from './store/store.ts';
export type { AreaOptions, DiscardMode } from './swap/areas.ts';
export { entryOf, NO_ENTRY, offsetOf, type SwapEntry, typeOf } from './swap/entry.ts';
export { readHeader, type SwapHeader, writeHeader } from './swap/header.ts';
export type { FrontEnd, MemoryManager, SwapDisk } from './swap/ops.ts';
export { Swap, SwapInResult as In, type SwapOptions, SwapOutResult as Out } from './swap/swap.ts';
export { offerShrink, SwapOffResult as Off, swapOff, swapOn } from './swap/swapon.ts';
export { Writeback, type WritebackOptions } from './swap/writeback.ts';
export type { PageComparer, PageStore } from './tmem/ops.ts';
export { Restore, RestoreState } from './tmem/restore.ts';
export {
  NewPoolError as NewPool,
  TmemFlushResult as TmemFlush,
  TmemGetResult as TmemGet,
  TmemPutResult as TmemPut,
} from './tmem/results.ts';
export { Save, type Sink } from './tmem/save.ts';
export { type ClientOptions, type PoolOptions, Tmem, type TmemOptions } from './tmem/tmem.ts';
export { tmemStore } from './tmem/tmem-store.ts';
