/** The filters for pages of numbers, compared with a naive model bit by bit. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Prng } from '../../../src/base/prng.ts';
import { KERNEL_SCRATCH_BYTES } from '../../../src/codec/kernels.ts';
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

/** A page with a name, for the messages of failures. */
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
  // Numbers first, then other data, as at the end of an array
  fc
    .tuple(fc.constantFrom(...numericKinds), fc.nat(), fc.nat({ max: PAGE }))
    .map(([kind, seed, split]) => {
      const page = new Uint8Array(PAGE);
      makeNumericPage(kind, new Prng(seed), page);
      page.set(makePage('random', new Prng(seed)).subarray(split), split);
      return { kind: `${kind} ${seed}, random from ${split}`, page };
    }),
);

/** Runs `work`, which may write 4096 bytes at `target` and no other memory of the caller. */
function inside(target: number, work: () => number): number {
  const before = bytes.slice();
  const answer = work();
  for (let at = 0; at < bytes.length; at++) {
    const isScratch = at >= 4096 && at < KERNEL_SCRATCH_BYTES;
    const isTarget = at >= target && at < target + PAGE;
    if (!isScratch && !isTarget && bytes[at] !== before[at])
      assert.fail(`wrote at ${at - target} of the target`);
  }
  return answer;
}

test('filter and inverse match a naive model and write only to their target', () => {
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

test('the inverse filter decodes any 4096 bytes to the page that the naive model decodes', () => {
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

test('a filter that does not exist is refused and writes nothing', () => {
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

test('the filter picked is that of the naive model, at every limit', () => {
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
  assert.deepEqual([...picked].sort(), [0, ...filters], 'every filter was picked');
});

test('random pages get no filter, pages of numbers that LZ4 refuses get one', () => {
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
