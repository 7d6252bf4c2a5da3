/** The swap cache against a Map, with colliding entries. */
import assert from 'node:assert/strict';
import { entryOf, NO_ENTRY, type SwapEntry } from '../../src/swap/entry.ts';
import { FrameFlag, SwapCache } from '../../src/swap/swap-cache.ts';
import { randomTest } from '../support/fixtures/replay.ts';

randomTest('the swap cache matches a Map in both directions', 20_000, (prng, steps) => {
  const frames = 20;
  const cache = new SwapCache(frames);
  const model = new Map<SwapEntry, number>();
  const entries = Array.from({ length: 40 }, (_, i) => entryOf(i % 3, 1 + i * 64));
  for (let step = 0; step < steps; step++) {
    const frame = prng.below(frames);
    const entry = entries[prng.below(entries.length)]!;
    const present = cache.entryAt(frame);
    if (present !== NO_ENTRY) {
      cache.remove(frame);
      model.delete(present);
      assert.equal(cache.flags[frame], 0);
    } else if (!model.has(entry)) {
      cache.add(entry, frame, FrameFlag.ahead);
      model.set(entry, frame);
    } else assert.throws(() => cache.add(entry, frame, 0), { name: 'InvariantError' });
    assert.equal(cache.count, model.size);
    for (const other of entries) assert.equal(cache.find(other), model.get(other) ?? -1);
  }
});
