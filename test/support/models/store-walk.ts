/** A random walk over a store and its model: every operation, in phases that alternately fill and empty it. */
import type { Prng } from '../../../src/base/prng.ts';
import { makePage, pageKinds } from '../fixtures/pages.ts';
import type { StoreTwin } from './store-model.ts';

/** Steps of one phase. */
const PHASE = 400;

/** @param checkEvery steps between two checks of everything */
export function walk(twin: StoreTwin, prng: Prng, steps: number, checkEvery: number): void {
  const page = new Uint8Array(4096);
  const { slots } = twin;
  for (let i = 0; i < steps; i++) {
    const slot = prng.oneIn(3) ? prng.below(Math.min(slots, 40)) : prng.below(slots);
    const isGrowing = Math.floor(i / PHASE) % 2 === 0;
    const what = prng.below(100);
    if (prng.oneIn(6)) reviseOne(twin, prng, slot);
    else if (what < (isGrowing ? 60 : 20)) {
      makePage(pageKinds[prng.below(pageKinds.length)]!, prng, page);
      twin.put(slot, page);
    } else if (what < 65) twin.putWord(slot, prng.below(3), prng.u32());
    else if (what < 75) twin.get(slot);
    else if (what < 96) twin.drop(slot);
    else if (what < 97) twin.dropRange(slot, Math.min(slots, slot + prng.below(300)));
    else if (what < 99) twin.maintain(1 + prng.below(100));
    else twin.releaseAll();
    if (i % checkEvery === 0) twin.check();
  }
  twin.checkPages();
  twin.check();
}

/** Ages or recompresses pages or searches for cold ones; none of these changes the contents of a page. */
function reviseOne(twin: StoreTwin, prng: Prng, slot: number): void {
  const to = Math.min(twin.slots, slot + prng.below(400));
  const what = prng.below(10);
  if (what < 5) twin.recompress(slot);
  else if (what < 6) twin.recompressIdle(prng.below(20), prng.below(4));
  else if (what < 8) twin.age(slot, to);
  else twin.coldest(slot, to, prng.below(4), prng.oneIn(2));
}
