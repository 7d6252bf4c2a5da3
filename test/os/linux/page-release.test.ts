/** Released memory: checks the resident size of a process that fills and empties a store. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { keepPages } from '../../../src/arena/ops.ts';
import { BATCH_RANGES } from '../../../src/arena/release-batch.ts';
import { InvariantError } from '../../../src/base/assert.ts';
import { createMemory } from '../../../src/codec/linear-memory.ts';
import { systemPageRelease } from '../../../src/os/linux/page-release.ts';

const isSupported = process.platform === 'linux' && systemPageRelease('linux') !== keepPages;
test('Linux supports page release', { skip: process.platform !== 'linux' }, () => {
  assert.notEqual(systemPageRelease('linux'), keepPages);
});

const skip = isSupported ? false : 'this system cannot release pages';

interface Figures {
  readonly start: number;
  readonly filled: number;
  readonly maintained: number;
  readonly emptied: number;
  readonly refused: number;
  readonly calls: number;
  readonly intact: boolean;
}

test('dropping 200 MiB of pages reduces the resident size', { skip }, () => {
  const child = fileURLToPath(new URL('./page-release-child.js', import.meta.url));
  const pages = (200 * 2 ** 20) / 4096;
  const figures = JSON.parse(
    execFileSync(process.execPath, [child, String(pages)], { encoding: 'utf8' }),
  ) as Figures;
  const { start, filled, maintained, emptied, refused, intact } = figures;
  assert.equal(refused, 0);
  assert.ok(intact);
  const grown = filled - start;
  const text = JSON.stringify(figures);
  assert.ok(grown > 0.95 * pages * 4096, `filling makes the pages resident: ${text}`);
  assert.ok(maintained - start < 0.2 * grown, `maintain() releases most of it: ${text}`);
  assert.ok(emptied - start < 0.1 * grown, `releaseAll() releases all of it: ${text}`);
});

test('released pages read as zeros, adjacent ones are unchanged', { skip }, () => {
  const memory = createMemory(8 * 65536);
  const all = new Uint8Array(memory.buffer).fill(7);
  const { release: giveBack } = systemPageRelease('linux')(memory);
  assert.equal(giveBack(5 * 4096, 3 * 4096), true);
  all.forEach((byte, at) => {
    assert.equal(byte, at >= 5 * 4096 && at < 8 * 4096 ? 0 : 7, `byte ${at}`);
  });
  all[5 * 4096] = 1;
  assert.equal(all[5 * 4096], 1, 'a released page can be written again');
});

test('several ranges are released at once, and nothing else', { skip }, () => {
  const memory = createMemory(64 * 65536);
  const all = new Uint8Array(memory.buffer).fill(7);
  const system = systemPageRelease('linux')(memory);
  const isReleased = (page: number): boolean => page % 2 === 0 && page > 0;
  const ranges = new Uint32Array(2 * BATCH_RANGES);
  for (let i = 0; i < BATCH_RANGES - 1; i++) ranges.set([(i + 1) * 8192, 4096], 2 * i);
  for (const count of [1, 2, BATCH_RANGES - 1]) {
    all.fill(7);
    assert.equal(system.releaseRanges?.(ranges, count), true);
    for (let page = 0; page < 1024; page++) {
      const byte = isReleased(page) && page <= 2 * count ? 0 : 7;
      assert.equal(all[page * 4096], byte, `first byte of page ${page}`);
      assert.equal(all[page * 4096 + 4095], byte, `last byte of page ${page}`);
    }
  }
});

test('releaseRanges() returns false for partial pages', { skip }, () => {
  const system = systemPageRelease('linux')(createMemory(65536));
  assert.equal(system.releaseRanges?.(new Uint32Array([4096, 4096, 100, 4096]), 2), false);
});

test('releaseRanges() throws for a range outside the memory, or too many', { skip }, () => {
  const system = systemPageRelease('linux')(createMemory(65536));
  assert.throws(() => system.releaseRanges?.(new Uint32Array([61440, 8192]), 1), InvariantError);
  const many = new Uint32Array(2 * BATCH_RANGES + 2);
  assert.throws(() => system.releaseRanges?.(many, BATCH_RANGES + 1), InvariantError);
});

test('release() returns false for partial pages', { skip }, () => {
  const memory = createMemory(65536);
  const { release: giveBack } = systemPageRelease('linux')(memory);
  assert.equal(giveBack(100, 4096), false);
});

test('without page release the pages stay resident', () => {
  for (const platform of ['darwin', 'win32'] as const)
    assert.equal(systemPageRelease(platform), keepPages);
  assert.equal(keepPages(createMemory(65536)).release(4096, 4096), false);
});
