/**
 * Makes a disk slow, in the caller's time: a model of a device that does one thing after the other. A bio reaches
 * the disk behind when the device would have done it, in the order of submission.
 *
 *   submit ─▶ held until max(now, device free) + cost(bio) ─▶ disk behind
 *
 * Nothing sleeps: tick() passes on what is due by the clock, dueNs says when the next one is. So a test or a
 * simulator runs an hour of a slow disk in no time, and every run is the same.
 */

import type { Clock } from '../../base/clock.ts';
import { type Bio, BioOp, BioQueue } from '../bio.ts';
import type { Disk } from '../ops.ts';
import { passThrough, slotFreeUnlessHeld } from './pass-through.ts';

export interface DelayOptions {
  /** Nanoseconds a bio of each kind takes, before its bytes. */
  readonly readNs: number;
  /** Also for discard and write-zeroes. */
  readonly writeNs: number;
  readonly flushNs: number;
  /** Nanoseconds a byte of reads and writes. */
  readonly byteNs: number;
}

export interface DelayDisk extends Disk {
  /** Bios held back now. */
  readonly heldCount: number;
  /** When the next one is due by the clock, or null when none is held. */
  readonly dueNs: number | null;
  /** Slots not freed because a bio for them was held. */
  readonly slotFreeMisses: number;
}

export function delayDisk(next: Disk, clock: Clock, options: DelayOptions): DelayDisk {
  const held = new BioQueue();
  let freeNs = 0;
  let misses = 0;
  const costNs = (bio: Bio): number => {
    if (bio.op === BioOp.flush) return options.flushNs;
    if (bio.op === BioOp.read) return options.readNs + bio.length * options.byteNs;
    if (bio.op === BioOp.write) return options.writeNs + bio.length * options.byteNs;
    return options.writeNs;
  };
  return {
    ...passThrough(next),
    ...slotFreeUnlessHeld(next, held, () => {
      misses++;
    }),
    synchronous: false,
    get heldCount() {
      return held.length;
    },
    get dueNs() {
      return held.first?.mark ?? null;
    },
    get slotFreeMisses() {
      return misses;
    },
    submit(bio) {
      freeNs = Math.max(clock.nowNs(), freeNs) + costNs(bio);
      bio.enter(bio.owner, freeNs);
      held.push(bio);
    },
    tick() {
      const nowNs = clock.nowNs();
      for (let bio = held.first; bio !== null && bio.mark <= nowNs; bio = held.first) {
        held.shift();
        bio.leave();
        next.submit(bio);
      }
      return next.tick();
    },
  };
}
