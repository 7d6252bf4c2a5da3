/** A page that the backing returns with other bytes than were written is an I/O error for every bio that reads it. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type Bio, BioFlag, BioOp, BioStatus } from '../../../src/block/bio.ts';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { backingTableBytes } from '../../../src/block/disks/ramzswap/backing.ts';
import type { Ramzswap } from '../../../src/block/disks/ramzswap/ramzswap.ts';
import type { Sender } from '../../support/fixtures/bio-sender.ts';
import { atBacking, good, made, open, openOver, PAGE, read, write, ZEROS } from './backing-rig.ts';

const readOf = (sender: Sender, offset: number, length: number): Bio =>
  sender.run({ op: BioOp.read, offset, data: new Uint8Array(length) });

/** Counters that must stay 0: requests that failed by damage, bios that failed at the backing, damaged pages. */
const faults = (disk: Ramzswap): number[] => {
  const { failedReads, backingFailures, backingMismatches } = disk.stats();
  return [failedReads, backingFailures, backingMismatches];
};

test('a flipped bit of a page at the backing is a counted ioError until the page is written again', () => {
  const { disk, sender, backing } = open(8);
  for (const page of [0, 1, 2]) write(sender, page, made('random', page));
  for (const bit of [0, 4096, 8 * PAGE - 1]) {
    backing.bytes[PAGE + (bit >>> 3)]! ^= 1 << (bit & 7);
    assert.equal(readOf(sender, PAGE, PAGE).status, BioStatus.ioError, `bit ${bit}`);
    backing.bytes[PAGE + (bit >>> 3)]! ^= 1 << (bit & 7);
  }
  assert.deepEqual(faults(disk), [3, 0, 3]);
  for (const page of [0, 1, 2]) assert.deepEqual(read(sender, page), made('random', page));
  backing.bytes[PAGE]! ^= 1;
  write(sender, 1, made('random', 9));
  assert.deepEqual(read(sender, 1), made('random', 9), 'a full write replaces a damaged page');
  backing.bytes[PAGE]! ^= 1;
  sender.run({ op: BioOp.discard, offset: PAGE, length: PAGE });
  assert.deepEqual(read(sender, 1), ZEROS, 'a discarded page is not read');
  assert.deepEqual(faults(disk), [3, 0, 3]);
});

test('an older page of the slot, a page of another slot, and zeros are detected', () => {
  const { disk, sender, backing } = open(8);
  write(sender, 1, made('random', 1));
  write(sender, 2, made('random', 2));
  const [old, beside] = [atBacking(backing, 1), atBacking(backing, 2)];
  write(sender, 1, made('random', 3));
  const now = atBacking(backing, 1);
  for (const [n, foreign] of [old, beside, ZEROS].entries()) {
    backing.bytes.set(foreign, PAGE);
    assert.equal(readOf(sender, PAGE, PAGE).status, BioStatus.ioError);
    assert.deepEqual(faults(disk), [n + 1, 0, n + 1]);
  }
  backing.bytes.set(now, PAGE);
  assert.deepEqual(read(sender, 1), made('random', 3));
});

test('a read of many pages fails if one of them is damaged, also with a page in RAM between them', () => {
  const { disk, sender, backing } = open(16);
  const data = made('random', 1, 8);
  data.set(good(3), 3 * PAGE);
  sender.run({ op: BioOp.write, offset: 0, data: data.slice() });
  for (const page of [1, 2, 6]) backing.bytes[page * PAGE + 77]! ^= 0x10;
  assert.equal(readOf(sender, 0, 8 * PAGE).status, BioStatus.ioError);
  assert.deepEqual(faults(disk), [1, 0, 2], 'the pages of the first run');
  assert.deepEqual(readOf(sender, 3 * PAGE, 3 * PAGE).data, data.slice(3 * PAGE, 6 * PAGE));
  assert.equal(readOf(sender, 5 * PAGE, 2 * PAGE).status, BioStatus.ioError);
  assert.deepEqual(faults(disk), [2, 0, 3]);
});

test('damage outside the part of a page that is read, written or zeroed is detected and not overwritten', () => {
  const { disk, sender, backing } = open(8);
  write(sender, 1, made('random', 1));
  backing.bytes[PAGE + 4000]! ^= 1;
  const damaged = backing.bytes.slice();
  const parts = [
    { op: BioOp.read, offset: PAGE + 10, data: new Uint8Array(100) },
    { op: BioOp.write, offset: PAGE + 10, data: new Uint8Array(100).fill(5) },
    { op: BioOp.write, offset: 100, data: new Uint8Array(PAGE).fill(5) },
    { op: BioOp.writeZeroes, offset: PAGE + 10, length: 100 },
    { op: BioOp.writeZeroes, offset: PAGE + 10, length: 100, flags: BioFlag.noUnmap },
  ];
  for (const [n, part] of parts.entries()) {
    assert.equal(sender.run(part).status, BioStatus.ioError, `part ${n}`);
    assert.deepEqual(faults(disk), [n + 1, 0, n + 1]);
  }
  assert.deepEqual(backing.bytes, damaged);
  backing.bytes[PAGE + 4000]! ^= 1;
  assert.deepEqual(read(sender, 1), made('random', 1));
});

test('parts of a page at the backing are read, written and zeroed through the full page', () => {
  const { disk, sender, backing } = open(8);
  const model = made('random', 1, 3);
  sender.run({ op: BioOp.write, offset: 0, data: model.slice() });
  const change = (offset: number, data: Uint8Array): void => {
    model.set(data, offset);
    sender.run({ op: BioOp.write, offset, data });
  };
  change(5, made('random', 2).subarray(0, 17));
  change(PAGE - 3, made('random', 3, 2).subarray(0, PAGE + 6));
  change(3 * PAGE - 1, Uint8Array.of(1));
  sender.run({ op: BioOp.writeZeroes, offset: PAGE + 1, length: 2 * PAGE - 2 });
  model.fill(0, PAGE + 1, 3 * PAGE - 1);
  for (const [offset, length] of [
    [0, 3 * PAGE],
    [1, 3 * PAGE - 2],
    [PAGE - 1, 2],
    [2 * PAGE, 1],
  ] as const)
    assert.deepEqual(readOf(sender, offset, length).data, model.slice(offset, offset + length));
  assert.deepEqual(faults(disk), [0, 0, 0]);
  assert.equal(disk.stats().storedPages, 2, 'pages that now compress are in RAM');
  assert.deepEqual(atBacking(backing, 0), model.slice(0, PAGE));
  disk.verify();
});

test('after a failed write to the backing the old page is readable if intact, and an ioError if torn', () => {
  const { disk, sender, backing } = open(8);
  const old = made('random', 1);
  write(sender, 1, old);
  backing.isGone = true;
  assert.equal(write(sender, 1, made('random', 2)).status, BioStatus.ioError);
  backing.isGone = false;
  assert.deepEqual(read(sender, 1), old);
  const torn = made('random', 2);
  torn.set(old.subarray(512), 512);
  backing.bytes.set(torn, PAGE);
  assert.equal(readOf(sender, PAGE, PAGE).status, BioStatus.ioError);
  assert.deepEqual(faults(disk), [1, 1, 1]);
});

test('a page that is damaged while its read is in flight fails that read and no other', () => {
  const { disk, sender, backing } = open(8);
  for (const page of [1, 3]) write(sender, page, made('random', page));
  backing.isHolding = true;
  const reads = [1, 3].map((page) =>
    sender.submit({ op: BioOp.read, offset: page * PAGE, data: new Uint8Array(PAGE) }),
  );
  backing.bytes[PAGE + 5]! ^= 4;
  for (let left = 2; left > 0; left--) backing.end(left - 1); // the later one first
  sender.drain();
  assert.deepEqual(
    reads.map(({ status }) => status),
    [BioStatus.ioError, BioStatus.ok],
  );
  assert.deepEqual(reads[1]!.data, made('random', 3));
  assert.deepEqual(faults(disk), [1, 0, 1]);
});

test('the checksum of a page is computed when the page is submitted to the backing', () => {
  const { disk, sender, backing } = open(8);
  backing.isHolding = true;
  const data = made('random', 1);
  const bio = sender.submit({ op: BioOp.write, offset: PAGE, data });
  data[9]! ^= 1; // the page changes in flight
  backing.isHolding = false;
  sender.drain();
  assert.equal(bio.status, BioStatus.ok);
  assert.equal(readOf(sender, PAGE, PAGE).status, BioStatus.ioError);
  assert.deepEqual(faults(disk), [1, 0, 1]);
});

test('zeros written to the backing are checked as well', () => {
  const limitBytes = backingTableBytes(256 * PAGE, 8) + 4096;
  const { disk, sender, backing } = open(256, { limitBytes, bioCount: 8 });
  write(sender, 0, good(1));
  assert.deepEqual(atBacking(backing, 0), good(1), 'RAM has no row');
  backing.bytes.fill(0x77);
  const all = { op: BioOp.writeZeroes, offset: 0, length: 256 * PAGE, flags: BioFlag.noUnmap };
  assert.equal(sender.run(all).status, BioStatus.ok);
  assert.equal(disk.stats().backingBytes, 256 * PAGE);
  for (const page of [0, 1, 255]) assert.deepEqual(read(sender, page), ZEROS);
  backing.bytes[255 * PAGE]! = 1;
  assert.equal(readOf(sender, 255 * PAGE, PAGE).status, BioStatus.ioError);
  assert.deepEqual(faults(disk), [1, 0, 1]);
});

test('old data of the backing is not checked until its page is written, in part or in full', () => {
  const { disk, sender, backing } = open(8, { showsOldData: true });
  backing.bytes.set(made('random', 7, 8));
  assert.deepEqual(read(sender, 1), atBacking(backing, 1));
  backing.bytes[PAGE]! ^= 1;
  assert.deepEqual(read(sender, 1), atBacking(backing, 1), 'any content passes');
  sender.run({ op: BioOp.write, offset: PAGE + 7, data: Uint8Array.of(1, 2, 3) });
  assert.deepEqual(read(sender, 1), atBacking(backing, 1));
  backing.bytes[PAGE]! ^= 1;
  assert.equal(readOf(sender, PAGE, PAGE).status, BioStatus.ioError);
  assert.deepEqual(faults(disk), [1, 0, 1]);
});

test('bios of more than 64 pages, across the chunks of the checksums, are read as written', () => {
  const pages = 16384 * 2 + 100;
  const { disk, sender } = openOver(new MemoryDisk(pages * PAGE));
  for (const first of [16384 - 100, 2 * 16384 - 1, pages - 65]) {
    const count = Math.min(200, pages - first);
    const data = made('random', first, count);
    const at = { offset: first * PAGE };
    assert.equal(sender.run({ op: BioOp.write, ...at, data: data.slice() }).status, BioStatus.ok);
    const back = sender.run({ op: BioOp.read, ...at, data: new Uint8Array(data.length) });
    assert.equal(back.status, BioStatus.ok);
    assert.deepEqual(back.data, data);
  }
  assert.deepEqual(faults(disk), [0, 0, 0]);
});

test('a bio to the backing has at most 64 pages', () => {
  const { sender, backing } = open(200);
  Object.assign(backing.limits, { maxTransferBytes: 2 ** 25 });
  for (const [pages, runs] of [
    [64, 1],
    [65, 2],
    [128, 2],
  ] as const) {
    for (const op of [BioOp.write, BioOp.read]) {
      const { done } = backing;
      assert.equal(sender.run({ op, data: made('random', 1, pages) }).status, BioStatus.ok);
      assert.equal(backing.done - done, runs, `${pages} pages`);
    }
  }
});

test('without memory for the checksum of a page its write is refused, and writes to RAM succeed', (t: TestContext) => {
  const { disk, sender } = open(8);
  const { Int32Array: real } = globalThis;
  t.after(() => Object.assign(globalThis, { Int32Array: real }));
  globalThis.Int32Array = class {
    constructor() {
      throw new RangeError('Array buffer allocation failed');
    }
  } as unknown as Int32ArrayConstructor;
  assert.equal(write(sender, 1, made('random', 1)).status, BioStatus.noSpace);
  assert.equal(write(sender, 2, good(1)).status, BioStatus.ok);
  globalThis.Int32Array = real;
  assert.equal(disk.stats().failedWrites, 1);
  assert.deepEqual(read(sender, 1), ZEROS);
  assert.equal(write(sender, 1, made('random', 1)).status, BioStatus.ok);
  assert.deepEqual(read(sender, 1), made('random', 1));
});

test('the tables of a backing are reserved in full: bits, one checksum per page, one page and an intent per bio', () => {
  const pages = 1024;
  // In full pages: a header of 64 bytes and 5 intents, the bits, the sums. Then bits of pages in use, and of units.
  const tables = PAGE + PAGE + 4 * pages;
  assert.equal(backingTableBytes(pages * PAGE, 4), tables + 128 + 4 + 4 * PAGE);
});
