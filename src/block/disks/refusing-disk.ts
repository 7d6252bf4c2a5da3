/**
 * A disk that stores nothing: writes end with noSpace, reads with ioError. A swap area on it has slots for the pages
 * that frontswap backends keep in memory; when the backends refuse a page, its write fails.
 */
import { BioOp, BioQueue, BioStatus } from '../bio.ts';
import type { Disk } from '../ops.ts';
import { nullDisk } from './null-disk.ts';

/**
 * A disk that refuses all reads and writes.
 * @param sizeBytes at least 1; uses no memory
 */
export function refusingDisk(sizeBytes: number): Disk {
  const next = nullDisk(sizeBytes);
  const refused = new BioQueue();
  return {
    ...next,
    submit(bio) {
      const hasData = bio.op === BioOp.write || bio.op === BioOp.read;
      if (!hasData) next.submit(bio);
      else {
        bio.status = bio.op === BioOp.write ? BioStatus.noSpace : BioStatus.ioError;
        refused.push(bio);
      }
    },
    tick: () => refused.endAll() + next.tick(),
  };
}
