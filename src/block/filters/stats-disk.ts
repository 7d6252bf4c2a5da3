/**
 * Counts bios and bytes by operation, results, and latency from submit to end by the caller's clock. It changes nothing
 * else.
 *
 * A synchronous disk has done the work of its bios before a tick ends them, so they all end at the time of the first one.
 *
 * Cost: a clock reading and some additions per bio, and a clock reading per tick (on an asynchronous disk, per bio); no
 * allocation.
 */
import type { Clock } from '../../base/clock.ts';
import { type CounterSpec, Counters, counted, mustStayZero } from '../../base/counters.ts';
import { type Bio, BioOp, BioStatus } from '../bio.ts';
import type { Disk } from '../ops.ts';
import { Histogram } from './histogram.ts';
import { passThrough, slotFreeWith } from './pass-through.ts';

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
  readBytes: counted('bytes', 'bytes of successful reads'),
  writtenBytes: counted('bytes', 'bytes of successful writes'),
  discardedBytes: counted('bytes', 'bytes of successful discards'),
  zeroedBytes: counted('bytes', 'bytes of successful write-zeroes'),
  slotFrees: counted('slots', 'slots freed by slotFree'),
  noSpace: counted('bios', 'bios that ended with noSpace'),
  refused: counted('bios', 'bios that ended with readOnly or notSupported'),
  ioErrors: mustStayZero('bios', 'bios that ended with ioError'),
  invalid: mustStayZero('bios', 'bios outside the disk'),
};

/** A statistics filter, with its counters and latencies. */
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

/** The position of the counter of each operation, by its number: looked up once, not for every bio. */
const positions = (
  counterOf: Readonly<Record<BioOp, StatsCounter | null>>,
  index: Readonly<Record<StatsCounter, number>>,
): Int32Array =>
  Int32Array.from(Object.values(BioOp), (op) => {
    const counter = counterOf[op];
    return counter === null ? -1 : index[counter];
  });

/** Wraps `next` in a filter that counts bios, bytes, results and latency. */
export function statsDisk(next: Disk, clock: Clock): StatsDisk {
  const counters = new Counters<StatsCounter>(SPECS);
  const { index, values } = counters;
  const ended = positions(countOf, index);
  const moved = positions(bytesOf, index);
  const histograms = Object.values(BioOp).map(() => new Histogram());
  const { synchronous } = next;
  let inFlight = 0;
  /** When the bios of this tick ended; NaN: none has ended. */
  let endNs = Number.NaN;
  const owner = {
    bioEnd(bio: Bio): void {
      if (!synchronous || Number.isNaN(endNs)) endNs = clock.nowNs();
      histograms[bio.op]!.add(endNs - bio.leave());
      values[ended[bio.op]!]! += 1;
      if (bio.status !== BioStatus.ok) countFailure(bio.status);
      else if (bio.op !== BioOp.flush) values[moved[bio.op]!]! += bio.length;
      inFlight--;
      bio.owner.bioEnd(bio);
    },
  };
  function countFailure(status: BioStatus): void {
    const failure = failureOf[status];
    if (failure !== null) counters.add(failure, 1);
  }
  return {
    ...passThrough(next),
    counters,
    get inFlight() {
      return inFlight;
    },
    latency: (op) => histograms[op]!,
    tick() {
      endNs = Number.NaN;
      return next.tick();
    },
    submit(bio) {
      inFlight++;
      bio.enter(owner, clock.nowNs());
      next.submit(bio);
    },
    ...slotFreeWith(next, (slot) => {
      counters.add('slotFrees', 1);
      next.slotFree?.(slot);
    }),
  };
}
