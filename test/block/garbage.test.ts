/**
 * Bios pass the queue and every filter without garbage: the heap grows by less than a byte per bio, at offsets that V8
 * keeps as small integers and at offsets above 2^31, which it boxes when they cross a call.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Prng } from '../../src/base/prng.ts';
import { type Bio, BioOp, type BioOwner, BioPool } from '../../src/block/bio.ts';
import { nullDisk } from '../../src/block/disks/null-disk.ts';
import { checksumDisk } from '../../src/block/filters/checksum-disk.ts';
import { delayDisk } from '../../src/block/filters/delay-disk.ts';
import { faultDisk } from '../../src/block/filters/fault-disk.ts';
import { limitDisk } from '../../src/block/filters/limit-disk.ts';
import { readOnlyDisk } from '../../src/block/filters/read-only-disk.ts';
import { statsDisk } from '../../src/block/filters/stats-disk.ts';
import { traceDisk } from '../../src/block/filters/trace-disk.ts';
import type { Disk } from '../../src/block/ops.ts';
import { queuedDisk } from '../../src/block/queued-disk.ts';
import { FakeClock } from './harness.ts';

const collect = (globalThis as { gc?: () => void }).gc;
const skip = collect === undefined ? 'needs --expose-gc' : false;

const BATCH = 2000;
const IN_FLIGHT = 16;
const MOST_BYTES = 1;
const clock = new FakeClock();
const HIGH = 2 ** 34;
const next = nullDisk(2 * HIGH);
const rate = { rate: 1e9, burst: 1e9 };
const failOneIn = { read: 9, write: 9, discard: 0, writeZeroes: 0, flush: 0 };
const layers: Readonly<Record<string, Disk>> = {
  none: next,
  stats: statsDisk(next, clock),
  trace: traceDisk(next, clock, 100),
  delay: delayDisk(next, clock, { readNs: 3, writeNs: 5, flushNs: 7, byteNs: 0 }),
  limit: limitDisk(next, clock, { bios: rate, bytes: rate }),
  fault: faultDisk(next, new Prng(1), { failOneIn, tearOneIn: 2, badRanges: [] }),
  readonly: readOnlyDisk(next),
  checksum: checksumDisk(next, { unknown: 'fail' }),
  queue: queuedDisk(next, { requests: 16, depth: 4, mergeBytes: 16384 }),
};

/** Submits a batch of bios, some at a time, and waits for all of them. */
function sendAll(
  disk: Disk,
  pool: BioPool,
  owner: BioOwner,
  data: Uint8Array,
  first: number,
): void {
  for (let i = 0; i < BATCH; i++) {
    const bio = pool.alloc()!;
    bio.op = i & 1 ? BioOp.write : BioOp.read;
    bio.offset = first + ((i * 37) & 0xffff) * 4096;
    bio.length = 4096;
    bio.data = data;
    bio.at = (i & 3) * 4096;
    bio.owner = owner;
    disk.submit(bio);
    if (i % IN_FLIGHT !== IN_FLIGHT - 1) continue;
    while (pool.freeCount < pool.capacity) {
      clock.ns += 100; // a small integer, so that the clock makes no garbage
      disk.tick();
    }
  }
}

function leavesNoGarbage(t: TestContext, disk: Disk, first: number): void {
  const pool = new BioPool(IN_FLIGHT);
  const owner = { bioEnd: (bio: Bio): void => pool.free(bio) };
  const data = new Uint8Array(4 * 4096);
  let least = Number.POSITIVE_INFINITY;
  // Code that is not optimised yet boxes numbers read from a Float64Array, such as the counters. On a busy machine
  // optimisation takes some rounds, so the lowest figure counts.
  for (let round = 0; round < 60 && least >= MOST_BYTES; round++) {
    collect?.();
    // The first allocation after a collection opens a heap page, of which up to 256 KiB count as used at once.
    sendAll(disk, pool, owner, data, first);
    let grown = 0;
    let before = process.memoryUsage().heapUsed;
    for (let batch = 0; batch < 10; batch++) {
      sendAll(disk, pool, owner, data, first);
      const now = process.memoryUsage().heapUsed;
      grown += Math.max(0, now - before);
      before = now;
    }
    least = Math.min(least, grown / (10 * BATCH));
  }
  t.diagnostic(`${least.toFixed(2)} bytes per bio`);
  assert.ok(least < MOST_BYTES, `${least} bytes per bio`);
}

// Low offsets first: after a large offset, V8 represents the field as a double.
for (const [where, first] of [
  ['low', 0],
  ['high', HIGH],
] as const)
  for (const [name, disk] of Object.entries(layers))
    test(`bios create no garbage: ${name}, ${where} offsets`, { skip }, (t) =>
      leavesNoGarbage(t, disk, first),
    );
