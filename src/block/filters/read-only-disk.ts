/**
 * Makes a disk read-only: writes, discards and write-zeroes end with `readOnly`, other bios are passed on. Refused bios
 * wait in a queue for tick(), because a bio never ends in submit(). There is no slotFree: it would change the disk.
 */
import { type Bio, BioOp, BioQueue, BioStatus } from '../bio.ts';
import type { Disk } from '../ops.ts';

const changes = (bio: Bio): boolean =>
  bio.op === BioOp.write || bio.op === BioOp.discard || bio.op === BioOp.writeZeroes;

/** Wraps `next` in a filter that ends writes, discards and write-zeroes with `readOnly`. */
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
