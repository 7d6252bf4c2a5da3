/**
 * The LZ4 block format in the plainest TypeScript: the reference that tests compare the kernels with. It works byte
 * by byte and checks every rule; about fifty times slower.
 * Source: "LZ4 Block Format Description" (lz4/doc/lz4_Block_format.md), "End of block conditions" included.
 */

/** Decompresses a block of exactly `size` bytes of data; null when it breaks a rule. */
export function decode(block: Uint8Array, size: number): Uint8Array | null {
  const out = new Uint8Array(size);
  let at = 0;
  let done = 0;
  const length = (nibble: number): number => {
    let n = nibble;
    if (nibble < 15) return n;
    for (;;) {
      if (at >= block.length) return -1;
      const more = block[at++]!;
      n += more;
      if (more < 255) return n;
    }
  };
  while (at < block.length) {
    const token = block[at++]!;
    const literals = length(token >> 4);
    if (literals < 0 || at + literals > block.length || done + literals > size) return null;
    for (let i = 0; i < literals; i++) out[done++] = block[at++]!;
    if (at === block.length) return done === size ? out : null;
    if (at + 2 > block.length) return null;
    const offset = block[at]! + 256 * block[at + 1]!;
    at += 2;
    if (offset === 0 || offset > done) return null;
    if (done > size - 12) return null; // no match starts in the last 12 bytes
    const match = length(token & 15) + 4;
    if (match < 4) return null;
    if (done + match > size - 5) return null; // the last 5 bytes are literals
    for (let i = 0; i < match; i++, done++) out[done] = out[done - offset]!;
  }
  return null; // a block ends with literals
}

/** Compresses with a search of all earlier data, so that matches have offsets that a small hash table would miss. */
export function encode(page: Uint8Array): Uint8Array {
  const out: number[] = [];
  const extend = (n: number): void => {
    let left = n - 15;
    for (; left >= 255; left -= 255) out.push(255);
    if (left >= 0) out.push(left);
  };
  let anchor = 0;
  const sequence = (to: number, match: number, offset: number): void => {
    const literals = to - anchor;
    out.push((Math.min(literals, 15) << 4) | (match === 0 ? 0 : Math.min(match - 4, 15)));
    extend(literals);
    for (let i = anchor; i < to; i++) out.push(page[i]!);
    if (match === 0) return;
    out.push(offset & 255, offset >> 8);
    extend(match - 4);
    anchor = to + match;
  };
  const newest = new Map<number, number>();
  for (let at = 0; at <= page.length - 12; ) {
    const key = page[at]! | (page[at + 1]! << 8) | (page[at + 2]! << 16) | (page[at + 3]! << 24);
    const from = newest.get(key);
    newest.set(key, at);
    if (from === undefined) {
      at++;
      continue;
    }
    let match = 4;
    while (at + match < page.length - 5 && page[at + match] === page[from + match]) match++;
    sequence(at, match, at - from);
    at = anchor;
  }
  sequence(page.length, 0, 0);
  return Uint8Array.from(out);
}
