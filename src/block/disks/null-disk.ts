/**
 * A disk without storage: reads return zeros, writes are discarded. Benches use it to measure the layers above it
 * (kernel: drivers/block/null_blk).
 */
import { assert } from '../../base/assert.ts';
import { bytes, PAGE_BYTES } from '../../base/units.ts';
import { type Bio, BioOp, BioQueue, BioStatus, isInside } from '../bio.ts';
import { type Disk, Extent } from '../ops.ts';

/**
 * A disk that discards writes and reads as zeros.
 * @param sizeBytes at least 1
 */
export function nullDisk(sizeBytes: number): Disk {
  assert(Number.isSafeInteger(sizeBytes) && sizeBytes > 0, 'sizeBytes is a whole number, above 0');
  const done = new BioQueue();
  const size = { sizeBytes: bytes(sizeBytes) };
  const perform = (bio: Bio): BioStatus => {
    if (bio.op === BioOp.flush) return BioStatus.ok;
    if (!isInside(bio, size)) return BioStatus.invalid;
    if (bio.op === BioOp.read) bio.data.fill(0, bio.at, bio.at + bio.length);
    return BioStatus.ok;
  };
  return {
    ...size,
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
