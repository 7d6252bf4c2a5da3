/**
 * A disk that refuses to change: writes, discards and write-zeroes end with `readOnly`, everything else
 * goes to the disk behind. Refused bios wait in a queue of their own, because a bio never ends in submit().
 * To free a slot would be a change: slotFree is not offered.
 */
import { type Bio, BioOp, BioQueue, BioStatus } from '../bio.ts';
import type { Disk } from '../ops.ts';

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
    tick: () => refused.endAll() + next.tick(),
    extents: (offset, length, sink) => next.extents(offset, length, sink),
  };
}
