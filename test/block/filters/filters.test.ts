/** Each filter alone: its own effect, and that it changes nothing else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../../src/base/assert.ts';
import { Prng } from '../../../src/base/prng.ts';
import { Bio, BioOp, BioStatus } from '../../../src/block/bio.ts';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { Ramzswap } from '../../../src/block/disks/ramzswap/ramzswap.ts';
import { checksumDisk } from '../../../src/block/filters/checksum-disk.ts';
import { delayDisk } from '../../../src/block/filters/delay-disk.ts';
import { type FaultOptions, faultDisk } from '../../../src/block/filters/fault-disk.ts';
import { limitDisk } from '../../../src/block/filters/limit-disk.ts';
import { readOnlyDisk } from '../../../src/block/filters/read-only-disk.ts';
import { statsDisk } from '../../../src/block/filters/stats-disk.ts';
import { type TraceRecord, traceDisk } from '../../../src/block/filters/trace-disk.ts';
import type { Disk } from '../../../src/block/ops.ts';
import { lz4 } from '../../../src/codec/lz4.ts';
import { FakeClock } from '../../support/fakes/fake-clock.ts';
import { Sender, stamp } from '../../support/fixtures/bio-sender.ts';

const SIZE = 1 << 20;
const PAGE = 4096;
const never: FaultOptions['failOneIn'] = {
  read: 0,
  write: 0,
  discard: 0,
  writeZeroes: 0,
  flush: 0,
};
const ramzswap = (): Ramzswap =>
  new Ramzswap({ sizeBytes: SIZE, limitBytes: 0, codec: { name: 'lz4', factory: lz4 } });

test('stats count bios, bytes, results and latency by operation', () => {
  const clock = new FakeClock();
  const slow = delayDisk(new MemoryDisk(SIZE), clock, {
    readNs: 100,
    writeNs: 1000,
    flushNs: 0,
    byteNs: 0,
  });
  const disk = statsDisk(slow, clock);
  const sender = new Sender(disk, clock);
  sender.submit({ op: BioOp.write, data: stamp(PAGE, 1) });
  assert.equal(disk.inFlight, 1);
  sender.drain(1);
  sender.submit({ op: BioOp.read, offset: 8, data: new Uint8Array(7) });
  sender.submit({ op: BioOp.discard, length: 2 * PAGE });
  sender.submit({ op: BioOp.writeZeroes, length: 3 });
  sender.submit({ op: BioOp.flush });
  sender.submit({ op: BioOp.read, offset: SIZE, data: new Uint8Array(1) });
  sender.drain(1);
  assert.equal(disk.inFlight, 0);
  assert.deepEqual(disk.counters.snapshot(), {
    reads: 2,
    writes: 1,
    discards: 1,
    writeZeroes: 1,
    flushes: 1,
    readBytes: 7,
    writtenBytes: PAGE,
    discardedBytes: 2 * PAGE,
    zeroedBytes: 3,
    slotFrees: 0,
    noSpace: 0,
    refused: 0,
    ioErrors: 0,
    invalid: 1,
  });
  assert.equal(disk.latency(BioOp.write).max, 1000);
  assert.equal(disk.latency(BioOp.read).count, 2);
});

test('stats of a synchronous disk read the clock once for all bios of a tick', () => {
  let nowNs = 0;
  let readings = 0;
  const clock = {
    nowNs(): number {
      readings++;
      nowNs += 100;
      return nowNs;
    },
  };
  const disk = statsDisk(ramzswap(), clock);
  const sender = new Sender(disk, new FakeClock());
  const write = (page: number): unknown =>
    sender.submit({ op: BioOp.write, offset: page * PAGE, data: stamp(PAGE, 1) });
  for (let page = 0; page < 3; page++) write(page); // at 100, 200, 300
  sender.drain(1);
  assert.equal(readings, 4, 'one for each submit, one for the tick');
  assert.equal(disk.latency(BioOp.write).sum, 300 + 200 + 100);
  sender.drain(1);
  assert.equal(readings, 4, 'none for a tick without bios');
  write(3);
  sender.drain(1);
  assert.equal(readings, 6, 'the next tick reads it again');
  assert.equal(disk.latency(BioOp.write).sum, 700);
});

test('stats count noSpace, refused bios and faults separately', () => {
  const sender = (next: Disk): ReturnType<typeof statsDisk> => {
    const disk = statsDisk(next, new FakeClock());
    new Sender(disk).run({ op: BioOp.write, data: new Uint8Array(PAGE).map((_, i) => i * i) });
    return disk;
  };
  const full = new Ramzswap({
    sizeBytes: SIZE,
    limitBytes: 1,
    codec: { name: 'lz4', factory: lz4 },
  });
  assert.equal(sender(full).counters.get('noSpace'), 1);
  assert.equal(sender(readOnlyDisk(full)).counters.get('refused'), 1);
  const gone = faultDisk(full, new Prng(1), { failOneIn: never, tearOneIn: 0, badRanges: [] });
  gone.isGone = true;
  const failing = sender(gone);
  assert.deepEqual(failing.counters.violated(), ['ioErrors']);
  assert.equal(failing.counters.get('writtenBytes'), 0, 'failed bios count no bytes');
});

test('a trace keeps the last records, oldest first, and counts the lost ones', () => {
  const clock = new FakeClock();
  const disk = traceDisk(new MemoryDisk(SIZE), clock, 3);
  const sender = new Sender(disk, clock);
  for (let i = 0; i < 5; i++) {
    clock.ns = i * 10;
    sender.submit({ op: BioOp.write, offset: i * PAGE, data: stamp(i + 1, 1), flags: i & 1 });
    sender.drain(4);
  }
  const records: TraceRecord[] = [];
  disk.replay((record) => records.push(record));
  assert.deepEqual(
    records,
    [2, 3, 4].map((i) => ({
      submittedNs: i * 10,
      endedNs: i * 10 + 4,
      op: BioOp.write,
      flags: i & 1,
      offset: i * PAGE,
      length: i + 1,
      status: BioStatus.ok,
    })),
  );
  assert.equal(disk.ended, 5);
  assert.equal(disk.lost, 2);
  assert.throws(() => traceDisk(disk, clock, 0), InvariantError);
});

test('a delayed disk serves one bio at a time, by the clock', () => {
  const clock = new FakeClock();
  const costs = { readNs: 100, writeNs: 200, flushNs: 1000, byteNs: 1 };
  const disk = delayDisk(new MemoryDisk(SIZE), clock, costs);
  const sender = new Sender(disk, clock);
  assert.equal(disk.dueNs, null);
  clock.ns = 50;
  sender.submit({ op: BioOp.write, data: stamp(10, 1) }); // due at 260
  sender.submit({ op: BioOp.read, data: new Uint8Array(20) }); // 380
  sender.submit({ op: BioOp.discard, length: PAGE }); // 580
  sender.submit({ op: BioOp.flush }); // 1580
  const ends: number[] = [];
  for (; disk.dueNs !== null; disk.tick()) {
    clock.ns = disk.dueNs - 1;
    assert.equal(disk.tick(), 0, 'not before it is due');
    clock.ns++;
    ends.push(clock.ns);
  }
  assert.deepEqual(ends, [260, 380, 580, 1580]);
  assert.equal(sender.inFlight, 0);
  assert.ok(!disk.synchronous);
});

test('a limited disk passes a burst and then limits the rate, in order', () => {
  const clock = new FakeClock();
  const disk = limitDisk(new MemoryDisk(SIZE), clock, {
    bios: { rate: 1000, burst: 2 },
    bytes: { rate: 1e9, burst: 1e9 },
  });
  const sender = new Sender(disk, clock);
  const sent = [0, 1, 2, 3].map((i) => sender.submit({ op: BioOp.write, data: stamp(8, i) }));
  assert.equal(disk.tick(), 2);
  assert.equal(disk.heldCount, 2);
  clock.ns = 999_999;
  assert.equal(disk.tick(), 0);
  clock.ns = 1_000_000;
  assert.equal(disk.tick(), 1);
  clock.ns = 2_000_000;
  assert.equal(disk.tick(), 1);
  assert.deepEqual(sender.ended, sent);
  assert.equal(disk.delayedCount, 2);
  clock.ns += 1e9; // after any pause the burst is the maximum
  for (let i = 0; i < 4; i++) sender.submit({ op: BioOp.flush });
  assert.equal(disk.tick(), 2);
  sender.drain(1e6);
});

test('bytes are limited, too; a bio larger than the burst passes and makes the level negative', () => {
  const clock = new FakeClock();
  const disk = limitDisk(new MemoryDisk(SIZE), clock, {
    bios: { rate: 1e9, burst: 1e9 },
    bytes: { rate: PAGE * 1000, burst: PAGE },
  });
  const sender = new Sender(disk, clock);
  sender.submit({ op: BioOp.write, data: stamp(4 * PAGE, 1) });
  sender.submit({ op: BioOp.discard, length: SIZE });
  sender.submit({ op: BioOp.write, data: stamp(PAGE, 2) });
  assert.equal(disk.tick(), 1, 'the large bio passes; the discard waits for the debt');
  clock.ns = 2_999_999;
  assert.equal(disk.tick(), 0);
  clock.ns = 3_000_001;
  assert.equal(disk.tick(), 1, 'a discard costs no bytes');
  clock.ns = 3_999_000;
  assert.equal(disk.tick(), 0);
  clock.ns = 4_000_001;
  assert.equal(disk.tick(), 1);
  for (const rate of [0, -1])
    assert.throws(
      () => limitDisk(disk, clock, { bios: { rate, burst: 1 }, bytes: { rate: 1, burst: 1 } }),
      InvariantError,
    );
});

test('random faults have the given rate and repeat with the same seed', () => {
  const outcomes = (seed: number): string => {
    const disk = faultDisk(new MemoryDisk(SIZE), new Prng(seed), {
      failOneIn: { ...never, read: 3 },
      tearOneIn: 0,
      badRanges: [],
    });
    const sender = new Sender(disk);
    let text = '';
    for (let i = 0; i < 200; i++) {
      text += sender.run({ op: BioOp.read, data: new Uint8Array(1) }).status;
      assert.equal(sender.run({ op: BioOp.write, data: stamp(1, 1) }).status, BioStatus.ok);
    }
    assert.equal(disk.counters.get('random'), [...text].filter((c) => c === '1').length);
    return text;
  };
  assert.equal(outcomes(7), outcomes(7));
  assert.notEqual(outcomes(7), outcomes(8));
  assert.match(outcomes(7), /^[01]*1[01]*0[01]*$/);
});

test('a failed write has no effect unless it is torn: then it writes its first sectors', () => {
  const next = new MemoryDisk(SIZE);
  const failing = { failOneIn: { ...never, write: 1 }, badRanges: [] };
  const data = stamp(PAGE, 9);
  const clean = new Sender(faultDisk(next, new Prng(1), { ...failing, tearOneIn: 0 }));
  assert.equal(clean.run({ op: BioOp.write, data }).status, BioStatus.ioError);
  const look = new Uint8Array(PAGE);
  const direct = new Sender(next);
  direct.run({ op: BioOp.read, data: look });
  assert.ok(look.every((b) => b === 0));
  const torn = faultDisk(next, new Prng(1), { ...failing, tearOneIn: 1 });
  const bio = new Sender(torn).run({ op: BioOp.write, data });
  assert.equal(bio.status, BioStatus.ioError);
  assert.equal(bio.length, PAGE, 'the owner gets its bio unchanged');
  direct.run({ op: BioOp.read, data: look });
  const done = look.lastIndexOf(9) + 1;
  assert.ok(done >= 512 && done < PAGE && done % 512 === 0, `${done} bytes were done`);
  assert.ok(look.subarray(0, done).every((b) => b === 9));
  assert.equal(torn.counters.get('torn'), 1);
});

test('a write of a single sector is never torn', () => {
  const next = new MemoryDisk(SIZE);
  const failing = { failOneIn: { ...never, write: 1 }, tearOneIn: 1, badRanges: [] };
  const disk = faultDisk(next, new Prng(1), failing);
  const sender = new Sender(disk);
  const torn = (offset: number, length: number): number => {
    const before = disk.counters.get('torn');
    sender.run({ op: BioOp.write, offset, data: stamp(length, 1) });
    return disk.counters.get('torn') - before;
  };
  assert.equal(torn(512, 512), 0);
  assert.equal(torn(512, 513), 1);
  assert.equal(torn(511, 2), 1);
});

test('a bad range fails bios that overlap it and no others', () => {
  const disk = faultDisk(new MemoryDisk(SIZE), new Prng(1), {
    failOneIn: never,
    tearOneIn: 0,
    badRanges: [{ offset: PAGE, length: PAGE }],
  });
  const sender = new Sender(disk);
  const at = (offset: number, length: number): BioStatus =>
    sender.run({ op: BioOp.read, offset, data: new Uint8Array(length) }).status;
  const { ok, ioError } = BioStatus;
  assert.deepEqual([at(0, PAGE), at(2 * PAGE, 1)], [ok, ok]);
  assert.deepEqual(
    [at(0, PAGE + 1), at(2 * PAGE - 1, 1), at(0, SIZE)],
    [ioError, ioError, ioError],
  );
  assert.equal(disk.counters.get('badRange'), 3);
  assert.equal(sender.run({ op: BioOp.flush }).status, ok);
});

test('a disk with isGone set also fails bios in flight, and keeps its data', () => {
  const next = ramzswap();
  const disk = faultDisk(next, new Prng(1), { failOneIn: never, tearOneIn: 0, badRanges: [] });
  const sender = new Sender(disk);
  assert.equal(sender.run({ op: BioOp.write, data: stamp(PAGE, 5) }).status, BioStatus.ok);
  const inFlight = sender.submit({ op: BioOp.write, offset: PAGE, data: stamp(PAGE, 6) });
  disk.isGone = true;
  sender.drain();
  assert.equal(inFlight.status, BioStatus.ioError);
  assert.equal(sender.run({ op: BioOp.flush }).status, BioStatus.ioError);
  assert.equal(sender.run({ op: BioOp.write, data: stamp(PAGE, 7) }).status, BioStatus.ioError);
  disk.slotFree?.(0);
  assert.equal(disk.counters.get('slotFreeMisses'), 1);
  disk.isGone = false;
  const look = new Uint8Array(PAGE);
  assert.equal(sender.run({ op: BioOp.read, data: look }).status, BioStatus.ok);
  assert.ok(look.every((b) => b === 5));
  assert.equal(disk.counters.get('gone'), 3);
});

test('C14 slotFree reaches the disk at once through every filter without a queued bio for the slot', () => {
  const clock = new FakeClock();
  const next = ramzswap();
  const rates = { rate: 1, burst: 1e9 };
  const delays = { readNs: 1, writeNs: 1, flushNs: 1, byteNs: 0 };
  const faults = { failOneIn: never, tearOneIn: 0, badRanges: [] };
  const delayed = delayDisk(faultDisk(next, new Prng(1), faults), clock, delays);
  const limited = limitDisk(delayed, clock, { bios: rates, bytes: rates });
  const stats = statsDisk(checksumDisk(limited, { unknown: 'pass' }), clock);
  const disk = traceDisk(stats, clock, 4);
  const sender = new Sender(disk, clock);
  sender.run({ op: BioOp.write, offset: 3 * PAGE, data: stamp(PAGE, 1) });
  assert.equal(next.stats().storedPages, 1);
  disk.slotFree?.(3);
  assert.equal(next.stats().storedPages, 0, 'before slotFree() returns');
  assert.equal(next.stats().notifyFree, 1);
  assert.equal(stats.counters.get('slotFrees'), 1);

  sender.submit({ op: BioOp.write, offset: 4 * PAGE, data: stamp(PAGE, 2) });
  disk.slotFree?.(4);
  assert.equal(delayed.slotFreeMisses, 1, 'the slot of a delayed bio is a miss');
  disk.slotFree?.(3);
  disk.slotFree?.(5);
  assert.equal(delayed.slotFreeMisses, 1, 'adjacent slots have no delayed bio');
  sender.drain();
  const look = new Uint8Array(PAGE);
  sender.run({ op: BioOp.read, offset: 4 * PAGE, data: look });
  assert.ok(
    look.every((b) => b === 2),
    'what was missed stays until it is overwritten',
  );
});

test('a filter over a disk without slotFree has none', () => {
  const clock = new FakeClock();
  const next = readOnlyDisk(ramzswap());
  const rates = { rate: 1, burst: 1 };
  const faults = { failOneIn: never, tearOneIn: 0, badRanges: [] };
  const over: Disk[] = [
    next,
    statsDisk(next, clock),
    traceDisk(next, clock, 1),
    delayDisk(next, clock, { readNs: 0, writeNs: 0, flushNs: 0, byteNs: 0 }),
    limitDisk(next, clock, { bios: rates, bytes: rates }),
    faultDisk(next, new Prng(1), faults),
    checksumDisk(next, { unknown: 'fail' }),
  ];
  for (const disk of over) assert.equal(disk.slotFree, undefined);
});

test('a bio has a frame per layer, and unbalanced enter() and leave() calls are detected', () => {
  const bio = new Bio();
  const owner = { bioEnd: () => {} };
  bio.owner = owner;
  const layer = { bioEnd: () => {} };
  for (let i = 0; i < 16; i++) bio.enter(layer, i);
  assert.throws(() => bio.enter(layer, 16), InvariantError);
  assert.throws(() => bio.reset(), InvariantError);
  for (let i = 15; i >= 0; i--) {
    assert.equal(bio.owner, layer);
    assert.equal(bio.mark, i);
    assert.equal(bio.leave(), i);
  }
  assert.equal(bio.owner, owner);
  assert.throws(() => bio.leave(), InvariantError);
  assert.throws(() => bio.mark, InvariantError);
});
