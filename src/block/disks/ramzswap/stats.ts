/** Statistics of a ramzswap disk, by the names of zram and of ramzswap. */
import { PAGE_BYTES } from '../../../base/units.ts';

/** Statistics of a ramzswap disk; names and meaning as in zram's mm_stat, io_stat and bd_stat where those exist. */
export interface RamzswapStats {
  readonly algorithm: string;
  readonly diskSizeBytes: number;
  readonly limitBytes: number;
  /** Pages stored in RAM, same-filled ones included. */
  readonly storedPages: number;
  /** storedPages x 4096. */
  readonly dataBytes: number;
  /** Payload of the stored pages: compressed lengths, 4096 for an uncompressed page. */
  readonly compressedBytes: number;
  /** RAM used for them, metadata included. */
  readonly usedBytes: number;
  /** Maximum of usedBytes plus free memory not yet released. */
  readonly peakUsedBytes: number;
  readonly sameFilledPages: number;
  /** Same-filled pages of zeros. */
  readonly zeroPages: number;
  /** Pages compressed to at most half a page. */
  readonly goodPages: number;
  readonly incompressiblePages: number;
  /** Pages freed by compaction since the start. */
  readonly compactedPages: number;
  /** Requests since the start. */
  readonly reads: number;
  readonly writes: number;
  readonly discards: number;
  /** Pages freed by slotFree, discard and writeZeroes since the start. */
  readonly notifyFree: number;
  /** Calls of slotFree for a slot outside the disk or with a bio in flight. */
  readonly missFree: number;
  /** Requests outside the disk or with an unknown operation. */
  readonly invalidIo: number;
  /** Requests that failed with a checksum mismatch or a read error of the backing: must stay 0. */
  readonly failedReads: number;
  /** Writes refused at the limit, or that failed at the backing. */
  readonly failedWrites: number;
  /** Bytes of the pages at the backing; 0 without a backing, like all values below. */
  readonly backingBytes: number;
  /** Pages read from and written to the backing since the start, partial ones included. */
  readonly backingReads: number;
  readonly backingWrites: number;
  /** Bytes discarded at the backing. */
  readonly backingDiscardedBytes: number;
  /** Bios that failed at the backing: must stay 0. */
  readonly backingFailures: number;
  /** Of these, bios that ended with noSpace; written pages were stored in RAM instead if the limit allowed it. */
  readonly backingNoSpace: number;
  /** Pages read from the backing that did not match their checksum: must stay 0. */
  readonly backingMismatches: number;
}

/** The counters of ramzswap, by its names; sizes in bytes, GoodCompress and NoCompress in percent. */
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
  /** Share of PagesStored compressed to half a page or less, 0 .. 100. */
  readonly GoodCompress: number;
  /** Share of PagesStored stored uncompressed, 0 .. 100. */
  readonly NoCompress: number;
  /** Pages with payload in RAM, without zero pages. */
  readonly PagesStored: number;
  /** MemUsedTotal in pages. */
  readonly PagesUsed: number;
  readonly OrigDataSize: number;
  readonly ComprDataSize: number;
  readonly MemUsedTotal: number;
  readonly BDevNumReads: number;
  readonly BDevNumWrites: number;
}

/** Converts statistics of a ramzswap disk to the counters of ramzswap. */
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
