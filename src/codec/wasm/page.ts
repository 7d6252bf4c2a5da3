// Kernels for full pages: same-filled test, fill, content hash.
const PAGE: usize = 4096;
const KEYS: usize = 12800; // filled by copy.ts

/** 1 if the page repeats its first 8 bytes. */
export function sameFilled(page: usize): i32 {
  // The last bytes already differ in most pages.
  if (load<i64>(page) != load<i64>(page, PAGE - 8)) return 0;
  const first = i64x2.splat(load<i64>(page));
  for (let p = page, end = page + PAGE; p < end; p += 64) {
    const a = v128.or(
      v128.or(v128.xor(v128.load(p), first), v128.xor(v128.load(p, 16), first)),
      v128.or(v128.xor(v128.load(p, 32), first), v128.xor(v128.load(p, 48), first)),
    );
    if (v128.any_true(a)) return 0;
  }
  return 1;
}

/** Fills a page with the 8-byte word high:low. */
export function fill(page: usize, low: u32, high: u32): void {
  // One repeated byte, most often zero: the engine's own fill uses the widest stores available.
  if (low == high && low == (low & 0xff) * 0x01010101) {
    memory.fill(page, <u8>low, PAGE);
    return;
  }
  const v = i64x2.splat(<i64>(((<u64>high) << 32) | <u64>low));
  for (let p = page, end = page + PAGE; p < end; p += 64) {
    v128.store(p, v);
    v128.store(p, v, 16);
    v128.store(p, v, 32);
    v128.store(p, v, 48);
  }
}

// The content hash, derived from NH (Black et al., UMAC, 1999) and XXH3 (Collet): in each 64-byte stripe, pairs
// of 32-bit words 16 bytes apart are keyed, multiplied and added to eight 64-bit sums. Each sum also adds the
// plain words of the pair's other half, so that a factor of zero hides no change. Keys advance by 16 bytes per
// stripe; after each 1024 bytes, before the keys repeat, the sums are mixed.
const STRIPE: usize = 64;
const GROUP: usize = 16 * STRIPE;
const MIX: u64 = 0x9fb21c651e98df25;

let hashUpper: u32 = 0;

// @ts-ignore: decorator
@inline
function scramble(sum: v128, key: usize): v128 {
  const x = v128.xor(v128.xor(sum, i64x2.shr_u(sum, 47)), v128.load(key));
  return i64x2.mul(x, i64x2.splat(MIX));
}

// @ts-ignore: decorator
@inline
function absorb(h: u64, sum: v128): u64 {
  h = (h ^ i64x2.extract_lane(sum, 0)) * 0xbf58476d1ce4e5b9;
  h ^= h >> 32;
  h = (h ^ i64x2.extract_lane(sum, 1)) * 0x94d049bb133111eb;
  return h ^ (h >> 29);
}

/** 64-bit content hash of a page: the low word; hashHigh() gives the other. */
export function hash(page: usize): u32 {
  let s0 = v128.load(KEYS, 384);
  let s1 = v128.load(KEYS, 400);
  let s2 = v128.load(KEYS, 416);
  let s3 = v128.load(KEYS, 432);
  let p = page;
  for (const end = page + PAGE; p < end; ) {
    let key = KEYS;
    for (const groupEnd = p + GROUP; p < groupEnd; p += STRIPE, key += 16) {
      const a = v128.load(p);
      const b = v128.load(p, 16);
      const c = v128.load(p, 32);
      const d = v128.load(p, 48);
      const ka = v128.xor(a, v128.load(key));
      const kb = v128.xor(b, v128.load(key, 16));
      const kc = v128.xor(c, v128.load(key, 32));
      const kd = v128.xor(d, v128.load(key, 48));
      s0 = i64x2.add(s0, i64x2.add(i64x2.extmul_low_i32x4_u(ka, kb), c));
      s1 = i64x2.add(s1, i64x2.add(i64x2.extmul_high_i32x4_u(ka, kb), d));
      s2 = i64x2.add(s2, i64x2.add(i64x2.extmul_low_i32x4_u(kc, kd), a));
      s3 = i64x2.add(s3, i64x2.add(i64x2.extmul_high_i32x4_u(kc, kd), b));
    }
    s0 = scramble(s0, KEYS + 320);
    s1 = scramble(s1, KEYS + 336);
    s2 = scramble(s2, KEYS + 352);
    s3 = scramble(s3, KEYS + 368);
  }
  let h = absorb(absorb(absorb(absorb(PAGE, s0), s1), s2), s3);
  h *= 0xbf58476d1ce4e5b9;
  h ^= h >> 32;
  hashUpper = <u32>(h >> 32);
  return <u32>h;
}

/** The high word of the last hash(). */
export function hashHigh(): u32 {
  return hashUpper;
}
