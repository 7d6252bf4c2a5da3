/**
 * Checks random stacks of filters and queues over a ramzswap disk against a byte array: operations of any alignment,
 * overlapping and in flight. Every stack must yield the same bytes.
 */
import assert from 'node:assert/strict';
import type { Prng } from '../../src/base/prng.ts';
import { type Bio, BioFlag, BioOp, BioStatus } from '../../src/block/bio.ts';
import { Ramzswap } from '../../src/block/disks/ramzswap/ramzswap.ts';
import { checksumDisk } from '../../src/block/filters/checksum-disk.ts';
import { delayDisk } from '../../src/block/filters/delay-disk.ts';
import { type FaultDisk, faultDisk } from '../../src/block/filters/fault-disk.ts';
import { limitDisk } from '../../src/block/filters/limit-disk.ts';
import { type StatsDisk, statsDisk } from '../../src/block/filters/stats-disk.ts';
import { traceDisk } from '../../src/block/filters/trace-disk.ts';
import type { Disk } from '../../src/block/ops.ts';
import { type QueuedDisk, queuedDisk } from '../../src/block/queued-disk.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { FakeClock } from '../support/fakes/fake-clock.ts';
import { type BioFields, Sender } from '../support/fixtures/bio-sender.ts';
import { randomTest } from '../support/fixtures/replay.ts';
import { DiskModel, randomData, randomRange } from '../support/models/disk-model.ts';

const PAGES = 48;
const SIZE = PAGES * 4096;

class Stack {
  readonly clock: FakeClock = new FakeClock();
  readonly base: Ramzswap = new Ramzswap({
    sizeBytes: SIZE,
    limitBytes: 0,
    codec: { name: 'lz4', factory: lz4 },
  });
  readonly names: string[] = [];
  readonly queues: QueuedDisk[] = [];
  readonly faults: FaultDisk[] = [];
  readonly stats: StatsDisk;
  readonly sender: Sender;

  constructor(prng: Prng, withFaults: boolean) {
    let disk: Disk = this.base;
    if (withFaults) disk = this.#fault(disk, prng);
    for (let left = prng.below(6); left > 0; left--) disk = this.#layer(disk, prng, withFaults);
    this.stats = statsDisk(disk, this.clock);
    this.sender = new Sender(this.stats, this.clock);
  }

  /** Plugs or unplugs a queue at random. */
  turnPlugs(prng: Prng, plugged: Set<QueuedDisk>): void {
    for (const queue of this.queues) {
      if (!prng.oneIn(8)) continue;
      if (plugged.delete(queue)) queue.unplug();
      else plugged.add(queue) && queue.plug();
    }
  }

  check(): void {
    this.base.verify();
    assert.equal(this.stats.inFlight, this.sender.inFlight);
    if (this.sender.inFlight > 0) return;
    for (const { counters } of this.queues) {
      const { bios, requests, merges, invalid } = counters.snapshot();
      assert.equal(bios, requests + merges + invalid, 'each bio was sent, alone or merged');
    }
  }

  #layer(next: Disk, prng: Prng, withFaults: boolean): Disk {
    const { clock } = this;
    const ns = (): number => prng.below(3000);
    const rate = { rate: 1e5 + prng.below(1e6), burst: 1 + prng.below(20) };
    const bytes = { rate: 1e8 + prng.below(1e9), burst: 1 + prng.below(1e6) };
    const what = prng.below(withFaults ? 7 : 6);
    this.names.unshift(['queue', 'delay', 'limit', 'trace', 'stats', 'checksum', 'fault'][what]!);
    if (what === 0) return this.#queue(next, prng);
    if (what === 1)
      return delayDisk(next, clock, {
        readNs: ns(),
        writeNs: ns(),
        flushNs: ns(),
        byteNs: prng.below(2),
      });
    if (what === 2) return limitDisk(next, clock, { bios: rate, bytes });
    if (what === 3) return traceDisk(next, clock, 1 + prng.below(10));
    if (what === 4) return statsDisk(next, clock);
    if (what === 5) return checksumDisk(next, { unknown: 'pass' });
    return this.#fault(next, prng);
  }

  #queue(next: Disk, prng: Prng): QueuedDisk {
    const requests = 1 + prng.below(20);
    const depth = 1 + prng.below(requests);
    const queue = queuedDisk(next, { requests, depth, mergeBytes: (1 + prng.below(16)) * 4096 });
    this.queues.push(queue);
    return queue;
  }

  #fault(next: Disk, prng: Prng): FaultDisk {
    const oneIn = (): number => prng.below(12);
    const fault = faultDisk(next, prng, {
      failOneIn: {
        read: oneIn(),
        write: oneIn(),
        discard: oneIn(),
        writeZeroes: oneIn(),
        flush: oneIn(),
      },
      tearOneIn: prng.below(4),
      badRanges: prng.oneIn(2) ? [] : [randomRange(prng, SIZE)],
    });
    this.faults.push(fault);
    return fault;
  }
}

/** A random operation on the range. */
function randomBio(prng: Prng, { offset, length }: { offset: number; length: number }): BioFields {
  const what = prng.below(10);
  const flags = prng.oneIn(4) ? BioFlag.fua : 0;
  if (what < 4) return { op: BioOp.write, offset, data: randomData(prng, length), flags };
  if (what < 7) return { op: BioOp.read, offset, data: new Uint8Array(length) };
  if (what === 7) return { op: BioOp.discard, offset, length };
  if (what === 8)
    return { op: BioOp.writeZeroes, offset, length, flags: prng.oneIn(2) ? BioFlag.noUnmap : 0 };
  return { op: BioOp.flush };
}

/** Runs of adjacent pages that can be merged. */
const adjoining = (prng: Prng): { offset: number; length: number } => ({
  offset: (prng.below(PAGES / 4) * 4 + prng.below(4)) * 4096,
  length: 4096,
});

function apply(model: DiskModel, { op, offset = 0, length = 0, data, flags = 0 }: BioFields): void {
  if (op === BioOp.write) model.write(offset, data!);
  else if (op === BioOp.discard) model.discard(offset, length);
  else if (op === BioOp.writeZeroes)
    model.writeZeroes(offset, length, (flags & BioFlag.noUnmap) !== 0);
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

randomTest(
  'C14 C18 any stack of filters and queues equals an array of bytes',
  40,
  (prng, steps) => {
    for (let round = 0; round < steps; round++) {
      const stack = new Stack(prng, false);
      const model = new DiskModel(SIZE);
      const expected = new Map<Bio, Uint8Array>();
      const plugged = new Set<QueuedDisk>();
      for (let burst = 0; burst < 12; burst++) {
        const touched = new Set<number>();
        for (let left = prng.below(20); left > 0; left--) {
          const fields = randomBio(prng, prng.oneIn(2) ? adjoining(prng) : randomRange(prng, SIZE));
          const bio = stack.sender.submit(fields);
          const { offset, length } = bio;
          if (fields.op === BioOp.read)
            expected.set(bio, model.bytes.slice(offset, offset + length));
          else apply(model, fields);
          // A synchronous disk has read the data.
          if (stack.stats.synchronous && fields.op === BioOp.write) fields.data?.fill(0xee);
          for (let page = offset >> 12; page << 12 < offset + length; page++) touched.add(page);
          stack.turnPlugs(prng, plugged);
          if (prng.oneIn(5)) stack.clock.ns += prng.below(5000);
          if (prng.oneIn(5)) stack.stats.tick();
        }
        const dead = prng.below(PAGES);
        if (!touched.has(dead) && burst > 0) {
          stack.stats.slotFree!(dead);
          model.discard(dead * 4096, 4096);
        }
        if (prng.oneIn(2)) stack.check();
        stack.sender.drain(10_000);
        for (const bio of stack.sender.ended.splice(0)) {
          assert.equal(bio.status, BioStatus.ok);
          const want = expected.get(bio);
          const what = `${bio.length} bytes at ${bio.offset} through ${stack.names.join(' ')}`;
          if (want !== undefined) assert.ok(same(bio.data, want), what);
        }
        stack.check();
      }
      const all = new Uint8Array(SIZE);
      stack.sender.run({ op: BioOp.read, offset: 0, data: all });
      assert.ok(same(all, model.bytes), `the whole disk, through ${stack.names.join(' ')}`);
    }
  },
);

randomTest(
  'faults lose no acknowledged write and affect only the failed bios',
  40,
  (prng, steps) => {
    let failures = 0;
    for (let round = 0; round < steps; round++) {
      const stack = new Stack(prng, true);
      const model = new DiskModel(SIZE);
      const below = new Sender(stack.base);
      const plugged = new Set<QueuedDisk>();
      for (let burst = 0; burst < 12; burst++) {
        const sent = new Map<Bio, BioFields>();
        for (let offset = 0; offset < SIZE; ) {
          const length = Math.min(SIZE - offset, prng.oneIn(2) ? 4096 : 1 + prng.below(20_000));
          if (prng.oneIn(2)) {
            const fields = randomBio(prng, { offset, length });
            sent.set(stack.sender.submit(fields), fields);
          }
          offset += length;
          stack.turnPlugs(prng, plugged);
          for (const fault of stack.faults) if (prng.oneIn(100)) fault.isGone = !fault.isGone;
        }
        stack.sender.drain(10_000);
        for (const fault of stack.faults) fault.isGone = false;
        for (const [bio, fields] of sent) {
          if (bio.status === BioStatus.ok) {
            if (bio.op === BioOp.read)
              assert.ok(same(bio.data, model.bytes.subarray(bio.offset, bio.offset + bio.length)));
            else apply(model, fields);
          } else {
            assert.equal(bio.status, BioStatus.ioError);
            failures++;
            if (bio.op !== BioOp.read && bio.op !== BioOp.flush) adopt(model, below, fields);
          }
        }
        stack.check();
        const all = new Uint8Array(SIZE);
        below.run({ op: BioOp.read, offset: 0, data: all });
        assert.ok(same(all, model.bytes), `the content, through ${stack.names.join(' ')}`);
      }
    }
    assert.ok(failures > 0, 'some bios failed');
  },
);

/** After a failed change each sector has its old or its new bytes; the model adopts what it finds. */
function adopt(model: DiskModel, below: Sender, fields: BioFields): void {
  const { offset = 0 } = fields;
  const length = fields.data?.length ?? fields.length ?? 0;
  const after = new DiskModel(SIZE);
  after.bytes.set(model.bytes);
  apply(after, fields);
  const now = new Uint8Array(length);
  below.run({ op: BioOp.read, offset, data: now });
  for (let from = offset; from < offset + length; ) {
    const to = Math.min(offset + length, (Math.floor(from / 512) + 1) * 512);
    const part = now.subarray(from - offset, to - offset);
    assert.ok(
      same(part, model.bytes.subarray(from, to)) || same(part, after.bytes.subarray(from, to)),
      'a sector of a failed write is old or new',
    );
    from = to;
  }
  model.bytes.set(now, offset);
}
