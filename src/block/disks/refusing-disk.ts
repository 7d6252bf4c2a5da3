/**
 * A disk that takes nothing: slots without a device. An area on it numbers the pages that backends hold in memory, and
 * what they refuse is refused.
 */

import { BioOp, BioQueue, BioStatus } from '../bio.ts';
import type { Disk } from '../ops.ts';
import { nullDisk } from './null-disk.ts';

/** @param sizeBytes 1 up; no memory is taken */
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
