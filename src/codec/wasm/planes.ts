// Bit planes: the filter before LZ4 for pages of numbers. An array of 4- or 8-byte numbers whose upper bits rarely
// change has no repeated strings for LZ4, because changing bits lie between the constant ones. In bit-plane layout
// the constant bits become runs of one byte, which LZ4 compresses.
//
//   page     1024 elements of 4 bytes, or 512 of 8
//   delta    optional: each element minus its predecessor (the first minus 0), mod 2^32 or 2^64
//   bytes    byte b of all elements side by side: 4 rows of 1024 bytes, or 8 of 512; at BYTES
//   planes   bit k of byte b of all elements: plane b * 8 + k, 128 bytes, or 64
//
// The order of elements in a plane is the one that needs no extra instruction; both directions use it:
//   row b    16 elements make 16 bytes: 4 bytes of each of 4 vectors, or 2 of each of 8, in order of the elements
//   plane    128 bytes of a row make 16 bytes in each of its 8 planes: bit v of byte i is from byte 16 v + i
//
// Both steps permute the page's bits, and a sum inverts the delta, so any 4096 bytes are the planes of exactly one
// page. A hostile block can therefore only decode to another page: the filter number is the only input that has to
// be checked.
//
// Cost and alternatives that were tried: docs/adr/0017-numeric-pages.md.
// Source: bitshuffle (Masui et al., "A compression scheme for radio data in high performance computing", 2015).

const PAGE: usize = 4096;
// Scratch (index.ts has the complete map).
const BYTES: usize = 0x4040; // the LZ4 encoder's window, which is idle at that time

// Filters; kernels.ts has the same numbers. Bit 0: 8-byte elements; bit 1: delta.
const FIRST: i32 = 1;
const LAST: i32 = 4;

// Samples that pickFilter() takes, and bytes per sample.
const SAMPLES: i32 = 8;
const SAMPLE: usize = 64;
// The page counts as noise if, with every filter, more than NOISE_BITS of the 128 bits of the first two samples vary.
const NOISE_SAMPLES: i32 = 2;
const NOISE_BITS: i32 = 118;

// @ts-ignore: decorator
@inline
function is8(filter: i32): bool {
  return ((filter - FIRST) & 1) != 0;
}

// @ts-ignore: decorator
@inline
function isDelta(filter: i32): bool {
  return filter - FIRST >= 2;
}

/**
 * Returns the filter whose planes are likely to compress best, or 0 if none is likely to reach `most` bytes or less.
 * Reads 1/8 of the page, or 1/32 if it is noise.
 *
 * A plane costs nothing where its bits are all equal, or equal those of the plane above (sign bits). The estimate is
 * therefore the number of bits of x xor (x >> 1) that differ between the elements of a sample.
 */
export function pickFilter(page: usize, most: i32): i32 {
  // Each sample has 64 bits: an element of 8 bytes, or two of 4.
  const mostBits = (most * SAMPLES * 64) / <i32>PAGE;
  let plain4 = 0;
  let plain8 = 0;
  let delta4 = 0;
  let delta8 = 0;
  let at: usize = 1;
  for (let n = 1; n <= SAMPLES; n++, at = (at + 5) & (SAMPLES - 1)) {
    let p = page + at * (PAGE / SAMPLES) + 64;
    const v = v128.load(p);
    const first4 = v128.shuffle<i32>(v, v, 0, 0, 0, 0);
    const first8 = v128.shuffle<i64>(v, v, 0, 0);
    const d4 = i32x4.sub(v, v128.load(p - 4));
    const d8 = i64x2.sub(v, v128.load(p - 8));
    const firstDelta4 = v128.shuffle<i32>(d4, d4, 0, 0, 0, 0);
    const firstDelta8 = v128.shuffle<i64>(d8, d8, 0, 0);
    let a = i64x2.splat(0);
    let b = a;
    let c = a;
    let d = a;
    for (const end = p + SAMPLE; p < end; p += 16) {
      const v = v128.load(p);
      a = v128.or(a, edges4(v128.xor(v, first4)));
      b = v128.or(b, edges8(v128.xor(v, first8)));
      c = v128.or(c, edges4(v128.xor(i32x4.sub(v, v128.load(p - 4)), firstDelta4)));
      d = v128.or(d, edges8(v128.xor(i64x2.sub(v, v128.load(p - 8)), firstDelta8)));
    }
    plain4 += bits4(a);
    plain8 += bits8(b);
    delta4 += bits4(c);
    delta8 += bits8(d);
    const least = min(min(plain4, plain8), min(delta4, delta8));
    if (least > mostBits || (n == NOISE_SAMPLES && least > NOISE_BITS)) return 0;
  }
  // If estimates are equal, prefers plain to delta and 4 bytes to 8, because they decompress faster.
  let filter = FIRST;
  let least = plain4;
  if (plain8 < least) {
    least = plain8;
    filter = FIRST + 1;
  }
  if (delta4 < least) {
    least = delta4;
    filter = FIRST + 2;
  }
  if (delta8 < least) filter = FIRST + 3;
  return filter;
}

// @ts-ignore: decorator
@inline
function edges4(v: v128): v128 {
  return v128.xor(v, i32x4.shr_u(v, 1));
}

// @ts-ignore: decorator
@inline
function edges8(v: v128): v128 {
  return v128.xor(v, i64x2.shr_u(v, 1));
}

// @ts-ignore: decorator
@inline
function bits8(v: v128): i32 {
  return <i32>popcnt(i64x2.extract_lane(v, 0) | i64x2.extract_lane(v, 1));
}

// @ts-ignore: decorator
@inline
function bits4(v: v128): i32 {
  const both = i64x2.extract_lane(v, 0) | i64x2.extract_lane(v, 1);
  return 2 * popcnt(<i32>both | <i32>(both >> 32));
}

/** Writes the planes of the page at `page` to `out` (no overlap). */
export function toPlanes(filter: i32, page: usize, out: usize): void {
  if (is8(filter)) {
    if (isDelta(filter)) toBytes8(page, true);
    else toBytes8(page, false);
  } else if (isDelta(filter)) toBytes4(page, true);
  else toBytes4(page, false);
  const row: usize = is8(filter) ? 512 : 1024;
  const stride = row >> 3;
  for (let b = BYTES; b < BYTES + PAGE; b += row, out += row)
    for (let at: usize = 0; at < row; at += 128) turnBits(b + at, 16, out + (at >> 3), stride);
}

/** Writes the page whose planes are at `from` to `page` (no overlap); returns 4096, or -1 for an unknown filter. */
export function fromPlanes(filter: i32, from: usize, page: usize): i32 {
  if (filter < FIRST || filter > LAST) return -1;
  const row: usize = is8(filter) ? 512 : 1024;
  const stride = row >> 3;
  for (let b = BYTES; b < BYTES + PAGE; b += row, from += row)
    for (let at: usize = 0; at < row; at += 128) turnBits(from + (at >> 3), stride, b + at, 16);
  if (is8(filter)) {
    if (isDelta(filter)) fromBytes8(page, true);
    else fromBytes8(page, false);
  } else if (isDelta(filter)) fromBytes4(page, true);
  else fromBytes4(page, false);
  return <i32>PAGE;
}

// @ts-ignore: decorator
@inline
function quads(v: v128): v128 {
  return i8x16.shuffle(v, v, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
}

// @ts-ignore: decorator
@inline
function pairs(v: v128): v128 {
  return i8x16.shuffle(v, v, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
}

// @ts-ignore: decorator
@inline
function unpairs(v: v128): v128 {
  return i8x16.shuffle(v, v, 0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
}

// @ts-ignore: decorator
@inline
function low16(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}

// @ts-ignore: decorator
@inline
function high16(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

// @ts-ignore: decorator
@inline
function low32(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(a, b, 0, 4, 1, 5);
}

// @ts-ignore: decorator
@inline
function high32(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(a, b, 2, 6, 3, 7);
}

// @ts-ignore: decorator
@inline
function low64(a: v128, b: v128): v128 {
  return v128.shuffle<i64>(a, b, 0, 2);
}

// @ts-ignore: decorator
@inline
function high64(a: v128, b: v128): v128 {
  return v128.shuffle<i64>(a, b, 1, 3);
}

/** Each element minus its predecessor; `before` is the previous vector. */
// @ts-ignore: decorator
@inline
function less4(v: v128, before: v128): v128 {
  return i32x4.sub(v, v128.shuffle<i32>(before, v, 3, 4, 5, 6));
}

// @ts-ignore: decorator
@inline
function less8(v: v128, before: v128): v128 {
  return i64x2.sub(v, v128.shuffle<i64>(before, v, 1, 2));
}

// The users pass a constant for `delta`, so after inlining each has a specialised loop.
// @ts-ignore: decorator
@inline
function toBytes4(page: usize, delta: bool): void {
  let before = i32x4.splat(0);
  for (let to = BYTES, end = BYTES + 1024; to < end; to += 16, page += 64) {
    let a = v128.load(page);
    let b = v128.load(page, 16);
    let c = v128.load(page, 32);
    let d = v128.load(page, 48);
    if (delta) {
      const next = d;
      d = less4(d, c);
      c = less4(c, b);
      b = less4(b, a);
      a = less4(a, before);
      before = next;
    }
    a = quads(a);
    b = quads(b);
    c = quads(c);
    d = quads(d);
    const ab = low32(a, b);
    const cd = low32(c, d);
    const ab2 = high32(a, b);
    const cd2 = high32(c, d);
    v128.store(to, low64(ab, cd));
    v128.store(to, high64(ab, cd), 1024);
    v128.store(to, low64(ab2, cd2), 2048);
    v128.store(to, high64(ab2, cd2), 3072);
  }
}

/** Prefix sums of a vector's elements, plus the sum of all earlier elements, which is the last lane of `before`. */
// @ts-ignore: decorator
@inline
function sum4(v: v128, before: v128): v128 {
  const zero = i32x4.splat(0);
  v = i32x4.add(v, v128.shuffle<i32>(zero, v, 3, 4, 5, 6));
  v = i32x4.add(v, v128.shuffle<i32>(zero, v, 2, 3, 4, 5));
  return i32x4.add(v, v128.shuffle<i32>(before, before, 3, 3, 3, 3));
}

// @ts-ignore: decorator
@inline
function sum8(v: v128, before: v128): v128 {
  v = i64x2.add(v, v128.shuffle<i64>(i64x2.splat(0), v, 1, 2));
  return i64x2.add(v, v128.shuffle<i64>(before, before, 1, 1));
}

// @ts-ignore: decorator
@inline
function fromBytes4(page: usize, delta: bool): void {
  let before = i32x4.splat(0);
  for (let from = BYTES, end = BYTES + 1024; from < end; from += 16, page += 64) {
    const w = v128.load(from);
    const x = v128.load(from, 1024);
    const y = v128.load(from, 2048);
    const z = v128.load(from, 3072);
    // The four rows' bytes of four elements each; quads() is its own inverse.
    const wx = low32(w, x);
    const yz = low32(y, z);
    const wx2 = high32(w, x);
    const yz2 = high32(y, z);
    let a = quads(low64(wx, yz));
    let b = quads(high64(wx, yz));
    let c = quads(low64(wx2, yz2));
    let d = quads(high64(wx2, yz2));
    if (delta) {
      a = sum4(a, before);
      b = sum4(b, a);
      c = sum4(c, b);
      d = sum4(d, c);
      before = d;
    }
    v128.store(page, a);
    v128.store(page, b, 16);
    v128.store(page, c, 32);
    v128.store(page, d, 48);
  }
}

// @ts-ignore: decorator
@inline
function toBytes8(page: usize, delta: bool): void {
  let before = i64x2.splat(0);
  for (let to = BYTES, end = BYTES + 512; to < end; to += 16, page += 128) {
    let a = v128.load(page);
    let b = v128.load(page, 16);
    let c = v128.load(page, 32);
    let d = v128.load(page, 48);
    let e = v128.load(page, 64);
    let f = v128.load(page, 80);
    let g = v128.load(page, 96);
    let h = v128.load(page, 112);
    if (delta) {
      const next = h;
      h = less8(h, g);
      g = less8(g, f);
      f = less8(f, e);
      e = less8(e, d);
      d = less8(d, c);
      c = less8(c, b);
      b = less8(b, a);
      a = less8(a, before);
      before = next;
    }
    a = pairs(a);
    b = pairs(b);
    c = pairs(c);
    d = pairs(d);
    e = pairs(e);
    f = pairs(f);
    g = pairs(g);
    h = pairs(h);
    // Transposes an 8 x 8 matrix of pairs: bytes 0..3 first, then 4..7.
    let p = low16(a, b);
    let q = low16(c, d);
    let r = low16(e, f);
    let s = low16(g, h);
    turnOut(to, p, q, r, s);
    p = high16(a, b);
    q = high16(c, d);
    r = high16(e, f);
    s = high16(g, h);
    turnOut(to + 2048, p, q, r, s);
  }
}

// @ts-ignore: decorator
@inline
function turnOut(to: usize, p: v128, q: v128, r: v128, s: v128): void {
  const pq = low32(p, q);
  const rs = low32(r, s);
  const pq2 = high32(p, q);
  const rs2 = high32(r, s);
  v128.store(to, low64(pq, rs));
  v128.store(to, high64(pq, rs), 512);
  v128.store(to, low64(pq2, rs2), 1024);
  v128.store(to, high64(pq2, rs2), 1536);
}

// @ts-ignore: decorator
@inline
function fromBytes8(page: usize, delta: bool): void {
  let before = i64x2.splat(0);
  for (let from = BYTES, end = BYTES + 512; from < end; from += 16, page += 128) {
    const i = v128.load(from);
    const j = v128.load(from, 512);
    const k = v128.load(from, 1024);
    const l = v128.load(from, 1536);
    const m = v128.load(from, 2048);
    const n = v128.load(from, 2560);
    const o = v128.load(from, 3072);
    const p = v128.load(from, 3584);
    const ij = low16(i, j);
    const kl = low16(k, l);
    const mn = low16(m, n);
    const op = low16(o, p);
    before = turnIn(page, ij, kl, mn, op, before, delta);
    const ij2 = high16(i, j);
    const kl2 = high16(k, l);
    const mn2 = high16(m, n);
    const op2 = high16(o, p);
    before = turnIn(page + 64, ij2, kl2, mn2, op2, before, delta);
  }
}

// @ts-ignore: decorator
@inline
function turnIn(
  page: usize,
  ij: v128,
  kl: v128,
  mn: v128,
  op: v128,
  before: v128,
  delta: bool,
): v128 {
  const x = low32(ij, kl);
  const y = low32(mn, op);
  const x2 = high32(ij, kl);
  const y2 = high32(mn, op);
  let a = unpairs(low64(x, y));
  let b = unpairs(high64(x, y));
  let c = unpairs(low64(x2, y2));
  let d = unpairs(high64(x2, y2));
  if (delta) {
    a = sum8(a, before);
    b = sum8(b, a);
    c = sum8(c, b);
    d = sum8(d, c);
  }
  v128.store(page, a);
  v128.store(page, b, 16);
  v128.store(page, c, 32);
  v128.store(page, d, 48);
  return d;
}

/** The bits that a and b exchange: those of b, shifted down by `by`, that differ from a's under the mask. */
// @ts-ignore: decorator
@inline
function crossed(a: v128, b: v128, by: i32, mask: v128): v128 {
  return v128.and(v128.xor(i64x2.shr_u(a, by), b), mask);
}

/**
 * Reads eight vectors v[0] .. v[7] and writes eight: bit k of byte i of vector w[j] is bit j of byte i of v[k]. It is
 * its own inverse. Three rounds of exchanges, as for the 8 x 8 bit matrix (Warren, "Hacker's Delight", section 7-3),
 * with one vector per row.
 */
function turnBits(from: usize, fromStride: usize, to: usize, toStride: usize): void {
  const from4 = from + fromStride * 4;
  let a = v128.load(from);
  let b = v128.load(from + fromStride);
  let c = v128.load(from + fromStride * 2);
  let d = v128.load(from + fromStride * 3);
  let e = v128.load(from4);
  let f = v128.load(from4 + fromStride);
  let g = v128.load(from4 + fromStride * 2);
  let h = v128.load(from4 + fromStride * 3);

  let mask = i8x16.splat(0x0f);
  let t = crossed(a, e, 4, mask);
  e = v128.xor(e, t);
  a = v128.xor(a, i64x2.shl(t, 4));
  t = crossed(b, f, 4, mask);
  f = v128.xor(f, t);
  b = v128.xor(b, i64x2.shl(t, 4));
  t = crossed(c, g, 4, mask);
  g = v128.xor(g, t);
  c = v128.xor(c, i64x2.shl(t, 4));
  t = crossed(d, h, 4, mask);
  h = v128.xor(h, t);
  d = v128.xor(d, i64x2.shl(t, 4));

  mask = i8x16.splat(0x33);
  t = crossed(a, c, 2, mask);
  c = v128.xor(c, t);
  a = v128.xor(a, i64x2.shl(t, 2));
  t = crossed(b, d, 2, mask);
  d = v128.xor(d, t);
  b = v128.xor(b, i64x2.shl(t, 2));
  t = crossed(e, g, 2, mask);
  g = v128.xor(g, t);
  e = v128.xor(e, i64x2.shl(t, 2));
  t = crossed(f, h, 2, mask);
  h = v128.xor(h, t);
  f = v128.xor(f, i64x2.shl(t, 2));

  mask = i8x16.splat(0x55);
  t = crossed(a, b, 1, mask);
  b = v128.xor(b, t);
  a = v128.xor(a, i64x2.shl(t, 1));
  t = crossed(c, d, 1, mask);
  d = v128.xor(d, t);
  c = v128.xor(c, i64x2.shl(t, 1));
  t = crossed(e, f, 1, mask);
  f = v128.xor(f, t);
  e = v128.xor(e, i64x2.shl(t, 1));
  t = crossed(g, h, 1, mask);
  h = v128.xor(h, t);
  g = v128.xor(g, i64x2.shl(t, 1));

  const to4 = to + toStride * 4;
  v128.store(to, a);
  v128.store(to + toStride, b);
  v128.store(to + toStride * 2, c);
  v128.store(to + toStride * 3, d);
  v128.store(to4, e);
  v128.store(to4 + toStride, f);
  v128.store(to4 + toStride * 2, g);
  v128.store(to4 + toStride * 3, h);
}
