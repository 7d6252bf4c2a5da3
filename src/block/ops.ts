/**
 * What a disk must be. The block layer owns this contract; block/disks/ implements it, block/filters/ wraps it,
 * serve/ and swap/ call it and never learn which disk answers (kernel: struct block_device_operations).
 */
import type { ByteCount } from '../base/units.ts';
import type { Bio } from './bio.ts';

/** What requests fit a disk, as a kernel's queue limits say it (Documentation/ABI/stable/sysfs-block). */
export interface DiskLimits {
  /** Smallest unit that the disk handles without reading around it, bytes. */
  readonly physicalBlockBytes: number;
  /** Discards are exact in this unit, bytes; parts of a unit are left as they are. */
  readonly discardGranularityBytes: number;
  /** Longest bio with data, bytes; a multiple of the page, at least 64 KiB. */
  readonly maxTransferBytes: number;
}

/** How much of a disk, from some offset on, is alike; see Disk.extents. hole and zero both read as zeros. */
export const Extent = { data: 0, hole: 1, zero: 2 } as const;
export type Extent = (typeof Extent)[keyof typeof Extent];

/** Takes runs of alike blocks, in order, without gaps. Answers false to stop. */
export type ExtentSink = (kind: Extent, length: number) => boolean;

export interface Disk {
  readonly sizeBytes: ByteCount;
  readonly limits: DiskLimits;
  readonly readOnly: boolean;
  /**
   * True: submit() has read or filled the bio's data when it returns, and one tick() ends all bios that were
   * submitted before it. A disk that holds bios back says false.
   */
  readonly synchronous: boolean;

  /**
   * Takes the bio. Never throws for what a peer, a full store or a device can cause: that is bio.status.
   * The bio always ends, exactly once, in a later tick(), never inside submit().
   * Ranges outside the disk end with `invalid`; nothing is touched.
   * Bios whose ranges overlap take effect in the order in which they were submitted.
   */
  submit(bio: Bio): void;

  /** Ends every bio that is done, in the order of completion; returns how many. */
  tick(): number;

  /**
   * Describes [offset, offset + length) as runs of data, zeros that cost nothing, and holes; at least one run.
   * Cost: one table row a page, stops when the sink says so.
   */
  extents(offset: number, length: number, sink: ExtentSink): void;

  /**
   * The page at `slot` x 4096 is dead, now: the swap core calls this when a slot's last user is gone (kernel:
   * swap_slot_free_notify of block_device_operations). No bio, no completion, no wait; afterwards the bytes are free
   * and the slot reads as zeros. A disk that cannot do it at once (a bio for the slot is still under way) leaves
   * the page, as zram does, and counts the miss. A disk that never can has no such method.
   */
  slotFree?(slot: number): void;
}
