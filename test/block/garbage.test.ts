/**
 * Bios pass the queue and every filter without garbage, at offsets that V8 stores as small integers, and with half of
 * the offsets above 2^31, which V8 boxes when they are passed to a function.
 */
import { Prng } from '../../src/base/prng.ts';
import { type Bio, BioOp, BioPool } from '../../src/block/bio.ts';
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
import { FakeClock } from '../support/fakes/fake-clock.ts';
import { noGarbageTest } from '../support/fixtures/no-garbage.ts';

const IN_FLIGHT = 16;
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

/** Submits a bio; at the maximum number in flight, waits for all of them. */
function sender(disk: Disk, starts: Float64Array): (i: number) => void {
  const pool = new BioPool(IN_FLIGHT);
  const owner = { bioEnd: (bio: Bio): void => pool.free(bio) };
  const data = new Uint8Array(4 * 4096);
  return (i) => {
    const bio = pool.alloc()!;
    bio.op = i & 2 ? BioOp.write : BioOp.read;
    bio.offset = starts[i & 1]! + ((i * 37) & 0xffff) * 4096;
    bio.length = 4096;
    bio.data = data;
    bio.at = (i & 3) * 4096;
    bio.owner = owner;
    disk.submit(bio);
    if (pool.freeCount > 0) return;
    while (pool.freeCount < pool.capacity) {
      clock.ns += 100; // stays a small integer: the clock's own garbage is not meant
      disk.tick();
    }
  };
}

for (const [where, starts] of [
  ['low', [0, 0]],
  ['low and high', [0, HIGH]],
] as const)
  for (const [name, disk] of Object.entries(layers))
    noGarbageTest(`bios leave no garbage: ${name}, ${where} offsets`, () => ({
      run: sender(disk, Float64Array.from(starts)),
    }));
