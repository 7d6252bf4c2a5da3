/** A disk that logs all bios and fails selected ones; it passes the others on. */
import type { ByteCount } from '../../../src/base/units.ts';
import { type Bio, BioQueue, type BioStatus } from '../../../src/block/bio.ts';
import type { Disk, DiskLimits, ExtentSink } from '../../../src/block/ops.ts';

export interface SeenBio {
  readonly op: number;
  readonly flags: number;
  readonly offset: number;
  readonly length: number;
}

export class FaultDisk implements Disk {
  readonly sizeBytes: ByteCount;
  readonly limits: DiskLimits;
  readonly readOnly: boolean;
  readonly synchronous = true;
  readonly seen: SeenBio[] = [];
  tickCount = 0;
  /** The status of a bio to fail, or undefined to pass it on. */
  fault: (bio: Bio) => BioStatus | undefined = () => undefined;
  readonly #next: Disk;
  readonly #failed = new BioQueue();

  constructor(next: Disk, limits: Partial<DiskLimits> = {}) {
    this.#next = next;
    this.sizeBytes = next.sizeBytes;
    this.limits = { ...next.limits, ...limits };
    this.readOnly = next.readOnly;
  }

  submit(bio: Bio): void {
    const { op, flags, offset, length } = bio;
    this.seen.push({ op, flags, offset, length });
    const status = this.fault(bio);
    if (status === undefined) {
      this.#next.submit(bio);
      return;
    }
    bio.status = status;
    this.#failed.push(bio);
  }

  tick(): number {
    this.tickCount++;
    let count = this.#next.tick();
    for (let bio = this.#failed.shift(); bio !== null; bio = this.#failed.shift()) {
      bio.owner.bioEnd(bio);
      count++;
    }
    return count;
  }

  extents(offset: number, length: number, sink: ExtentSink): void {
    this.#next.extents(offset, length, sink);
  }
}
