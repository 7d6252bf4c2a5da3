/**
 * Records the most recently completed bios in a ring of fixed size, for debugging.
 *
 *   record, 7 numbers:  submitted ns | ended ns | op | flags | offset | length | status
 *
 * Cost: 56 bytes per record; seven array writes and two clock readings per bio; no allocation.
 */
import { assert } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import type { Bio, BioOp, BioStatus } from '../bio.ts';
import type { Disk } from '../ops.ts';
import { passThrough } from './pass-through.ts';

const FIELDS = 7;

/** A completed bio: submission and end by the clock in nanoseconds, its fields, and its status. */
export interface TraceRecord {
  readonly submittedNs: number;
  readonly endedNs: number;
  readonly op: BioOp;
  readonly flags: number;
  readonly offset: number;
  readonly length: number;
  readonly status: BioStatus;
}

/** A trace filter, with the records of the most recently completed bios. */
export interface TraceDisk extends Disk {
  /** Number of bios that ended since the start. */
  readonly ended: number;
  /** Number of records overwritten by newer ones. */
  readonly lost: number;
  /** Passes the records to `take`, oldest first. */
  replay(take: (record: TraceRecord) => void): void;
}

/**
 * Wraps `next` in a filter that records completed bios in a ring.
 * @param capacity number of records, at least 1
 */
export function traceDisk(next: Disk, clock: Clock, capacity: number): TraceDisk {
  assert(Number.isInteger(capacity) && capacity > 0, 'capacity is a whole number, above 0');
  const ring = new Float64Array(capacity * FIELDS);
  let ended = 0;
  const owner = {
    bioEnd(bio: Bio): void {
      const at = (ended % capacity) * FIELDS;
      ring[at] = bio.leave();
      ring[at + 1] = clock.nowNs();
      ring[at + 2] = bio.op;
      ring[at + 3] = bio.flags;
      ring[at + 4] = bio.offset;
      ring[at + 5] = bio.length;
      ring[at + 6] = bio.status;
      ended++;
      bio.owner.bioEnd(bio);
    },
  };
  return {
    ...passThrough(next),
    get ended() {
      return ended;
    },
    get lost() {
      return Math.max(0, ended - capacity);
    },
    submit(bio) {
      bio.enter(owner, clock.nowNs());
      next.submit(bio);
    },
    replay(take) {
      for (let i = Math.max(0, ended - capacity); i < ended; i++) {
        const at = (i % capacity) * FIELDS;
        take({
          submittedNs: ring[at]!,
          endedNs: ring[at + 1]!,
          op: ring[at + 2]! as BioOp,
          flags: ring[at + 3]!,
          offset: ring[at + 4]!,
          length: ring[at + 5]!,
          status: ring[at + 6]! as BioStatus,
        });
      }
    },
  };
}
