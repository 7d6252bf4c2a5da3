/** Handles are instances of exported classes, in every thread, and only frontswap constructs them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { MemorySwap, openSwap, PagedArray, SwapError, SwapRegion } from '../../src/index.ts';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';

const MiB = 2 ** 20;
const indexUrl = new URL('../../src/index.js', import.meta.url).href;

for (const transparent of [true, false]) {
  const skip = transparent && skipUnlessPaging;
  test(`a swap and an array are instances, transparent: ${transparent}`, { skip }, () => {
    using swap = openSwap({ transparent, frontswap: { limitBytes: 16 * MiB } });
    assert.ok(swap instanceof MemorySwap);
    assert.equal(swap.transparent, transparent);
    using array = swap.array({ type: 'int8', length: 1, residentBytes: MiB });
    assert.ok(array instanceof PagedArray);
  });
}

test('the handles of another thread are instances there', {
  skip: skipUnlessPaging,
  timeout: 60_000,
}, async () => {
  using swap = openSwap({ frontswap: { limitBytes: 16 * MiB }, residentBytes: MiB });
  const region = swap.map({ bytes: MiB });
  assert.ok(region instanceof SwapRegion);
  const code = `const { parentPort, workerData } = require('node:worker_threads');
      import(workerData.url).then(({ attachRegion, joinSwap, MemorySwap, PagedArray, SwapRegion }) => {
        const swap = joinSwap(workerData.control);
        const array = swap.array({ type: 'uint8', length: 1, residentBytes: ${MiB} });
        const regions = [swap.map({ bytes: ${MiB} }), attachRegion(workerData.handle)];
        parentPort.postMessage([
          swap instanceof MemorySwap,
          array instanceof PagedArray,
          ...regions.map((region) => region instanceof SwapRegion),
        ]);
      });`;
  const workerData = { url: indexUrl, control: swap.control, handle: region.handle };
  const worker = new Worker(code, { eval: true, workerData });
  assert.deepEqual((await once(worker, 'message'))[0], [true, true, true, true]);
});

test('a constructor that users call throws, and says what to call', () => {
  const classes = [
    [MemorySwap, /^MemorySwap has no public constructor; call openSwap\(\), or joinSwap\(\)/],
    [PagedArray, /^PagedArray has no public constructor; call array\(\)/],
    [SwapRegion, /^SwapRegion has no public constructor; call map\(\) or adopt\(\)/],
  ] as const;
  for (const [Class, message] of classes) {
    for (const args of [[], [{}, {}, {}]])
      assert.throws(
        () => Reflect.construct(Class, args),
        (error: unknown) => {
          assert.ok(error instanceof SwapError);
          assert.equal(error.code, 'ERR_ARG_CONSTRUCTOR');
          assert.match(error.message, message);
          assert.deepEqual(error.facts, { class: Class.name });
          return true;
        },
      );
  }
});
