// Copies, compares and checksums of ranges of any length and alignment. Nothing outside a range is read.
//
// The checksum is multilinear (Carter and Wegman 1979; Lemire and Kaser, "Strongly universal string hashing
// is fast", 2014): the range as 32-bit words w, padded with zeros, times fixed 64-bit multipliers M,
//
//   total    = seed * SEED + length * LENGTH + sum of w[i] * M[i]      mod 2^64
//   checksum = mix(total >> 32), where mix is a permutation of 32-bit numbers
//
// M[i] = KEY[i mod 64] * R^b: 64 keys of 32 bits, one for each word of a 256-byte block, and R once for each
// block from this one to the end. So the inner loop multiplies 32 by 32 bits in vectors, and each block needs
// one 64-bit multiplication for the power of R.
//
// Detection: a change of one word by D changes total by D * M. The keys are chosen so that for every bit of
// every word of a page the high half of D * M is neither 0 nor 2^32 - 1, so every single flipped bit changes
// the checksum (a test checks all multipliers). Other damage is missed once in 2^32.
// It does not protect against an adversary: the keys are known.
// Cost: docs/design/codec.md.

const KEYS: usize = 12800; // u32[128], odd; the first 64 are the checksum's, the page hash uses all
const BLOCK: usize = 256;
const R: u64 = 0x9fb21c651e98df25;
const SEED: u64 = 0xd6e8feb86659fd93;
const LENGTH: u64 = 0xa0761d6478bd642f;

/** Fills the key table: the high halves of splitmix64's sequence (Steele, Lea, Flood 2014), made odd. */
export function initKeys(): void {
  let state: u64 = 0x5f3759df;
  for (let i: usize = 0; i < 128; i++) {
    state += 0x9e3779b97f4a7c15;
    let z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    store<u32>(KEYS + i * 4, <u32>(z >> 32) | 1);
  }
}

// @ts-ignore: decorator
@inline
function products(words: v128, keys: v128): v128 {
  return i64x2.add(
    i64x2.extmul_low_i32x4_u(words, keys),
    i64x2.extmul_high_i32x4_u(words, keys),
  );
}

// Both users pass a constant for `copying`, so after inlining each has a specialised loop.
// @ts-ignore: decorator
@inline
function total(to: usize, from: usize, length: usize, seed: u32, copying: bool): u32 {
  let sum = i64x2.splat(0);
  const r = i64x2.splat(R);
  const blocksEnd = from + (length & ~(BLOCK - 1));
  while (from < blocksEnd) {
    for (let k: usize = 0; k < BLOCK; k += 64) {
      const a = v128.load(from + k);
      const b = v128.load(from + k, 16);
      const c = v128.load(from + k, 32);
      const d = v128.load(from + k, 48);
      if (copying) {
        v128.store(to + k, a);
        v128.store(to + k, b, 16);
        v128.store(to + k, c, 32);
        v128.store(to + k, d, 48);
      }
      sum = i64x2.add(
        sum,
        i64x2.add(
          i64x2.add(products(a, v128.load(k, KEYS)), products(b, v128.load(k, KEYS + 16))),
          i64x2.add(products(c, v128.load(k, KEYS + 32)), products(d, v128.load(k, KEYS + 48))),
        ),
      );
    }
    sum = i64x2.mul(sum, r);
    from += BLOCK;
    to += BLOCK;
  }
  let key = KEYS;
  const vectorsEnd = from + (length & (BLOCK - 1) & ~15);
  while (from < vectorsEnd) {
    const a = v128.load(from);
    if (copying) v128.store(to, a);
    sum = i64x2.add(sum, products(a, v128.load(key)));
    from += 16;
    to += 16;
    key += 16;
  }
  const rest = length & 15;
  if (rest != 0) {
    if (copying) memory.copy(to, from, rest);
    sum = i64x2.add(sum, products(partial(from, length), v128.load(key)));
  }
  const h =
    (i64x2.extract_lane(sum, 0) + i64x2.extract_lane(sum, 1)) * R +
    <u64>seed * SEED +
    <u64>length * LENGTH;
  let x = <u32>(h >> 32);
  x ^= x >> 16;
  x *= 0x7feb352d;
  return x ^ (x >> 15);
}

/** The last length % 16 bytes of a range, starting at `from`, followed by zeros. */
function partial(from: usize, length: usize): v128 {
  const rest = length & 15;
  if (length >= 16) {
    // Read the last 16 bytes of the range and shift them down; an index above 15 selects 0.
    const up = i8x16.splat(<i8>(16 - rest));
    const lanes = i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return i8x16.swizzle(v128.load(from + rest - 16), i8x16.add(lanes, up));
  }
  let low: u64 = 0;
  let high: u64 = 0;
  for (let i = rest; i > 0; i--) {
    high = (high << 8) | (low >> 56);
    low = (low << 8) | <u64>load<u8>(from + i - 1);
  }
  return i64x2.replace_lane(i64x2.splat(low), 1, high);
}

/** 32-bit checksum of a range. */
export function checksum(from: usize, length: usize, seed: u32): u32 {
  return total(0, from, length, seed, false);
}

/** Copies a range and returns its checksum. */
export function copyChecksum(to: usize, from: usize, length: usize, seed: u32): u32 {
  return total(to, from, length, seed, true);
}

export function copy(to: usize, from: usize, length: usize): void {
  memory.copy(to, from, length);
}

// @ts-ignore: decorator
@inline
function unlike(a: usize, b: usize): v128 {
  return v128.xor(v128.load(a), v128.load(b));
}

/** 1 if two ranges have the same bytes. */
export function equal(a: usize, b: usize, length: usize): i32 {
  const end = a + length;
  for (const blocksEnd = a + (length & ~63); a < blocksEnd; a += 64, b += 64) {
    const x = v128.or(unlike(a, b), unlike(a + 16, b + 16));
    const y = v128.or(unlike(a + 32, b + 32), unlike(a + 48, b + 48));
    if (v128.any_true(v128.or(x, y))) return 0;
  }
  for (; a + 16 <= end; a += 16, b += 16) if (v128.any_true(unlike(a, b))) return 0;
  for (; a < end; a++, b++) if (load<u8>(a) != load<u8>(b)) return 0;
  return 1;
}
