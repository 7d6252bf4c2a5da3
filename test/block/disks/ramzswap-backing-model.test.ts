/**
 * Checks ramzswap with a backing disk against a byte array: operations of any alignment, overlapping and in flight,
 * over fast and slow backings that end bios in any order and fail some of them.
 */
import assert from 'node:assert/strict';
import type { Prng } from '../../../src/base/prng.ts';
import { type Bio, BioFlag, BioOp, BioStatus } from '../../../src/block/bio.ts';
import { FileDisk } from '../../../src/block/disks/file-disk.ts';
import { MemoryDisk } from '../../../src/block/disks/memory-disk.ts';
import { backingTableBytes } from '../../../src/block/disks/ramzswap/backing.ts';
import { Ramzswap } from '../../../src/block/disks/ramzswap/ramzswap.ts';
import { delayDisk } from '../../../src/block/filters/delay-disk.ts';
import { faultDisk } from '../../../src/block/filters/fault-disk.ts';
import { type Disk, Extent } from '../../../src/block/ops.ts';
import { queuedDisk } from '../../../src/block/queued-disk.ts';
import { lz4 } from '../../../src/codec/lz4.ts';
import { FakeClock } from '../../support/fakes/fake-clock.ts';
import { FakeReturns } from '../../support/fakes/fake-returns.ts';
import { ShuffledDisk } from '../../support/fakes/shuffled-disk.ts';
import { type BioFields, Sender } from '../../support/fixtures/bio-sender.ts';
import { makePage } from '../../support/fixtures/pages.ts';
import { randomTest } from '../../support/fixtures/replay.ts';
import { randomData, randomRange } from '../../support/models/disk-model.ts';
import { DoubtfulBytes } from './doubtful-bytes.ts';
import { FakeFile } from './fake-file.ts';

const PAGES = 48;
const SIZE = PAGES * 4096;
/** The tables of a backing with few bios, the empty shard, and a group of rows. */
const LEAST_LIMIT = backingTableBytes(SIZE, 9) + 65536 + 12288;

interface Twin {
  readonly disk: Ramzswap;
  readonly sender: Sender;
  readonly model: DoubtfulBytes;
  readonly pull: (isGone: boolean) => void;
  readonly damage: () => void;
}

interface Made {
  readonly disk: Disk;
  readonly pull: (isGone: boolean) => void;
  /** The content of the backing, if the test can change it directly. */
  readonly bytes?: Uint8Array;
}

/** A random kind of backing with the content `initial`. */
function makeBacking(prng: Prng, clock: FakeClock, initial: Uint8Array, faults: boolean): Made {
  const failOneIn = faults ? 3 + prng.below(20) : 0;
  const kind = prng.below(5);
  if (kind < 2) {
    const disk = new ShuffledDisk(SIZE, prng);
    disk.failOneIn = failOneIn;
    disk.bytes.set(initial);
    const pull = (isGone: boolean): void => {
      disk.isGone = isGone;
    };
    return { disk, pull, bytes: disk.bytes };
  }
  let below: Disk;
  let bytes = new Uint8Array(0);
  if (kind === 2) {
    const isDirect = prng.oneIn(2);
    const file = new FakeFile(SIZE, prng, isDirect);
    bytes = file.bytes as Uint8Array<ArrayBuffer>;
    below = new FileDisk(file, {
      sizeBytes: SIZE,
      readOnly: false,
      isDirect,
      biosPerTick: 1 + prng.below(4),
    });
  } else below = new MemoryDisk(SIZE);
  new Sender(below).run({ op: BioOp.write, offset: 0, data: initial });
  const one = (): number => (failOneIn === 0 ? 0 : failOneIn + prng.below(10));
  const failing = faultDisk(below, prng, {
    failOneIn: { read: one(), write: one(), discard: one(), writeZeroes: one(), flush: 0 },
    tearOneIn: 2,
    badRanges: faults && prng.oneIn(3) ? [randomRange(prng, SIZE)] : [],
  });
  const pull = (isGone: boolean): void => {
    failing.isGone = isGone;
  };
  if (kind === 3) return { disk: failing, pull, bytes };
  const slow = delayDisk(failing, clock, {
    readNs: prng.below(3000),
    writeNs: prng.below(9000),
    flushNs: 0,
    byteNs: prng.below(2),
  });
  const depth = 1 + prng.below(8);
  const disk = prng.oneIn(2)
    ? queuedDisk(slow, { requests: 8, depth, mergeBytes: (1 + prng.below(16)) * 4096 })
    : slow;
  return { disk, pull, bytes };
}

/** Flips a bit, or overwrites a page with another one. */
function damagePage(prng: Prng, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  if (prng.oneIn(2)) bytes[prng.below(SIZE)]! ^= 1 << prng.below(8);
  else bytes.copyWithin(prng.below(PAGES) * 4096, prng.below(PAGES) * 4096, 4096);
}

function makeTwin(prng: Prng, faults: boolean): Twin {
  const initial = new Uint8Array(SIZE);
  for (let at = 0; at < SIZE; at += 4096)
    makePage(prng.oneIn(2) ? 'random' : 'text', prng, initial.subarray(at, at + 4096));
  const clock = new FakeClock();
  const { disk: backing, pull, bytes } = makeBacking(prng, clock, initial, faults);
  const isDamaged = faults && prng.oneIn(2);
  const isShown = !isDamaged && prng.oneIn(2); // old data that was never written has no checksum
  const disk = new Ramzswap({
    sizeBytes: SIZE,
    limitBytes: prng.oneIn(2) ? 0 : LEAST_LIMIT + prng.below(60_000),
    codec: { name: 'lz4', factory: lz4 },
    release: new FakeReturns().factory,
    backing: { disk: backing, showsOldData: isShown, bioCount: 2 + prng.below(7) },
  });
  const model = new DoubtfulBytes(isShown ? initial : new Uint8Array(SIZE));
  const damage = (): void => {
    if (isDamaged && bytes !== undefined) damagePage(prng, bytes);
  };
  return { disk, sender: new Sender(disk, clock), model, pull, damage };
}

function randomBio(prng: Prng): BioFields {
  const { offset, length } = randomRange(prng, SIZE);
  const what = prng.below(10);
  if (what < 5) return { op: BioOp.write, offset, data: randomData(prng, length) };
  if (what < 7) return { op: BioOp.read, offset, data: new Uint8Array(length) };
  if (what === 7) return { op: BioOp.discard, offset, length };
  if (what === 8)
    return { op: BioOp.writeZeroes, offset, length, flags: prng.oneIn(2) ? BioFlag.noUnmap : 0 };
  return { op: BioOp.flush };
}

/** Submits a burst of bios, which end in any order, and compares results in the order of submission. */
function burst(prng: Prng, { disk, sender, model, pull, damage }: Twin, faults: boolean): void {
  const steps: (() => void)[] = [];
  for (let left = 1 + prng.below(14); left > 0; left--) {
    if (prng.oneIn(6)) {
      const slot = prng.below(PAGES);
      const misses = disk.stats().missFree;
      disk.slotFree(slot);
      if (disk.stats().missFree === misses) steps.push(() => model.free(slot));
    }
    const fields = randomBio(prng);
    const bio = sender.submit(fields);
    const asked = fields.data?.slice() ?? new Uint8Array(0);
    // A synchronous disk has read the data.
    if (disk.synchronous && fields.op === BioOp.write) fields.data?.fill(0xee);
    steps.push(() => take(model, bio, fields.op === BioOp.write ? asked : bio.data, faults));
    if (prng.oneIn(4)) disk.tick();
    if (faults && prng.oneIn(30)) pull(prng.oneIn(2));
    if (prng.oneIn(10)) damage();
  }
  if (sender.inFlight > 0)
    assert.equal(disk.reset(), false, 'reset is refused while bios are in flight');
  disk.verify();
  sender.drain(2000);
  pull(false);
  for (const step of steps) step();
  disk.verify();
}

function take(model: DoubtfulBytes, bio: Bio, data: Uint8Array, faults: boolean): void {
  assert.ok(bio.status === BioStatus.ok || (faults && bio.status === BioStatus.ioError));
  model.apply(bio, data);
}

/** Compares every page, with retries in bad ranges, and checks that holes read as zeros. */
function readAll({ disk, sender, model }: Twin): void {
  const holes = new Uint8Array(SIZE).fill(1);
  let at = 0;
  disk.extents(0, SIZE, (kind, length) => {
    if (kind !== Extent.data) holes.fill(0, at, at + length);
    at += length;
    return true;
  });
  assert.equal(at, SIZE);
  for (let page = 0; page < PAGES; page++) {
    const bio = sender.run({ op: BioOp.read, offset: page * 4096, data: new Uint8Array(4096) });
    if (bio.status !== BioStatus.ok) continue;
    model.apply(bio, bio.data);
    if (holes[page * 4096] === 0)
      assert.ok(
        bio.data.every((b) => b === 0),
        'a hole is zeros',
      );
  }
}

function drive(prng: Prng, rounds: number, faults: boolean): void {
  let forwarded = 0;
  let failures = 0;
  let missed = 0;
  let damaged = 0;
  for (let round = 0; round < rounds; round++) {
    const twin = makeTwin(prng, faults);
    for (let bursts = 1 + prng.below(16); bursts > 0; bursts--) {
      burst(prng, twin, faults);
      if (prng.oneIn(4)) readAll(twin);
      if (!prng.oneIn(20)) continue;
      assert.equal(twin.disk.reset(), true);
      for (let slot = 0; slot < PAGES; slot++) twin.model.free(slot);
    }
    readAll(twin);
    const stats = twin.disk.stats();
    forwarded += stats.backingWrites;
    failures += stats.backingFailures;
    missed += stats.missFree;
    damaged += stats.backingMismatches;
    if (!faults) assert.equal(stats.failedReads + stats.failedWrites, 0);
    if (stats.limitBytes !== 0) assert.ok(stats.peakUsedBytes <= stats.limitBytes, 'the limit');
  }
  assert.ok(forwarded > 100, `${forwarded} pages went to a backing`);
  assert.equal(failures > 0, faults, `${failures} failures`);
  assert.equal(damaged > 0, faults, `${damaged} pages were damaged`);
  assert.ok(missed > 0, 'a slot was freed while it was busy');
}

randomTest(
  'C1 C18 a disk with a backing equals an array of bytes, in whatever order the backing ends its bios',
  25,
  (prng, rounds) => drive(prng, rounds, false),
);

randomTest(
  'C18 faults and damage of the backing are never returned as data and affect no other page',
  25,
  (prng, rounds) => drive(prng, rounds, true),
);
