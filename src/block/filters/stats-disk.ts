/**
 * Counts what passes: bios and bytes by operation, how they ended, and how long they took (by the caller's
 * clock, submit to end). Order, data and status are the disk's behind.
 *
 * Cost: two clock readings and some additions a bio; nothing is allocated.
 */

import type { Clock } from '../../base/clock.ts';
import { type CounterSpec, Counters } from '../../base/counters.ts';
import { type Bio, BioOp, BioStatus } from '../bio.ts';
import type { Disk } from '../ops.ts';
import { Histogram } from './histogram.ts';
import { passThrough } from './pass-through.ts';

const counted = (unit: string, help: string): CounterSpec => ({ unit, mustStayZero: false, help });
const fault = (help: string): CounterSpec => ({ unit: 'bios', mustStayZero: true, help });

type StatsCounter =
  | 'reads'
  | 'writes'
  | 'discards'
  | 'writeZeroes'
  | 'flushes'
  | 'readBytes'
  | 'writtenBytes'
  | 'discardedBytes'
  | 'zeroedBytes'
  | 'slotFrees'
  | 'noSpace'
  | 'refused'
  | 'ioErrors'
  | 'invalid';

const SPECS: Readonly<Record<StatsCounter, CounterSpec>> = {
  reads: counted('bios', 'reads that ended'),
  writes: counted('bios', 'writes that ended'),
  discards: counted('bios', 'discards that ended'),
  writeZeroes: counted('bios', 'write-zeroes that ended'),
  flushes: counted('bios', 'flushes that ended'),
  readBytes: counted('bytes', 'read with success'),
  writtenBytes: counted('bytes', 'written with success'),
  discardedBytes: counted('bytes', 'asked to be discarded, with success'),
  zeroedBytes: counted('bytes', 'zeroed with success'),
  slotFrees: counted('slots', 'slots that were said to be free'),
  noSpace: counted('bios', 'writes that a full disk refused'),
  refused: counted('bios', 'bios that the disk does not do: read-only, not supported'),
  ioErrors: fault('bios that a device failed'),
  invalid: fault('bios outside the disk'),
};

export interface StatsDisk extends Disk {
  readonly counters: Counters<StatsCounter>;
  /** Bios submitted and not yet ended. */
  readonly inFlight: number;
  /** Nanoseconds from submit to end, by operation. */
  latency(op: BioOp): Histogram;
}

const countOf: Readonly<Record<BioOp, StatsCounter>> = {
  [BioOp.read]: 'reads',
  [BioOp.write]: 'writes',
  [BioOp.discard]: 'discards',
  [BioOp.writeZeroes]: 'writeZeroes',
  [BioOp.flush]: 'flushes',
};
const bytesOf: Readonly<Record<BioOp, StatsCounter | null>> = {
  [BioOp.read]: 'readBytes',
  [BioOp.write]: 'writtenBytes',
  [BioOp.discard]: 'discardedBytes',
  [BioOp.writeZeroes]: 'zeroedBytes',
  [BioOp.flush]: null,
};
const failureOf: Readonly<Record<BioStatus, StatsCounter | null>> = {
  [BioStatus.ok]: null,
  [BioStatus.ioError]: 'ioErrors',
  [BioStatus.noSpace]: 'noSpace',
  [BioStatus.invalid]: 'invalid',
  [BioStatus.notSupported]: 'refused',
  [BioStatus.readOnly]: 'refused',
};

export function statsDisk(next: Disk, clock: Clock): StatsDisk {
  const counters = new Counters<StatsCounter>(SPECS);
  const histograms = Object.values(BioOp).map(() => new Histogram());
  let inFlight = 0;
  const owner = {
    bioEnd(bio: Bio): void {
      histograms[bio.op]!.add(clock.nowNs() - bio.leave());
      counters.add(countOf[bio.op], 1);
      const failure = failureOf[bio.status];
      const moved = bytesOf[bio.op];
      if (failure !== null) counters.add(failure, 1);
      else if (moved !== null) counters.add(moved, bio.length);
      inFlight--;
      bio.owner.bioEnd(bio);
    },
  };
  return {
    ...passThrough(next),
    counters,
    get inFlight() {
      return inFlight;
    },
    latency: (op) => histograms[op]!,
    submit(bio) {
      inFlight++;
      bio.enter(owner, clock.nowNs());
      next.submit(bio);
    },
    ...(next.slotFree === undefined
      ? {}
      : {
          slotFree(slot) {
            counters.add('slotFrees', 1);
            next.slotFree?.(slot);
          },
        }),
  };
}
