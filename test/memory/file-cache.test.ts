/** FileCache against plain reads: edges, changes of every kind, files that change while they are read, the ceiling. */
import assert from 'node:assert/strict';
import {
  existsSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Prng } from '../../src/base/prng.ts';
import { FileCache, isSameVersion } from '../../src/memory/file-cache.ts';
import { FakeReturns } from '../support/fakes/fake-returns.ts';
import { makePage, pageKinds } from '../support/fixtures/pages.ts';
import { randomTest } from '../support/fixtures/replay.ts';
import { until } from '../support/fixtures/until.ts';

const folder = mkdtempSync(join(tmpdir(), 'file-cache-test-'));
after(() => rmSync(folder, { recursive: true }));
let made = 0;
let time = 1_000_000_000;

/** Writes a file and sets an mtime that no earlier version of it had. */
function write(path: string, bytes: Uint8Array): void {
  writeFileSync(path, bytes);
  utimesSync(path, ++time, time);
}

function content(size: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(size / 4096) * 4096);
  const prng = new Prng(seed);
  for (let at = 0; at < bytes.length; at += 4096)
    makePage(pageKinds[prng.below(10)]!, prng, bytes.subarray(at, at + 4096));
  return bytes.subarray(0, size);
}

function file(bytes: Uint8Array): string {
  const path = join(folder, `file ${made++}`);
  write(path, bytes);
  return path;
}

/** By this clock every file has changed long ago. */
const later = (): number => Date.now() + 3_600_000;
const make = (limitBytes = 4 * 2 ** 20, clock: () => number = later): FileCache =>
  new FileCache({ limitBytes, clock, release: new FakeReturns().factory });

const slice = (bytes: Uint8Array, offset: number, length: number): Buffer =>
  Buffer.from(
    bytes.subarray(Math.min(offset, bytes.length), Math.min(offset + length, bytes.length)),
  );

test('every range around the edges of pages and of the file reads as the file', () => {
  for (const size of [1, 100, 4095, 4096, 4097, 8192, 3 * 4096 + 10]) {
    const bytes = content(size, size);
    const path = file(bytes);
    const edges = [0, 1, 4095, 4096, 4097, 8191, 8192, size - 1, size, size + 1, 2 ** 40];
    for (const warm of [false, true]) {
      const cache = make();
      if (warm) cache.read(path, 0, size);
      for (const offset of edges.filter((edge) => edge >= 0))
        for (const length of [0, 1, 2, 4095, 4096, 4097, 8192, 20_000, 2 ** 50])
          assert.deepEqual(
            cache.read(path, offset, length),
            slice(bytes, offset, length),
            `[${offset}, +${length}) of ${size}`,
          );
      cache.verify();
      assert.equal(cache.stats().plainReads, 0);
    }
  }
});

test('pages that were read before are served from the cache and counted', () => {
  const bytes = content(100 * 4096 + 7, 1);
  const path = file(bytes);
  const cache = make();
  cache.read(path, 10, 20);
  assert.deepEqual([cache.stats().hits, cache.stats().misses], [0, 1]);
  assert.deepEqual(cache.read(path, 0, 2 ** 30), Buffer.from(bytes));
  assert.deepEqual([cache.stats().hits, cache.stats().misses], [1, 101]);
  assert.deepEqual(cache.read(path, 0, 2 ** 30), Buffer.from(bytes));
  assert.deepEqual([cache.stats().hits, cache.stats().misses], [102, 101]);
  assert.deepEqual([cache.stats().pages, cache.stats().files], [101, 1]);
  cache.verify();
});

test('a missing page between cached pages is read alone: a run of missing pages ends at a cached page', () => {
  const bytes = content(10 * 4096, 3);
  const path = file(bytes);
  const cache = make();
  for (const index of [2, 5]) cache.read(path, index * 4096, 1);
  assert.deepEqual(cache.read(path, 0, 10 * 4096), Buffer.from(bytes));
  assert.deepEqual([cache.stats().hits, cache.stats().misses], [2, 10]);
});

test('a change of content, size or inode invalidates the file', () => {
  const path = file(content(5 * 4096, 1));
  const cache = make();
  cache.read(path, 0, 2 ** 30);
  for (const size of [5 * 4096, 5 * 4096 + 1, 4096, 3]) {
    const bytes = content(size, 10 + size);
    write(path, bytes);
    assert.deepEqual(cache.read(path, 0, 2 ** 30), Buffer.from(bytes), `changed to ${size}`);
  }
  assert.equal(cache.stats().invalidated, 5 + 5 + 6 + 1);
  const replacement = content(3, 77);
  const other = file(replacement);
  utimesSync(other, time - 1, time - 1);
  utimesSync(path, time - 1, time - 1);
  cache.read(path, 0, 3);
  renameSync(other, path);
  assert.deepEqual(cache.read(path, 0, 2 ** 30), Buffer.from(replacement));
  cache.verify();
});

/** File times have the resolution of a kernel tick: waits until a change gets a later time than one now. */
async function nextTickOfFileTimes(): Promise<void> {
  const path = join(folder, 'ticks');
  const now = (): bigint => {
    writeFileSync(path, '.');
    return statSync(path, { bigint: true }).ctimeNs;
  };
  const before = now();
  await until('the next tick of file times', () => now() > before);
}

test('a change that restores the old mtime is detected by its ctime', async () => {
  const path = file(content(4096, 1));
  const cache = make();
  cache.read(path, 0, 4096);
  await nextTickOfFileTimes();
  const bytes = content(4096, 2);
  writeFileSync(path, bytes);
  utimesSync(path, time, time);
  assert.deepEqual(cache.read(path, 0, 4096), Buffer.from(bytes));
});

test('a version is size, mtime and ctime: within a tick of file times only one of them may differ', () => {
  const version = { size: 7n, mtimeNs: 8n, ctimeNs: 9n };
  assert.equal(isSameVersion(version, { ...version }), true);
  for (const change of [{ size: 8n }, { mtimeNs: 9n }, { ctimeNs: 10n }])
    assert.equal(isSameVersion(version, { ...version, ...change }), false);
});

test('a file that changed just now bypasses the cache and is dropped from it', () => {
  const path = file(content(4096, 1));
  let now = later();
  const cache = make(2 ** 20, () => now);
  cache.read(path, 0, 4096);
  assert.equal(cache.stats().pages, 1);
  now = Date.now();
  for (const seed of [2, 3]) {
    const bytes = content(4096, seed);
    writeFileSync(path, bytes);
    utimesSync(path, time, time); // so that nothing but the ctime, in ticks, can tell them apart
    assert.deepEqual(cache.read(path, 5, 100), slice(bytes, 5, 100));
    assert.deepEqual(cache.read(path, 4000, 2 ** 30), slice(bytes, 4000, 4096));
  }
  assert.equal(cache.stats().plainReads, 4);
  assert.deepEqual([cache.stats().pages, cache.stats().files], [0, 0]);
  cache.verify();
});

test('a file is cached once its last change is 100 ms ago, and not before', () => {
  const path = file(content(4096, 1));
  const changedMs = Number(statSync(path, { bigint: true }).ctimeNs / 1_000_000n);
  for (const [age, pages] of [
    [99, 0],
    [100, 1],
  ] as const) {
    const cache = make(2 ** 20, () => changedMs + age);
    cache.read(path, 0, 4096);
    assert.equal(cache.stats().pages, pages, `${age} ms`);
    assert.equal(cache.stats().plainReads, 1 - pages);
  }
});

test('a file that shrinks while it is read returns its bytes and is not cached', () => {
  const bytes = content(40 * 4096, 4);
  for (const left of [0, 1, 5 * 4096, 5 * 4096 + 9, 33 * 4096]) {
    const path = file(bytes);
    // The clock is read between fstat and the first read.
    const cache = make(4 * 2 ** 20, () => {
      truncateSync(path, left);
      return later();
    });
    assert.deepEqual(
      cache.read(path, 4096 + 5, 2 ** 30),
      slice(bytes.subarray(0, left), 4101, 2 ** 30),
    );
    assert.deepEqual([cache.stats().pages, cache.stats().files], [0, 0], `${left} bytes left`);
    cache.verify();
  }
});

test('a file that changes while it is read is not cached', () => {
  const path = file(content(4096, 1));
  const bytes = content(4096, 2);
  let isFirst = true;
  const cache = make(2 ** 20, () => {
    if (isFirst) write(path, bytes);
    isFirst = false;
    return later();
  });
  cache.read(path, 0, 4096);
  assert.equal(cache.stats().pages, 0);
  assert.deepEqual(cache.read(path, 0, 4096), Buffer.from(bytes));
  assert.equal(cache.stats().pages, 1);
});

test('paths to one file share its pages', () => {
  const bytes = content(3 * 4096, 1);
  const path = file(bytes);
  const second = join(folder, 'link');
  linkSync(path, second);
  const other = file(content(3 * 4096, 2));
  const cache = make();
  cache.read(path, 0, 3 * 4096);
  assert.deepEqual(cache.read(second, 0, 3 * 4096), Buffer.from(bytes));
  assert.equal(cache.stats().misses, 3);
  cache.read(other, 0, 3 * 4096);
  assert.deepEqual([cache.stats().pages, cache.stats().files], [6, 2]);
  assert.equal(cache.invalidate(second), 3);
  assert.deepEqual([cache.stats().pages, cache.stats().files], [3, 1]);
  assert.equal(cache.invalidate(second), 0);
  assert.equal(cache.invalidate(join(folder, 'none')), 0);
  assert.equal(cache.stats().invalidated, 3);
  cache.read(path, 0, 3 * 4096);
  assert.equal(cache.stats().misses, 9);
  cache.verify();
});

test("a folder or a missing file is the system's error; files without a size bypass the cache", () => {
  const cache = make();
  assert.throws(() => cache.read(join(folder, 'none'), 0, 1), { code: 'ENOENT' });
  assert.throws(() => cache.read(folder, 0, 1), { code: 'EISDIR' });
  assert.deepEqual(cache.read(file(new Uint8Array(0)), 0, 100), Buffer.alloc(0));
  if (process.platform === 'linux') {
    const version = readFileSync('/proc/version');
    assert.deepEqual(cache.read('/proc/version', 0, 2 ** 30), version);
    assert.deepEqual(cache.read('/proc/version', 3, 5), version.subarray(3, 8));
    const attribute = '/sys/kernel/uevent_seqnum'; // reports 4096 bytes and has a few
    if (existsSync(attribute))
      assert.deepEqual(cache.read(attribute, 0, 2 ** 30), readFileSync(attribute));
  }
  assert.deepEqual([cache.stats().pages, cache.stats().files], [0, 0]);
  cache.verify();
});

test('invalid arguments are refused with a code', () => {
  const path = file(content(10, 1));
  const bad = { code: 'ERR_ARG_VALUE' };
  for (const limitBytes of [0, 2 ** 20 - 1, 2 ** 40 + 1, 2 ** 20 + 0.5, Number.NaN])
    assert.throws(() => make(limitBytes), bad);
  const cache = make(2 ** 20);
  for (const value of [-1, 0.5, Number.NaN, 2 ** 53]) {
    assert.throws(() => cache.read(path, value, 1), bad);
    assert.throws(() => cache.read(path, 0, value), bad);
  }
});

test('a cache that was disposed of has no pages and refuses reads', () => {
  const path = file(content(50 * 4096, 1));
  const cache = make();
  cache.read(path, 0, 2 ** 30);
  cache[Symbol.dispose]();
  cache[Symbol.dispose]();
  assert.deepEqual([cache.stats().pages, cache.stats().files], [0, 0]);
  assert.throws(() => cache.read(path, 0, 1), { code: 'ERR_IO_ENDED' });
  cache.verify();
});

test('a damaged page in memory is a miss and is read from the file', () => {
  const bytes = new Uint8Array(4096);
  makePage('random', new Prng(9), bytes);
  const path = file(bytes);
  let memory = new Uint8Array(0);
  const cache = new FileCache({
    limitBytes: 2 ** 20,
    clock: later,
    release: ({ buffer }) => {
      memory = new Uint8Array(buffer);
      return { release: () => false };
    },
  });
  cache.read(path, 0, 4096);
  const image = Buffer.from(memory.buffer, 0, 4 * 2 ** 20);
  let found = 0;
  for (let at = image.indexOf(bytes); at >= 0; at = image.indexOf(bytes)) {
    image[at + 17]! ^= 4;
    found++;
  }
  assert.ok(found > 0);
  assert.deepEqual(cache.read(path, 0, 4096), Buffer.from(bytes));
  assert.equal(cache.stats().damaged, 1);
  assert.deepEqual(cache.read(path, 0, 4096), Buffer.from(bytes));
  assert.equal(cache.stats().damaged, 1);
  assert.equal(cache.stats().hits, 1);
  cache.verify();
});

test('above the limit old pages are evicted, reads stay correct, and the limit is kept', () => {
  const limitBytes = 2 ** 20;
  const cache = make(limitBytes);
  const files = Array.from({ length: 8 }, (_, n) => {
    const bytes = new Uint8Array(60 * 4096 + 100 * n);
    new Prng(n).fill(bytes);
    return { bytes, path: file(bytes) };
  });
  for (let round = 0; round < 3; round++)
    for (const { bytes, path } of files) {
      assert.deepEqual(cache.read(path, 0, 2 ** 30), Buffer.from(bytes));
      assert.ok(cache.stats().usedBytes <= limitBytes);
      cache.verify();
    }
  const { pages, evictions, refused } = cache.stats();
  assert.ok(pages > 150 && pages < 256, `${pages} random pages in 1 MiB`);
  assert.ok(evictions > 500);
  assert.equal(refused, 0);
});

test('a page without space is not stored, and other pages are intact', () => {
  const cache = make(2 ** 20);
  const zeros = file(new Uint8Array(600 * 4096));
  cache.read(zeros, 0, 2 ** 30); // the oldest pages have no payload: evicting them frees no space
  const bytes = new Uint8Array(400 * 4096);
  new Prng(6).fill(bytes);
  const random = file(bytes);
  assert.deepEqual(cache.read(random, 0, 2 ** 30), Buffer.from(bytes));
  const { refused, pages, misses, evictions } = cache.stats();
  assert.ok(refused > 0);
  assert.equal(pages, misses - evictions - refused);
  cache.verify();
  assert.deepEqual(cache.read(random, 0, 2 ** 30), Buffer.from(bytes));
});

test('pages that are used again survive a long scan of other pages', () => {
  const hot = file(content(10 * 4096, 1));
  const cache = make(2 ** 20);
  cache.read(hot, 0, 2 ** 30);
  const bytes = new Uint8Array(1000 * 4096);
  new Prng(5).fill(bytes);
  const scanned = file(bytes);
  for (let index = 0; index < 1000; index += 20) {
    cache.read(scanned, index * 4096, 20 * 4096);
    cache.read(hot, 0, 2 ** 30);
  }
  assert.equal(cache.stats().misses, 1010);
});

randomTest('reads equal the files after any change', 2500, (prng, steps) => {
  const limitBytes = 2 ** 20 + prng.below(2 ** 20);
  const cache = make(limitBytes);
  const files = Array.from({ length: 12 }, () => {
    const bytes = content(1 + prng.below(120_000), prng.u32());
    return { bytes, path: file(bytes) };
  });
  let last = 0;
  for (let i = 0; i < steps; i++) {
    const one = files[prng.below(files.length)]!;
    const what = prng.below(100);
    if (what < 80) {
      const offset = prng.below(one.bytes.length + 10);
      const length = prng.oneIn(3) ? prng.below(130_000) : prng.below(9000);
      assert.deepEqual(cache.read(one.path, offset, length), slice(one.bytes, offset, length));
    } else if (what < 90) {
      one.bytes = content(1 + prng.below(120_000), prng.u32());
      write(one.path, one.bytes);
    } else if (what < 95) {
      one.bytes = one.bytes.slice();
      one.bytes[prng.below(one.bytes.length)]! ^= 1 + prng.below(255);
      write(one.path, one.bytes);
    } else cache.invalidate(one.path);
    const { usedBytes, misses, pages, evictions, invalidated, refused } = cache.stats();
    assert.ok(usedBytes <= limitBytes);
    assert.equal(
      pages,
      misses - evictions - invalidated - refused,
      'pages are those inserted minus those removed',
    );
    assert.ok(misses >= last);
    last = misses;
    if (i % 50 === 0) cache.verify();
  }
  cache[Symbol.dispose]();
  cache.verify();
});
