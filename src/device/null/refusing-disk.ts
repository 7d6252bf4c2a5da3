/**
 * A disk that takes nothing: the area of slots for pages that live in RAM alone. Frontswap gives them a place; when it
 * refuses, so does the disk (the mail's "ghost" swap device: slots without a device behind them).
 */
import { assert } from '../../base/assert.ts';
import { bytes, PAGE_BYTES } from '../../base/units.ts';
import { BioOp, BioQueue, BioStatus } from '../../block/bio.ts';
import { type Disk, Extent } from '../../block/ops.ts';

/** @param sizeBytes 1 up */
export function refusingDisk(sizeBytes: number): Disk {
  assert(Number.isSafeInteger(sizeBytes) && sizeBytes > 0, 'a disk has at least one byte');
  const done = new BioQueue();
  return {
    sizeBytes: bytes(sizeBytes),
    limits: {
      physicalBlockBytes: PAGE_BYTES,
      discardGranularityBytes: PAGE_BYTES,
      maxTransferBytes: 64 * 1024 * 1024,
    },
    readOnly: false,
    synchronous: true,
    submit(bio) {
      bio.status = bio.op === BioOp.write ? BioStatus.noSpace : BioStatus.ioError;
      done.push(bio);
    },
    tick: () => done.endAll(),
    extents(_offset, length, sink) {
      sink(Extent.hole, length);
    },
  };
}
