/**
 * A disk that is nothing: reads zeros, drops what is written. It costs no memory and no time, so what a bench
 * measures over it is the road and not the destination (kernel: drivers/block/null_blk).
 */
import { assert } from '../../base/assert.ts';
import { bytes, PAGE_BYTES } from '../../base/units.ts';
import { type Bio, BioOp, BioQueue, BioStatus } from '../bio.ts';
import { type Disk, Extent } from '../ops.ts';

/** @param sizeBytes 1 up */
export function nullDisk(sizeBytes: number): Disk {
  assert(Number.isSafeInteger(sizeBytes) && sizeBytes > 0, 'a disk has at least one byte');
  const done = new BioQueue();
  const perform = (bio: Bio): BioStatus => {
    if (bio.op === BioOp.flush) return BioStatus.ok;
    if (bio.offset < 0 || bio.length < 1 || bio.offset + bio.length > sizeBytes)
      return BioStatus.invalid;
    if (bio.op === BioOp.read) bio.data.fill(0, bio.at, bio.at + bio.length);
    return BioStatus.ok;
  };
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
      bio.status = perform(bio);
      done.push(bio);
    },
    tick: () => done.endAll(),
    extents(_offset, length, sink) {
      sink(Extent.hole, length);
    },
    slotFree() {},
  };
}
