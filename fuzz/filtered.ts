/**
 * Fuzzes filtered blocks: blocks of both engines, with a changed filter number, a changed LZ4 block, or both. The codec
 * must decode each block as the plain decoder and filters do, whatever bytes follow it in memory, and must write
 * nothing outside the page and its slack. liblz4 accepts matches of offset 0, so where it differs only the bounds are
 * checked.
 */
import assert from 'node:assert/strict';
import { Prng } from '../src/base/prng.ts';
import { type FilteredCodec, filtered } from '../src/codec/filtered.ts';
import { KERNEL_SLACK_BYTES } from '../src/codec/kernels.ts';
import { lz4 } from '../src/codec/lz4.ts';
import { loadNativeLz4 } from '../src/os/native-codec.ts';
import { Arena } from '../test/support/fixtures/codec-arena.ts';
import { kinds, makePage, PAGE } from '../test/support/fixtures/codec-pages.ts';
import { makeNumericPage, numericKinds } from '../test/support/fixtures/numeric-pages.ts';
import { decode } from '../test/support/models/reference-lz4.ts';
import { filterCount, fromPlanes } from '../test/support/models/reference-planes.ts';
import type { FuzzCount, FuzzOptions } from './lz4.ts';

/** Runs for `seconds` of processor time; throws at the first case that breaks a rule, naming seed and case. */
export function run({ seed, seconds }: FuzzOptions): FuzzCount {
  const lab = new Lab();
  const prng = new Prng(seed);
  const start = process.cpuUsage();
  let accepted = 0;
  for (let cases = 0; ; cases++) {
    if (cases % 64 === 0) {
      const { user, system } = process.cpuUsage(start);
      if (user + system > seconds * 1e6) return { cases, accepted };
    }
    const block = lab.makeBlock(prng);
    try {
      if (lab.check(block, prng)) accepted++;
    } catch (error) {
      const hex = Buffer.from(block).toString('hex');
      throw new Error(`fuzz filtered: SEED=${seed}, case ${cases}, block ${hex}`, { cause: error });
    }
  }
}

class Lab {
  readonly #arena: Arena = new Arena();
  /** The kernels' engine, and liblz4's if it is installed. */
  readonly #codecs: readonly FilteredCodec[];

  constructor() {
    const { memory, kernels } = this.#arena;
    const native = loadNativeLz4().factory;
    this.#codecs = (native === null ? [lz4] : [lz4, native]).map(
      (factory) => filtered(factory(memory, kernels), memory, kernels)!,
    );
  }

  makeBlock(prng: Prng): Uint8Array {
    const arena = this.#arena;
    const page = new Uint8Array(PAGE);
    if (prng.oneIn(3)) page.set(makePage(kinds[prng.below(kinds.length)]!, prng));
    else makeNumericPage(numericKinds[prng.below(numericKinds.length)]!, prng, page);
    arena.fence();
    arena.setPage(page);
    const codec = this.#codecs[prng.below(this.#codecs.length)]!;
    const length = codec.compress(1 + prng.below(filterCount), arena.page, arena.block, PAGE);
    const block = arena.bytes.slice(arena.block, arena.block + length);
    if (prng.oneIn(4) && length > 0) block[0] = prng.below(prng.oneIn(2) ? 8 : 256);
    for (let n = prng.below(3); n > 0 && length > 1; n--)
      block[1 + prng.below(prng.oneIn(2) ? Math.min(length - 1, 24) : length - 1)] =
        prng.below(256);
    return prng.oneIn(8) ? block.slice(0, prng.below(length + 1)) : block;
  }

  /** True when the block decodes to a page. */
  check(block: Uint8Array, prng: Prng): boolean {
    const planes = block.length < 2 ? null : decode(block.subarray(1), PAGE);
    const expected = planes === null ? null : fromPlanes(block[0]!, planes);
    for (const [i, codec] of this.#codecs.entries()) {
      const page = this.#decompress(codec, block, 0xa7);
      if (expected !== null || i === 0)
        assert.deepEqual(page, expected, 'the result equals that of the plain decoder');
      if (i === 0)
        assert.deepEqual(
          this.#decompress(codec, block, prng.below(256)),
          expected,
          'bytes after the block do not matter',
        );
    }
    return expected !== null;
  }

  #decompress(codec: FilteredCodec, block: Uint8Array, behind: number): Uint8Array | null {
    const arena = this.#arena;
    const { bytes } = arena;
    arena.fence();
    bytes.fill(behind, arena.block, arena.block + arena.blockCapacity);
    bytes.set(block, arena.block);
    const result = codec.decompress(arena.block, block.length, arena.page);
    const isFenced = (from: number, to: number): void => {
      for (let at = from; at < to; at++)
        if (bytes[at] !== 0xa7) assert.fail(`wrote at ${at - arena.page} of the page`);
    };
    isFenced(0, 4096);
    isFenced(65536, arena.page);
    isFenced(arena.page + PAGE + KERNEL_SLACK_BYTES, arena.block);
    assert.ok(result === PAGE || result === -1, `result ${result}`);
    return result === PAGE ? arena.getPage() : null;
  }
}
