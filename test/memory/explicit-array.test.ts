/** PagedArray without transparent paging: access sequences during which pages are reclaimed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openSwap } from '../../src/memory/open-swap.ts';

const PAGE = 4096;

test('an array written sequentially, many times its budget, always has space for the next page', () => {
  using swap = openSwap({ transparent: false });
  const words = PAGE / 4;
  const pages = 600;
  const array = swap.array({ type: 'uint32', length: pages * words, residentBytes: 128 * PAGE });
  const block = new Uint32Array(words);
  for (let page = 0; page < pages; page++) array.write(page * words, block.fill(page + 1));
  for (let page = 0; page < pages; page++) {
    assert.equal(array.read(page * words, block), words);
    assert.ok(block.every((word) => word === page + 1));
  }
  assert.equal(swap.stats().refused, 0);
  assert.ok(swap.stats().pageOuts >= pages - 128);
  assert.equal(swap.stats().pageIns, array.stats().pageIns);
  assert.equal(swap.stats().residentBytes, array.stats().residentBytes);
});

test('a page beyond element 2^31 is pinned at its index', () => {
  using swap = openSwap({ transparent: false });
  const array = swap.array({
    type: 'uint8',
    length: 2 ** 31 + 2 * PAGE,
    residentBytes: 128 * PAGE,
  });
  const index = 2 ** 31 + PAGE + 5;
  array.set(index, 7);
  const page = array.pin(index);
  assert.equal(page.first, 2 ** 31 + PAGE);
  assert.equal(page.array[index - page.first], 7);
  page[Symbol.dispose]();
});
