/** Which pages come with the one that was touched. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../src/base/prng.ts';
import { Prefetch } from '../../src/pager/prefetch.ts';

const PAGES = 4096;

/** A memory in which only what comes is there: touches of `pages` in order; how many asked, and what was brought. */
function walk(
  prefetch: Prefetch,
  pages: Iterable<number>,
): { faults: number; brought: number; windows: number[] } {
  const here = new Set<number>();
  const windows: number[] = [];
  let brought = 0;
  for (const page of pages) {
    if (here.has(page)) continue;
    prefetch.predict(page);
    windows.push(prefetch.count);
    for (let i = 0; i <= prefetch.count; i++) {
      const at = page + i * prefetch.stride;
      assert.ok(at >= 0 && at < PAGES, `page ${at} is in the region`);
      here.add(at);
    }
    brought += prefetch.count;
    prefetch.record(page, prefetch.count);
  }
  return { faults: windows.length, brought, windows };
}

function* steps(from: number, stride: number, count: number): Generator<number> {
  for (let i = 0; i < count; i++) yield from + i * stride;
}

for (const [name, from, stride] of [
  ['forwards', 100, 1],
  ['backwards', 2000, -1],
  ['by sevens', 100, 7],
  ['backwards by threes', 2000, -3],
] as const)
  test(`a stream ${name}: the window doubles to 255, and all that comes is wanted`, () => {
    const { faults, brought, windows } = walk(new Prefetch(PAGES), steps(from, stride, 500));
    assert.ok(faults <= 16, `${faults} faults for 500 pages`);
    assert.ok(faults + brought <= 500 + 255, 'no more than a window is brought for nothing');
    const grown = windows.slice(windows.findIndex((count) => count > 0));
    assert.deepEqual(grown.slice(0, 6), [3, 7, 15, 31, 63, 127]);
  });

test('a window has 255 pages at the most', () => {
  const { windows } = walk(new Prefetch(PAGES), steps(100, 1, 700));
  assert.deepEqual(windows, [0, 3, 7, 15, 31, 63, 127, 255, 255]);
});

test('a forward stream is seen at its second page', () => {
  assert.deepEqual(walk(new Prefetch(PAGES), [10, 11]).windows, [0, 3]);
});

test('two streams that take turns are both seen', () => {
  const turns: number[] = [];
  for (let i = 0; i < 400; i++) turns.push(100 + i, 3500 - i);
  const { faults } = walk(new Prefetch(PAGES), turns);
  assert.ok(faults <= 40, `${faults} faults for 800 pages`);
});

test('touches at random bring nothing to speak of', () => {
  const prng = new Prng(5);
  const pages = Array.from({ length: 400 }, () => prng.below(PAGES));
  const { brought, faults } = walk(new Prefetch(PAGES), pages);
  assert.ok(brought * 10 < faults, `${brought} brought with ${faults} faults`);
});

test('a stream ends at both ends of its region', () => {
  assert.equal(walk(new Prefetch(PAGES), steps(PAGES - 40, 1, 40)).windows.at(-1), 10);
  walk(new Prefetch(PAGES), steps(40, -1, 41));
  walk(new Prefetch(PAGES), steps(PAGES - 1 - 7 * 40, 7, 41));
  walk(new Prefetch(1), []);
  const one = new Prefetch(1);
  one.predict(0);
  assert.equal(one.count, 0);
});

test('a stream from page 0 is seen as soon as any other', () => {
  const from0 = walk(new Prefetch(PAGES), steps(0, 7, 6)).windows;
  assert.deepEqual(from0, [0, 0, 0, 3]);
  assert.deepEqual(walk(new Prefetch(PAGES), steps(100, 7, 6)).windows, from0);
});

test('half of the last steps are no majority', () => {
  const { windows } = walk(new Prefetch(PAGES), [2000, 2900, 2850, 2857, 2864, 2871]);
  assert.deepEqual(windows, [0, 0, 0, 0, 0, 3]);
});

test('a page touched again and again is no stream', () => {
  const prefetch = new Prefetch(PAGES);
  for (let i = 0; i < 40; i++) {
    prefetch.predict(7);
    assert.equal(prefetch.count, 0);
    prefetch.record(7, 0);
  }
});

test('strides beyond 64 pages do not pay', () => {
  assert.ok(walk(new Prefetch(PAGES), steps(0, 64, 60)).brought > 0);
  assert.ok(walk(new Prefetch(PAGES), steps(PAGES - 1, -64, 60)).brought > 0);
  assert.equal(walk(new Prefetch(PAGES), steps(0, 65, 60)).brought, 0);
});
