/**
 * Delays bios as a device that serves one at a time would. Each bio is passed on when that device would have completed
 * it, in the order of submission.
 *
 *   submit ─▶ delayed until max(now, device idle) + cost(bio) ─▶ next disk
 *
 * Nothing sleeps: tick() passes on the bios that are due by the clock, and dueNs is the time of the next one. So a
 * simulation of a slow disk runs fast, and every run is the same.
 */
import type { Clock } from '../../base/clock.ts';
import { type Bio, BioOp, BioQueue } from '../bio.ts';
import type { Disk } from '../ops.ts';
import { passThrough, slotFreeUnlessQueued } from './pass-through.ts';

/** Time that the simulated device takes per bio and per byte, nanoseconds. */
export interface DelayOptions {
  /** Nanoseconds per bio, without its bytes. */
  readonly readNs: number;
  /** The same for writes, discards and write-zeroes. */
  readonly writeNs: number;
  readonly flushNs: number;
  /** Nanoseconds per byte of reads and writes. */
  readonly byteNs: number;
}

/** A delay filter, with the state of its queue. */
export interface DelayDisk extends Disk {
  /** Number of delayed bios. */
  readonly heldCount: number;
  /** Time at which the next delayed bio is due, or null when none is delayed. */
  readonly dueNs: number | null;
  /** Slots not freed because a bio for them was delayed. */
  readonly slotFreeMisses: number;
}

/** Wraps `next` in a filter that delays bios as a device that serves one at a time would. */
export function delayDisk(next: Disk, clock: Clock, options: DelayOptions): DelayDisk {
  const delayed = new BioQueue();
  let idleNs = 0;
  let misses = 0;
  const costNs = (bio: Bio): number => {
    if (bio.op === BioOp.flush) return options.flushNs;
    if (bio.op === BioOp.read) return options.readNs + bio.length * options.byteNs;
    if (bio.op === BioOp.write) return options.writeNs + bio.length * options.byteNs;
    return options.writeNs;
  };
  return {
    ...passThrough(next),
    ...slotFreeUnlessQueued(next, delayed, () => {
      misses++;
    }),
    synchronous: false,
    get heldCount() {
      return delayed.length;
    },
    get dueNs() {
      return delayed.first?.mark ?? null;
    },
    get slotFreeMisses() {
      return misses;
    },
    submit(bio) {
      idleNs = Math.max(clock.nowNs(), idleNs) + costNs(bio);
      bio.enter(bio.owner, idleNs);
      delayed.push(bio);
    },
    tick() {
      const nowNs = clock.nowNs();
      for (let bio = delayed.first; bio !== null && bio.mark <= nowNs; bio = delayed.first) {
        delayed.shift();
        bio.leave();
        next.submit(bio);
      }
      return next.tick();
    },
  };
}
