// LZ4 block codec for 4096-byte pages: plain blocks, no header, readable by any LZ4 decoder.
//
//   block     sequence* last-literals
//   sequence  token | literal length bytes | literals | offset (2, little endian) | match length bytes
//   token     literals (high 4 bits, 15 = more bytes follow) | match length - 4 (low 4 bits, 15 = more)
//   The last 5 bytes are literals and no match starts in the last 12, as the format requires.
//
// Encoder. The page is copied to WINDOW first, for three reasons. A table entry is then an address of 16 bits, without
// a base or a valid flag. Another thread may change the page during the call (guest memory). The output does not depend
// on the page's address. Empty entries point at the page's first byte, which is a valid candidate, so no entry is ever
// stale. Short branches are faster than branch-free selects here: the next search starts at the end of the match, and
// a predicted branch lets the processor start it early.
//
// Decoder. Every store is 16 bytes wide, even if fewer are needed: narrower ones would stall the wide loads that
// read them back. Three things are checked before bytes are used: ip is within the block, op within the page, and
// the offset within the bytes already written. The unchecked writes of a short literal run stay inside the slack.
//
// Cost and alternatives that were tried: docs/design/codec.md. Format: the LZ4 block format description.

const PAGE: usize = 4096;

// Scratch (index.ts has the complete map).
const TABLE: usize = 4096; // u16[4096]: hash of 5 bytes -> window address of their last occurrence
const TABLE_BYTES: usize = 8192;
const PATTERN: usize = 12288; // i8x16[16]: row d = 0, 1 .. d-1, 0, 1 .. : spreads d bytes over 16
const STRIDE: usize = 12544; // u8[16]: the longest multiple of d that is at most 16
const WINDOW: usize = 0x4040; // both bytes are equal, so that memory.fill makes every entry point here
const WINDOW_BYTE: u8 = 0x40;

const END: usize = WINDOW + PAGE;
const LAST_START: usize = END - 12; // no match may start above
const LAST_MATCH_END: usize = END - 5; // no match may end above
const SKIP_SHIFT: usize = 5; // the search's stride grows by one after 32 misses
const BACK_MAX: usize = 32; // a match grows backwards by at most this; makes the early stop exact

// The longest block of a page: all literals, 1 token and 17 length bytes. Longer blocks are refused without
// reading them, which also keeps sums of length bytes far below 2^32.
const BLOCK_MAX: i32 = 4114;

/** Fills the decoder's pattern tables. */
export function initLz4(): void {
  for (let d: usize = 1; d < 16; d++) {
    for (let i: usize = 0; i < 16; i++) store<u8>(PATTERN + d * 16 + i, <u8>(i % d));
    store<u8>(STRIDE + d, <u8>((16 / d) * d));
  }
}

// @ts-ignore: decorator
@inline
function bucket(bytes: u64): usize {
  return (<usize>(((bytes << 24) * 889523592379) >> 52)) << 1;
}

// @ts-ignore: decorator
@inline
function last(at: usize): usize {
  return <usize>load<u16>(at, TABLE);
}

// @ts-ignore: decorator
@inline
function remember(at: usize, position: usize): void {
  store<u16>(at, <u16>position, TABLE);
}

// @ts-ignore: decorator
@inline
function differ(a: usize, b: usize): i32 {
  return i8x16.bitmask(i8x16.eq(v128.load(a), v128.load(b))) ^ 0xffff;
}

/** Compresses a page; returns the length of the block, or 0 if it would exceed `limit`. */
export function lz4Compress(page: usize, out: usize, limit: i32): i32 {
  memory.copy(WINDOW, page, PAGE);
  memory.fill(TABLE, WINDOW_BYTE, TABLE_BYTES);
  const outEnd = out + <usize>limit;
  let ip = WINDOW + 1;
  let anchor = WINDOW; // first byte not yet written
  let op = out;
  while (true) {
    // Find a match. Past `stop` the literals alone are too long, or no match may start. So there are at most
    // outEnd - op + 31 literals. With the token, 16 length bytes and 15 bytes of rounding, the part of them that is
    // written ends at most 63 bytes after outEnd.
    const stop = min<usize>(LAST_START + 1, anchor + (outEnd - op) + BACK_MAX);
    let match: usize;
    let misses: usize = 1 << SKIP_SHIFT;
    while (true) {
      if (ip >= stop) return finish(op, anchor, out, outEnd);
      const bytes = load<u64>(ip);
      const h = bucket(bytes);
      match = last(h);
      remember(h, ip);
      if (load<u32>(match) == <u32>bytes) break;
      ip += misses >> SKIP_SHIFT;
      misses++;
    }
    if (ip > anchor && load<u8>(ip - 1) == load<u8>(match - 1)) {
      const floor = max<usize>(anchor, ip - BACK_MAX);
      while (ip > floor && match > WINDOW && load<u8>(ip - 1) == load<u8>(match - 1)) {
        ip--;
        match--;
      }
    }

    // Write the literals before it.
    const literals = ip - anchor;
    let token = op++;
    let high = literals << 4;
    if (literals < 15) {
      v128.store(op, v128.load(anchor));
      op += literals;
    } else {
      high = 0xf0;
      op = writeLength(op, literals - 15);
      const end = op + literals;
      do {
        v128.store(op, v128.load(anchor));
        op += 16;
        anchor += 16;
      } while (op < end);
      op = end;
    }

    // Write the match, and every match directly after it.
    while (true) {
      store<u16>(op, <u16>(ip - match));
      op += 2;
      let p = ip + 4;
      const d = load<u64>(p) ^ load<u64>(match, 4);
      if (d) p += <usize>(ctz(d) >> 3);
      else {
        let q = match + 12;
        p += 8;
        let w = differ(p, q);
        while (!w && p < LAST_MATCH_END) {
          p += 16;
          q += 16;
          w = differ(p, q);
        }
        p += <usize>ctz(w);
      }
      if (p > LAST_START) {
        p = min<usize>(p, LAST_MATCH_END);
        return finish(writeMatch(token, high, op, p - ip - 4), p, out, outEnd);
      }
      const more = p - ip - 4;
      if (more < 15) store<u8>(token, <u8>(high + more));
      else op = writeMatch(token, high, op, more);
      if (op > outEnd) return 0;
      ip = p;
      remember(bucket(load<u64>(ip - 2)), ip - 2);
      const bytes = load<u64>(ip);
      const h = bucket(bytes);
      match = last(h);
      remember(h, ip);
      if (load<u32>(match) != <u32>bytes) break;
      token = op++;
      high = 0;
    }
    anchor = ip++;
  }
}

/** Writes length bytes: 255 each, then the remainder. */
function writeLength(op: usize, length: usize): usize {
  while (length >= 255) {
    store<u8>(op++, 255);
    length -= 255;
  }
  store<u8>(op++, <u8>length);
  return op;
}

/** Completes a sequence: the token's low half and the match's length bytes. */
function writeMatch(token: usize, high: usize, op: usize, more: usize): usize {
  if (more < 15) {
    store<u8>(token, <u8>(high + more));
    return op;
  }
  store<u8>(token, <u8>(high + 15));
  return writeLength(op, more - 15);
}

/** Writes the last literals, [anchor, END); returns the length of the block, or 0 if it is too long. */
function finish(op: usize, anchor: usize, out: usize, outEnd: usize): i32 {
  const literals = END - anchor;
  const lengthBytes = literals < 15 ? <usize>0 : (literals - 15) / 255 + 1;
  if (op + 1 + lengthBytes + literals > outEnd) return 0;
  if (literals < 15) store<u8>(op++, <u8>(literals << 4));
  else {
    store<u8>(op++, 0xf0);
    op = writeLength(op, literals - 15);
  }
  memory.copy(op, anchor, literals);
  return <i32>(op + literals - out);
}

/** Decompresses a block to a page; returns 4096, or -1 if it is malformed or does not yield exactly 4096 bytes. */
export function lz4Decompress(from: usize, length: i32, page: usize): i32 {
  if (length < 1 || length > BLOCK_MAX) return -1;
  let ip = from;
  let op = page;
  const blockEnd = from + <usize>length;
  const pageEnd = page + PAGE;
  while (true) {
    // Here ip <= blockEnd and op <= pageEnd - 5.
    const token = <usize>load<u8>(ip++);
    let literals = token >> 4;
    if (literals != 15) {
      v128.store(op, v128.load(ip));
      op += literals;
      ip += literals;
    } else {
      let more: usize;
      do {
        if (ip >= blockEnd) return -1;
        more = <usize>load<u8>(ip++);
        literals += more;
      } while (more == 255);
      const end = op + literals;
      const next = ip + literals;
      if (end > pageEnd || next > blockEnd) return -1;
      do {
        v128.store(op, v128.load(ip));
        op += 16;
        ip += 16;
      } while (op < end);
      op = end;
      ip = next;
    }
    // No match starts in the last 12 bytes, so these were the last literals. Before them there is space for
    // an offset, a token and five literals.
    if (op > pageEnd - 12) return ip == blockEnd && op == pageEnd ? <i32>PAGE : -1;
    if (ip > blockEnd - 8) return -1;

    const offset = <usize>load<u16>(ip);
    ip += 2;
    let source = op - offset;
    if (offset - 1 >= op - page) return -1; // 0, or before the page
    let end = op + (token & 15) + 4;
    if ((token & 15) == 15) {
      let more: usize;
      do {
        if (ip >= blockEnd) return -1;
        more = <usize>load<u8>(ip++);
        end += more;
      } while (more == 255);
    }
    if (end > pageEnd - 5) return -1;
    if (offset >= 16) {
      do {
        v128.store(op, v128.load(source));
        op += 16;
        source += 16;
      } while (op < end);
    } else {
      // Source and target overlap within 16 bytes: repeat the period in a vector and store it repeatedly.
      const pattern = v128.swizzle(v128.load(source), v128.load(PATTERN + (offset << 4)));
      const stride = <usize>load<u8>(STRIDE + offset);
      do {
        v128.store(op, pattern);
        op += stride;
      } while (op < end);
    }
    op = end;
  }
}
