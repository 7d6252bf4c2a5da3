/** A read returns the bytes written or an error, even if the bytes behind the filter change. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.ts';
import { BioOp, BioStatus } from '../../../src/block/bio.ts';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { Ramzswap } from '../../../src/block/disks/ramzswap/ramzswap.ts';
import { type ChecksumDisk, checksumDisk } from '../../../src/block/filters/checksum-disk.ts';
import { delayDisk } from '../../../src/block/filters/delay-disk.ts';
import { faultDisk } from '../../../src/block/filters/fault-disk.ts';
import { readOnlyDisk } from '../../../src/block/filters/read-only-disk.ts';
import type { Disk } from '../../../src/block/ops.ts';
import { lz4 } from '../../../src/codec/lz4.ts';
import { FakeClock } from '../../support/fakes/fake-clock.ts';
import { Sender, stamp } from '../../support/fixtures/bio-sender.ts';

const SIZE = 1 << 20;
const PAGE = 4096;
const { ok, ioError } = BioStatus;

const noise = (length: number, seed: number): Uint8Array => {
  const prng = new Prng(seed);
  return Uint8Array.from({ length }, () => prng.below(256));
};

/** A checksum disk over a disk that the test can change directly. */
function stack(unknown: 'fail' | 'pass' = 'fail'): {
  disk: ChecksumDisk;
  sender: Sender;
  behind: Sender;
  read: (page: number, pages?: number) => BioStatus;
} {
  const next = new MemoryDisk(SIZE);
  const disk = checksumDisk(next, { unknown });
  const sender = new Sender(disk);
  return {
    disk,
    sender,
    behind: new Sender(next),
    read: (page, pages = 1) =>
      sender.run({ op: BioOp.read, offset: page * PAGE, data: new Uint8Array(pages * PAGE) })
        .status,
  };
}

test('a read of written pages passes, for any number of pages and writes', () => {
  const { disk, sender, read } = stack();
  const data = noise(3 * PAGE, 1);
  sender.run({ op: BioOp.write, offset: 2 * PAGE, data });
  sender.run({ op: BioOp.write, offset: 5 * PAGE, data: noise(PAGE, 2) });
  assert.deepEqual([read(2), read(4), read(2, 4), read(5)], [ok, ok, ok, ok]);
  const back = new Uint8Array(3 * PAGE);
  sender.run({ op: BioOp.read, offset: 2 * PAGE, data: back });
  assert.deepEqual(back, data);
  assert.deepEqual(disk.counters.snapshot(), { checked: 5, mismatches: 0, unknown: 0 });
});

test('any flipped bit fails the read of its block and of no other', () => {
  const { disk, sender, behind, read } = stack();
  const data = noise(3 * PAGE, 3);
  sender.run({ op: BioOp.write, data });
  const prng = new Prng(4);
  for (let round = 0; round < 300; round++) {
    const bit = prng.below(PAGE * 8);
    const at = PAGE + (bit >> 3);
    const flip = (): void => {
      data[at]! ^= 1 << (bit & 7);
      behind.run({ op: BioOp.write, offset: at, data: data.slice(at, at + 1) });
    };
    flip();
    assert.deepEqual([read(0), read(1), read(2), read(0, 3)], [ok, ioError, ok, ioError]);
    flip();
    assert.equal(read(0, 3), ok);
  }
  assert.deepEqual(disk.counters.violated(), ['mismatches']);
  assert.equal(disk.counters.get('mismatches'), 600);
});

test('the same bit flipped in two words of a block is detected', () => {
  const { sender, behind, read } = stack();
  const data = noise(PAGE, 5);
  const words = new Uint32Array(data.buffer);
  sender.run({ op: BioOp.write, data });
  const prng = new Prng(6);
  for (let bit = 0; bit < 32; bit++)
    for (let apart = 1; apart <= 8; apart++) {
      const first = prng.below(1024 - apart);
      const flip = (): void => {
        words[first]! ^= 1 << bit;
        words[first + apart]! ^= 1 << bit;
        behind.run({ op: BioOp.write, data });
      };
      flip();
      assert.equal(read(0), ioError, `bit ${bit} of words ${first} and ${first + apart}`);
      flip();
    }
  assert.equal(read(0), ok);
});

test('zeros, an older page, a neighbouring page and two swapped pages are detected', () => {
  const { sender, behind, read } = stack();
  const write = (to: Sender, page: number, data: Uint8Array): void => {
    to.run({ op: BioOp.write, offset: page * PAGE, data });
  };
  const [one, two] = [noise(PAGE, 7), noise(PAGE, 8)];
  write(sender, 1, two);
  write(sender, 1, one);
  write(sender, 2, two);
  write(behind, 1, new Uint8Array(PAGE));
  assert.equal(read(1), ioError, 'zeros');
  write(behind, 1, two);
  write(behind, 2, one);
  assert.deepEqual([read(1), read(2), read(1, 2)], [ioError, ioError, ioError]);
  write(sender, 4, one);
  write(sender, 5, one);
  assert.equal(read(4, 2), ok, 'equal pages in two blocks');
});

test('a block that was not written in full is unknown: its read fails or passes unchecked', () => {
  for (const [unknown, expected] of [
    ['fail', ioError],
    ['pass', ok],
  ] as const) {
    const { disk, sender, read } = stack(unknown);
    sender.run({ op: BioOp.write, offset: PAGE, data: noise(2 * PAGE, 9) });
    assert.equal(read(0), expected, 'never written');
    assert.equal(read(1, 3), expected, 'one of three never written');
    sender.run({ op: BioOp.write, offset: PAGE + 7, data: stamp(3, 1) });
    assert.deepEqual([read(1), read(2)], [expected, ok], 'a partial overwrite');
    sender.run({ op: BioOp.write, offset: 2 * PAGE - 1, data: noise(PAGE + 2, 10) });
    assert.deepEqual(
      [read(1), read(2), read(3)],
      [expected, ok, expected],
      'the full block in the middle',
    );
    const part = { op: BioOp.read, offset: 2 * PAGE, data: new Uint8Array(PAGE - 1) };
    assert.equal(sender.run(part).status, expected, 'a partial read cannot be checked');
    assert.equal(disk.counters.get('mismatches'), 0);
  }
});

test('discard drops the checksum, write-zeroes sets that of zeros, flushes and invalid ranges are passed on', () => {
  for (const [unknown, expected] of [
    ['fail', ioError],
    ['pass', ok],
  ] as const) {
    const { disk, sender, behind, read } = stack(unknown);
    const data = noise(6 * PAGE, 11);
    sender.run({ op: BioOp.write, data });
    sender.run({ op: BioOp.discard, offset: PAGE, length: PAGE });
    assert.deepEqual([read(0), read(1), read(2)], [ok, expected, ok]);
    assert.equal(disk.counters.get('unknown'), 1);
    // A bio without data may have any data buffer.
    sender.run({ op: BioOp.writeZeroes, offset: 3 * PAGE, length: 2 * PAGE, data });
    assert.deepEqual([read(2), read(3, 2), read(5)], [ok, ok, ok]);
    behind.run({ op: BioOp.write, offset: 4 * PAGE + 9, data: stamp(1, 1) });
    assert.deepEqual([read(3), read(4)], [ok, ioError]);
    assert.equal(sender.run({ op: BioOp.flush }).status, ok);
    assert.equal(read(SIZE / PAGE), BioStatus.invalid);
  }
});

test('unaligned data has the same checksum as aligned data', () => {
  const { sender } = stack();
  const data = noise(PAGE, 12);
  for (const [writtenAt, readAt] of [
    [0, 1],
    [3, 0],
    [2, 7],
  ] as const) {
    const from = new Uint8Array(PAGE + 8);
    from.set(data, writtenAt);
    sender.run({ op: BioOp.write, data: from, at: writtenAt, length: PAGE });
    const to = new Uint8Array(PAGE + 16).subarray(readAt % 3);
    const bio = sender.run({ op: BioOp.read, data: to, at: readAt, length: PAGE });
    assert.equal(bio.status, ok);
    assert.deepEqual(to.subarray(readAt, readAt + PAGE), data);
    sender.run({ op: BioOp.writeZeroes, length: PAGE });
    assert.equal(sender.run({ op: BioOp.read, data: new Uint8Array(PAGE) }).status, ok);
  }
});

test('a failed write drops the checksum, unless a later write succeeded', () => {
  const faults = faultDisk(new MemoryDisk(SIZE), new Prng(1), {
    failOneIn: { read: 0, write: 0, discard: 0, writeZeroes: 0, flush: 0 },
    tearOneIn: 0,
    badRanges: [],
  });
  const clock = new FakeClock();
  const costs = { readNs: 10, writeNs: 10, flushNs: 0, byteNs: 0 };
  const disk = checksumDisk(delayDisk(faults, clock, costs), { unknown: 'fail' });
  const sender = new Sender(disk, clock);
  const write = (seed: number) => sender.submit({ op: BioOp.write, data: noise(PAGE, seed) });
  const read = () => sender.submit({ op: BioOp.read, data: new Uint8Array(PAGE) });
  write(1);
  sender.drain();
  faults.isGone = true;
  const bios = [write(2), read(), write(3), read()];
  clock.ns += 20;
  disk.tick(); // ends the first write and the read behind it, which fail at the disk
  faults.isGone = false;
  sender.drain();
  bios.push(read());
  sender.drain();
  assert.deepEqual(
    bios.map((bio) => bio.status),
    [ioError, ioError, ok, ok, ok],
  );
  assert.equal(disk.counters.get('unknown'), 0);
  faults.isGone = true;
  write(4);
  sender.drain();
  faults.isGone = false;
  assert.equal(sender.run({ op: BioOp.read, data: new Uint8Array(PAGE) }).status, ioError);
  assert.equal(disk.counters.get('unknown'), 1, 'unknown is not a mismatch');
  assert.equal(disk.counters.get('mismatches'), 0);
});

test('reads in flight are checked against earlier writes, not later ones', () => {
  const clock = new FakeClock();
  const costs = { readNs: 10, writeNs: 10, flushNs: 0, byteNs: 0 };
  const slow = delayDisk(new MemoryDisk(SIZE), clock, costs);
  const disk = checksumDisk(slow, { unknown: 'fail' });
  const sender = new Sender(disk, clock);
  const bios = [1, 2, 3].flatMap((seed) => [
    sender.submit({ op: BioOp.write, data: noise(2 * PAGE, seed) }),
    sender.submit({ op: BioOp.read, data: new Uint8Array(2 * PAGE) }),
    sender.submit({ op: BioOp.read, offset: PAGE, data: new Uint8Array(PAGE) }),
  ]);
  sender.submit({ op: BioOp.discard, length: PAGE });
  sender.drain();
  for (const bio of bios) assert.equal(bio.status, ok);
  assert.deepEqual(bios[4]!.data, bios[3]!.data);
});

test('slotFree drops the checksum and frees the slot of the next disk before it returns', () => {
  for (const [unknown, expected] of [
    ['fail', ioError],
    ['pass', ok],
  ] as const) {
    const codec = { name: 'lz4', factory: lz4 };
    const next = new Ramzswap({ sizeBytes: SIZE, limitBytes: 0, codec });
    const disk: Disk = checksumDisk(next, { unknown });
    const sender = new Sender(disk);
    sender.run({ op: BioOp.write, data: stamp(2 * PAGE, 1) });
    disk.slotFree?.(0);
    assert.equal(next.stats().storedPages, 1);
    const look = (offset: number) =>
      sender.run({ op: BioOp.read, offset, data: new Uint8Array(PAGE) }).status;
    assert.deepEqual([look(0), look(PAGE)], [expected, ok]);
  }
});

test('after a write refused by a full or read-only disk, the block is unknown', () => {
  const codec = { name: 'lz4', factory: lz4 };
  const full = new Ramzswap({ sizeBytes: SIZE, limitBytes: 1, codec });
  for (const [next, status] of [
    [full, BioStatus.noSpace],
    [readOnlyDisk(new MemoryDisk(SIZE)), BioStatus.readOnly],
  ] as const) {
    const disk = checksumDisk(next, { unknown: 'pass' });
    const sender = new Sender(disk);
    const bio = sender.run({ op: BioOp.write, data: noise(PAGE, 1) });
    assert.equal(bio.status, status);
    assert.equal(sender.run({ op: BioOp.read, data: new Uint8Array(PAGE) }).status, ok);
    assert.equal(disk.counters.get('unknown'), 1);
  }
});
