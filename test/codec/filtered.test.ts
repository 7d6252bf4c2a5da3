/** Filtered blocks: engines are interchangeable, limits exact, hostile blocks refused, no access out of bounds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { run } from '../../fuzz/filtered.ts';
import { Prng } from '../../src/base/prng.ts';
import { PageFormat } from '../../src/codec/codec.ts';
import { type FilteredCodec, filtered } from '../../src/codec/filtered.ts';
import { loadKernels } from '../../src/codec/kernels.ts';
import { createMemory } from '../../src/codec/linear-memory.ts';
import { lz4 } from '../../src/codec/lz4.ts';
import { loadNativeLz4, loadNativeZstd } from '../../src/os/native-codec.ts';
import { Arena } from '../support/fixtures/codec-arena.ts';
import { PAGE } from '../support/fixtures/codec-pages.ts';
import { makeNumericPage, numericKinds } from '../support/fixtures/numeric-pages.ts';
import { testSeed, testSteps } from '../support/fixtures/replay.ts';
import { decode } from '../support/models/reference-lz4.ts';
import { filterCount, fromPlanes } from '../support/models/reference-planes.ts';

const arena = new Arena();
const native = loadNativeLz4();
const skip = native.factory === null ? native.reason : false;
const factories = native.factory === null ? [lz4] : [lz4, native.factory];
const codecs = factories.map(
  (factory) => filtered(factory(arena.memory, arena.kernels), arena.memory, arena.kernels)!,
);
const filters = Array.from({ length: filterCount }, (_, i) => i + 1);

function pack(codec: FilteredCodec, filter: number, page: Uint8Array, limit: number): Uint8Array {
  arena.fence();
  arena.setPage(page);
  const length = codec.compress(filter, arena.page, arena.block, limit);
  return arena.bytes.slice(arena.block, arena.block + length);
}

function expand(codec: FilteredCodec, block: Uint8Array): Uint8Array | null {
  arena.fence();
  arena.bytes.set(block, arena.block);
  const result = codec.decompress(arena.block, block.length, arena.page);
  assert.ok(result === PAGE || result === -1);
  return result === PAGE ? arena.getPage() : null;
}

/** Decompresses a block with the naive decoder and the naive filters. */
const plainly = (block: Uint8Array): Uint8Array | null => {
  const planes = block.length < 2 ? null : decode(block.subarray(1), PAGE);
  return planes === null ? null : fromPlanes(block[0]!, planes);
};

function numbers(kind: (typeof numericKinds)[number], seed: number): Uint8Array {
  const page = new Uint8Array(PAGE);
  makeNumericPage(kind, new Prng(seed), page);
  return page;
}

const numberPages = fc
  .tuple(fc.constantFrom(...numericKinds), fc.nat())
  .map(([kind, seed]) => ({ kind: `${kind} ${seed}`, page: numbers(kind, seed) }));

test('each engine decompresses the blocks of the others as the plain decoder does', {
  skip,
}, () => {
  fc.assert(
    fc.property(numberPages, ({ kind, page }) => {
      for (const filter of filters)
        for (const writer of codecs) {
          const block = pack(writer, filter, page, PAGE);
          if (block.length === 0) continue;
          assert.equal(block[0], filter);
          assert.deepEqual(plainly(block), page, kind);
          for (const reader of codecs) assert.deepEqual(expand(reader, block), page, kind);
        }
    }),
    { seed: testSeed(), numRuns: testSteps(30) },
  );
});

test('a filtered block of n bytes fits a limit of n and not n - 1; below the smallest limit of LZ4 no filter is tried', () => {
  for (const codec of codecs)
    for (const kind of numericKinds)
      for (const filter of filters) {
        const page = numbers(kind, 1);
        const n = pack(codec, filter, page, PAGE).length || PAGE + 1;
        for (const limit of [0, 1, 16, 17, n - 1, n, 3072].filter((l) => l <= PAGE))
          assert.equal(pack(codec, filter, page, limit).length, limit < n ? 0 : n, `${kind} ${n}`);
        arena.setPage(page);
        assert.equal(codec.pick(arena.page, 16), 0);
      }
});

test('blocks that are empty, truncated, or have an unknown filter are refused', () => {
  for (const codec of codecs)
    for (const filter of filters) {
      const block = pack(codec, filter, numbers('counting', 5), PAGE);
      assert.notEqual(expand(codec, block), null);
      for (let length = 0; length < block.length; length++)
        assert.equal(expand(codec, block.subarray(0, length)), null, `${length} bytes`);
      for (let first = 0; first < 256; first++) {
        block[0] = first;
        assert.equal(expand(codec, block) === null, first === 0 || first > filterCount, `${first}`);
      }
    }
});

test('a block of less or more than a page is refused', () => {
  const literals = (count: number): Uint8Array => {
    const lengths = [...new Array<number>(Math.floor((count - 15) / 255)).fill(255)];
    return Uint8Array.from([1, 0xf0, ...lengths, (count - 15) % 255, ...new Uint8Array(count)]);
  };
  for (const codec of codecs) {
    assert.deepEqual(expand(codec, literals(PAGE)), new Uint8Array(PAGE));
    for (const count of [15, 100, PAGE - 1, PAGE + 1, PAGE + 15])
      assert.equal(expand(codec, literals(count)), null, `${count} bytes`);
  }
});

test('a short run of the fuzzer finds no difference, and reaches accepted and refused blocks', () => {
  const { cases, accepted } = run({ seed: testSeed(), seconds: 2 });
  assert.ok(cases > 300, `${cases} cases`);
  assert.ok(accepted > cases / 20 && accepted < cases * 0.95, `${accepted} of ${cases}`);
});

test('only LZ4 has a filtered format', () => {
  const memory = createMemory(2 * 65536);
  const kernels = loadKernels(memory);
  assert.equal(filtered(lz4(memory, kernels), memory, kernels)?.format, PageFormat.filtered);
  const zstd = loadNativeZstd().factory?.(memory, kernels);
  if (zstd !== undefined) assert.equal(filtered(zstd, memory, kernels), null);
});

test('filtered blocks work above 2 GiB, where addresses are passed as negative numbers', () => {
  const memory = createMemory(0x8020_0000);
  const bytes = new Uint8Array(memory.buffer);
  const kernels = loadKernels(memory);
  const [page, block, back] = [0x8000_1000, 0x8000_8000, 0x8001_0000];
  for (const factory of factories) {
    const codec = filtered(factory(memory, kernels), memory, kernels)!;
    for (const kind of ['int12', 'id64'] as const) {
      bytes.set(numbers(kind, 2), page);
      const filter = codec.pick(page | 0, 3072);
      const length = codec.compress(filter, page | 0, block | 0, 3072);
      assert.ok(length > 0 && length <= 2048);
      bytes.fill(0, back, back + PAGE);
      assert.equal(codec.decompress(block | 0, length, back | 0), PAGE);
      assert.deepEqual(bytes.slice(back, back + PAGE), numbers(kind, 2));
    }
  }
});
