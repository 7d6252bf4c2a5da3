/**
 * Injects faults to test recovery: at random by a seeded generator, in bad ranges, in the middle of a write, or on
 * every bio. Runs are reproducible. A bio ends with `ioError` only if this filter or the next disk failed it; a bio
 * that ends with `ok` has taken effect.
 *
 *   failOneIn   one bio in n fails without any effect
 *   badRanges   every bio that overlaps a bad range fails, as with bad sectors
 *   tearOneIn   one in n of the failed writes writes its first sectors, as a power failure does
 *   isGone      every bio fails, also those in flight, as with an unplugged cable
 */
import { type CounterSpec, Counters, counted } from '../../base/counters.ts';
import type { Prng } from '../../base/prng.ts';
import { type Bio, BioOp, BioQueue, BioStatus, overlaps, type Range } from '../bio.ts';
import type { Disk } from '../ops.ts';
import { passThrough, slotFreeWith } from './pass-through.ts';

/** Unit that a device writes atomically, bytes. */
const SECTOR_BYTES = 512;

/** Which faults are injected, and how often. */
export interface FaultOptions {
  /** By operation: one bio in this many fails, 0 = none. */
  readonly failOneIn: Readonly<Record<keyof typeof BioOp, number>>;
  /** One in this many of the failed writes is torn, 0 = none. */
  readonly tearOneIn: number;
  readonly badRanges: readonly Range[];
}

type FaultCounter = 'random' | 'torn' | 'badRange' | 'gone' | 'slotFreeMisses';

const SPECS: Readonly<Record<FaultCounter, CounterSpec>> = {
  random: counted('bios', 'bios failed at random, torn writes included'),
  torn: counted('bios', 'writes of which only the first sectors were written'),
  badRange: counted('bios', 'bios failed because they overlap a bad range'),
  gone: counted('bios', 'bios failed because isGone was set'),
  slotFreeMisses: counted('slots', 'slots not freed because isGone was set'),
};

/** A fault filter, with its switch and counters. */
export interface FaultDisk extends Disk {
  /** Set to make every bio fail; the disk keeps its data. */
  isGone: boolean;
  readonly counters: Counters<FaultCounter>;
}

/** Wraps `next` in a filter that fails bios according to `options`; `prng` makes runs reproducible. */
export function faultDisk(next: Disk, prng: Prng, options: FaultOptions): FaultDisk {
  const { failOneIn, tearOneIn, badRanges } = options;
  const chances = Object.entries(BioOp).reduce<number[]>((byOp, [name, op]) => {
    byOp[op] = failOneIn[name as keyof typeof BioOp];
    return byOp;
  }, []);
  const failed = new BioQueue();
  const counters = new Counters<FaultCounter>(SPECS);

  const fail = (bio: Bio, why: FaultCounter): void => {
    counters.add(why, 1);
    bio.status = BioStatus.ioError;
    failed.push(bio);
  };
  const draws = (oneIn: number): boolean => oneIn > 0 && prng.oneIn(oneIn);
  const isBad = (bio: Bio): boolean => {
    for (let i = 0; i < badRanges.length; i++) {
      if (overlaps(badRanges[i]!, bio)) return true;
    }
    return false;
  };

  const passed = {
    bioEnd(bio: Bio): void {
      bio.leave();
      if (disk.isGone) {
        counters.add('gone', 1);
        bio.status = BioStatus.ioError;
      }
      bio.owner.bioEnd(bio);
    },
  };
  const torn = {
    bioEnd(bio: Bio): void {
      bio.length = bio.leave();
      bio.status = BioStatus.ioError;
      bio.owner.bioEnd(bio);
    },
  };
  const tear = (bio: Bio): boolean => {
    const first = (Math.floor(bio.offset / SECTOR_BYTES) + 1) * SECTOR_BYTES;
    const seams = Math.ceil((bio.offset + bio.length - first) / SECTOR_BYTES);
    if (bio.op !== BioOp.write || seams < 1 || !draws(tearOneIn)) return false;
    bio.enter(torn, bio.length);
    bio.length = first + prng.below(seams) * SECTOR_BYTES - bio.offset;
    counters.add('random', 1);
    counters.add('torn', 1);
    next.submit(bio);
    return true;
  };

  const disk: FaultDisk = {
    ...passThrough(next),
    isGone: false,
    counters,
    submit(bio) {
      if (disk.isGone) fail(bio, 'gone');
      else if (isBad(bio)) fail(bio, 'badRange');
      else if (draws(chances[bio.op]!)) {
        if (!tear(bio)) fail(bio, 'random');
      } else {
        bio.enter(passed, 0);
        next.submit(bio);
      }
    },
    tick: () => failed.endAll() + next.tick(),
    ...slotFreeWith(next, (slot) => {
      if (disk.isGone) counters.add('slotFreeMisses', 1);
      else next.slotFree?.(slot);
    }),
  };
  return disk;
}
