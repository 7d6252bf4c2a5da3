/** Which pages are prefetched with the one that faulted. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../src/base/prng.ts';
import { Prefetch } from '../../src/pager/prefetch.ts';

const PAGES = 4096;

/** Accesses `pages` in order, in a memory that evicts no page: faults, prefetched pages, windows. */
function walk(
  prefetch: Prefetch,
  pages: Iterable<number>,
): { faults: number; prefetched: number; windows: number[] } {
  const resident = new Set<number>();
  const windows: number[] = [];
  let prefetched = 0;
  for (const page of pages) {
    if (resident.has(page)) continue;
    const { count, stride } = prefetch.predict(page);
    windows.push(count);
    for (let i = 0; i <= count; i++) {
      const at = page + i * stride;
      assert.ok(at >= 0 && at < PAGES, `page ${at} is in the region`);
      resident.add(at);
    }
    prefetched += count;
    prefetch.record(page, count);
  }
  return { faults: windows.length, prefetched, windows };
}

function* steps(from: number, stride: number, count: number): Generator<number> {
  for (let i = 0; i < count; i++) yield from + i * stride;
}

for (const [name, from, stride] of [
  ['forward', 100, 1],
  ['backward', 2000, -1],
  ['with stride 7', 100, 7],
  ['backward with stride 3', 2000, -3],
] as const)
  test(`a stream ${name}: the window doubles to 255, and no other page is prefetched`, () => {
    const { faults, prefetched, windows } = walk(new Prefetch(PAGES), steps(from, stride, 500));
    assert.ok(faults <= 16, `${faults} faults for 500 pages`);
    assert.ok(faults + prefetched <= 500 + 255, 'at most one window is prefetched in vain');
    const grown = windows.slice(windows.findIndex((count) => count > 0));
    assert.deepEqual(grown.slice(0, 6), [3, 7, 15, 31, 63, 127]);
  });

test('a window has at most 255 pages', () => {
  const { windows } = walk(new Prefetch(PAGES), steps(100, 1, 700));
  assert.deepEqual(windows, [0, 3, 7, 15, 31, 63, 127, 255, 255]);
});

test('a forward stream is recognized at its second page', () => {
  assert.deepEqual(walk(new Prefetch(PAGES), [10, 11]).windows, [0, 3]);
});

test('two interleaved streams are both recognized', () => {
  const pages: number[] = [];
  for (let i = 0; i < 400; i++) pages.push(100 + i, 3500 - i);
  const { faults } = walk(new Prefetch(PAGES), pages);
  assert.ok(faults <= 40, `${faults} faults for 800 pages`);
});

test('random accesses prefetch almost no pages', () => {
  const prng = new Prng(5);
  const pages = Array.from({ length: 400 }, () => prng.below(PAGES));
  const { prefetched, faults } = walk(new Prefetch(PAGES), pages);
  assert.ok(prefetched * 10 < faults, `${prefetched} prefetched by ${faults} faults`);
});

test('a stream stops at either end of its region', () => {
  assert.equal(walk(new Prefetch(PAGES), steps(PAGES - 40, 1, 40)).windows.at(-1), 10);
  walk(new Prefetch(PAGES), steps(40, -1, 41));
  walk(new Prefetch(PAGES), steps(PAGES - 1 - 7 * 40, 7, 41));
  walk(new Prefetch(1), []);
  const one = new Prefetch(1);
  assert.equal(one.predict(0).count, 0);
});

test('a stream that starts at page 0 is recognized as early as any other', () => {
  const from0 = walk(new Prefetch(PAGES), steps(0, 7, 6)).windows;
  assert.deepEqual(from0, [0, 0, 0, 3]);
  assert.deepEqual(walk(new Prefetch(PAGES), steps(100, 7, 6)).windows, from0);
});

test('a stride that is half of the last strides is not a majority', () => {
  const { windows } = walk(new Prefetch(PAGES), [2000, 2900, 2850, 2857, 2864, 2871]);
  assert.deepEqual(windows, [0, 0, 0, 0, 0, 3]);
});

test('repeated faults on one page are not a stream', () => {
  const prefetch = new Prefetch(PAGES);
  for (let i = 0; i < 40; i++) {
    assert.equal(prefetch.predict(7).count, 0);
    prefetch.record(7, 0);
  }
});

test('strides beyond 64 pages are not prefetched', () => {
  assert.ok(walk(new Prefetch(PAGES), steps(0, 64, 60)).prefetched > 0);
  assert.ok(walk(new Prefetch(PAGES), steps(PAGES - 1, -64, 60)).prefetched > 0);
  assert.equal(walk(new Prefetch(PAGES), steps(0, 65, 60)).prefetched, 0);
});
