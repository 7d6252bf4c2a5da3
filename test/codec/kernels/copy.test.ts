import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.ts';
import { Arena, seedOf } from '../../support/fixtures/codec-arena.ts';
import { makePage, makePages, PAGE } from '../../support/fixtures/codec-pages.ts';

const arena = new Arena();
const { kernels, bytes } = arena;
const MASK = (1n << 64n) - 1n;
const R = 0x9fb21c651e98df25n;

/** The kernels' keys: the high halves of splitmix64, made odd. */
const keys: readonly bigint[] = (() => {
  let state = 0x5f3759dfn;
  return Array.from({ length: 64 }, () => {
    state = (state + 0x9e3779b97f4a7c15n) & MASK;
    let z = ((state ^ (state >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
    z ^= z >> 31n;
    return (z >> 32n) | 1n;
  });
})();

/** The checksum by its definition, in scalar code. */
function plainChecksum(range: Uint8Array, seed: number): number {
  const words = Math.ceil(range.length / 4);
  const blocks = Math.floor(range.length / 256);
  let total = BigInt(seed) * 0xd6e8feb86659fd93n + BigInt(range.length) * 0xa0761d6478bd642fn;
  for (let i = 0; i < words; i++) {
    let word = 0n;
    for (let b = 3; b >= 0; b--) word = (word << 8n) | BigInt(range[i * 4 + b] ?? 0);
    const power = BigInt(blocks - Math.floor(i / 64) + 1);
    total += word * keys[i % 64]! * R ** power;
  }
  let x = Number((total & MASK) >> 32n);
  x ^= x >>> 16;
  x = Math.imul(x, 0x7feb352d);
  return (x ^ (x >>> 15)) >>> 0;
}

test('the checksum equals its definition for every length and alignment', () => {
  const data = makePage('random', new Prng(seedOf(30)));
  for (let length = 0; length <= 600; length++) {
    const from = arena.block + (length % 17);
    bytes.set(data.subarray(0, length), from);
    const want = plainChecksum(data.subarray(0, length), length * 77);
    assert.equal(kernels.checksum(from, length, length * 77) >>> 0, want, `length ${length}`);
  }
  bytes.set(data, arena.block);
  assert.equal(kernels.checksum(arena.block, PAGE, 5) >>> 0, plainChecksum(data, 5));
});

test('copyChecksum copies exactly the range and returns its checksum', () => {
  const data = makePage('random', new Prng(seedOf(31)));
  for (let length = 0; length <= 700; length++) {
    arena.fence();
    const from = arena.block + (length % 5);
    const to = arena.page + (length % 7);
    bytes.set(data.subarray(0, length + 16), from); // followed by other bytes
    const sum = kernels.copyChecksum(to, from, length, 9);
    assert.equal(sum, kernels.checksum(from, length, 9), `length ${length}`);
    assert.deepEqual(bytes.slice(to, to + length), data.slice(0, length));
    assert.deepEqual([bytes[to - 1], bytes[to + length]], [0xa7, 0xa7], `length ${length}`);
  }
});

test('a range at either end of the memory is read without an access outside', () => {
  const end = bytes.length;
  for (let length = 0; length <= 100; length++) {
    kernels.checksum(0, length, 0);
    kernels.equal(0, 0, length);
    kernels.checksum(end - length, length, 0);
    kernels.copyChecksum(end - length, arena.page, length, 0);
    kernels.equal(end - length, end - length, length);
  }
});

test('every multiplier detects every single flipped bit, by enumeration', () => {
  // Flipping bit b of a word moves the total by 2^b * M, up or down. The high half then differs unless that
  // number's high half is 0 or, with a carry, 2^32 - 1. Powers of R: 1 (last block) .. 17 (a page and more).
  let power = 1n;
  for (let n = 1; n <= 18; n++) {
    power = (power * R) & MASK;
    for (const key of keys)
      for (let b = 0n; b < 32n; b++) {
        const high = (((key * power) << b) & MASK) >> 32n;
        assert.ok(high !== 0n && high !== 0xffffffffn, `key ${key}, power ${n}, bit ${b}`);
      }
  }
});

test('every single flipped bit of a page or a block changes the checksum', () => {
  for (const { kind, page } of makePages(seedOf(32), 1).slice(0, 10))
    for (const length of kind === 'text' ? [PAGE, 1500, 37] : [PAGE]) {
      bytes.set(page, arena.block);
      const whole = kernels.checksum(arena.block, length, 3);
      for (let bit = 0; bit < length * 8; bit++) {
        bytes[arena.block + (bit >> 3)]! ^= 1 << (bit & 7);
        if (kernels.checksum(arena.block, length, 3) === whole) assert.fail(`${kind}, bit ${bit}`);
        bytes[arena.block + (bit >> 3)]! ^= 1 << (bit & 7);
      }
    }
});

/** How many damaged copies of `count` keep their checksum. */
function missed(seed: number, count: number, damage: (range: Uint8Array, prng: Prng) => void) {
  const prng = new Prng(seed);
  let unseen = 0;
  for (let n = 0; n < count; n++) {
    const length = 32 + prng.below(1500);
    const data = makePage(n % 2 === 0 ? 'random' : 'records', prng).subarray(0, length);
    bytes.set(data, arena.block);
    const whole = kernels.checksum(arena.block, length, 1);
    const copy = data.slice();
    damage(copy, prng);
    if (Buffer.compare(copy, data) === 0) continue;
    bytes.set(copy, arena.block);
    if (kernels.checksum(arena.block, length, 1) === whole) unseen++;
  }
  return unseen;
}

test('bursts, exchanged bytes and words, zeroed and moved ranges are detected', () => {
  const seed = seedOf(33);
  const kinds: Record<string, (r: Uint8Array, p: Prng) => void> = {
    burst: (r, p) => {
      const from = p.below(r.length);
      for (let i = from; i < Math.min(r.length, from + 1 + p.below(64)); i++) r[i] = p.below(256);
    },
    'exchanged neighbours': (r, p) => {
      const i = p.below(r.length - 1);
      [r[i], r[i + 1]] = [r[i + 1]!, r[i]!];
    },
    'exchanged bytes': (r, p) => {
      const [i, j] = [p.below(r.length), p.below(r.length)];
      [r[i], r[j]] = [r[j]!, r[i]!];
    },
    'exchanged vectors': (r, p) => {
      const n = r.length >> 4;
      const [i, j] = [p.below(n) * 16, p.below(n) * 16];
      const a = r.slice(i, i + 16);
      r.copyWithin(i, j, j + 16);
      r.set(a, j);
    },
    'zeroed tail': (r, p) => r.fill(0, p.below(r.length)),
    'zeroed part': (r, p) => r.fill(0, p.below(r.length), p.below(r.length)),
    'moved by one': (r) => r.copyWithin(1, 0),
    'two flipped bits': (r, p) => {
      r[p.below(r.length)]! ^= 1 << p.below(8);
      r[p.below(r.length)]! ^= 1 << p.below(8);
    },
  };
  for (const [kind, damage] of Object.entries(kinds))
    assert.equal(missed(seed, 10_000, damage), 0, kind);
});

test('a shorter range has another checksum, even if only zeros are removed', () => {
  const data = makePage('random', new Prng(seedOf(34))).fill(0, 1000);
  bytes.set(data, arena.block);
  const seen = new Set<number>();
  for (let length = 0; length <= PAGE; length++) seen.add(kernels.checksum(arena.block, length, 0));
  assert.ok(seen.size >= PAGE, `${seen.size} of ${PAGE + 1}`);
  assert.notEqual(kernels.checksum(arena.block, 2000, 0), kernels.checksum(arena.block, 2004, 0));
});

test('checksums of a million pairs of different ranges collide as often as random numbers', () => {
  const prng = new Prng(seedOf(35));
  const view = new DataView(bytes.buffer);
  let equal = 0;
  const sums = new Set<number>();
  const pairs = 1_000_000;
  bytes.set(makePage('records', prng), arena.block);
  for (let n = 0; n < pairs; n++) {
    view.setUint32(arena.block + 4 * prng.below(64), prng.u32(), true);
    const a = kernels.checksum(arena.block, 256, 0);
    view.setUint32(arena.block + 4 * prng.below(64), n, true);
    const b = kernels.checksum(arena.block, 256, 0);
    if (a === b) equal++;
    if (n < 200_000) sums.add(a);
  }
  assert.ok(equal <= 2, `${equal} of ${pairs} pairs`); // 0.0002 expected
  assert.ok(200_000 - sums.size <= 20, `${200_000 - sums.size} collisions`); // 4.7 expected
});

test('pages with small counters at two offsets collide as often as random numbers', () => {
  bytes.set(makePage('records', new Prng(seedOf(36))), arena.block);
  const view = new DataView(bytes.buffer, arena.block, PAGE);
  const seen = new Set<number>();
  for (let a = 0; a < 400; a++)
    for (let b = 0; b < 400; b++) {
      view.setUint32(512, a << 22, true); // high bits: the weak ones of plain sums
      view.setUint32(1536, b << 22, true);
      seen.add(kernels.checksum(arena.block, 2048, 0));
    }
  assert.ok(160_000 - seen.size <= 15, `${160_000 - seen.size} collisions`); // 3 expected
});

test('the seed changes the checksum', () => {
  const seen = new Set<number>();
  for (let seed = 0; seed < 10_000; seed++) seen.add(kernels.checksum(arena.block, 100, seed));
  assert.ok(seen.size >= 9_999);
});

test('ranges are equal exactly when every byte is', () => {
  const data = makePage('random', new Prng(seedOf(37)));
  for (let length = 0; length <= 200; length++) {
    const a = arena.page + 1;
    const b = arena.block + (length % 9);
    bytes.set(data.subarray(0, length + 1), a);
    bytes.set(data.subarray(0, length), b);
    bytes[b + length] = ~bytes[a + length]!; // after both: must not matter
    assert.equal(kernels.equal(a, b, length), 1, `length ${length}`);
    for (let i = 0; i < length; i++) {
      bytes[b + i]! ^= 0x80;
      if (kernels.equal(a, b, length) !== 0) assert.fail(`length ${length}, byte ${i}`);
      bytes[b + i]! ^= 0x80;
    }
  }
});

test('copy copies exactly the range', () => {
  const data = makePage('random', new Prng(seedOf(38)));
  for (const length of [0, 1, 15, 16, 17, 63, 64, 65, 1000, PAGE]) {
    arena.fence();
    bytes.set(data.subarray(0, length), arena.block);
    kernels.copy(arena.page, arena.block, length);
    assert.deepEqual(bytes.slice(arena.page, arena.page + length), data.slice(0, length));
    assert.deepEqual([bytes[arena.page - 1], bytes[arena.page + length]], [0xa7, 0xa7]);
  }
});
