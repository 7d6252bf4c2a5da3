import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.ts';
import { KERNEL_SLACK_BYTES, loadKernels } from '../../../src/codec/kernels.ts';
import { createMemory } from '../../../src/codec/linear-memory.ts';
import { Arena, seedOf } from '../../support/fixtures/codec-arena.ts';
import {
  endMatch,
  kinds,
  makePage,
  makePages,
  PAGE,
  periodic,
  random,
} from '../../support/fixtures/codec-pages.ts';
import { decode, encode } from '../../support/models/reference-lz4.ts';

const arena = new Arena();

test('a page of any kind is decompressed unchanged, also by the plain decoder', () => {
  for (const { kind, page } of makePages(seedOf(1), 60)) {
    const block = arena.compress(page);
    if (block === null) continue;
    assert.deepEqual(arena.decompress(block), page, kind);
    assert.deepEqual(decode(block, PAGE), page, kind);
  }
});

test('no kind compresses much worse than with an exhaustive search', () => {
  const prng = new Prng(seedOf(2));
  for (const kind of kinds) {
    let ours = 0;
    let plain = 0;
    for (let n = 0; n < 40; n++) {
      const page = makePage(kind, prng);
      ours += arena.compress(page)?.length ?? PAGE;
      plain += Math.min(PAGE, encode(page).length);
    }
    assert.ok(ours <= plain * 1.05, `${kind}: ${ours} bytes, exhaustive search ${plain}`);
  }
});

test('blocks of a plain encoder are decompressed', () => {
  for (const { kind, page } of makePages(seedOf(3), 20))
    assert.deepEqual(arena.decompress(encode(page)), page, kind);
});

test('the same page compresses to the same block, whatever was compressed before', () => {
  const other = new Arena();
  const pages = makePages(seedOf(4), 8);
  const blocks = pages.map(({ page }) => arena.compress(page));
  for (let i = pages.length - 1; i >= 0; i--)
    assert.deepEqual(other.compress(pages[i]!.page), blocks[i], pages[i]!.kind);
});

test('the limit is exact: a block of n bytes fits n and not n - 1', () => {
  const prng = new Prng(seedOf(5));
  for (const { kind, page } of makePages(seedOf(5), 12)) {
    const whole = arena.compress(page, PAGE);
    const n = whole?.length ?? PAGE + 1;
    const limits = [16, 17, n - 1, n, n + 1, 3072, 16 + prng.below(PAGE - 15)];
    for (const limit of limits.filter((l) => l >= 16 && l <= PAGE))
      assert.deepEqual(arena.compress(page, limit), limit < n ? null : whole, `${kind}, ${limit}`);
  }
});

test('the limit is exact in a long chain of matches without literals', () => {
  const prng = new Prng(seedOf(16));
  const page = random(prng);
  for (let at = 512; at < PAGE; at += 8) {
    const word = 8 * prng.below(64);
    page.copyWithin(at, word, word + 8);
  }
  const n = arena.compress(page)?.length ?? PAGE + 1;
  assert.ok(n < 2400, `${n} bytes: the block is a chain of matches`);
  for (let limit = 500; limit <= n + 3; limit++)
    assert.equal(arena.compress(page, limit) !== null, limit >= n, `limit ${limit}`);
});

test('every limit is exact for a page that compresses to about 4096 bytes', () => {
  const page = makePage('nearRandom', new Prng(seedOf(6)));
  const n = arena.compress(page, PAGE)?.length ?? PAGE + 1;
  for (let limit = 16; limit <= PAGE; limit++)
    assert.equal(arena.compress(page, limit) !== null, limit >= n, `limit ${limit}`);
});

test('matches near the end obey the end-of-block rules', () => {
  const prng = new Prng(seedOf(7));
  for (let length = 4; length <= 40; length++)
    for (let after = 0; after <= 14; after++)
      for (const offset of [1, 2, 3, 7, 8, 15, 16, 17, 31, 40, 1000]) {
        // Leading zeros leave space for the block; the rest is tested.
        const page = endMatch(prng, length, after, offset).fill(0, 0, 2048);
        const block = arena.compress(page);
        assert.ok(block !== null);
        assert.deepEqual(
          decode(block, PAGE),
          page,
          `${length} bytes, ${after} after, offset ${offset}`,
        );
        assert.deepEqual(
          arena.decompress(block),
          page,
          `${length} bytes, ${after} after, offset ${offset}`,
        );
      }
});

/** literals, one match, last literals. */
function oneMatch(literals: Uint8Array, offset: number, match: number, tail: Uint8Array): number[] {
  const nibble = (n: number): number => Math.min(n, 15);
  const more = (n: number): number[] =>
    n < 15
      ? []
      : [...Array.from({ length: Math.floor((n - 15) / 255) }, () => 255), (n - 15) % 255];
  return [
    (nibble(literals.length) << 4) | nibble(match - 4),
    ...more(literals.length),
    ...literals,
    offset & 255,
    offset >> 8,
    ...more(match - 4),
    nibble(tail.length) << 4,
    ...more(tail.length),
    ...tail,
  ];
}

test('every offset from 0 to 70 with every match length is decompressed as the format specifies', () => {
  const bytes = random(new Prng(seedOf(8)));
  for (let offset = 0; offset <= 70; offset++)
    for (let match = 4; match < 80; match++) {
      const head = bytes.subarray(0, 64);
      const tail = bytes.subarray(0, PAGE - 64 - match);
      const block = Uint8Array.from(oneMatch(head, offset, match, tail));
      assert.deepEqual(arena.decompress(block), decode(block, PAGE), `offset ${offset}, ${match}`);
    }
});

test('a match may end at the page minus 5 and start at the page minus 12, and no later', () => {
  const bytes = random(new Prng(seedOf(9)));
  for (let tail = 0; tail <= 12; tail++)
    for (const match of [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 18, 19, 20, 300, 600]) {
      const head = bytes.subarray(0, PAGE - tail - match);
      const block = Uint8Array.from(oneMatch(head, 20, match, bytes.subarray(0, tail)));
      const legal = tail >= 5 && tail + match >= 12;
      assert.equal(arena.decompress(block) !== null, legal, `${match} bytes, ${tail} after`);
      assert.equal(decode(block, PAGE) !== null, legal, `${match} bytes, ${tail} after`);
    }
});

test('literals past the page are refused before they are written', () => {
  const bytes = random(new Prng(seedOf(14)));
  for (const over of [1, 16, 63, 64, 65, 500, 1000]) {
    const match = 1200;
    const tail = bytes.subarray(0, PAGE - 20 - match + over);
    const block = Uint8Array.from(oneMatch(bytes.subarray(0, 20), 20, match, tail));
    assert.equal(arena.decompress(block), null, `${over} bytes past the page`);
  }
});

test('a block at the very end of the memory is not read beyond its slack', () => {
  const { kernels, bytes, page } = arena;
  // Each would read without end, but for one check: a literal length, a literal run, a match length,
  // and sequences without end. A read past the memory traps.
  const far = oneMatch(new Uint8Array(300), 257, 30, new Uint8Array(0));
  const cases: [string, number, number[]][] = [
    ['literal length', 255, [0xf0, 255, 255]],
    ['literal run', 7, [0xf0, 255, 255, 255, 3, 1, 2, 3]],
    ['match length', 255, [...far.slice(0, -1), 0x1f, 1, 1, 0, ...Array(8).fill(255)]],
    ['sequences', 1, [...far.slice(0, -1), 1, 1, 1, 1, 1, 1, 1, 1, 1]],
  ];
  for (const [name, behind, block] of cases) {
    const at = bytes.length - KERNEL_SLACK_BYTES - block.length;
    bytes.fill(behind, at);
    bytes.set(block, at);
    assert.equal(kernels.lz4Decompress(at, block.length, page), -1, name);
  }
  arena.fence();
});

test('a block at the very end of the memory is not written beyond its slack', () => {
  const { kernels, bytes } = arena;
  for (const { kind, page } of makePages(seedOf(15), 4))
    for (const limit of [16, 100, 777, 2048, 3072]) {
      arena.setPage(page);
      const out = bytes.length - KERNEL_SLACK_BYTES - limit;
      assert.ok(kernels.lz4Compress(arena.page, out, limit) <= limit, kind);
    }
  arena.fence();
});

test('length bytes that add up to more than 2^32 are not a short length', () => {
  // 255 * 16,843,009 is 2^32 - 1: the number of literals would wrap to 16, and the rest is a valid block.
  const wraps = 16_843_009;
  const memory = createMemory(18 * 2 ** 20);
  const kernels = loadKernels(memory);
  const bytes = new Uint8Array(memory.buffer);
  const from = 131072;
  bytes[from] = 0xff;
  bytes.fill(255, from + 1, from + 1 + wraps);
  const rest = oneMatch(new Uint8Array(16), 1, PAGE - 16 - 5, new Uint8Array(5)).slice(1);
  assert.equal(rest[0], 1); // 15 + 1 literals
  rest[0] = 2;
  bytes.set(rest, from + 1 + wraps);
  assert.equal(kernels.lz4Decompress(from, 1 + wraps + rest.length, 65536), -1);
});

test('no block of up to 3 bytes decompresses to a page', () => {
  const { kernels, bytes, block, page } = arena;
  for (let length = 0; length <= 3; length++)
    for (let n = 0; n < 256 ** length; n++) {
      bytes[block] = n & 255;
      bytes[block + 1] = (n >> 8) & 255;
      bytes[block + 2] = n >> 16;
      if (kernels.lz4Decompress(block, length, page) !== -1) assert.fail(`${length} bytes, ${n}`);
    }
  arena.fence();
});

test('blocks of impossible lengths are refused without being read', () => {
  const { kernels, block, page } = arena;
  for (const length of [0, -1, -(2 ** 31), 4115, 65536, 2 ** 31 - 1])
    assert.equal(kernels.lz4Decompress(block, length, page), -1, `length ${length}`);
});

test('the longest block, a page of literals, is decompressed', () => {
  const page = random(new Prng(seedOf(10)));
  const block = Uint8Array.from([0xf0, ...Array(16).fill(255), 1, ...page]);
  assert.equal(block.length, 4114);
  assert.deepEqual(arena.decompress(block), page);
});

test('a truncated or extended block is refused', () => {
  for (const { kind, page } of makePages(seedOf(11), 2)) {
    const block = arena.compress(page);
    if (block === null) continue;
    for (let n = 0; n < block.length; n += 1 + (block.length >> 6))
      assert.equal(arena.decompress(block.subarray(0, n)), null, `${kind} cut to ${n}`);
    assert.equal(arena.decompress(Uint8Array.from([...block, 0])), null, kind);
  }
});

test('bytes after a block never appear in a page', () => {
  const prng = new Prng(seedOf(12));
  const { kernels, bytes, block, page } = arena;
  for (const { kind, page: made } of makePages(seedOf(12), 6)) {
    const packed = arena.compress(made) ?? encode(made);
    for (let n = 0; n < 60; n++) {
      const length = n === 0 ? packed.length : prng.below(packed.length);
      const mutated = packed.slice(0, length);
      if (length > 0 && n > 0) mutated[prng.below(length)] = prng.below(256);
      const seen = [0, 0x5a, 0xff].map((behind) => {
        bytes.fill(behind, block, block + arena.blockCapacity);
        bytes.set(mutated, block);
        return kernels.lz4Decompress(block, length, page) === PAGE ? arena.getPage() : null;
      });
      assert.deepEqual(seen[1], seen[0], kind);
      assert.deepEqual(seen[2], seen[0], kind);
    }
  }
  arena.fence();
});

test('the encoder reads a copy of the page, whatever was in its window before', () => {
  // The encoder works on a copy, so the worst result is a block of a torn page; here it is a block of exactly the copy.
  const page = periodic(new Prng(seedOf(13)), 7);
  const block = arena.compress(page);
  assert.ok(block !== null);
  const windowBytes = 4096 + 64;
  assert.deepEqual(arena.bytes.slice(0x4040, 0x4040 + PAGE), page);
  arena.bytes.fill(0xee, 0x4040, 0x4040 + windowBytes); // the contents do not matter
  assert.deepEqual(arena.compress(page), block);
});
