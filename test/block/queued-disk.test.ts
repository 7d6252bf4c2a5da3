/** The request queue: merging, order, waiting, and that each bio ends with its own status. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../src/base/assert.ts';
import { Prng } from '../../src/base/prng.ts';
import { BioFlag, BioOp, BioStatus } from '../../src/block/bio.ts';
import { MemoryDisk } from '../../src/block/disks/memory-disk.ts';
import { nullDisk } from '../../src/block/disks/null-disk.ts';
import { Ramzswap } from '../../src/block/disks/ramzswap/ramzswap.ts';
import { delayDisk } from '../../src/block/filters/delay-disk.ts';
import { faultDisk } from '../../src/block/filters/fault-disk.ts';
import { traceDisk } from '../../src/block/filters/trace-disk.ts';
import { type QueuedDisk, type QueueOptions, queuedDisk } from '../../src/block/queued-disk.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { FakeClock } from '../support/fakes/fake-clock.ts';
import { Sender, stamp } from '../support/fixtures/bio-sender.ts';

const PAGE = 4096;
const SIZE = 64 * PAGE;
const usual: QueueOptions = { requests: 16, depth: 4, mergeBytes: 4 * PAGE };

interface Bench {
  readonly queue: QueuedDisk;
  readonly sender: Sender;
  /** Requests that reached the disk since the last check, as `op page+pages`. */
  seen(): string[];
  /** Submission and end of each request, ns. */
  spans(): { op: BioOp; from: number; to: number }[];
}

const opNames = Object.fromEntries(Object.entries(BioOp).map(([name, op]) => [op, name]));

/** A queue over a disk with a latency of 1 us per request. */
function bench(options: QueueOptions = usual): Bench {
  const clock = new FakeClock();
  const costs = { readNs: 1000, writeNs: 1000, flushNs: 1000, byteNs: 0 };
  const trace = traceDisk(delayDisk(new MemoryDisk(SIZE), clock, costs), clock, 1000);
  const queue = queuedDisk(trace, options);
  return {
    queue,
    sender: new Sender(queue, clock),
    seen() {
      const seen: string[] = [];
      trace.replay(({ op, offset, length }) =>
        seen.push(`${opNames[op]} ${offset / PAGE}+${length / PAGE}`),
      );
      return seen;
    },
    spans() {
      const spans: ReturnType<Bench['spans']> = [];
      trace.replay(({ op, submittedNs, endedNs }) =>
        spans.push({ op, from: submittedNs, to: endedNs }),
      );
      return spans;
    },
  };
}

const write = (sender: Sender, page: number, value = page, flags = 0): void => {
  sender.submit({ op: BioOp.write, offset: page * PAGE, data: stamp(PAGE, value), flags });
};

/** Reads a page and returns the value of its bytes, which must all be equal. */
function pageValue(sender: Sender, page: number): number {
  const data = new Uint8Array(PAGE);
  const bio = sender.run({ op: BioOp.read, offset: page * PAGE, data });
  assert.equal(bio.status, BioStatus.ok);
  assert.ok(
    data.every((b) => b === data[0]),
    'a page of one write',
  );
  return data[0]!;
}

test('while plugged, adjacent bios merge into one request: at the front, at the back and in between', () => {
  const { queue, sender, seen } = bench();
  queue.plug();
  for (const page of [5, 6, 4, 9, 11, 10]) write(sender, page);
  assert.deepEqual(seen(), []);
  queue.unplug();
  sender.drain();
  assert.deepEqual(seen(), ['write 4+3', 'write 9+3']);
  const { bios, requests, merges, bouncedBytes } = queue.counters.snapshot();
  assert.deepEqual([bios, requests, merges, bouncedBytes], [6, 2, 4, 6 * PAGE]);
  for (const page of [4, 5, 6, 9, 10, 11]) assert.equal(pageValue(sender, page), page);
});

test('a merged read fills each bio, without a copy if the bios are contiguous in memory', () => {
  const { queue, sender } = bench();
  for (const page of [1, 2, 3]) write(sender, page);
  sender.drain();
  const bounced = queue.counters.get('bouncedBytes');
  const [far, together] = [new Uint8Array(PAGE + 9), new Uint8Array(2 * PAGE + 5)];
  queue.plug();
  sender.submit({ op: BioOp.read, offset: PAGE, length: PAGE, data: together, at: 5 });
  sender.submit({ op: BioOp.read, offset: 2 * PAGE, length: PAGE, data: together, at: PAGE + 5 });
  queue.unplug();
  sender.drain();
  assert.equal(queue.counters.get('bouncedBytes'), bounced);
  assert.deepEqual([together[4], together[5], together[PAGE + 5]], [0, 1, 2]);
  queue.plug();
  sender.submit({ op: BioOp.read, offset: 2 * PAGE, length: PAGE, data: together, at: 0 });
  sender.submit({ op: BioOp.read, offset: 3 * PAGE, length: PAGE, data: far, at: 9 });
  queue.unplug();
  sender.drain();
  assert.equal(queue.counters.get('bouncedBytes'), bounced + 2 * PAGE);
  assert.deepEqual([together[0], far[8], far[9], far[PAGE + 8]], [2, 0, 3, 3]);
});

test('bios of different operations or flags, and beyond mergeBytes, are not merged', () => {
  const { queue, sender, seen } = bench();
  queue.plug();
  write(sender, 0);
  sender.submit({ op: BioOp.read, offset: PAGE, data: new Uint8Array(PAGE) });
  write(sender, 2);
  write(sender, 3, 3, BioFlag.fua);
  sender.submit({ op: BioOp.discard, offset: 4 * PAGE, length: PAGE });
  sender.submit({ op: BioOp.discard, offset: 5 * PAGE, length: PAGE });
  sender.submit({ op: BioOp.writeZeroes, offset: 6 * PAGE, length: PAGE });
  sender.submit({ op: BioOp.writeZeroes, offset: 7 * PAGE, length: PAGE, flags: BioFlag.noUnmap });
  for (const page of [10, 11, 12, 13, 14]) write(sender, page);
  queue.unplug();
  sender.drain();
  assert.deepEqual(seen(), [
    'write 0+1',
    'read 1+1',
    'write 2+1',
    'write 3+1',
    'discard 4+2',
    'writeZeroes 6+1',
    'writeZeroes 7+1',
    'write 10+4', // mergeBytes
    'write 14+1',
  ]);
});

test('requests without data grow to 2 GiB', () => {
  const GIB = 2 ** 30;
  for (const [more, want] of [
    [0, ['0+2097152']],
    [512, ['0+1048576', '1048576+1048577']],
  ] as const) {
    const seen: string[] = [];
    const next = nullDisk(8 * GIB);
    const queue = queuedDisk(
      {
        ...next,
        submit(bio) {
          seen.push(`${bio.offset / 1024}+${bio.length / 1024}`);
          next.submit(bio);
        },
      },
      usual,
    );
    const sender = new Sender(queue);
    queue.plug();
    sender.submit({ op: BioOp.writeZeroes, offset: 0, length: GIB });
    sender.submit({ op: BioOp.writeZeroes, offset: GIB, length: GIB + more * 2 });
    queue.unplug();
    sender.drain();
    assert.deepEqual(seen, want);
  }
});

test('a failed single bio is not resent', () => {
  const memory = new MemoryDisk(SIZE);
  let sent = 0;
  const queue = queuedDisk(
    {
      ...nullDisk(SIZE),
      submit(bio) {
        sent++;
        memory.submit(bio);
        bio.status = BioStatus.ioError;
      },
      tick: () => memory.tick(),
    },
    usual,
  );
  const sender = new Sender(queue);
  queue.plug();
  write(sender, 1);
  write(sender, 5);
  queue.unplug();
  sender.drain();
  assert.deepEqual(
    sender.ended.map(({ status }) => status),
    [BioStatus.ioError, BioStatus.ioError],
  );
  assert.deepEqual([sent, queue.counters.get('splits')], [2, 0]);
});

test('two discards of parts of a page do not discard the page', () => {
  const next = new Ramzswap({
    sizeBytes: SIZE,
    limitBytes: 0,
    codec: { name: 'lz4', factory: lz4 },
  });
  const queue = queuedDisk(next, usual);
  const sender = new Sender(queue);
  write(sender, 1, 7);
  sender.drain();
  queue.plug();
  sender.submit({ op: BioOp.discard, offset: PAGE, length: PAGE / 2 });
  sender.submit({ op: BioOp.discard, offset: PAGE * 1.5, length: PAGE / 2 });
  queue.unplug();
  sender.drain();
  assert.equal(pageValue(sender, 1), 7, 'partial pages are unchanged');
});

test('the elevator sweeps upwards and wraps, so no bio starves', () => {
  const { queue, sender, seen } = bench({ requests: 16, depth: 1, mergeBytes: PAGE });
  queue.plug();
  for (const page of [20, 4, 30, 12]) write(sender, page);
  queue.unplug(); // sends 4
  write(sender, 2);
  write(sender, 16);
  sender.drain();
  assert.deepEqual(
    seen(),
    [4, 12, 16, 20, 30, 2].map((page) => `write ${page}+1`),
  );
});

test('a flush waits for earlier bios and blocks later ones', () => {
  const { queue, sender, seen, spans } = bench();
  write(sender, 9);
  write(sender, 5);
  sender.submit({ op: BioOp.flush });
  write(sender, 1);
  sender.submit({ op: BioOp.flush });
  write(sender, 0);
  sender.drain();
  assert.deepEqual(seen(), [
    'write 9+1',
    'write 5+1',
    'flush 0+0',
    'write 1+1',
    'flush 0+0',
    'write 0+1',
  ]);
  assert.equal(queue.counters.get('barriers'), 2);
  sender.submit({ op: BioOp.flush });
  write(sender, 7); // the flush is in flight
  sender.drain();
  const all = spans();
  for (const [i, flush] of all.entries()) {
    if (flush.op !== BioOp.flush) continue;
    for (const before of all.slice(0, i))
      assert.ok(before.to <= flush.from, 'the flush starts after earlier bios have ended');
    for (const behind of all.slice(i + 1))
      assert.ok(behind.from >= flush.to, 'later bios start after the flush has ended');
  }
});

test('C18 a write that overlaps one in flight takes effect after it, also when that one is resent', () => {
  const clock = new FakeClock();
  const memory = new MemoryDisk(SIZE);
  const bad = { read: 0, write: 0, discard: 0, writeZeroes: 0, flush: 0 };
  const faults = faultDisk(memory, new Prng(1), {
    failOneIn: bad,
    tearOneIn: 0,
    badRanges: [{ offset: 3 * PAGE, length: PAGE }],
  });
  const costs = { readNs: 1000, writeNs: 1000, flushNs: 0, byteNs: 0 };
  const queue = queuedDisk(delayDisk(faults, clock, costs), usual);
  const sender = new Sender(queue, clock);
  queue.plug();
  for (const page of [1, 2, 3]) write(sender, page, 10 + page);
  queue.unplug();
  write(sender, 1, 77); // newer data while the merged write is in flight and will fail
  write(sender, 2, 78);
  sender.drain();
  const [one, two] = [pageValue(sender, 1), pageValue(sender, 2)];
  assert.deepEqual([one, two], [77, 78]);
  const statuses = sender.ended.slice(0, 5).map(({ offset, status }) => [offset / PAGE, status]);
  const { ok, ioError } = BioStatus;
  assert.deepEqual(statuses, [
    [1, ok],
    [2, ok],
    [3, ioError],
    [1, ok],
    [2, ok],
  ]);
  assert.equal(queue.counters.get('splits'), 1);
});

test('a plugged batch is sent when a bio must wait, when no request is free, and by tick()', () => {
  const { queue, sender, seen } = bench({ requests: 2, depth: 2, mergeBytes: PAGE });
  queue.plug();
  queue.plug();
  write(sender, 1, 1);
  write(sender, 1, 2);
  sender.drain();
  assert.deepEqual(seen(), ['write 1+1', 'write 1+1']);
  assert.equal(pageValue(sender, 1), 2);
  for (const page of [10, 20, 30, 40]) write(sender, page);
  assert.equal(sender.inFlight, 4);
  sender.drain();
  queue.unplug();
  queue.unplug();
  assert.throws(() => queue.unplug(), InvariantError);
  const { bios, requests, merges, waits } = queue.counters.snapshot();
  assert.deepEqual([bios, requests, merges], [7, 7, 0]);
  assert.equal(waits, 3);
});

test('bios outside the disk end with invalid and are not sent', () => {
  const { queue, sender, seen } = bench();
  const outside: [number, number][] = [
    [-PAGE, PAGE],
    [SIZE, PAGE],
    [SIZE - 1, 2],
    [0, 0],
  ];
  for (const [offset, length] of outside) {
    const bio = sender.run({ op: BioOp.discard, offset, length });
    assert.equal(bio.status, BioStatus.invalid);
  }
  assert.deepEqual(seen(), []);
  assert.deepEqual(queue.counters.violated(), ['invalid']);
});

test('C14 a slot with a bio waiting, in the batch or in flight is a counted miss of slotFree', () => {
  const next = new Ramzswap({
    sizeBytes: SIZE,
    limitBytes: 0,
    codec: { name: 'lz4', factory: lz4 },
  });
  const queue = queuedDisk(next, { requests: 2, depth: 1, mergeBytes: PAGE });
  const sender = new Sender(queue);
  for (const page of [1, 5, 9, 13]) write(sender, page); // 1 in flight, 5 and 9 in the batch or waiting
  for (const page of [1, 5, 9, 13]) queue.slotFree?.(page);
  assert.equal(queue.counters.get('slotFreeMisses'), 4);
  assert.equal(next.stats().notifyFree, 0);
  sender.drain();
  for (const page of [1, 5, 9, 13]) queue.slotFree?.(page);
  assert.equal(queue.counters.get('slotFreeMisses'), 4);
  assert.equal(next.stats().storedPages, 0);
  write(sender, 5, 99);
  sender.drain();
  assert.equal(pageValue(sender, 5), 99);
  assert.equal(queuedDisk(new MemoryDisk(SIZE), usual).slotFree, undefined);
});

test('invalid options are rejected', () => {
  const disk = new MemoryDisk(SIZE);
  const wrong: Partial<QueueOptions>[] = [
    { requests: 0 },
    { requests: 2000 },
    { depth: 0 },
    { depth: 17 },
    { mergeBytes: 0 },
    { mergeBytes: 5000 },
    { mergeBytes: disk.limits.maxTransferBytes + PAGE },
  ];
  for (const part of wrong)
    assert.throws(() => queuedDisk(disk, { ...usual, ...part }), InvariantError);
});
