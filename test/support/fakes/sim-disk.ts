/** An in-memory disk whose bios take virtual time and may fail; it records the slots freed by slotFree(). */
import type { ByteCount } from '../../../src/base/units.ts';
import { type Bio, BioOp, BioStatus } from '../../../src/block/bio.ts';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import type { DiskLimits, ExtentSink } from '../../../src/block/ops.ts';
import { writeHeader } from '../../../src/swap/header.ts';
import type { SwapDisk } from '../../../src/swap/ops.ts';

const uuid = '01234567-89ab-cdef-0123-456789abcdef';

/** The first page of an area of `slots` slots. */
export function headerPage(slots: number, badPages: readonly number[] = []): Uint8Array {
  const page = new Uint8Array(4096);
  writeHeader({ lastPage: slots - 1, badPages, uuid, label: '' }, page);
  return page;
}

export class SimDisk implements SwapDisk {
  readonly sizeBytes: ByteCount;
  readonly limits: DiskLimits;
  readonly readOnly = false;
  readonly synchronous: boolean;
  /** Called for each bio; true: it fails without effect. */
  fails: (bio: Bio) => boolean = () => false;
  /** Ticks that a bio takes, 0 = the next one. */
  delay: () => number = () => 0;
  /** Called for each bio that is due; true: not yet. */
  holds: (bio: Bio) => boolean = () => false;
  readonly seen: { op: number; slot: number; slots: number }[] = [];
  readonly freed: number[] = [];
  readonly #next: MemoryDisk;
  #waiting: { bio: Bio; ticks: number }[] = [];

  constructor(slots: number, synchronous: boolean) {
    this.#next = new MemoryDisk(slots * 4096);
    this.sizeBytes = this.#next.sizeBytes;
    this.limits = this.#next.limits;
    this.synchronous = synchronous;
  }

  submit(bio: Bio): void {
    this.seen.push({ op: bio.op, slot: bio.offset / 4096, slots: bio.length / 4096 });
    this.#waiting.push({ bio, ticks: this.synchronous ? 0 : this.delay() });
  }

  tick(): number {
    const due: { bio: Bio; ticks: number }[] = [];
    const later: { bio: Bio; ticks: number }[] = [];
    for (const waiting of this.#waiting) {
      const isDue = waiting.ticks === 0 && !this.holds(waiting.bio);
      (isDue ? due : later).push(waiting);
      if (waiting.ticks > 0) waiting.ticks--;
    }
    this.#waiting = later;
    for (const { bio } of due) {
      // The disk reads the data when the bio is due, as late as possible.
      if (!this.fails(bio)) this.#next.submit(bio);
      else {
        bio.status = BioStatus.ioError;
        bio.owner.bioEnd(bio);
      }
      this.#next.tick();
    }
    return due.length;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  count(op: BioOp): number {
    return this.seen.filter((bio) => bio.op === op).length;
  }

  extents(offset: number, length: number, sink: ExtentSink): void {
    this.#next.extents(offset, length, sink);
  }

  slotFree(slot: number): void {
    this.freed.push(slot);
  }
}

export const isRead = (bio: Bio): boolean => bio.op === BioOp.read;
export const isWrite = (bio: Bio): boolean => bio.op === BioOp.write;
