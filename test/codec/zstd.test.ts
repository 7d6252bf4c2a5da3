/** zstd of the system's library: round trips, exact limit, hostile blocks refused, no access out of bounds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../src/base/prng.ts';
import { PageFormat } from '../../src/codec/codec.ts';
import { loadNativeZstd } from '../../src/os/native-codec.ts';
import { Arena, seedOf } from '../support/fixtures/codec-arena.ts';
import { makePage, makePages, PAGE } from '../support/fixtures/codec-pages.ts';

const native = loadNativeZstd();
const skip = native.factory === null ? native.reason : false;
const arena = new Arena();
const codec = native.factory?.(arena.memory, arena.kernels);

function compress(page: Uint8Array, limit: number): Uint8Array | null {
  arena.fence();
  arena.setPage(page);
  const length = codec!.compress(arena.page, arena.block, limit);
  return length === 0 ? null : arena.bytes.slice(arena.block, arena.block + length);
}

function expand(block: Uint8Array): Uint8Array | null {
  arena.fence();
  arena.bytes.set(block, arena.block);
  const result = codec!.decompress(arena.block, block.length, arena.page);
  assert.ok(result === PAGE || result === -1);
  return result === PAGE ? arena.getPage() : null;
}

test('zstd: a missing library or an invalid level is reported', () => {
  const none = loadNativeZstd(3, 'libno-such-zstd.so.9');
  assert.equal(none.factory, null);
  assert.match(none.reason, /libno-such-zstd/);
  for (const level of [0, 20, 1.5])
    assert.throws(() => loadNativeZstd(level), { name: 'InvariantError' });
});

test('zstd: pages are decompressed unchanged, and the limit is exact', { skip }, () => {
  assert.equal(codec!.format, PageFormat.zstd);
  for (const { kind, page } of makePages(seedOf(60), 10)) {
    const block = compress(page, PAGE);
    const n = block?.length ?? PAGE + 1;
    if (block !== null) assert.deepEqual(expand(block), page, kind);
    for (const limit of [16, n - 9, n - 1, n, n + 1, 3072].filter((l) => l >= 16 && l <= PAGE))
      assert.equal(compress(page, limit)?.length, limit < n ? undefined : n, `${kind} ${limit}`);
  }
});

test('zstd: blocks that are truncated, changed, extended, or not of a page are refused or decompress to a page', {
  skip,
}, () => {
  const prng = new Prng(seedOf(61));
  const block = compress(makePage('text', prng), PAGE)!;
  for (let length = 0; length < block.length; length++)
    assert.equal(expand(block.subarray(0, length)), null, `${length} bytes`);
  let refused = 0;
  for (let i = 0; i < 2000; i++) {
    const bad = block.slice();
    bad[prng.below(bad.length)]! ^= 1 << prng.below(8);
    if (expand(bad) === null) refused++;
  }
  assert.ok(refused > 200, `${refused} of 2000`);
  const short = Buffer.from('28b52ffd2001090000aa', 'hex'); // a frame of one byte
  assert.equal(expand(short), null);
  for (let i = 0; i < 500; i++)
    expand(Uint8Array.from({ length: 1 + prng.below(600) }, () => prng.below(256)));
});

test('zstd: addresses outside the memory are an InvariantError', { skip }, () => {
  const bytes = arena.bytes.length;
  assert.throws(() => codec!.compress(bytes - PAGE + 1, arena.block, PAGE), {
    name: 'InvariantError',
  });
  assert.throws(() => codec!.compress(arena.page, bytes - PAGE, PAGE), { name: 'InvariantError' });
  assert.throws(() => codec!.decompress(bytes - 99, 100, arena.page), { name: 'InvariantError' });
});
