/**
 * Holds a disk to a rate: so many bios and so many bytes a second, by two token buckets and the caller's clock.
 * What exceeds the rate waits, in order; nothing is refused.
 *
 *   bucket: level grows by `rate` a second up to `burst`; a bio passes when both buckets have what it takes.
 *   A bio larger than a bucket passes when the bucket is full and leaves a debt, so none waits for ever.
 *
 * Reads and writes take their bytes; discards, write-zeroes and flushes take a bio only.
 */
import { assert } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import { type Bio, BioOp, BioQueue } from '../bio.ts';
import type { Disk } from '../ops.ts';
import { passThrough, slotFreeUnlessHeld } from './pass-through.ts';

const SECOND_NS = 1e9;

interface Rate {
  /** A second, above 0. */
  readonly rate: number;
  /** At once after a rest, above 0. */
  readonly burst: number;
}

export interface LimitOptions {
  readonly bios: Rate;
  readonly bytes: Rate;
}

export interface LimitDisk extends Disk {
  /** Bios that wait now. */
  readonly heldCount: number;
  /** Bios that had to wait, since the start. */
  readonly delayedCount: number;
  /** Slots not freed because a bio for them was held. */
  readonly slotFreeMisses: number;
}

class TokenBucket {
  readonly #rate: Rate;
  #level: number;

  constructor(rate: Rate) {
    assert(rate.rate > 0 && rate.burst > 0, 'a bucket fills, and holds something');
    this.#rate = rate;
    this.#level = rate.burst;
  }

  fill(elapsedNs: number): void {
    const { rate, burst } = this.#rate;
    this.#level = Math.min(burst, this.#level + (rate * elapsedNs) / SECOND_NS);
  }

  has(tokens: number): boolean {
    return this.#level >= Math.min(tokens, this.#rate.burst);
  }

  take(tokens: number): void {
    this.#level -= tokens;
  }
}

export function limitDisk(next: Disk, clock: Clock, options: LimitOptions): LimitDisk {
  const bios = new TokenBucket(options.bios);
  const bytes = new TokenBucket(options.bytes);
  const held = new BioQueue();
  let filledNs = clock.nowNs();
  let delayedCount = 0;
  let misses = 0;
  const fill = (): void => {
    const nowNs = clock.nowNs();
    bios.fill(nowNs - filledNs);
    bytes.fill(nowNs - filledNs);
    filledNs = nowNs;
  };
  const mayPass = (bio: Bio): boolean => {
    const length = bio.op === BioOp.read || bio.op === BioOp.write ? bio.length : 0;
    if (!bios.has(1) || !bytes.has(length)) return false;
    bios.take(1);
    bytes.take(length);
    return true;
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
    get delayedCount() {
      return delayedCount;
    },
    get slotFreeMisses() {
      return misses;
    },
    submit(bio) {
      fill();
      if (held.length === 0 && mayPass(bio)) next.submit(bio);
      else {
        delayedCount++;
        held.push(bio);
      }
    },
    tick() {
      fill();
      for (let bio = held.first; bio !== null && mayPass(bio); bio = held.first) {
        held.shift();
        next.submit(bio);
      }
      return next.tick();
    },
  };
}
