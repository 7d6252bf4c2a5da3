/**
 * Fuzzes the store against its model: one store after the other, each with its own seed, size and limit. The fake page
 * release always succeeds, never, or for a number of calls.
 */
import { Prng } from '../src/base/prng.ts';
import { StoreTwin } from '../test/support/models/store-model.ts';
import { walk } from '../test/support/models/store-walk.ts';

export interface FuzzOptions {
  /** Seed of the first store; each further one adds 1. */
  readonly seed: number;
  readonly seconds: number;
}

/** Runs one store, determined by `seed`. */
function runStore(seed: number): void {
  const prng = new Prng(seed);
  const slots = 1 + prng.below(prng.oneIn(4) ? 20 : 6000);
  const limit = prng.oneIn(3) ? 0 : 1 + prng.below(prng.oneIn(4) ? 200_000 : 6_000_000);
  const twin = new StoreTwin(slots, limit);
  if (prng.oneIn(4)) twin.returns.callsUntilRefusal = prng.oneIn(2) ? 0 : prng.below(200);
  walk(twin, prng, 500 + prng.below(4000), 1 + prng.below(100));
  twin.dropRange(0, slots);
  twin.releaseAll();
  twin.check();
}

/** Runs for `seconds`; returns the number of stores. Throws at the first failure, with its seed. */
export function run({ seed, seconds }: FuzzOptions): number {
  const end = performance.now() + seconds * 1000;
  let stores = 0;
  do {
    const now = (seed + stores) | 0;
    try {
      runStore(now);
    } catch (cause) {
      throw new Error(`store fuzzer: seed ${now} fails: ${String(cause)}`, { cause });
    }
    stores++;
  } while (performance.now() < end);
  return stores;
}
