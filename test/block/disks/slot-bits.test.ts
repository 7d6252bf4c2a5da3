/** Checks SlotBits against an array of booleans. */
import assert from 'node:assert/strict';
import { SlotBits } from '../../../src/block/disks/ramzswap/slot-bits.ts';
import { randomTest } from '../../support/fixtures/replay.ts';

randomTest(
  'ranges of bits equal an array of booleans, at every edge of a word',
  2000,
  (prng, steps) => {
    for (const slots of [1, 31, 32, 33, 200]) {
      const bits = new SlotBits(slots);
      const model = new Array<boolean>(slots).fill(false);
      for (let i = 0; i < steps; i++) {
        const from = prng.below(slots + 1);
        const to = from + prng.below(slots - from + 1);
        const inside = model.slice(from, to);
        if (prng.oneIn(2)) {
          bits.setRange(from, to);
          model.fill(true, from, to);
        } else {
          assert.equal(bits.clearRange(from, to), inside.filter((b) => b).length);
          model.fill(false, from, to);
        }
        const [a, end] = [prng.below(slots), slots];
        const next = model.indexOf(true, a);
        assert.equal(bits.next(a, end), next < 0 ? end : next);
        const clear = model.indexOf(false, a);
        assert.equal(bits.nextClear(a, end), clear < 0 ? end : clear);
        const until = a + prng.below(end - a + 1);
        assert.equal(bits.hasAny(a, until), model.slice(a, until).includes(true));
        assert.equal(bits.next(a, until), next < 0 || next > until ? until : next);
        assert.equal(bits.has(a), model[a]);
        assert.equal(bits.count, model.filter((b) => b).length);
      }
    }
  },
);
