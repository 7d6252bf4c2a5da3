/**
 * Limits a disk to a rate of bios and bytes per second, by two token buckets and the caller's clock. Bios above the
 * rate wait in order; none is refused.
 *
 *   bucket: the level grows by `rate` per second up to `burst`; a bio passes when both buckets have enough tokens.
 *   A bio larger than the burst passes when the bucket is full and makes the level negative, so it cannot starve.
 *
 * Reads and writes cost one bio and their bytes; discards, write-zeroes and flushes cost one bio.
 */
import { assert } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import { type Bio, BioOp, BioQueue } from '../bio.ts';
import type { Disk } from '../ops.ts';
import { passThrough, slotFreeUnlessQueued } from './pass-through.ts';

const SECOND_NS = 1e9;

interface Rate {
  /** Per second, above 0. */
  readonly rate: number;
  /** Maximum level, above 0. */
  readonly burst: number;
}

/** The rates of a limited disk: bios per second and bytes per second. */
export interface LimitOptions {
  readonly bios: Rate;
  readonly bytes: Rate;
}

/** A rate limit filter, with the state of its queue. */
export interface LimitDisk extends Disk {
  /** Number of bios that wait for tokens. */
  readonly heldCount: number;
  /** Number of bios that had to wait since the start. */
  readonly delayedCount: number;
  /** Slots not freed because a bio for them was waiting. */
  readonly slotFreeMisses: number;
}

class TokenBucket {
  readonly #rate: Rate;
  #level: number;

  constructor(rate: Rate) {
    assert(rate.rate > 0 && rate.burst > 0, 'rate > 0 and burst > 0');
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

/** Wraps `next` in a filter that delays bios above the given rates. */
export function limitDisk(next: Disk, clock: Clock, options: LimitOptions): LimitDisk {
  const bios = new TokenBucket(options.bios);
  const bytes = new TokenBucket(options.bytes);
  const waiting = new BioQueue();
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
    ...slotFreeUnlessQueued(next, waiting, () => {
      misses++;
    }),
    synchronous: false,
    get heldCount() {
      return waiting.length;
    },
    get delayedCount() {
      return delayedCount;
    },
    get slotFreeMisses() {
      return misses;
    },
    submit(bio) {
      fill();
      if (waiting.length === 0 && mayPass(bio)) next.submit(bio);
      else {
        delayedCount++;
        waiting.push(bio);
      }
    },
    tick() {
      fill();
      for (let bio = waiting.first; bio !== null && mayPass(bio); bio = waiting.first) {
        waiting.shift();
        next.submit(bio);
      }
      return next.tick();
    },
  };
}
