/**
 * A disk that refuses to change: writes, discards and write-zeroes end with `readOnly`, everything else
 * goes to the disk behind. Refused bios wait in a queue of their own, because a bio never ends in submit().
 */
import { type Bio, BioOp, BioQueue, BioStatus } from '../block/bio.ts';
import type { Disk } from '../block/ops.ts';

const changes = (bio: Bio): boolean =>
  bio.op === BioOp.write || bio.op === BioOp.discard || bio.op === BioOp.writeZeroes;

export function readOnlyDisk(next: Disk): Disk {
  const refused = new BioQueue();
  return {
    sizeBytes: next.sizeBytes,
    limits: next.limits,
    readOnly: true,
    synchronous: next.synchronous,
    submit(bio) {
      if (changes(bio)) {
        bio.status = BioStatus.readOnly;
        refused.push(bio);
      } else {
        next.submit(bio);
      }
    },
    tick() {
      // Only what waits now: an owner may submit again from bioEnd().
      const count = refused.length;
      for (let i = 0; i < count; i++) {
        const bio = refused.shift();
        bio?.owner.bioEnd(bio);
      }
      return count + next.tick();
    },
    extents: (offset, length, sink) => next.extents(offset, length, sink),
  };
}
