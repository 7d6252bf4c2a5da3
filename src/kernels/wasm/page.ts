// Whole-page kernels: same-filled test, fill, content hash, compare.
const PAGE: usize = 4096;

/** 1 when the page repeats its first 8 bytes. */
export function sameFilled(page: usize): i32 {
  // A look at the end settles most pages.
  if (load<i64>(page) != load<i64>(page + PAGE - 8)) return 0;
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
  const v = i64x2.splat(<i64>(((<u64>high) << 32) | <u64>low));
  for (let p = page, end = page + PAGE; p < end; p += 64) {
    v128.store(p, v);
    v128.store(p, v, 16);
    v128.store(p, v, 32);
    v128.store(p, v, 48);
  }
}

/** 1 when two ranges hold the same bytes. */
export function equal(a: usize, b: usize, length: usize): i32 {
  const end = a + (length & ~15);
  while (a < end) {
    if (v128.any_true(v128.xor(v128.load(a), v128.load(b)))) return 0;
    a += 16;
    b += 16;
  }
  const tail = end + (length & 15);
  while (a < tail) if (load<u8>(a++) != load<u8>(b++)) return 0;
  return 1;
}

let high: u32 = 0;

/** 64-bit content hash of a page: the low word; hashHigh() gives the other. */
export function hash(page: usize): u32 {
  let a: u64 = 0x9e3779b97f4a7c15;
  for (let p = page, end = page + PAGE; p < end; p += 8) {
    a = (a ^ load<u64>(p)) * 0xff51afd7ed558ccd;
    a ^= a >> 32;
  }
  high = <u32>(a >> 32);
  return <u32>a;
}

export function hashHigh(): u32 {
  return high;
}
