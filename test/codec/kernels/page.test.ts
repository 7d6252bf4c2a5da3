import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.ts';
import { Arena, seedOf } from '../../support/fixtures/codec-arena.ts';
import { makePage, makePages, PAGE } from '../../support/fixtures/codec-pages.ts';

const arena = new Arena();
const { kernels, bytes, page: at } = arena;

test('a page is same-filled exactly when it repeats its first 8 bytes', () => {
  const prng = new Prng(seedOf(20));
  for (let n = 0; n < 50; n++) {
    const page = new Uint8Array(PAGE);
    for (let i = 0; i < 8; i++) page[i] = prng.below(256);
    for (let i = 8; i < PAGE; i++) page[i] = page[i - 8]!;
    arena.setPage(page);
    assert.equal(kernels.sameFilled(at), 1);
    const spot = prng.below(PAGE);
    bytes[at + spot]! ^= 1 << prng.below(8);
    assert.equal(kernels.sameFilled(at), 0, `changed at ${spot}`);
  }
});

test('a page with one changed byte is not same-filled', () => {
  arena.setPage(new Uint8Array(PAGE).fill(0x33));
  for (let i = 0; i < PAGE; i++) {
    bytes[at + i] = 0x34;
    if (kernels.sameFilled(at) !== 0) assert.fail(`byte ${i}`);
    bytes[at + i] = 0x33;
  }
});

test('fill writes the word to the page and nothing else', () => {
  const cases = [
    [0, 0],
    [0x61616161, 0x61616161],
    [0xffffffff, 0xffffffff],
    [0x61616162, 0x61616162],
    [0x61616161, 0x61616162],
    [0x01234567, 0x89abcdef],
    [1, 0],
  ] as const;
  for (const [low, high] of cases) {
    arena.fence();
    kernels.fill(at, low, high);
    const view = new DataView(bytes.buffer, at, PAGE);
    for (let i = 0; i < PAGE; i += 8) {
      assert.equal(view.getUint32(i, true), low);
      assert.equal(view.getUint32(i + 4, true), high);
    }
    assert.deepEqual([bytes[at - 1], bytes[at + PAGE]], [0xa7, 0xa7]);
  }
});

const hashOf = (): bigint =>
  (BigInt(kernels.hash(at) >>> 0) | (BigInt(kernels.hashHigh() >>> 0) << 32n)) as bigint;

test('the hash depends only on the content of the page', () => {
  const other = new Arena();
  for (const { kind, page } of makePages(seedOf(21), 4)) {
    arena.setPage(page);
    other.bytes.set(page, other.block);
    const low = other.kernels.hash(other.block) >>> 0;
    assert.equal(kernels.hash(at) >>> 0, low, kind);
    assert.equal(kernels.hashHigh(), other.kernels.hashHigh(), kind);
  }
});

test('every flipped bit of a page flips about half of the 64 hash bits', () => {
  const prng = new Prng(seedOf(22));
  for (const page of [new Uint8Array(PAGE), makePage('records', prng), makePage('random', prng)]) {
    arena.setPage(page);
    const whole = hashOf();
    const flips = new Array<number>(64).fill(0);
    const seen = new Set([whole]);
    for (let bit = 0; bit < PAGE * 8; bit++) {
      bytes[at + (bit >> 3)]! ^= 1 << (bit & 7);
      const hash = hashOf();
      bytes[at + (bit >> 3)]! ^= 1 << (bit & 7);
      seen.add(hash);
      const low = Number((hash ^ whole) & 0xffffffffn);
      const high = Number((hash ^ whole) >> 32n);
      for (let i = 0; i < 32; i++) {
        flips[i]! += (low >>> i) & 1;
        flips[i + 32]! += (high >>> i) & 1;
      }
    }
    assert.equal(seen.size, PAGE * 8 + 1, 'no two of them collide');
    // 32,768 flips: a fair bit deviates by 0.3 % in one standard deviation.
    for (const [i, n] of flips.entries())
      assert.ok(Math.abs(n / (PAGE * 8) - 0.5) < 0.015, `hash bit ${i}: ${n}`);
  }
});

test('pages that are permutations of one another have different hashes', () => {
  const prng = new Prng(seedOf(23));
  const page = makePage('random', prng);
  const seen = new Set<bigint>();
  let count = 0;
  // Every pair of 64-byte stripes exchanged, and every pair of 16-byte rows within 1 KiB.
  for (const [width, rows] of [
    [64, 64],
    [16, 64],
  ] as const)
    for (let a = 0; a < rows; a++)
      for (let b = a + 1; b < rows; b++) {
        const swapped = page.slice();
        swapped.copyWithin(a * width, b * width, (b + 1) * width);
        swapped.set(page.subarray(a * width, (a + 1) * width), b * width);
        arena.setPage(swapped);
        seen.add(hashOf());
        count++;
      }
  assert.equal(seen.size, count);
});

test('the low 32 hash bits of pages with counters collide as often as random numbers', () => {
  // Two counters in an otherwise equal page: the structure that weak hashes fail on.
  arena.setPage(makePage('records', new Prng(seedOf(24))));
  const view = new DataView(bytes.buffer, at, PAGE);
  const seen = new Set<number>();
  let count = 0;
  for (let a = 0; a < 400; a++)
    for (let b = 0; b < 400; b++, count++) {
      view.setUint32(1000, a, true);
      view.setUint32(1016, b, true);
      seen.add(kernels.hash(at) >>> 0);
    }
  // 160,000 values: 3 collisions expected.
  assert.ok(count - seen.size <= 15, `${count - seen.size} collisions`);
});
