/**
 * The block layer: bios and their pool, a request queue that merges, stackable filters, and disks. `Ramzswap` is the
 * compressed RAM disk.
 *
 * A bio is submitted to a disk. It ends with `owner.bioEnd(bio)`, which the disk calls from `tick()`.
 *
 * ```ts
 * const disk = statsDisk(new Ramzswap({ sizeBytes: 2 ** 30, limitBytes: 2 ** 28 }));
 * const pool = new BioPool(32, 8);
 * ```
 */
export { Budget, type ParentBudget } from '../arena/budget.ts';
export { keepPages, type PageRelease, type PageReleaseFactory } from '../arena/ops.ts';
export type { Clock } from '../base/clock.ts';
export { Bio, BioFlag, BioOp, type BioOwner, BioPool, BioStatus } from '../block/bio.ts';
export { FileDisk, type FileDiskOptions } from '../block/disks/file-disk.ts';
export {
  type FileIo,
  type OpenedFile,
  type OpenOptions,
  openFile,
} from '../block/disks/file-io.ts';
export { MemoryDisk } from '../block/disks/memory-disk.ts';
export { nullDisk } from '../block/disks/null-disk.ts';
export type { BackingOptions } from '../block/disks/ramzswap/backing.ts';
export { Ramzswap, type RamzswapOptions } from '../block/disks/ramzswap/ramzswap.ts';
export { type RamzswapStats, type RzsStats, rzsStats } from '../block/disks/ramzswap/stats.ts';
export { refusingDisk } from '../block/disks/refusing-disk.ts';
export {
  type ChecksumDisk,
  type ChecksumOptions,
  checksumDisk,
} from '../block/filters/checksum-disk.ts';
export { type DelayDisk, type DelayOptions, delayDisk } from '../block/filters/delay-disk.ts';
export { type FaultDisk, type FaultOptions, faultDisk } from '../block/filters/fault-disk.ts';
export { Histogram } from '../block/filters/histogram.ts';
export { type LimitDisk, type LimitOptions, limitDisk } from '../block/filters/limit-disk.ts';
export { readOnlyDisk } from '../block/filters/read-only-disk.ts';
export { type StatsDisk, statsDisk } from '../block/filters/stats-disk.ts';
export { type TraceDisk, type TraceRecord, traceDisk } from '../block/filters/trace-disk.ts';
export { type Disk, type DiskLimits, Extent, type ExtentSink } from '../block/ops.ts';
export { type QueuedDisk, type QueueOptions, queuedDisk } from '../block/queued-disk.ts';
export { systemPageRelease } from '../os/linux/page-release.ts';
