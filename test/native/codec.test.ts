/**
 * The decoders of the native fault path give the same results as the WebAssembly kernels: on valid blocks, on blocks with
 * changed bytes, on noise, and on every length. Nothing outside of page and slack is written.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../src/base/prng.ts';
import { loadKernels, PLANES } from '../../src/codec/kernels.ts';
import { createMemory } from '../../src/codec/linear-memory.ts';
import { loadLinux } from '../../src/os/linux/system-call.ts';
import { loadNativeFaults } from '../../src/os/native-faults.ts';
import { seedOf } from '../support/fixtures/codec-arena.ts';
import { makePages } from '../support/fixtures/codec-pages.ts';
import { makeNumericPage, numericKinds } from '../support/fixtures/numeric-pages.ts';
import { testSteps } from '../support/fixtures/replay.ts';

const PAGE = 4096;
const SLACK = 64;
const { native, reason } = loadNativeFaults();
const { linux } = loadLinux();
const skip = native === null ? reason : false;

const memory = createMemory(2 * 65536 * 2);
const kernels = loadKernels(memory);
const bytes = new Uint8Array(memory.buffer);
const [PAGE_AT, BLOCK_AT, OUT_AT] = [65536, 65536 + 8192, 65536 + 3 * 8192];

/** The native side's buffers, with fences behind the slack. */
const block = new Uint8Array(2 * PAGE);
const page = new Uint8Array(2 * PAGE);
const rows = new Uint8Array(PAGE);
const at = (buffer: Uint8Array): number => linux!.addressOf(buffer);

function lz4By(side: 'kernel' | 'native', data: Uint8Array): Uint8Array | null {
  if (side === 'kernel') {
    bytes.fill(0, BLOCK_AT, BLOCK_AT + 8192);
    bytes.set(data, BLOCK_AT);
    const result = kernels.lz4Decompress(BLOCK_AT, data.length, OUT_AT);
    return result === PAGE ? bytes.slice(OUT_AT, OUT_AT + PAGE) : null;
  }
  block.fill(0).set(data);
  page.fill(0xa5);
  const result = native!.lz4(at(block), data.length, at(page));
  assert.ok(result === PAGE || result === -1);
  assert.ok(
    page.subarray(PAGE + SLACK).every((byte) => byte === 0xa5),
    'nothing behind the slack is written',
  );
  return result === PAGE ? page.slice(0, PAGE) : null;
}

function same(data: Uint8Array, what: string): boolean {
  const kernel = lz4By('kernel', data);
  assert.deepEqual(lz4By('native', data), kernel, what);
  return kernel !== null;
}

function blockOf(source: Uint8Array): Uint8Array | null {
  bytes.set(source, PAGE_AT);
  const length = kernels.lz4Compress(PAGE_AT, BLOCK_AT, PAGE);
  return length === 0 ? null : bytes.slice(BLOCK_AT, BLOCK_AT + length);
}

test('native LZ4 equals the WebAssembly kernel on valid blocks, and on blocks with changed or missing bytes', {
  skip,
}, () => {
  const prng = new Prng(seedOf(1));
  let valid = 0;
  let changedButValid = 0;
  for (const { kind, page: source } of makePages(seedOf(2), testSteps(20))) {
    const data = blockOf(source);
    if (data === null) continue;
    assert.ok(same(data, kind));
    assert.deepEqual(lz4By('native', data), source, kind);
    valid++;
    for (let i = 0; i < 30; i++) {
      const damaged = data.slice(0, prng.oneIn(4) ? prng.below(data.length + 1) : data.length);
      for (let n = prng.below(3); n >= 0 && damaged.length > 0; n--)
        damaged[prng.below(damaged.length)] = prng.below(256);
      if (same(damaged, `${kind}, damaged`)) changedButValid++;
    }
  }
  assert.ok(valid > 20 && changedButValid > 0, `${valid} valid, ${changedButValid} changed`);
});

test('native LZ4 equals the WebAssembly kernel on noise of every length', { skip }, () => {
  const prng = new Prng(seedOf(3));
  for (let length = 0; length <= 4200; length += prng.below(7)) {
    const noise = Uint8Array.from({ length }, () => prng.below(256));
    same(noise, `noise of ${length}`);
    // Tokens with few literals and short offsets get further.
    same(
      noise.map((byte, i) => (i % 3 === 0 ? byte : byte & 0x1f)),
      `tokens of ${length}`,
    );
  }
});

test('native checksums equal those of the WebAssembly kernel for every length and many seeds', {
  skip,
}, () => {
  const prng = new Prng(seedOf(4));
  for (let length = 0; length <= PAGE; length += 1 + prng.below(9)) {
    const from = prng.below(16);
    for (let i = 0; i < length + from; i++) block[i] = prng.below(256);
    bytes.set(block.subarray(0, from + length), PAGE_AT);
    const seed = prng.below(2 ** 31) | (prng.below(2) << 31);
    const kernel = kernels.checksum(PAGE_AT + from, length, seed);
    assert.equal(native!.checksum(at(block) + from, length, seed), kernel, `${length} at ${from}`);
  }
});

test('native bit planes equal those of the WebAssembly kernel for every filter; an unknown filter is refused', {
  skip,
}, () => {
  const prng = new Prng(seedOf(5));
  const source = new Uint8Array(PAGE);
  for (const kind of numericKinds)
    for (let filter = 1; filter <= 4; filter++) {
      makeNumericPage(kind, prng, source);
      bytes.set(source, PAGE_AT);
      kernels.toPlanes(filter, PAGE_AT, PLANES);
      block.set(bytes.subarray(PLANES, PLANES + PAGE));
      assert.equal(native!.planes(filter, at(block), at(rows), at(page)), PAGE);
      assert.deepEqual(page.slice(0, PAGE), source, `${kind}, filter ${filter}`);
      for (let i = 0; i < PAGE; i++) block[i] = prng.below(256);
      bytes.set(block.subarray(0, PAGE), PLANES);
      kernels.fromPlanes(filter, PLANES, OUT_AT);
      native!.planes(filter, at(block), at(rows), at(page));
      assert.deepEqual(page.slice(0, PAGE), bytes.slice(OUT_AT, OUT_AT + PAGE));
    }
  for (const filter of [0, 5, 255])
    assert.equal(native!.planes(filter, at(block), at(rows), at(page)), -1);
});
