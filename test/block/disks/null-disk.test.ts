/** The null disk follows the contract of a disk. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../../src/base/assert.ts';
import { BioOp, BioStatus } from '../../../src/block/bio.ts';
import { nullDisk } from '../../../src/block/disks/null-disk.ts';
import { Extent } from '../../../src/block/ops.ts';
import { Sender, stamp } from '../../support/fixtures/bio-sender.ts';

test('reads return zeros after writes; ranges outside the disk are invalid', () => {
  const disk = nullDisk(8192);
  const sender = new Sender(disk);
  for (const op of [BioOp.write, BioOp.discard, BioOp.writeZeroes])
    assert.equal(sender.run({ op, offset: 4096, data: stamp(4096, 1) }).status, BioStatus.ok);
  const data = stamp(100, 0x77);
  assert.equal(
    sender.run({ op: BioOp.read, offset: 4096, length: 50, data, at: 9 }).status,
    BioStatus.ok,
  );
  assert.ok(data.subarray(9, 59).every((b) => b === 0));
  assert.deepEqual([data[8], data[59]], [0x77, 0x77]);
  assert.equal(sender.run({ op: BioOp.flush }).status, BioStatus.ok);
  for (const [offset, length, status] of [
    [-1, 2, BioStatus.invalid],
    [8191, 2, BioStatus.invalid],
    [8192, 1, BioStatus.invalid],
    [0, 0, BioStatus.invalid],
    [0, 1, BioStatus.ok],
    [8191, 1, BioStatus.ok],
  ] as const)
    assert.equal(sender.run({ op: BioOp.read, offset, length }).status, status);
  const runs: number[] = [];
  disk.extents(10, 20, (kind, length) => runs.push(kind, length) > 0);
  assert.deepEqual(runs, [Extent.hole, 20]);
  disk.slotFree?.(1);
  assert.throws(() => nullDisk(0), InvariantError);
});
