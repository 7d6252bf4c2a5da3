// LZ4 block codec for 4096-byte pages, AssemblyScript. Prototype of 2026-11.
// Build: asc lz4page.ts -O3 --noAssert --runtime stub --enable simd --enable bulk-memory --importMemory --use abort= -o lz4page.wasm
// Memory map: the host reserves [TABLE, TABLE + 32 KiB) and [1024, 1168); everything else belongs to the host, pages lie above 64 KiB.
// dst of compress needs `limit`+32 bytes of room, dst of decompress 4096+32.
// @ts-nocheck
// --use 12=12 (table entries, log2) 5=4|5|6 5=6 (search speeds up after 2^5 misses)
const PAGE: i32 = 4096;
const TABLE: usize = 4096; // u16[1 << 12]
const TABLE_BYTES: usize = 2 << 12;
let epoch: i32 = 65536; // entries are epoch + position; older ones are below it, so no clearing between pages

// @ts-ignore
@inline function hash(v: u64): usize {
  if (5 == 4) return <usize>((<u32>v * 2654435761) >> (32 - 12)) << 1;
  if (5 == 5) return <usize>(((v << 24) * 889523592379) >> (64 - 12)) << 1;
  return <usize>(((v << 16) * 227718039650203) >> (64 - 12)) << 1;
}

/** Compresses 4096 bytes at src into dst; the size, or 0 when it would pass `limit`. */
export function lz4Compress(src: usize, dst: usize, limit: i32): i32 {
  let base = epoch;
  if (base > 65536 - PAGE) { memory.fill(TABLE, 0, TABLE_BYTES); base = PAGE; }
  epoch = base + PAGE;
  const mfl: usize = src + PAGE - 12, mle: usize = src + PAGE - 5;
  const olim: usize = dst + <usize>limit;
  let ip = src, anchor = src, op = dst;
  let m: usize = 0;
  store<u16>(TABLE + hash(load<u64>(ip)), <u16>base);
  ip++;
  let v = load<u64>(ip);
  let h = hash(v);
  let more = true;
  const bp = src - <usize>base; // bp + entry is the candidate's address (src must lie above 64 KiB)
  while (more) {
    // search
    // two positions a turn: ip and ip + 1
    let tries: i32 = 1 << 5;
    while (true) {
      const v1 = v >> 8, h1 = hash(v1);
      const c0: i32 = <i32>load<u16>(TABLE + h);
      store<u16>(TABLE + h, <u16>(ip - bp));
      const c1: i32 = <i32>load<u16>(TABLE + h1);
      store<u16>(TABLE + h1, <u16>(ip + 1 - bp));
      m = bp + <usize>c0;
      const m1 = bp + <usize>c1;
      const e0 = <i32>(c0 >= base) & <i32>(load<u32>(m) == <u32>v);
      const e1 = <i32>(c1 >= base) & <i32>(load<u32>(m1) == <u32>v1);
      if (e0 | e1) { m = select<usize>(m, m1, <bool>e0); ip += <usize>(e0 ^ 1); break; }
      ip += 1 + <usize>(tries >> 5);
      tries += 2;
      if (ip >= mfl) { more = false; break; }
      v = load<u64>(ip);
      h = hash(v);
    }
    if (!more) break;
    // back up over equal bytes
    while (ip > anchor && m > src && load<u8>(ip - 1) == load<u8>(m - 1)) { ip--; m--; }
    // literals
    const ll: i32 = <i32>(ip - anchor);
    if (op + <usize>(ll + (ll >> 7) + 12) > olim) return 0;
    let tok = op++, tv: i32 = ll << 4;
    if (ll < 15) {
      v128.store(op, v128.load(anchor));
      op += ll;
    } else {
      tv = 0xf0;
      let r = ll - 15;
      for (; r >= 255; r -= 255) store<u8>(op++, 255);
      store<u8>(op++, <u8>r);
      let s = anchor, e = op + ll;
      do { v128.store(op, v128.load(s)); op += 16; s += 16; } while (op < e);
      op = e;
    }
    while (true) {
      // match
      store<u16>(op, <u16>(ip - m)); op += 2;
      let p = ip + 4, q = m + 4;
      while (true) {
        if (p + 8 <= mle) {
          const d = load<u64>(p) ^ load<u64>(q);
          if (d) { p += <usize>(ctz(d) >> 3); break; }
          p += 8; q += 8;
        } else {
          while (p < mle && load<u8>(p) == load<u8>(q)) { p++; q++; }
          break;
        }
      }
      let ml: i32 = <i32>(p - ip) - 4;
      if (ml < 15) store<u8>(tok, <u8>(tv + ml));
      else {
        store<u8>(tok, <u8>(tv + 15));
        ml -= 15;
        if (op + <usize>((ml >> 7) + 12) > olim) return 0;
        for (; ml >= 255; ml -= 255) store<u8>(op++, 255);
        store<u8>(op++, <u8>ml);
      }
      ip = p; anchor = p;
      if (ip > mfl) { more = false; break; }
      // one more entry inside the match, then try right here
      const v2 = load<u64>(ip - 2);
      store<u16>(TABLE + hash(v2), <u16>(ip - 2 - bp));
      v = load<u64>(ip);
      h = hash(v);
      const cand: i32 = <i32>load<u16>(TABLE + h);
      m = bp + <usize>cand;
      if (<i32>(cand >= base) & <i32>(load<u32>(m) == <u32>v)) {
        store<u16>(TABLE + h, <u16>(ip - bp));
        if (op + 12 > olim) return 0;
        tok = op++;
        tv = 0;
        continue;
      }
      break;
    }
    if (ip >= mfl) more = false; // the search looks at ip + 1 too, and no match may start after mfl
  }
  // last literals
  let ll: i32 = <i32>(src + PAGE - anchor);
  if (op + <usize>(ll + 1 + (ll + 240) / 255) > olim) return 0;
  if (ll < 15) store<u8>(op++, <u8>(ll << 4));
  else {
    store<u8>(op++, 0xf0);
    let r = ll - 15;
    for (; r >= 255; r -= 255) store<u8>(op++, 255);
    store<u8>(op++, <u8>r);
  }
  memory.copy(op, anchor, ll);
  op += ll;
  return <i32>(op - dst);
}

/** Decodes `len` bytes at src into the 4096 bytes at dst; 4096, or -1 for bad input. Writes at most 32 bytes past the page. */
export function lz4Expand(src: usize, len: i32, dst: usize): i32 {
  let ip = src, op = dst;
  const iend = src + <usize>len, oend = dst + PAGE;
  while (ip < iend) {
    const tok: i32 = load<u8>(ip++);
    let ll = tok >> 4;
    if (ll < 15) {
      v128.store(op, v128.load(ip));
      op += ll; ip += ll;
      if (op > oend) return -1;
    } else {
      let b: i32;
      do { b = load<u8>(ip++); ll += b; } while (b == 255 && ip < iend);
      const e = op + <usize>ll;
      if (e > oend || ip + <usize>ll > iend) return -1;
      let s = ip;
      do { v128.store(op, v128.load(s)); op += 16; s += 16; } while (op < e);
      op = e; ip += ll;
    }
    if (ip >= iend) break;
    const off: usize = load<u16>(ip); ip += 2;
    let s = op - off;
    if (off == 0 || s < dst) return -1;
    let ml = (tok & 15) + 4;
    if (ml == 19) {
      let b: i32;
      do { b = load<u8>(ip++); ml += b; } while (b == 255 && ip < iend);
    }
    const e = op + <usize>ml;
    if (e > oend) return -1;
    if (off >= 16) {
      do { v128.store(op, v128.load(s)); op += 16; s += 16; } while (op < e);
    } else if (off >= 8) {
      do { store<u64>(op, load<u64>(s)); op += 8; s += 8; } while (op < e);
    } else {
      // a repeating pattern of 1..7 bytes: build 16 bytes of it, store them at a stride that is a multiple of it
      const pat = v128.swizzle(v128.load(s), v128.load(PATS + (off << 4)));
      const stride: usize = load<u8>(STRIDES + off);
      do { v128.store(op, pat); op += stride; } while (op < e);
    }
    op = e;
  }
  return ip == iend && op == oend ? PAGE : -1;
}
const PATS: usize = 1024; // i8x16[8], filled by init()
const STRIDES: usize = 1024 + 8 * 16;
export function init(): void {
  for (let o: i32 = 1; o < 8; o++) {
    for (let i: i32 = 0; i < 16; i++) store<u8>(PATS + <usize>(o * 16 + i), <u8>(i % o));
    store<u8>(STRIDES + <usize>o, <u8>(16 / o * o));
  }
}
