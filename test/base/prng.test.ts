import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../src/base/prng.ts';

/** The published algorithm in 64-bit integers: splitmix32 for the seed, then xoshiro128**. */
function* reference(seed: number): Generator<number> {
  const mask = 0xffff_ffffn;
  const rotl = (x: bigint, k: bigint): bigint => ((x << k) | (x >> (32n - k))) & mask;
  let state = BigInt(seed >>> 0);
  const s = [0n, 0n, 0n, 0n].map(() => {
    state = (state + 0x9e3779b9n) & mask;
    let z = state ^ (state >> 16n);
    z = (z * 0x21f0aaadn) & mask;
    z ^= z >> 15n;
    z = (z * 0x735a2d97n) & mask;
    return z ^ (z >> 15n);
  }) as [bigint, bigint, bigint, bigint];
  s[3] |= 1n;
  for (;;) {
    yield Number((rotl((s[1] * 5n) & mask, 7n) * 9n) & mask);
    const t = (s[1] << 9n) & mask;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 11n);
  }
}

test('the generator is xoshiro128** over a splitmix32 seed', () => {
  for (const seed of [0, 1, -1, 42, 0x7fff_ffff, -0x8000_0000, 0x9e37_79b9]) {
    const prng = new Prng(seed);
    const expected = reference(seed);
    for (let i = 0; i < 1000; i++) assert.equal(prng.u32(), expected.next().value, `seed ${seed}`);
  }
});

test('below(n) stays below n and reaches both ends', () => {
  const prng = new Prng(7);
  for (const n of [1, 2, 3, 7, 64]) {
    const seen = new Set<number>();
    for (let i = 0; i < n * 100; i++) seen.add(prng.below(n));
    assert.deepEqual(
      [...seen].sort((a, b) => a - b),
      Array.from({ length: n }, (_, i) => i),
    );
  }
  for (let i = 0; i < 1000; i++) {
    const wide = prng.below(2 ** 32);
    assert.ok(Number.isInteger(wide) && wide >= 0 && wide < 2 ** 32);
  }
});

test('oneIn(n) is true about once in n calls', () => {
  const prng = new Prng(11);
  let hits = 0;
  for (let i = 0; i < 80_000; i++) if (prng.oneIn(8)) hits++;
  assert.ok(hits > 9_000 && hits < 11_000, `${hits} of 10000`);
});

test('fill() writes every byte of the target and no other', () => {
  const around = new Uint8Array(1024);
  const prng = new Prng(3);
  const touched = new Uint8Array(1024);
  for (let i = 0; i < 8; i++) {
    prng.fill(around.subarray(100, 900));
    around.forEach((byte, at) => {
      touched[at]! |= byte;
    });
  }
  touched.forEach((bits, at) => {
    assert.equal(bits !== 0, at >= 100 && at < 900, `byte ${at}`);
  });
});
