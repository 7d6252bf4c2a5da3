import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type Bio,
  BioFlag,
  BioOp,
  type BioOwner,
  BioPool,
  BioStatus,
} from '../../../src/block/bio.ts';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { type Disk, Extent } from '../../../src/block/ops.ts';

const pool = new BioPool(4);

/** Submits one bio and ticks until it ends; returns its status. */
function run(disk: Disk, op: BioOp, offset: number, data: Uint8Array | number, flags = 0): number {
  const bio = pool.alloc();
  assert.ok(bio !== null);
  let status = -1;
  const owner: BioOwner = {
    bioEnd: (ended: Bio) => {
      status = ended.status;
      pool.free(ended);
    },
  };
  bio.op = op;
  bio.flags = flags;
  bio.offset = offset;
  bio.length = typeof data === 'number' ? data : data.length;
  if (typeof data !== 'number') bio.data = data;
  bio.owner = owner;
  disk.submit(bio);
  assert.equal(status, -1, 'a bio does not end inside submit');
  assert.equal(disk.tick(), 1);
  return status;
}

function runsOf(disk: Disk, offset: number, length: number): [Extent, number][] {
  const found: [Extent, number][] = [];
  disk.extents(offset, length, (kind, count) => found.push([kind, count]) > 0);
  return found;
}

const SIZE = 300_001; // several chunks and a partial last page

test('a memory disk matches a byte array under all operations', () => {
  const range = fc.record({
    offset: fc.integer({ min: 0, max: SIZE - 1 }),
    length: fc.oneof(fc.integer({ min: 1, max: 9000 }), fc.integer({ min: 1, max: SIZE })),
  });
  const step = fc.record({
    op: fc.constantFrom(BioOp.read, BioOp.write, BioOp.discard, BioOp.writeZeroes),
    range,
    fill: fc.integer({ min: 1, max: 255 }),
    noUnmap: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const disk = new MemoryDisk(SIZE);
      const model = new Uint8Array(SIZE);
      for (const { op, range: asked, fill, noUnmap } of steps) {
        const { offset } = asked;
        const length = Math.min(asked.length, SIZE - offset);
        const end = offset + length;
        const flags = noUnmap ? BioFlag.noUnmap : 0;
        if (op === BioOp.write) {
          assert.equal(run(disk, op, offset, new Uint8Array(length).fill(fill)), BioStatus.ok);
          model.fill(fill, offset, end);
        } else if (op === BioOp.read) {
          const out = new Uint8Array(length).fill(0xee);
          assert.equal(run(disk, op, offset, out), BioStatus.ok);
          assert.deepEqual(out, model.subarray(offset, end));
        } else {
          assert.equal(run(disk, op, offset, length, flags), BioStatus.ok);
          model.fill(0, offset, end);
        }
      }
      const all = new Uint8Array(SIZE);
      run(disk, BioOp.read, 0, all);
      assert.deepEqual(all, model);
      let at = 0;
      for (const [kind, count] of runsOf(disk, 0, SIZE)) {
        const isZero = model.subarray(at, at + count).every((byte) => byte === 0);
        assert.ok(kind === Extent.data || isZero, 'zero and hole extents read as zeros');
        at += count;
      }
      assert.equal(at, SIZE, 'extents cover the requested range');
    }),
    { numRuns: 60 },
  );
});

test('discarded pages are holes; pages zeroed with noUnmap are zero extents', () => {
  const disk = new MemoryDisk(16 * 4096);
  run(disk, BioOp.write, 0, new Uint8Array(16 * 4096).fill(7));
  run(disk, BioOp.discard, 4096, 4096);
  run(disk, BioOp.writeZeroes, 3 * 4096, 4096, BioFlag.noUnmap);
  run(disk, BioOp.writeZeroes, 5 * 4096, 4096);
  assert.deepEqual(runsOf(disk, 0, 6 * 4096 + 1), [
    [Extent.data, 4096],
    [Extent.hole, 4096],
    [Extent.data, 4096],
    [Extent.zero, 4096],
    [Extent.data, 4096],
    [Extent.hole, 4096],
    [Extent.data, 1],
  ]);
});

test('a partly discarded page keeps its other bytes and stays data', () => {
  const disk = new MemoryDisk(8192);
  run(disk, BioOp.write, 0, new Uint8Array(8192).fill(9));
  run(disk, BioOp.discard, 100, 4000);
  const page = new Uint8Array(4196);
  run(disk, BioOp.read, 0, page);
  assert.deepEqual([page[99], page[100], page[4095], page[4100]], [9, 0, 0, 9]);
  assert.deepEqual(runsOf(disk, 0, 8192), [[Extent.data, 8192]]);
});

test('extents can start inside a page and stop when the sink returns false', () => {
  const disk = new MemoryDisk(64 * 4096);
  run(disk, BioOp.write, 4096, new Uint8Array(4096).fill(1));
  assert.deepEqual(runsOf(disk, 4000, 5000), [
    [Extent.hole, 96],
    [Extent.data, 4096],
    [Extent.hole, 808],
  ]);
  let calls = 0;
  disk.extents(0, 64 * 4096, () => {
    calls++;
    return false;
  });
  assert.equal(calls, 1);
});

test('ranges outside the disk are invalid and have no effect', () => {
  const disk = new MemoryDisk(8192);
  const data = new Uint8Array(4096).fill(3);
  assert.equal(run(disk, BioOp.write, 4097, data), BioStatus.invalid);
  assert.equal(run(disk, BioOp.read, 8192, data), BioStatus.invalid);
  assert.equal(run(disk, BioOp.discard, -1, 4096), BioStatus.invalid);
  assert.deepEqual(runsOf(disk, 0, 8192), [[Extent.hole, 8192]]);
});

test('a read-only disk refuses changes', () => {
  const disk = new MemoryDisk(8192, { readOnly: true });
  const data = new Uint8Array(4096);
  for (const op of [BioOp.write, BioOp.discard, BioOp.writeZeroes])
    assert.equal(run(disk, op, 0, data), BioStatus.readOnly);
  assert.equal(run(disk, BioOp.read, 0, data), BioStatus.ok);
  assert.equal(run(disk, BioOp.flush, 0, 0), BioStatus.ok);
});

test('a bio submitted from bioEnd ends in the next tick', () => {
  const disk = new MemoryDisk(8192);
  let ends = 0;
  const owner: BioOwner = {
    bioEnd: (bio) => {
      ends++;
      if (ends < 3) disk.submit(bio);
    },
  };
  const bio = pool.alloc();
  assert.ok(bio !== null);
  bio.op = BioOp.flush;
  bio.owner = owner;
  disk.submit(bio);
  assert.deepEqual([disk.tick(), disk.tick(), disk.tick(), disk.tick()], [1, 1, 1, 0]);
  pool.free(bio);
});
