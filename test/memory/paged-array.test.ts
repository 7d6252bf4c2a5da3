/** The contract of PagedArray, over a region and over frames. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openSwap, SwapError } from '../../src/index.ts';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';

const MiB = 2 ** 20;
const refusal = (code: string) => (error: unknown) =>
  error instanceof SwapError && error.code === code;

for (const transparent of [true, false]) {
  const name = transparent ? 'over a region' : 'over frames';
  const options = { skip: transparent && skipUnlessPaging };

  test(`elements have the value written last, ${name}`, options, () => {
    using swap = openSwap({ transparent, frontswap: { limitBytes: 16 * MiB } });
    using array = swap.array({ type: 'float64', length: 300_000, residentBytes: MiB / 4 });
    for (let i = 0; i < array.length; i++) array.set(i, i / 3);
    for (let i = 0; i < array.length; i += 97) assert.equal(array.get(i), i / 3);
    assert.ok(array.stats().residentBytes <= MiB / 4);
    const some = new Float64Array(2000);
    assert.equal(array.read(1234, some), 2000);
    assert.equal(some[1999], (1234 + 1999) / 3);
    array.write(100, some);
    assert.equal(array.get(101), 1235 / 3);
    assert.equal(array.read(array.length - 5, some), 5);
  });

  test(
    `a discarded range reads as zeros, to the byte, and its neighbours are unchanged, ${name}`,
    options,
    () => {
      using swap = openSwap({ transparent, frontswap: { limitBytes: 16 * MiB } });
      using array = swap.array({ type: 'uint8', length: 5 * 4096, residentBytes: MiB / 4 });
      for (let i = 0; i < array.length; i++) array.set(i, 1 + (i % 200));
      array.evict();
      array.discard({ offset: 100, length: 3 * 4096 });
      array.discard({ offset: 4 * 4096 + 7, length: 9 });
      for (let i = 0; i < array.length; i++) {
        const isGone = (i >= 100 && i < 100 + 3 * 4096) || (i >= 4 * 4096 + 7 && i < 4 * 4096 + 16);
        assert.equal(array.get(i), isGone ? 0 : 1 + (i % 200), `byte ${i}`);
      }
    },
  );

  test(`an index outside the array is refused with a code, ${name}`, options, () => {
    using swap = openSwap({ transparent, frontswap: { limitBytes: 16 * MiB } });
    using array = swap.array({ type: 'int32', length: 10, residentBytes: MiB / 4 });
    const bad = refusal('ERR_ARG_VALUE');
    for (const index of [-1, 10, 0.5, Number.NaN]) {
      assert.throws(() => array.get(index), bad);
      assert.throws(() => array.set(index, 1), bad);
      assert.throws(() => array.pin(index), bad);
    }
    assert.throws(() => array.write(-1, new Int32Array(2)), bad);
    assert.throws(() => array.write(9, new Int32Array(2)), bad);
    array.write(9, new Int32Array(1));
    assert.throws(() => array.discard({ offset: 0, length: 4097 }), bad);
  });

  test(`an array has at least one element, ${name}`, options, () => {
    using swap = openSwap({ transparent, frontswap: { limitBytes: 16 * MiB } });
    const of = (length: number): ReturnType<typeof swap.array> =>
      swap.array({ type: 'uint8', length, residentBytes: MiB / 4 });
    for (const length of [0, -1, 1.5, Number.NaN, 2 ** 53])
      assert.throws(() => of(length), refusal('ERR_ARG_VALUE'), String(length));
    using one = of(1);
    one.set(0, 7);
    assert.equal(one.get(0), 7);
    assert.throws(() => one.get(1), refusal('ERR_ARG_VALUE'));
  });

  test(`an invalid range or unknown option discards nothing, ${name}`, options, () => {
    using swap = openSwap({ transparent, frontswap: { limitBytes: 16 * MiB } });
    using array = swap.array({ type: 'uint8', length: 4096, residentBytes: MiB / 4 });
    array.set(7, 7);
    const [noRange, typo] = [0 as never, { ofset: 0 } as object];
    for (const call of ['discard', 'evict'] as const) {
      assert.throws(() => array[call](noRange), refusal('ERR_ARG_VALUE'));
      assert.throws(() => array[call](typo), refusal('ERR_ARG_UNKNOWN'));
    }
    assert.equal(array.get(7), 7);
    const more = { residentByte: MiB / 4 } as object;
    assert.throws(
      () => swap.array({ type: 'uint8', length: 1, residentBytes: MiB / 4, ...more }),
      refusal('ERR_ARG_UNKNOWN'),
    );
  });

  test(`after its end every call of an array throws the same code, ${name}`, options, () => {
    using swap = openSwap({ transparent, frontswap: { limitBytes: 16 * MiB } });
    const array = swap.array({ type: 'float64', length: 1000, residentBytes: MiB / 4 });
    array.set(0, 1);
    array[Symbol.dispose]();
    const calls: readonly (() => unknown)[] = [
      () => array.get(0),
      () => array.set(0, 1),
      () => array.pin(0),
      () => array.read(0, new Float64Array(1)),
      () => array.write(0, new Float64Array(1)),
      () => array.evict(),
      () => array.discard({ offset: 0, length: 8 }),
    ];
    for (const call of calls) assert.throws(call, refusal('ERR_IO_ENDED'), String(call));
    array[Symbol.dispose]();
  });

  test(`a pinned page is written in place, ${name}`, options, () => {
    using swap = openSwap({ transparent, frontswap: { limitBytes: 16 * MiB } });
    using array = swap.array({ type: 'uint32', length: 100_000, residentBytes: MiB / 4 });
    {
      using page = array.pin(5000);
      assert.ok(page.first <= 5000 && page.first + page.array.length > 5000);
      page.array[5000 - page.first] = 77;
      for (let i = 0; i < array.length; i += 1024) if (i !== 5120) array.set(i, i);
    }
    array.evict();
    assert.equal(array.get(5000), 77);
  });
}
