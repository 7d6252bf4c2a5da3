/** ramzswap with a backing disk: which pages it stores there, which bios wait, and what a failure does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.ts';
import { type Bio, BioFlag, BioOp, BioStatus } from '../../../src/block/bio.ts';
import { FileDisk } from '../../../src/block/disks/file-disk.ts';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { backingTableBytes } from '../../../src/block/disks/ramzswap/backing.ts';
import { Ramzswap } from '../../../src/block/disks/ramzswap/ramzswap.ts';
import { type RzsStats, rzsStats } from '../../../src/block/disks/ramzswap/stats.ts';
import { Extent } from '../../../src/block/ops.ts';
import { lz4 } from '../../../src/codec/lz4.ts';
import { Sender } from '../../support/fixtures/bio-sender.ts';
import {
  atBacking,
  good,
  made,
  noiseOf,
  open,
  openOver,
  PAGE,
  PatientDisk,
  read,
  write,
  ZEROS,
} from './backing-rig.ts';
import { FakeFile } from './fake-file.ts';

test('a page that compresses to more than half is written to the same offset of the backing and read from there', () => {
  const { disk, sender, backing } = open(8);
  const [good, between, noise] = [noiseOf(1900), noiseOf(2200), made('random', 1)];
  for (const [page, data] of [good, between, noise].entries())
    assert.equal(write(sender, page, data).status, BioStatus.ok);
  assert.deepEqual(atBacking(backing, 0), ZEROS, 'a compressible page stays in RAM');
  assert.deepEqual(atBacking(backing, 1), between);
  assert.deepEqual(atBacking(backing, 2), noise);
  const stats = disk.stats();
  assert.deepEqual(
    [stats.storedPages, stats.goodPages, stats.backingBytes, stats.backingWrites],
    [1, 1, 2 * PAGE, 2],
  );
  for (const [page, data] of [good, between, noise].entries())
    assert.deepEqual(read(sender, page), data);
  assert.equal(disk.stats().backingReads, 2);
});

test('adjacent incompressible pages share one bio, and a compressible one between them stays in RAM', () => {
  const { disk, sender, backing } = open(8);
  const data = new Uint8Array(6 * PAGE);
  for (const page of [0, 1, 2, 3, 4, 5])
    data.set(page === 3 ? good(3) : made('random', page), page * PAGE);
  const bio = sender.run({ op: BioOp.write, offset: PAGE, data: data.slice() });
  assert.equal(bio.status, BioStatus.ok);
  assert.equal(backing.done, 2);
  assert.equal(disk.stats().storedPages, 1);
  assert.equal(disk.stats().backingBytes, 5 * PAGE);
  const all = sender.run({ op: BioOp.read, offset: PAGE, data: new Uint8Array(6 * PAGE) });
  assert.deepEqual(all.data, data);
  assert.equal(backing.done, 4);
});

test('C18 reads of one page run concurrently at the backing, and a write waits for earlier and blocks later bios', () => {
  const { disk, sender, backing } = open(8);
  write(sender, 1, made('random', 1));
  backing.isHolding = true;
  const readOf = (at: number): Bio =>
    sender.submit({ op: BioOp.read, offset: PAGE + at, data: new Uint8Array(100) });
  const before = [readOf(0), readOf(0), readOf(1000)];
  disk.tick();
  assert.equal(backing.inFlight.length, 3, 'all reads are in flight');
  const between = made('random', 2);
  sender.submit({ op: BioOp.write, offset: PAGE, data: between.slice() });
  const behind = [readOf(0), readOf(2000)];
  for (let left = 3; left > 0; left--) {
    assert.equal(backing.inFlight.length, left, 'the write waits for all reads');
    backing.end(0);
    disk.tick();
  }
  assert.equal(backing.inFlight.length, 1, 'only the write is in flight');
  disk.slotFree(1);
  assert.equal(disk.stats().missFree, 1, 'the slot is busy');
  backing.end(0);
  disk.tick();
  assert.equal(backing.inFlight.length, 2, 'both reads behind it are in flight');
  backing.end(0);
  disk.slotFree(1);
  assert.equal(disk.stats().missFree, 2, 'the other read is still in flight');
  backing.isHolding = false;
  sender.drain();
  for (const [i, at] of [0, 0, 1000].entries())
    assert.deepEqual(before[i]!.data, made('random', 1).subarray(at, at + 100));
  for (const [i, at] of [0, 2000].entries())
    assert.deepEqual(behind[i]!.data, between.subarray(at, at + 100));
});

test('without a backing a page above three quarters is stored uncompressed', () => {
  const disk = new Ramzswap({
    sizeBytes: 8 * PAGE,
    limitBytes: 0,
    codec: { name: 'lz4', factory: lz4 },
  });
  const sender = new Sender(disk);
  write(sender, 0, noiseOf(1900));
  write(sender, 1, noiseOf(2200));
  write(sender, 2, noiseOf(3200));
  write(sender, 3, ZEROS);
  const { storedPages, goodPages, incompressiblePages, zeroPages } = disk.stats();
  assert.deepEqual([storedPages, goodPages, incompressiblePages, zeroPages], [4, 1, 1, 1]);
});

test('pages above the limit are written to the backing, and to RAM again when they fit', () => {
  const { disk, sender, backing } = open(200, {
    limitBytes: 65536 + 12288 + 12 * PAGE + 10 * PAGE,
  });
  const pages = Array.from({ length: 200 }, (_, n) => good(n));
  pages.forEach((page, n) => {
    assert.equal(write(sender, n, page).status, BioStatus.ok, `page ${n}`);
  });
  const { storedPages, backingBytes, failedWrites, peakUsedBytes, limitBytes } = disk.stats();
  assert.ok(storedPages > 0 && backingBytes > 0, 'some pages in RAM, some at the backing');
  assert.equal(storedPages * PAGE + backingBytes, 200 * PAGE);
  assert.equal(failedWrites, 0);
  assert.ok(peakUsedBytes <= limitBytes);
  pages.forEach((page, n) => {
    assert.deepEqual(read(sender, n), page);
  });
  assert.deepEqual(atBacking(backing, 199), pages[199]);
  sender.run({ op: BioOp.discard, offset: 0, length: 100 * PAGE });
  const below = disk.stats().backingBytes;
  write(sender, 199, pages[199]!);
  assert.equal(disk.stats().backingBytes, below - PAGE, 'the copy at the backing is freed');
  disk.verify();
});

test('zeros that RAM refuses are written to the backing', () => {
  const { disk, sender, backing } = open(4, {
    limitBytes: backingTableBytes(4 * PAGE, 8) + 4096,
    bioCount: 8,
  });
  assert.equal(write(sender, 1, good(1)).status, BioStatus.ok);
  assert.deepEqual(atBacking(backing, 1), good(1));
  const bio = sender.run({
    op: BioOp.writeZeroes,
    offset: PAGE,
    length: 2 * PAGE,
    flags: BioFlag.noUnmap,
  });
  assert.equal(bio.status, BioStatus.ok);
  assert.equal(backing.lastFlags, BioFlag.noUnmap, 'noUnmap is passed on');
  assert.deepEqual(read(sender, 1), ZEROS);
  assert.equal(disk.stats().storedPages, 0);
  assert.equal(disk.stats().backingBytes, 2 * PAGE);
});

test('zeros are written to the backing 1 MiB at a time', () => {
  const { disk, sender, backing } = open(1024, {
    limitBytes: backingTableBytes(1024 * PAGE, 8) + 4096,
    bioCount: 8,
  });
  assert.equal(write(sender, 1, good(1)).status, BioStatus.ok);
  backing.bytes.fill(0x77);
  backing.isHolding = true;
  const bio = sender.submit({
    op: BioOp.writeZeroes,
    length: 1000 * PAGE,
    flags: BioFlag.noUnmap,
  });
  let bios = 0;
  for (; backing.inFlight.length > 0; bios++) {
    assert.equal(backing.inFlight.length, 1);
    assert.ok(backing.inFlight[0]!.length <= 2 ** 20, `${backing.inFlight[0]!.length} bytes`);
    backing.end(0);
  }
  backing.isHolding = false;
  sender.drain();
  assert.equal(bio.status, BioStatus.ok);
  assert.ok(bios >= 4, `${bios} bios`);
  for (let page = 0; page < 1000; page++) assert.deepEqual(read(sender, page), ZEROS);
  assert.equal(disk.stats().backingBytes, 1000 * PAGE);
});

test('C2 an overwrite frees the old copy in RAM or at the backing', () => {
  const { disk, sender } = open(8);
  const [text, noise] = [good(1), made('random', 2)];
  for (const [data, stored, below] of [
    [text, 1, 0],
    [noise, 0, 1],
    [text, 1, 0],
    [ZEROS, 1, 0],
    [noise, 0, 1],
    [ZEROS, 1, 0],
  ] as const) {
    write(sender, 3, data);
    assert.deepEqual(read(sender, 3), data);
    const stats = disk.stats();
    assert.deepEqual([stats.storedPages, stats.backingBytes], [stored, below * PAGE]);
    disk.verify();
  }
});

test('C18 a write to RAM waits for a write of the same page in flight to the backing, and its data prevails', () => {
  const { disk, sender, backing } = open(8);
  backing.isHolding = true;
  const [old, now] = [made('random', 1), good(2)];
  sender.submit({ op: BioOp.write, offset: 0, data: old });
  const next = sender.submit({ op: BioOp.write, offset: 0, data: now });
  const beside = sender.submit({ op: BioOp.write, offset: PAGE, data: now.slice() });
  const part = sender.submit({ op: BioOp.read, offset: 100, data: new Uint8Array(10) });
  disk.tick();
  assert.deepEqual(sender.ended, [beside], 'a write of another page does not wait');
  assert.equal(backing.inFlight.length, 1);
  backing.isHolding = false;
  sender.drain();
  assert.equal(next.status, BioStatus.ok);
  assert.deepEqual(part.data, now.slice(100, 110));
  assert.deepEqual(read(sender, 0), now);
  assert.equal(disk.stats().backingBytes, 0);
});

test('C18 the order holds when another tick ends the bio of the backing', () => {
  const { disk, sender, backing } = open(8);
  backing.isHolding = true;
  sender.submit({ op: BioOp.write, offset: 0, data: made('random', 1) });
  sender.submit({ op: BioOp.write, offset: 0, data: made('random', 2) });
  backing.end(0); // outside the tick of this disk: the second write still waits
  const misses = disk.stats().missFree;
  disk.slotFree(0);
  assert.equal(disk.stats().missFree, misses + 1, 'the slot is busy: a write waits for it');
  const last = good(3);
  sender.submit({ op: BioOp.write, offset: 0, data: last });
  disk.tick();
  backing.isHolding = false;
  sender.drain();
  assert.deepEqual(read(sender, 0), last);
});

test('C14 slotFree frees the copy at the backing without a bio, and counts a miss while a bio is in flight', () => {
  const { disk, sender, backing } = open(8);
  write(sender, 0, made('random', 1));
  write(sender, 1, made('random', 2));
  const { done } = backing;
  disk.slotFree(0);
  disk.slotFree(0);
  assert.equal(disk.stats().notifyFree, 1);
  assert.equal(disk.stats().backingBytes, PAGE);
  backing.isHolding = true;
  const bio = sender.submit({ op: BioOp.write, offset: PAGE, data: made('random', 3) });
  disk.slotFree(1);
  assert.equal(disk.stats().missFree, 1);
  backing.isHolding = false;
  sender.drain();
  assert.equal(bio.status, BioStatus.ok);
  assert.deepEqual(read(sender, 1), made('random', 3), 'the page is kept');
  assert.deepEqual(read(sender, 0), ZEROS);
  assert.equal(backing.done, done + 2, 'a write and a read of page 1, nothing for page 0');
});

test('a discard is passed on once, for written units of 1 MiB', () => {
  const { disk, sender, backing } = open(600);
  const discard = (page: number, pages: number): void => {
    sender.run({ op: BioOp.discard, offset: page * PAGE, length: pages * PAGE });
  };
  discard(0, 600);
  assert.equal(backing.done, 0, 'nothing was written to the backing');
  for (const page of [3, 300, 599]) write(sender, page, made('random', page));
  const { done } = backing;
  discard(3, 253);
  discard(250, 60);
  assert.equal(backing.done, done, 'partial units are not discarded');
  assert.equal(disk.stats().backingBytes, PAGE);
  discard(0, 600);
  assert.equal(backing.done, done + 1, 'three adjacent units are one discard');
  assert.equal(disk.stats().backingDiscardedBytes, 600 * PAGE);
  assert.equal(disk.stats().backingWrites, 3, 'a discard is not a write');
  discard(0, 600);
  assert.equal(backing.done, done + 1);
  for (const page of [3, 300, 599]) assert.deepEqual(read(sender, page), ZEROS);
  assert.equal(backing.done, done + 1, 'zeros are not read');
  assert.equal(disk.stats().notifyFree, 3);
});

test('a discard that the backing fails or does not support still frees the pages', () => {
  const { disk, sender, backing } = open(256);
  write(sender, 0, made('random', 1));
  backing.isGone = true;
  const all = { op: BioOp.discard, offset: 0, length: 256 * PAGE } as const;
  assert.equal(sender.run(all).status, BioStatus.ok);
  assert.equal(disk.stats().backingFailures, 1);
  assert.deepEqual(read(sender, 0), ZEROS);
  const io = new FakeFile(256 * PAGE, new Prng(1), false);
  io.canPunch = false;
  const rig = openOver(
    new FileDisk(io, { sizeBytes: 256 * PAGE, readOnly: false, isDirect: false, biosPerTick: 1 }),
  );
  write(rig.sender, 0, made('random', 1));
  assert.equal(rig.sender.run(all).status, BioStatus.ok);
  assert.deepEqual(read(rig.sender, 0), ZEROS);
  assert.equal(rig.disk.stats().backingFailures, 0);
});

test('a write that the backing fails ends with its error and keeps the old copy in RAM', () => {
  const { disk, sender, backing } = open(8);
  const text = good(1);
  for (const page of [0, 1, 2]) write(sender, page, text);
  backing.isGone = true;
  assert.equal(write(sender, 1, made('random', 2)).status, BioStatus.ioError);
  assert.equal(write(sender, 3, made('random', 2)).status, BioStatus.ioError);
  assert.equal(disk.stats().failedWrites, 2);
  assert.equal(disk.stats().backingFailures, 2);
  assert.equal(disk.stats().backingBytes, 0);
  for (const page of [0, 1, 2]) assert.deepEqual(read(sender, page), text);
  assert.deepEqual(read(sender, 3), ZEROS, 'an empty slot stays empty');
  assert.equal(write(sender, 4, text).status, BioStatus.ok, 'RAM still works');
  backing.isGone = false;
  assert.equal(write(sender, 1, made('random', 2)).status, BioStatus.ok);
  assert.deepEqual(read(sender, 1), made('random', 2));
  disk.verify();
});

test('a read that the backing fails ends with ioError and is counted', () => {
  const { disk, sender, backing } = open(8);
  write(sender, 1, made('random', 2));
  backing.isGone = true;
  const bio = sender.run({ op: BioOp.read, offset: PAGE, data: new Uint8Array(PAGE) });
  assert.equal(bio.status, BioStatus.ioError);
  assert.equal(disk.stats().failedReads, 1);
  backing.isGone = false;
  assert.deepEqual(read(sender, 1), made('random', 2), 'the page is intact');
});

test('with a closed or full backing file RAM takes its pages, or bios end with ioError, and pages in RAM still work', () => {
  const io = new FakeFile(64 * PAGE, new Prng(1), false);
  const file = new FileDisk(io, {
    sizeBytes: 64 * PAGE,
    readOnly: false,
    isDirect: false,
    biosPerTick: 4,
  });
  const { disk, sender } = openOver(file);
  write(sender, 0, good(1));
  write(sender, 1, made('random', 1));
  io.failing.set('write', 'ENOSPC');
  assert.equal(write(sender, 2, made('random', 2)).status, BioStatus.ok, 'RAM has space');
  io.failing.clear();
  assert.deepEqual(read(sender, 1), made('random', 1));
  const waiting = sender.submit({ op: BioOp.write, offset: 0, data: made('random', 3) });
  file[Symbol.dispose]();
  sender.drain();
  assert.equal(waiting.status, BioStatus.ioError);
  assert.equal(write(sender, 3, made('random', 2)).status, BioStatus.ioError);
  assert.deepEqual(read(sender, 0), good(1));
  assert.equal(
    write(sender, 1, good(4)).status,
    BioStatus.ok,
    'a new write replaces the lost page',
  );
  assert.deepEqual(read(sender, 1), good(4));
  disk.verify();
  disk[Symbol.dispose]();
  assert.equal(io.closes, 1, 'dispose closes the file once');
});

test('showsOldData decides whether unwritten slots read from the backing', () => {
  for (const isShown of [true, false]) {
    const backing = new PatientDisk(8 * PAGE, new Prng(1));
    const before = made('records', 9, 8);
    backing.bytes.set(before);
    const { disk, sender } = openOver(backing, { showsOldData: isShown });
    const at = (page: number): Uint8Array => before.slice(page * PAGE, (page + 1) * PAGE);
    assert.deepEqual(read(sender, 0), isShown ? at(0) : ZEROS);
    assert.equal(disk.stats().backingBytes, isShown ? 8 * PAGE : 0);
    sender.run({ op: BioOp.write, offset: 5, data: Uint8Array.of(1, 2) });
    assert.deepEqual(
      read(sender, 0).slice(4, 8),
      Uint8Array.of(isShown ? at(0)[4]! : 0, 1, 2, isShown ? at(0)[7]! : 0),
    );
    disk.slotFree(1);
    assert.deepEqual(read(sender, 1), ZEROS, 'a freed slot reads as zeros');
    const kinds: [Extent, number][] = [];
    disk.extents(PAGE, 2 * PAGE, (kind, length) => kinds.push([kind, length]) > 0);
    assert.deepEqual(kinds[0], [Extent.hole, isShown ? PAGE : 2 * PAGE]);
    assert.equal(disk.reset(), true);
    assert.deepEqual(read(sender, 2), ZEROS, 'a reset disk reads as zeros');
  }
});

test('slot 0 contains firstPage, also after a reset, until it is written', () => {
  const header = made('records', 4);
  for (const isShown of [true, false]) {
    const { disk, sender, backing } = open(8, { firstPage: header, showsOldData: isShown });
    assert.deepEqual(read(sender, 0), header);
    assert.equal(backing.done, 0);
    write(sender, 0, made('random', 5));
    assert.deepEqual(read(sender, 0), made('random', 5));
    disk.reset();
    assert.deepEqual(read(sender, 0), header);
    disk.verify();
  }
  assert.throws(() => open(8, { firstPage: header.subarray(1) }), {
    code: 'ERR_ARG_VALUE',
    message: /firstPage.length is the number 4095/,
  });
});

test('reset is refused while bios are in flight, then frees the pages in RAM and at the backing', () => {
  const { disk, sender, backing } = open(8);
  write(sender, 0, good(1));
  backing.isHolding = true;
  sender.submit({ op: BioOp.write, offset: PAGE, data: made('random', 1) });
  sender.submit({ op: BioOp.write, offset: PAGE, data: made('random', 2) });
  disk.tick();
  assert.equal(disk.reset(), false);
  backing.isHolding = false;
  sender.drain();
  assert.equal(disk.reset(), true);
  assert.deepEqual([disk.stats().storedPages, disk.stats().backingBytes], [0, 0]);
  assert.deepEqual([read(sender, 0), read(sender, 1)], [ZEROS, ZEROS]);
});

test('the disk is synchronous if its backing is', () => {
  const { disk, sender } = openOver(new MemoryDisk(16 * PAGE));
  assert.equal(disk.synchronous, true);
  const data = made('random', 1, 3);
  sender.submit({ op: BioOp.write, offset: PAGE + 100, data });
  const expected = data.slice();
  data.fill(0xee);
  const bio = sender.submit({ op: BioOp.read, offset: PAGE + 100, data: new Uint8Array(3 * PAGE) });
  assert.deepEqual(bio.data, expected, 'filled when submit() returns');
  assert.equal(disk.tick(), 2);
  assert.equal(open(4).disk.synchronous, false);
});

test('a backing that is too small, read-only or whose tables exceed the limit is refused', () => {
  const memory = new MemoryDisk(8 * PAGE);
  const refuses = (fails: () => unknown, message: RegExp): void =>
    assert.throws(fails, { code: 'ERR_ARG_VALUE', message });
  refuses(() => openOver(memory, { sizeBytes: 9 * PAGE }), /backing.disk.sizeBytes/);
  refuses(() => openOver(new MemoryDisk(8 * PAGE, { readOnly: true })), /is read-only/);
  const least = backingTableBytes(8 * PAGE, 8);
  refuses(() => openOver(memory, { limitBytes: least - 1 }), /limitBytes/);
  refuses(() => openOver(memory, { bioCount: 1 }), /bioCount is the number 1/);
  const { disk } = openOver(memory, { limitBytes: least });
  assert.equal(disk.stats().usedBytes, least);
});

test('rzsStats returns the counters by their ramzswap names', () => {
  const { disk, sender } = open(16, { limitBytes: 1_000_000 });
  write(sender, 0, ZEROS);
  for (const page of [1, 2, 3]) write(sender, page, good(page));
  write(sender, 4, made('random', 1));
  read(sender, 4);
  disk.slotFree(3);
  sender.run({ op: BioOp.read, offset: 16 * PAGE, length: 1, data: new Uint8Array(1) });
  const stats = disk.stats();
  const expected: RzsStats = {
    DiskSize: 16 * PAGE,
    MemLimit: 1_000_000,
    NumReads: 1,
    NumWrites: 5,
    FailedReads: 0,
    FailedWrites: 0,
    InvalidIO: 1,
    NotifyFree: 1,
    ZeroPages: 1,
    GoodCompress: 100,
    NoCompress: 0,
    PagesStored: 2,
    PagesUsed: Math.ceil(stats.usedBytes / PAGE),
    OrigDataSize: 2 * PAGE,
    ComprDataSize: stats.compressedBytes,
    MemUsedTotal: stats.usedBytes,
    BDevNumReads: 1,
    BDevNumWrites: 1,
  };
  assert.deepEqual(rzsStats(stats), expected);
});
