/** The filters for pages of numbers, held to a plain model bit by bit. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Prng } from '../../../src/base/prng.ts';
import { Arena } from '../../support/fixtures/codec-arena.ts';
import { kinds, makePage, PAGE } from '../../support/fixtures/codec-pages.ts';
import { makeNumericPage, numericKinds } from '../../support/fixtures/numeric-pages.ts';
import { testSeed, testSteps } from '../../support/fixtures/replay.ts';
import {
  filterCount,
  fromPlanes,
  pickFilter,
  toPlanes,
} from '../../support/models/reference-planes.ts';

const arena = new Arena();
const { kernels, bytes, page: from } = arena;
const to = arena.block;
const filters = Array.from({ length: filterCount }, (_, i) => i + 1);

/** A page, named, so that a failure says what it was. */
const pages = fc.oneof(
  fc.uint8Array({ minLength: PAGE, maxLength: PAGE }).map((page) => ({ kind: 'any bytes', page })),
  fc.tuple(fc.constantFrom(...numericKinds), fc.nat()).map(([kind, seed]) => {
    const page = new Uint8Array(PAGE);
    makeNumericPage(kind, new Prng(seed), page);
    return { kind: `${kind} ${seed}`, page };
  }),
  fc
    .tuple(fc.constantFrom(...kinds), fc.nat())
    .map(([kind, seed]) => ({ kind: `${kind} ${seed}`, page: makePage(kind, new Prng(seed)) })),
  // Numbers first, something else behind: a header, the end of an array
  fc
    .tuple(fc.constantFrom(...numericKinds), fc.nat(), fc.nat({ max: PAGE }))
    .map(([kind, seed, split]) => {
      const page = new Uint8Array(PAGE);
      makeNumericPage(kind, new Prng(seed), page);
      page.set(makePage('random', new Prng(seed)).subarray(split), split);
      return { kind: `${kind} ${seed}, random from ${split}`, page };
    }),
);

/** Runs `work`, which may write 4096 bytes at `target` and nothing else that is the caller's. */
function inside(target: number, work: () => number): number {
  const before = bytes.slice();
  const answer = work();
  for (let at = 0; at < bytes.length; at++) {
    const isScratch = at >= 4096 && at < 65536;
    const isTarget = at >= target && at < target + PAGE;
    if (!isScratch && !isTarget && bytes[at] !== before[at])
      assert.fail(`wrote at ${at - target} of the target`);
  }
  return answer;
}

test('filter and inverse do what a plain model does, and write their page alone', () => {
  fc.assert(
    fc.property(pages, ({ kind, page }) => {
      for (const filter of filters) {
        arena.fence();
        arena.setPage(page);
        inside(to, () => {
          kernels.toPlanes(filter, from, to);
          return 0;
        });
        const planes = bytes.slice(to, to + PAGE);
        assert.deepEqual(planes, toPlanes(filter, page), `${kind}, filter ${filter}`);
        bytes.fill(0xa7, from, from + PAGE);
        assert.equal(
          inside(from, () => kernels.fromPlanes(filter, to, from)),
          PAGE,
        );
        assert.deepEqual(arena.getPage(), page, `${kind}, filter ${filter}`);
      }
    }),
    { seed: testSeed(), numRuns: testSteps(40) },
  );
});

test('any 4096 bytes are the planes of a page, and the plain model agrees on which', () => {
  fc.assert(
    fc.property(pages, ({ kind, page }) => {
      for (const filter of filters) {
        arena.fence();
        bytes.set(page, to);
        assert.equal(
          inside(from, () => kernels.fromPlanes(filter, to, from)),
          PAGE,
        );
        assert.deepEqual(arena.getPage(), fromPlanes(filter, page), `${kind}, filter ${filter}`);
      }
    }),
    { seed: testSeed(), numRuns: testSteps(40) },
  );
});

test('a filter that there is not is refused and writes nothing', () => {
  arena.fence();
  const nothing = arena.getPage();
  for (const filter of [0, filterCount + 1, 6, 7, 8, 255, -1, 256 + 1, -2_147_483_648]) {
    assert.equal(
      inside(to, () => kernels.fromPlanes(filter, to, from)),
      -1,
      `filter ${filter}`,
    );
    assert.equal(fromPlanes(filter, new Uint8Array(PAGE)), null);
    assert.deepEqual(arena.getPage(), nothing);
  }
});

test('the filter that is picked is the plain model s, at every limit', () => {
  const picked = new Set<number>();
  fc.assert(
    fc.property(pages, fc.integer({ min: 16, max: PAGE }), ({ kind, page }, most) => {
      arena.fence();
      arena.setPage(page);
      const answer = inside(to, () => kernels.pickFilter(from, most));
      assert.equal(answer, pickFilter(page, most), `${kind}, at most ${most}`);
      picked.add(answer);
    }),
    { seed: testSeed(), numRuns: testSteps(400) },
  );
  assert.deepEqual([...picked].sort(), [0, ...filters], 'every answer came');
});

test('random pages get no filter, pages of numbers that LZ4 refuses do', () => {
  const prng = new Prng(testSeed());
  const page = new Uint8Array(PAGE);
  for (let n = 0; n < 50; n++) {
    prng.fill(page);
    arena.setPage(page);
    assert.equal(kernels.pickFilter(from, 3072), 0);
    for (const kind of ['int12', 'int12signed', 'counting', 'sorted', 'id64', 'low64'] as const) {
      makeNumericPage(kind, prng, page);
      arena.setPage(page);
      assert.notEqual(kernels.pickFilter(from, 3072), 0, kind);
    }
  }
});
