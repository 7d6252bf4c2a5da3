/** What a ramzswap disk says of itself, under zram's names and, for tools of its time, under ramzswap's. */
import { PAGE_BYTES } from '../../../base/units.ts';

/** What a disk holds and has done. Names and meaning as zram's mm_stat, io_stat and bd_stat where both have it. */
export interface RamzswapStats {
  readonly algorithm: string;
  readonly diskSizeBytes: number;
  readonly limitBytes: number;
  /** Pages held in RAM now, same-filled ones included. */
  readonly storedPages: number;
  /** storedPages x 4096. */
  readonly dataBytes: number;
  /** Payload of the stored pages: packed lengths, 4096 for an incompressible page. */
  readonly compressedBytes: number;
  /** RAM in use for them, all metadata included. */
  readonly usedBytes: number;
  /** Most that usedBytes and free memory not yet given back ever came to. */
  readonly peakUsedBytes: number;
  readonly sameFilledPages: number;
  /** Of the same-filled pages, those of zeros. */
  readonly zeroPages: number;
  /** Pages packed to at most half a page. */
  readonly goodPages: number;
  readonly incompressiblePages: number;
  /** Pages that compaction freed, since the start. */
  readonly compactedPages: number;
  /** Requests since the start. */
  readonly reads: number;
  readonly writes: number;
  readonly discards: number;
  /** Pages given up by slotFree, discard and writeZeroes since the start. */
  readonly notifyFree: number;
  /** Slots said to be free that the disk does not have, or for which a bio was under way. */
  readonly missFree: number;
  /** Requests outside the disk or not understood. */
  readonly invalidIo: number;
  /** Requests ended by a checksum that did not fit or by a read that the backing failed: must stay 0. */
  readonly failedReads: number;
  /** Writes refused because the limit was reached, or failed by the backing. */
  readonly failedWrites: number;
  /** Bytes of the pages whose place is the backing now; 0 without one, as all below. */
  readonly backingBytes: number;
  /** Pages read from and written to the backing since the start, in part or whole. */
  readonly backingReads: number;
  readonly backingWrites: number;
  /** Bytes of the backing said to be of no more use. */
  readonly backingDiscardedBytes: number;
  /** Bios that the backing failed: must stay 0. */
  readonly backingFailures: number;
}

/** The counters that ramzswap printed, by its names; sizes in bytes, GoodCompress and NoCompress in percent. */
export interface RzsStats {
  readonly DiskSize: number;
  readonly MemLimit: number;
  readonly NumReads: number;
  readonly NumWrites: number;
  readonly FailedReads: number;
  readonly FailedWrites: number;
  readonly InvalidIO: number;
  readonly NotifyFree: number;
  readonly ZeroPages: number;
  /** Share of PagesStored packed to half a page or less, 0 .. 100. */
  readonly GoodCompress: number;
  /** Share of PagesStored kept raw, 0 .. 100. */
  readonly NoCompress: number;
  /** Pages with payload in RAM: zero pages are not among them. */
  readonly PagesStored: number;
  /** Pages of RAM that MemUsedTotal is. */
  readonly PagesUsed: number;
  readonly OrigDataSize: number;
  readonly ComprDataSize: number;
  readonly MemUsedTotal: number;
  readonly BDevNumReads: number;
  readonly BDevNumWrites: number;
}

export function rzsStats(stats: RamzswapStats): RzsStats {
  const stored = stats.storedPages - stats.zeroPages;
  const share = (pages: number): number => (stored === 0 ? 0 : Math.floor((pages * 100) / stored));
  return {
    DiskSize: stats.diskSizeBytes,
    MemLimit: stats.limitBytes,
    NumReads: stats.reads,
    NumWrites: stats.writes,
    FailedReads: stats.failedReads,
    FailedWrites: stats.failedWrites,
    InvalidIO: stats.invalidIo,
    NotifyFree: stats.notifyFree,
    ZeroPages: stats.zeroPages,
    GoodCompress: share(stats.goodPages),
    NoCompress: share(stats.incompressiblePages),
    PagesStored: stored,
    PagesUsed: Math.ceil(stats.usedBytes / PAGE_BYTES),
    OrigDataSize: stored * PAGE_BYTES,
    ComprDataSize: stats.compressedBytes,
    MemUsedTotal: stats.usedBytes,
    BDevNumReads: stats.backingReads,
    BDevNumWrites: stats.backingWrites,
  };
}
