/** The store against a map of slots to pages, by fast-check commands, which shrink failures, and by long walks. */

import { test } from 'node:test';
import fc from 'fast-check';
import { Prng } from '../../src/base/prng.ts';
import { loadNativeZstd } from '../../src/os/native-codec.ts';
import { makePage, type PageKind, pageKinds } from '../support/fixtures/pages.ts';
import { randomTest, testSeed, testSteps } from '../support/fixtures/replay.ts';
import { StoreTwin } from '../support/models/store-model.ts';
import { walk } from '../support/models/store-walk.ts';

const SLOTS = 2500;
/** Without libzstd the same walks run without a dense codec. */
const dense = loadNativeZstd().factory;

/** One step: applied to store and model by the twin, then everything is compared. */
class Step implements fc.Command<object, StoreTwin> {
  readonly #text: string;
  readonly #apply: (twin: StoreTwin) => void;

  constructor(text: string, apply: (twin: StoreTwin) => void) {
    this.#text = text;
    this.#apply = apply;
  }
  check(): boolean {
    return true;
  }
  run(_model: object, twin: StoreTwin): void {
    this.#apply(twin);
    twin.check();
  }
  toString(): string {
    return this.#text;
  }
}

// Few slots, so that they are overwritten and dropped often; some at the ends of groups of 1024.
const slots = fc.oneof(
  { weight: 4, arbitrary: fc.nat({ max: 12 }) },
  { weight: 1, arbitrary: fc.constantFrom(1022, 1023, 1024, 1025, 2047, 2048, SLOTS - 1) },
);

const puts = fc
  .tuple(slots, fc.constantFrom(...pageKinds), fc.nat({ max: 10_000 }), fc.constantFrom(0, 1, 4096))
  .map(([slot, kind, seed, at]: [number, PageKind, number, number]) => {
    return new Step(`put(${slot}, ${kind}, seed ${seed}, at ${at})`, (twin) => {
      const source = new Uint8Array(at + 4096 + (at === 0 ? 0 : 7));
      makePage(kind, new Prng(seed), source.subarray(at, at + 4096));
      twin.put(slot, source, at);
    });
  });

const words = fc
  .tuple(slots, fc.constantFrom(0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, -1), fc.integer())
  .map(([slot, low, high]) => {
    return new Step(`putWord(${slot}, ${low}, ${high})`, (twin) => twin.putWord(slot, low, high));
  });

const commands = [
  puts,
  puts,
  words,
  slots.map((slot) => new Step(`get(${slot})`, (twin) => twin.get(slot))),
  slots.map((slot) => new Step(`drop(${slot})`, (twin) => twin.drop(slot))),
  fc.tuple(fc.nat({ max: SLOTS }), fc.nat({ max: SLOTS })).map(([a, b]) => {
    const [from, to] = a < b ? [a, b] : [b, a];
    return new Step(`dropRange(${from}, ${to})`, (twin) => twin.dropRange(from, to));
  }),
  slots.map((slot) => new Step(`recompress(${slot})`, (twin) => twin.recompress(slot))),
  fc
    .tuple(fc.nat({ max: 9 }), fc.nat({ max: 3 }))
    .map(
      ([most, age]) =>
        new Step(`recompressIdle(${most}, ${age})`, (twin) => twin.recompressIdle(most, age)),
    ),
  fc.constant(new Step('age()', (twin) => twin.age(0, SLOTS))),
  fc
    .tuple(slots, fc.nat({ max: 3 }), fc.boolean())
    .map(
      ([slot, age, poor]) =>
        new Step(`coldest(${slot}, ${age}, ${poor})`, (twin) =>
          twin.coldest(slot, SLOTS, age, poor),
        ),
    ),
  fc
    .constantFrom(1, 3, 200)
    .map((moves) => new Step(`maintain(${moves})`, (twin) => twin.maintain(moves))),
  fc.constant(new Step('releaseAll()', (twin) => twin.releaseAll())),
];

function property(limitBytes: fc.Arbitrary<number>): void {
  fc.assert(
    fc.property(
      limitBytes,
      fc.commands(commands, { maxCommands: 120, size: '+2' }),
      (limit, steps) => {
        const twin = new StoreTwin(SLOTS, limit, dense);
        fc.modelRun(() => ({ model: {}, real: twin }), steps);
        twin.checkPages();
      },
    ),
    { seed: testSeed(), numRuns: testSteps(40) },
  );
}

test('C17 the store equals a map of pages, recompressed or not, without a limit', () => {
  property(fc.constant(0));
});

test('C17 the store equals a map of pages, recompressed or not, under limits from nothing to a few zspages', () => {
  property(fc.integer({ min: 1, max: 700_000 }));
});

randomTest(
  'C17 the store equals a map of pages in a long walk without a limit',
  6000,
  (prng, steps) => {
    walk(new StoreTwin(2000, 0, dense), prng, steps, 50);
  },
);

randomTest(
  'C17 the store equals a map of pages in a long walk at its limit',
  6000,
  (prng, steps) => {
    walk(new StoreTwin(2000, 700_000 + prng.below(800_000), dense), prng, steps, 50);
  },
);

randomTest(
  'the store equals a map of pages in a long walk where the system cannot release pages',
  6000,
  (prng, steps) => {
    const twin = new StoreTwin(2000, prng.oneIn(2) ? 0 : 1_500_000, dense);
    twin.returns.callsUntilRefusal = 0;
    walk(twin, prng, steps, 50);
  },
);
