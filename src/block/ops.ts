/**
 * The interface of a disk (kernel: struct block_device_operations). block/disks/ implements it, block/filters/ wraps
 * it; nbd/ and swap/ call it.
 */
import type { ByteCount } from '../base/units.ts';
import type { Bio } from './bio.ts';

/** Request limits, like the kernel's queue limits (Documentation/ABI/stable/sysfs-block). */
export interface DiskLimits {
  /** Smallest unit that the disk writes without read-modify-write, bytes. */
  readonly physicalBlockBytes: number;
  /** Unit of discards, bytes; a discard leaves partial units unchanged. */
  readonly discardGranularityBytes: number;
  /** Longest bio with data, bytes; a multiple of the page, at least 64 KiB. */
  readonly maxTransferBytes: number;
}

/** The kind of an extent; see Disk.extents. hole and zero both read as zeros. */
export const Extent = { data: 0, hole: 1, zero: 2 } as const;
export type Extent = (typeof Extent)[keyof typeof Extent];

/** Receives extents in order, without gaps. Returns false to stop. */
export type ExtentSink = (kind: Extent, length: number) => boolean;

/** A disk: takes bios by submit() and ends them in tick(). Implemented by disks and by filters. */
export interface Disk {
  readonly sizeBytes: ByteCount;
  readonly limits: DiskLimits;
  readonly readOnly: boolean;
  /**
   * True: submit() has read or filled the data of the bio when it returns, and one tick() ends all bios submitted
   * before it. False for a disk that queues bios.
   */
  readonly synchronous: boolean;

  /**
   * Starts the bio. Errors of a peer, a full store or a device are reported in bio.status; submit() does not throw
   * them. The bio ends exactly once, in a later tick(), never inside submit().
   * A bio outside the disk ends with `invalid` and has no effect.
   * Bios with overlapping ranges take effect in the order of submission.
   */
  submit(bio: Bio): void;

  /** Ends every completed bio, in the order of completion. Returns their number. */
  tick(): number;

  /**
   * Reports [offset, offset + length) as extents, at least one: data, zeros without storage, or holes. Stops when the
   * sink returns false. Cost: one table row per page.
   */
  extents(offset: number, length: number, sink: ExtentSink): void;

  /**
   * Frees the page at `slot` x 4096 before it returns, without a bio: the swap core calls it when the use count of a
   * slot reaches 0 (kernel: swap_slot_free_notify of block_device_operations). Afterwards the slot reads as zeros.
   * While a bio for the slot is in flight, the disk keeps the page, as zram does, and counts the miss. Disks that
   * cannot free slots omit the method.
   */
  slotFree?(slot: number): void;
}
