/** A full backing: its pages stay in RAM as long as the limit allows; when both are full, writes end with noSpace. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.ts';
import { BioFlag, BioOp, BioStatus } from '../../../src/block/bio.ts';
import { FileDisk } from '../../../src/block/disks/file-disk.ts';
import { backingTableBytes } from '../../../src/block/disks/ramzswap/backing.ts';
import type { Ramzswap } from '../../../src/block/disks/ramzswap/ramzswap.ts';
import type { Sender } from '../../support/fixtures/bio-sender.ts';
import { good, made, openOver, PAGE, read, write } from './backing-rig.ts';
import { FakeFile } from './fake-file.ts';

const PAGES = 64;

interface Full {
  readonly disk: Ramzswap;
  readonly sender: Sender;
  readonly io: FakeFile;
}

/** A disk over a file whose file system may be full; the limit leaves `roomBytes` for pages, 0 = no limit. */
function full(roomBytes: number): Full {
  const io = new FakeFile(PAGES * PAGE, new Prng(1), false);
  const options = { sizeBytes: PAGES * PAGE, readOnly: false, isDirect: false, biosPerTick: 4 };
  const limitBytes =
    roomBytes === 0 ? 0 : backingTableBytes(PAGES * PAGE, 8) + 65536 + 12288 + roomBytes;
  return { io, ...openOver(new FileDisk(io, options), { limitBytes }) };
}

test('a page refused by a full backing stays in RAM uncompressed, and its next write goes to the backing', () => {
  const { disk, sender, io } = full(0);
  write(sender, 1, made('random', 1));
  io.failing.set('write', 'ENOSPC');
  for (const page of [1, 2]) {
    assert.equal(write(sender, page, made('random', 10 + page)).status, BioStatus.ok);
    assert.deepEqual(read(sender, page), made('random', 10 + page));
  }
  const during = disk.stats();
  assert.deepEqual([during.failedWrites, during.backingFailures, during.backingNoSpace], [0, 2, 2]);
  assert.deepEqual(
    [during.storedPages, during.incompressiblePages, during.backingBytes],
    [2, 2, 0],
  );
  disk.verify();
  io.failing.clear();
  write(sender, 2, made('random', 3));
  assert.deepEqual([disk.stats().storedPages, disk.stats().backingBytes], [1, PAGE]);
  assert.deepEqual(read(sender, 2), made('random', 3));
  assert.deepEqual(read(sender, 1), made('random', 11));
  disk.verify();
});

test('a run and a partial page refused by a full backing stay in RAM as well', () => {
  const { disk, sender, io } = full(0);
  const model = made('random', 1, 6);
  sender.run({ op: BioOp.write, offset: 0, data: model.slice() });
  io.failing.set('write', 'ENOSPC');
  const run = made('random', 2, 3);
  model.set(run, 2 * PAGE);
  assert.equal(sender.run({ op: BioOp.write, offset: 2 * PAGE, data: run }).status, BioStatus.ok);
  model.set([1, 2, 3], 100);
  assert.equal(
    sender.run({ op: BioOp.write, offset: 100, data: Uint8Array.of(1, 2, 3) }).status,
    BioStatus.ok,
  );
  const all = sender.run({ op: BioOp.read, offset: 0, data: new Uint8Array(6 * PAGE) });
  assert.deepEqual(all.data, model);
  assert.deepEqual([disk.stats().storedPages, disk.stats().backingBytes], [4, 2 * PAGE]);
  assert.equal(disk.stats().failedWrites, 0);
  disk.verify();
});

test('with a full backing RAM takes pages up to the limit; then writes end with noSpace and change no page', () => {
  const { disk, sender, io } = full(20 * PAGE);
  io.failing.set('write', 'ENOSPC');
  const taken: boolean[] = [];
  for (let page = 0; page < 40; page++) {
    const { status } = write(sender, page, made('random', page));
    assert.ok(status === BioStatus.ok || status === BioStatus.noSpace);
    taken.push(status === BioStatus.ok);
  }
  const kept = taken.filter((is) => is).length;
  assert.ok(kept >= 10 && kept < 20, `${kept} pages in space for 20`);
  const { failedWrites, peakUsedBytes, limitBytes, backingNoSpace } = disk.stats();
  assert.equal(failedWrites, 40 - kept);
  assert.equal(backingNoSpace, 40, 'the backing is asked each time');
  assert.ok(peakUsedBytes <= limitBytes);
  for (let page = 0; page < 40; page++)
    if (taken[page] === true) assert.deepEqual(read(sender, page), made('random', page));
    else assert.deepEqual(read(sender, page), new Uint8Array(PAGE));
  const last = taken.lastIndexOf(true);
  assert.equal(
    write(sender, last, made('random', 99)).status,
    BioStatus.ok,
    'an overwrite of a page in RAM',
  );
  sender.run({ op: BioOp.discard, offset: 0, length: 4 * PAGE });
  for (const page of [50, 51, 52])
    assert.equal(
      write(sender, page, made('random', page)).status,
      BioStatus.ok,
      'space is free again',
    );
  disk.verify();
});

test('a write refused at one page has written the pages before it, and the pages after it keep their content', () => {
  const { disk, sender, io } = full(20 * PAGE);
  const old = made('random', 1);
  write(sender, 30, old);
  io.failing.set('write', 'ENOSPC');
  const data = made('random', 2, 40);
  assert.equal(
    sender.run({ op: BioOp.write, offset: 0, data: data.slice() }).status,
    BioStatus.noSpace,
  );
  const { storedPages } = disk.stats();
  assert.ok(storedPages >= 10 && storedPages < 20, `${storedPages}`);
  for (let page = 0; page < storedPages; page++)
    assert.deepEqual(read(sender, page), data.slice(page * PAGE, (page + 1) * PAGE));
  assert.deepEqual(read(sender, 30), old);
  disk.verify();
});

test('an error of the backing other than noSpace is not hidden by storing the page in RAM', () => {
  const { disk, sender, io } = full(0);
  io.failing.set('write', 'EIO');
  assert.equal(write(sender, 1, made('random', 1)).status, BioStatus.ioError);
  const { failedWrites, backingFailures, backingNoSpace, storedPages } = disk.stats();
  assert.deepEqual([failedWrites, backingFailures, backingNoSpace, storedPages], [1, 1, 0, 0]);
});

test('zeros are refused when RAM has no row and the backing is full', () => {
  const io = new FakeFile(4 * PAGE, new Prng(1), false);
  const options = { sizeBytes: 4 * PAGE, readOnly: false, isDirect: false, biosPerTick: 4 };
  const limitBytes = backingTableBytes(4 * PAGE, 8) + 4096;
  const { disk, sender } = openOver(new FileDisk(io, options), { limitBytes });
  write(sender, 1, good(1));
  io.failing.set('write', 'ENOSPC');
  const zeros = { op: BioOp.writeZeroes, offset: PAGE, length: PAGE, flags: BioFlag.noUnmap };
  assert.equal(sender.run(zeros).status, BioStatus.noSpace);
  assert.deepEqual([disk.stats().failedWrites, disk.stats().backingNoSpace], [1, 1]);
  assert.deepEqual(read(sender, 1), good(1));
});
