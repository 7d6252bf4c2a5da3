/** The read-only filter refuses changes within the contract of a disk. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Bio, BioOp, BioStatus } from '../../../src/block/bio.ts';
import { readOnlyDisk } from '../../../src/block/filters/read-only-disk.ts';
import { StandInDisk } from '../../support/fakes/stand-in.ts';

test('changes end with readOnly in tick(), not in submit(); other bios are passed on', () => {
  const next = new StandInDisk({ sizeBytes: 1 << 20, limitBytes: 0, codec: 'lz4' });
  const disk = readOnlyDisk(next);
  const ended: string[] = [];
  for (const [name, op] of Object.entries(BioOp)) {
    const bio = new Bio();
    bio.op = op;
    bio.owner = { bioEnd: (done) => ended.push(`${name} ${done.status}`) };
    disk.submit(bio);
  }
  assert.deepEqual(ended, []);
  assert.deepEqual(next.seen, ['read', 'flush']);
  assert.equal(disk.tick(), 5);
  const { ok, readOnly } = BioStatus;
  assert.deepEqual(ended, [
    `write ${readOnly}`,
    `discard ${readOnly}`,
    `writeZeroes ${readOnly}`,
    `read ${ok}`,
    `flush ${ok}`,
  ]);
  assert.equal(disk.tick(), 0);
  assert.ok(disk.readOnly && !next.readOnly);
  assert.equal(disk.sizeBytes, next.sizeBytes);
});

test('an owner that resubmits from bioEnd does not hang the tick', () => {
  const disk = readOnlyDisk(new StandInDisk({ sizeBytes: 1 << 20, limitBytes: 0, codec: 'lz4' }));
  let told = 0;
  const bio = new Bio();
  bio.op = BioOp.write;
  bio.owner = {
    bioEnd: (done) => {
      told++;
      if (told < 5) disk.submit(done);
    },
  };
  disk.submit(bio);
  assert.equal(disk.tick(), 1);
  assert.equal(told, 1);
  assert.equal(disk.tick(), 1);
  assert.equal(told, 2);
});
