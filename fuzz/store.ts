/**
 * Fuzzes the store against its model for a while: store after store, each with a seed of its own, a size, a limit
 * and a system that takes pages back always, never or for some time.
 */
import { Prng } from '../src/base/prng.ts';
import { StoreTwin } from '../test/model/store-model.ts';
import { walk } from '../test/model/store-walk.ts';

export interface FuzzOptions {
  /** Of the first store; the next one's is one more. */
  readonly seed: number;
  readonly seconds: number;
}

/** One store's life, all of it out of `seed`. */
function life(seed: number): void {
  const prng = new Prng(seed);
  const slots = 1 + prng.below(prng.oneIn(4) ? 20 : 6000);
  const limit = prng.oneIn(3) ? 0 : 1 + prng.below(prng.oneIn(4) ? 200_000 : 6_000_000);
  const twin = new StoreTwin(slots, limit);
  if (prng.oneIn(4)) twin.returns.answersLeft = prng.oneIn(2) ? 0 : prng.below(200);
  walk(twin, prng, 500 + prng.below(4000), 1 + prng.below(100));
  twin.dropRange(0, slots);
  twin.releaseAll();
  twin.check();
}

/** Returns the stores that lived. Throws at the first that did not, its seed in the message. */
export function run({ seed, seconds }: FuzzOptions): number {
  const end = performance.now() + seconds * 1000;
  let lives = 0;
  do {
    const now = (seed + lives) | 0;
    try {
      life(now);
    } catch (cause) {
      throw new Error(`store fuzzer: seed ${now} fails: ${String(cause)}`, { cause });
    }
    lives++;
  } while (performance.now() < end);
  return lives;
}
