/** The front end of cleancache: contract tests C1, C2, C4 to C7, C9, C12 and C15, and a model. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  Cleancache,
  FILESYSTEMS_MAX,
  inodeKey,
  NO_FILESYSTEM,
  PRIVATE_HANDLES,
  SHARED_HANDLES,
} from '../../src/cleancache/cleancache.ts';
import { noisePage } from '../support/fixtures/pages.ts';
import { randomTest } from '../support/fixtures/replay.ts';
import { StrictCache } from './strict-cache.ts';

const A = noisePage(1);
const B = noisePage(2);
const into = new Uint8Array(4096);
const fileKey = (inode: number): Uint32Array => {
  const key = new Uint32Array(6);
  inodeKey(inode, key);
  return key;
};
const file = fileKey(12);
const uuid = (n: number): Uint8Array => new Uint8Array(16).fill(n);

function setUp(): { cache: Cleancache; backend: StrictCache; fs: number } {
  const cache = new Cleancache();
  const backend = new StrictCache();
  cache.register(backend);
  return { cache, backend, fs: cache.initFs(4096) };
}

const wrong = { code: 'ERR_ARG_VALUE' };
const unmounted = { code: 'ERR_ARG_UNKNOWN' };

test('C1 put-put-get: a get returns the page that was put last', () => {
  const { cache, fs } = setUp();
  cache.put(fs, file, 3, A, 0);
  cache.put(fs, file, 3, B, 0);
  assert.equal(cache.get(fs, file, 3, into, 0), true);
  assert.deepEqual(into, B);
});

test('C2 put-put-get: after a refused second put the first page is not found, even if the backend kept it', () => {
  const { cache, backend, fs } = setUp();
  cache.put(fs, file, 3, A, 0);
  backend.accepts = false;
  cache.put(fs, file, 3, B, 0);
  assert.equal(cache.get(fs, file, 3, into, 0), false);
  assert.equal(cache.counters.get('puts'), 2);
  assert.equal(cache.counters.get('refusedPuts'), 1);
  assert.equal(
    cache.counters.get('invalidates'),
    0,
    'only the caller\u2019s invalidates are counted',
  );
});

test('C4 C9 private: a hit removes the page; after a miss every get misses until a put', () => {
  const { cache, fs } = setUp();
  cache.put(fs, file, 3, A, 0);
  assert.equal(cache.get(fs, file, 3, into, 0), true);
  assert.equal(cache.get(fs, file, 3, into, 0), false);
  assert.equal(cache.get(fs, file, 3, into, 0), false);
  cache.put(fs, file, 3, B, 0);
  const large = new Uint8Array(3 * 4096);
  assert.equal(cache.get(fs, file, 3, large, 4097), true);
  assert.deepEqual(large.subarray(4097, 8193), B);
  assert.equal(cache.counters.get('succGets'), 2);
  assert.equal(cache.counters.get('failedGets'), 2);
});

test('C9 shared: users of one uuid share a pool, a hit keeps the page, the last unmount destroys the pool', () => {
  const { cache, backend } = setUp();
  const one = cache.initSharedFs(uuid(1), 4096);
  const two = cache.initSharedFs(uuid(1), 4096);
  const other = cache.initSharedFs(uuid(2), 4096);
  assert.deepEqual([one, two, other], [SHARED_HANDLES + 1, SHARED_HANDLES + 2, SHARED_HANDLES + 3]);
  cache.put(one, file, 0, A, 0);
  assert.equal(cache.get(other, file, 0, into, 0), false);
  for (let i = 0; i < 2; i++) assert.equal(cache.get(two, file, 0, into, 0), true);
  cache.invalidateFs(one);
  assert.equal(cache.get(two, file, 0, into, 0), true);
  assert.throws(() => cache.get(one, file, 0, into, 0), unmounted);
  cache.invalidateFs(two);
  assert.equal(backend.pools.size, 2);
  const again = cache.initSharedFs(uuid(1), 4096);
  assert.equal(cache.get(again, file, 0, into, 0), false);
});

test('C5 invalidated pages, files and filesystems are not found again', () => {
  const { cache, fs } = setUp();
  const other = fileKey(13);
  for (const index of [0, 1, 2]) for (const key of [file, other]) cache.put(fs, key, index, A, 0);
  cache.invalidatePage(fs, file, 1);
  assert.equal(cache.get(fs, file, 1, into, 0), false);
  cache.invalidateInode(fs, file);
  for (const index of [0, 2]) assert.equal(cache.get(fs, file, index, into, 0), false);
  assert.equal(cache.get(fs, other, 0, into, 0), true);
  cache.invalidateFs(fs);
  const again = cache.initFs(4096);
  assert.equal(again, fs, 'the row is reused');
  assert.equal(cache.get(again, other, 1, into, 0), false);
  assert.equal(cache.counters.get('invalidates'), 3);
});

test('C6 invalidating a page that is not cached is not an error', () => {
  const { cache, fs } = setUp();
  cache.put(fs, file, 0, A, 0);
  cache.invalidatePage(fs, file, 9);
  cache.invalidateInode(fs, fileKey(99));
  assert.equal(cache.get(fs, file, 0, into, 0), true);
  assert.equal(cache.counters.get('invalidates'), 2);
});

test('C7 without a backend calls are only counted; without a row they are no-ops', () => {
  const cache = new Cleancache();
  assert.equal(cache.enabled, false);
  const fs = cache.initFs(4096);
  assert.equal(fs, PRIVATE_HANDLES);
  cache.put(fs, file, 0, A, 0);
  assert.equal(cache.get(fs, file, 0, into, 0), false);
  cache.invalidatePage(fs, file, 0);
  cache.invalidateInode(fs, file);
  cache.put(NO_FILESYSTEM, file, 0, A, 0);
  assert.equal(cache.get(NO_FILESYSTEM, file, 0, into, 0), false);
  cache.invalidatePage(NO_FILESYSTEM, file, 0);
  cache.invalidateFs(NO_FILESYSTEM);
  const { puts, refusedPuts, failedGets, invalidates } = cache.counters.snapshot();
  assert.deepEqual(
    { puts, refusedPuts, failedGets, invalidates },
    {
      puts: 2,
      refusedPuts: 2,
      failedGets: 2,
      invalidates: 0,
    },
  );
});

test('C12 register creates pools for the filesystems mounted before, and for no other', () => {
  const cache = new Cleancache();
  const gone = cache.initFs(4096);
  const early = cache.initFs(4096);
  const shared = cache.initSharedFs(uuid(5), 4096);
  cache.invalidateFs(gone);
  const backend = new StrictCache();
  cache.register(backend);
  assert.equal(cache.enabled, true);
  assert.deepEqual(backend.calls, ['initFs 4096', 'initSharedFs 5 4096']);
  for (const fs of [early, shared]) {
    cache.put(fs, file, 0, A, 0);
    assert.equal(cache.get(fs, file, 0, into, 0), true);
  }
  assert.throws(() => cache.register(new StrictCache()), { code: 'ERR_ARG_CONFLICT' });
});

test('32 filesystems with 4096-byte blocks can be mounted at a time; a backend may have fewer pools', () => {
  const { cache, backend } = setUp();
  assert.equal(cache.initFs(1024), NO_FILESYSTEM);
  assert.equal(FILESYSTEMS_MAX, 32);
  for (let n = 1; n < FILESYSTEMS_MAX; n++)
    assert.ok((n % 2 ? cache.initFs(4096) : cache.initSharedFs(uuid(n), 4096)) > 0);
  assert.equal(cache.initFs(4096), NO_FILESYSTEM);
  assert.equal(cache.initSharedFs(uuid(0), 4096), NO_FILESYSTEM);
  assert.equal(cache.counters.get('refusedFilesystems'), 3);
  cache.invalidateFs(PRIVATE_HANDLES + 31);
  backend.poolsLeft = 0;
  const poor = cache.initFs(4096);
  assert.equal(poor, PRIVATE_HANDLES + 31);
  assert.equal(cache.counters.get('refusedFilesystems'), 4);
  cache.put(poor, file, 0, A, 0);
  assert.equal(cache.get(poor, file, 0, into, 0), false);
  cache.invalidateFs(poor);
});

test('pool number 0 is valid', () => {
  const cache = new Cleancache();
  const backend = new StrictCache();
  backend.next = 0;
  cache.register(backend);
  const fs = cache.initFs(4096);
  assert.equal(cache.counters.get('refusedFilesystems'), 0);
  cache.put(fs, file, 3, A, 0);
  assert.equal(cache.get(fs, file, 3, into, 0), true);
});

test('file keys have six words, indexes 32 bits, and handles are those of mounted filesystems', () => {
  const { cache, backend, fs } = setUp();
  const big = fileKey(2 ** 40 + 3);
  assert.deepEqual([...big], [3, 256, 0, 0, 0, 0]);
  const handle = Uint32Array.of(1, 2, 3, 4, 5, 6);
  for (let word = 0; word < 6; word++) {
    const near = handle.slice();
    near[word]! ^= 0x8000_0000;
    cache.put(fs, near, 0, A, 0);
    assert.equal(cache.get(fs, handle, 0, into, 0), false);
  }
  backend.calls.length = 0;
  cache.put(fs, file, 2 ** 32, A, 0);
  assert.equal(cache.get(fs, file, 2 ** 32, into, 0), false);
  cache.invalidatePage(fs, file, 2 ** 32);
  assert.deepEqual(backend.calls, [], 'backends have 32-bit indexes');
  assert.equal(cache.counters.get('refusedPuts'), 1);
  cache.put(fs, file, 2 ** 32 - 1, A, 0);
  assert.equal(cache.get(fs, file, 2 ** 32 - 1, into, 0), true);
  for (const bad of [0, 999, 1001, 1032, 2000, 2032, 5000, Number.NaN])
    assert.throws(() => cache.get(bad, file, 0, into, 0), unmounted, `handle ${bad}`);
  for (const bad of [-1, 0.5, Number.NaN]) {
    assert.throws(() => cache.put(fs, file, bad, A, 0), wrong);
    assert.throws(() => cache.invalidatePage(fs, file, bad), wrong);
    assert.throws(() => fileKey(bad), wrong);
  }
  assert.throws(() => cache.put(fs, new Uint32Array(5), 0, A, 0), wrong);
  assert.throws(() => cache.put(fs, file, 0, A, 1), wrong);
  assert.throws(() => cache.get(fs, file, 0, into, -1), wrong);
  assert.throws(() => cache.initSharedFs(new Uint8Array(15), 4096), wrong);
});

interface Mount {
  readonly fs: number;
  readonly shared: number | null;
}

randomTest(
  'C4 C15 the front end matches the model, with exact counters after each step',
  5000,
  (prng, steps) => {
    const cache = new Cleancache();
    const backend = new StrictCache();
    const mounts: Mount[] = [];
    /** By mount or uuid, file and index: the tag of the page that may be found. */
    const truth = new Map<string, number>();
    const want = { succGets: 0, failedGets: 0, puts: 0, refusedPuts: 0, invalidates: 0 };
    const bytes = new Uint8Array(4096);
    const scope = ({ fs, shared }: Mount): string => (shared === null ? `p${fs}` : `s${shared}`);
    const forget = (start: string): void => {
      for (const name of truth.keys()) if (name.startsWith(start)) truth.delete(name);
    };
    for (let i = 0; i < steps; i++) {
      if (i === 300) cache.register(backend);
      const what = prng.below(100);
      if (mounts.length === 0 || what < 4) {
        const shared = prng.oneIn(2) ? prng.below(3) : null;
        const fs = shared === null ? cache.initFs(4096) : cache.initSharedFs(uuid(shared), 4096);
        if (mounts.length < FILESYSTEMS_MAX) mounts.push({ fs, shared });
        else assert.equal(fs, NO_FILESYSTEM);
        continue;
      }
      const mount = mounts[prng.below(mounts.length)]!;
      const inode = prng.below(3);
      const index = prng.below(4);
      const name = `${scope(mount)}/${inode}/${index}`;
      const key = fileKey(inode);
      backend.accepts = !prng.oneIn(5);
      if (what < 45) {
        new DataView(bytes.buffer).setUint32(0, i);
        cache.put(mount.fs, key, index, bytes, 0);
        want.puts++;
        truth.delete(name);
        if (cache.enabled && backend.accepts) truth.set(name, i);
        else want.refusedPuts++;
      } else if (what < 80) {
        const hit = cache.get(mount.fs, key, index, into, 0);
        if (hit) {
          want.succGets++;
          assert.equal(
            new DataView(into.buffer).getUint32(0),
            truth.get(name),
            'the page is the one put last',
          );
        } else want.failedGets++;
        assert.equal(hit, truth.has(name), 'the backend evicts nothing');
        if (mount.shared === null) truth.delete(name);
      } else if (what < 88) {
        cache.invalidatePage(mount.fs, key, index);
        if (cache.enabled) want.invalidates++;
        truth.delete(name);
      } else if (what < 96) {
        cache.invalidateInode(mount.fs, key);
        if (cache.enabled) want.invalidates++;
        forget(`${scope(mount)}/${inode}/`);
      } else {
        cache.invalidateFs(mount.fs);
        if (cache.enabled) want.invalidates++;
        mounts.splice(mounts.indexOf(mount), 1);
        if (!mounts.some((other) => scope(other) === scope(mount))) forget(`${scope(mount)}/`);
      }
      const got = cache.counters.snapshot();
      for (const [counter, value] of Object.entries(want))
        assert.equal(got[counter as keyof typeof want], value, counter);
    }
  },
);
