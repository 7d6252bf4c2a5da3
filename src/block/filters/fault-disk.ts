/**
 * Makes a disk fail, on purpose and the same way each time: by chance from a seeded generator, in bad ranges,
 * in the middle of a write, or altogether. A bio ends with `ioError` only if this filter or the disk behind
 * failed it; a bio that ends `ok` was done. That is what recovery is tested against.
 *
 *   chance      one in n of an operation fails before anything is touched
 *   bad ranges  what touches one fails, always: a sector gone bad
 *   torn        one in n of the failing writes leaves its first whole sectors behind, as a power cut does
 *   isGone      everything fails, also what is under way: the cable
 */

import { type CounterSpec, Counters } from '../../base/counters.ts';
import type { Prng } from '../../base/prng.ts';
import { type Bio, BioOp, BioQueue, BioStatus } from '../bio.ts';
import type { Disk } from '../ops.ts';
import { passThrough } from './pass-through.ts';

/** What a device writes whole or not at all, bytes. */
const SECTOR_BYTES = 512;

export interface FaultOptions {
  /** By operation: one bio in this many fails, 0 = none does. */
  readonly failOneIn: Readonly<Record<keyof typeof BioOp, number>>;
  /** Of the writes that fail, one in this many is torn, 0 = none is. */
  readonly tearOneIn: number;
  readonly badRanges: readonly { readonly offset: number; readonly length: number }[];
}

const counted = (help: string): CounterSpec => ({ unit: 'bios', mustStayZero: false, help });
type FaultCounter = 'byChance' | 'torn' | 'bad' | 'gone' | 'slotFreeMisses';

const SPECS: Readonly<Record<FaultCounter, CounterSpec>> = {
  byChance: counted('bios failed by chance, torn writes among them'),
  torn: counted('writes of which a part was done'),
  bad: counted('bios failed for touching a bad range'),
  gone: counted('bios failed because the disk is gone'),
  slotFreeMisses: { unit: 'slots', mustStayZero: false, help: 'slots a gone disk could not free' },
};

export interface FaultDisk extends Disk {
  /** Set it to pull the cable; a disk that comes back has kept what it had. */
  isGone: boolean;
  readonly counters: Counters<FaultCounter>;
}

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
  const happens = (oneIn: number): boolean => oneIn > 0 && prng.oneIn(oneIn);
  const isBad = (bio: Bio): boolean => {
    const end = bio.offset + bio.length;
    for (let i = 0; i < badRanges.length; i++) {
      const bad = badRanges[i]!;
      if (bad.offset < end && bio.offset < bad.offset + bad.length) return true;
    }
    return false;
  };

  const whole = {
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
    if (bio.op !== BioOp.write || seams < 1 || !happens(tearOneIn)) return false;
    bio.enter(torn, bio.length);
    bio.length = first + prng.below(seams) * SECTOR_BYTES - bio.offset;
    counters.add('byChance', 1);
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
      else if (isBad(bio)) fail(bio, 'bad');
      else if (happens(chances[bio.op]!)) {
        if (!tear(bio)) fail(bio, 'byChance');
      } else {
        bio.enter(whole, 0);
        next.submit(bio);
      }
    },
    tick: () => failed.endAll() + next.tick(),
    ...(next.slotFree === undefined
      ? {}
      : {
          slotFree(slot) {
            if (disk.isGone) counters.add('slotFreeMisses', 1);
            else next.slotFree?.(slot);
          },
        }),
  };
  return disk;
}
