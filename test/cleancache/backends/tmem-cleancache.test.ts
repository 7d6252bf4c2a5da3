/**
 * Cleancache's front end over tmem over the page store: the contract tests C2, C4, C5 and C9 from end to end, and a model:
 * two guests, each with a front end and a client of its own, with private filesystems and one that they share.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../../src/arena/budget.ts';
import { TmemCleancache } from '../../../src/cleancache/backends/tmem-cleancache.ts';
import { Cleancache, inodeKey, NO_FILESYSTEM } from '../../../src/cleancache/cleancache.ts';
import { Store } from '../../../src/store/store.ts';
import { Tmem } from '../../../src/tmem/tmem.ts';
import { tmemStore } from '../../../src/tmem/tmem-store.ts';
import { noisePage } from '../../support/fixtures/pages.ts';
import { randomTest } from '../../support/fixtures/replay.ts';

const UUID = new Uint8Array(16).map((_, i) => 17 * i || 1);
const UUID_HEX = '01112233445566778899aabbccddeeff';
const into = new Uint8Array(4096);

const A = noisePage(1);
const B = noisePage(2);

const fileKey = (inode: number): Uint32Array => {
  const key = new Uint32Array(6);
  inodeKey(inode, key);
  return key;
};
const file = fileKey(2 ** 40 + 5);

function hostOf(slots: number): { tmem: Tmem; store: Store } {
  const store = new Store({ slots, budget: new Budget(0) });
  return { tmem: new Tmem({ store: tmemStore(store), seed: 3 }), store };
}

/** A guest: a tmem client, authorised for UUID or not. */
function guestOf(tmem: Tmem, isAuthorised = true): { cache: Cleancache; client: number } {
  const client = tmem.addClient();
  if (isAuthorised) tmem.authorise(client, UUID_HEX);
  const cache = new Cleancache();
  cache.register(new TmemCleancache(tmem, client));
  return { cache, client };
}

test('C2 put-put-get: after a second put that tmem refuses the first page is not found', () => {
  const { tmem } = hostOf(8);
  const { cache, client } = guestOf(tmem);
  const fs = cache.initFs(4096);
  cache.put(fs, file, 3, A, 0);
  tmem.freeze(client);
  cache.put(fs, file, 3, B, 0);
  assert.equal(cache.get(fs, file, 3, into, 0), false);
  assert.equal(cache.counters.get('refusedPuts'), 1);
});

test('C4 C9 private: a get removes the page; after a miss, also by eviction, every get misses until a put', () => {
  const { tmem } = hostOf(4);
  const { cache } = guestOf(tmem);
  const fs = cache.initFs(4096);
  cache.put(fs, file, 0xffff_ffff, A, 0);
  assert.equal(cache.get(fs, file, 0xffff_ffff, into, 0), true);
  assert.deepEqual(into, A);
  assert.equal(cache.get(fs, file, 0xffff_ffff, into, 0), false, 'the first get removed the page');
  for (let index = 0; index < 5; index++) cache.put(fs, file, index, noisePage(10 + index), 0);
  for (let k = 0; k < 3; k++)
    assert.equal(cache.get(fs, file, 0, into, 0), false, 'the oldest was evicted for the fifth');
  for (let index = 1; index < 5; index++) {
    assert.equal(cache.get(fs, file, index, into, 0), true);
    assert.deepEqual(into, noisePage(10 + index));
  }
  cache.put(fs, file, 0, B, 0);
  assert.equal(cache.get(fs, file, 0, into, 0), true);
  assert.deepEqual(into, B);
  tmem.verify();
});

test('C5 pages invalidated by page, file or filesystem are not found and use no memory', () => {
  const { tmem, store } = hostOf(32);
  const { cache, client } = guestOf(tmem);
  const fs = cache.initFs(4096);
  const kept = cache.initFs(4096);
  const other = fileKey(13);
  for (const f of [fs, kept])
    for (const key of [file, other]) for (const i of [0, 1, 2]) cache.put(f, key, i, A, 0);
  cache.invalidatePage(fs, file, 1);
  assert.equal(cache.get(fs, file, 1, into, 0), false);
  tmem.freeze(client); // flushes of a frozen client are done
  cache.invalidateInode(fs, file);
  tmem.thaw(client);
  for (const i of [0, 2]) assert.equal(cache.get(fs, file, i, into, 0), false);
  assert.equal(cache.get(fs, other, 0, into, 0), true);
  cache.invalidateFs(fs);
  const again = cache.initFs(4096);
  assert.equal(again, fs, 'the row is reused');
  for (const i of [1, 2]) assert.equal(cache.get(again, other, i, into, 0), false);
  for (const i of [0, 1, 2]) assert.equal(cache.get(kept, other, i, into, 0), true);
  cache.invalidateFs(kept);
  assert.equal(store.storedPages, 0);
});

test('C9 shared: guests of one uuid share a pool, a hit makes the page the newest, the last unmount destroys the pool', () => {
  const { tmem } = hostOf(4);
  const { cache: one } = guestOf(tmem);
  const { cache: two } = guestOf(tmem);
  const mine = one.initSharedFs(UUID, 4096);
  const again = one.initSharedFs(UUID, 4096);
  const theirs = two.initSharedFs(UUID, 4096);
  for (let index = 0; index < 4; index++) one.put(mine, file, index, noisePage(index), 0);
  for (let k = 0; k < 2; k++) assert.equal(two.get(theirs, file, 0, into, 0), true);
  assert.deepEqual(into, noisePage(0));
  two.put(theirs, file, 4, B, 0); // evicts the oldest page, which is not page 0 any more
  assert.equal(one.get(mine, file, 1, into, 0), false);
  assert.equal(one.get(again, file, 0, into, 0), true);
  two.invalidatePage(theirs, file, 2);
  assert.equal(one.get(mine, file, 2, into, 0), false, "another guest's invalidate counts");
  one.invalidateFs(mine);
  one.invalidateFs(again);
  assert.equal(two.get(theirs, file, 3, into, 0), true);
  two.invalidateFs(theirs);
  const remounted = one.initSharedFs(UUID, 4096);
  assert.equal(one.get(remounted, file, 3, into, 0), false);
  tmem.verify();
});

test('a filesystem gets no pool without authorisation, beyond 16 pools, or with another page size', () => {
  const { tmem } = hostOf(4);
  const { cache, client } = guestOf(tmem, false);
  const shared = cache.initSharedFs(UUID, 4096);
  assert.notEqual(shared, NO_FILESYSTEM);
  cache.put(shared, file, 0, A, 0);
  assert.equal(cache.get(shared, file, 0, into, 0), false, 'no private pool instead');
  assert.equal(tmem.poolOf(client, 0), null);
  assert.equal(cache.counters.get('refusedFilesystems'), 1);
  cache.initSharedFs(new Uint8Array(16).fill(255), 4096);
  assert.equal(cache.counters.get('refusedFilesystems'), 2, 'a uuid of all ones is not shared');
  for (let n = 0; n < 17; n++) cache.initFs(4096);
  assert.equal(cache.counters.get('refusedFilesystems'), 3);
  assert.equal(new TmemCleancache(tmem, client).initFs(4096), -1);
  const backend = new TmemCleancache(tmem, tmem.addClient());
  assert.equal(backend.initFs(8192), -1);
  assert.equal(backend.initSharedFs(UUID, 8192), -1);
  assert.throws(() => new TmemCleancache(tmem, 9), { code: 'ERR_ARG_UNKNOWN' });
});

test('a damaged page is a miss and is dropped', () => {
  const store = new Store({ slots: 4, budget: new Budget(0) });
  const tmem = new Tmem({ store: { ...tmemStore(store), get: () => 2 } });
  const { cache } = guestOf(tmem);
  const fs = cache.initFs(4096);
  cache.put(fs, file, 0, A, 0);
  into.fill(7);
  assert.equal(cache.get(fs, file, 0, into, 0), false);
  assert.ok(
    into.every((byte) => byte === 7),
    'a miss leaves the target unchanged',
  );
  assert.equal(store.storedPages, 0);
  assert.equal(tmem.index.counters.get('corruptGets'), 1);
});

/** A filesystem of a guest: `scope` names the pool that it is in. */
interface Mount {
  readonly guest: number;
  readonly fs: number;
  readonly scope: string;
  readonly isShared: boolean;
}

/** Slots of the store; with 12, pages are evicted all the time. */
for (const slots of [12, 200])
  randomTest(`C4 C5 C9 C15 two guests and the model, ${slots} slots`, 3000, (prng, steps) => {
    const { tmem, store } = hostOf(slots);
    const guests = [guestOf(tmem), guestOf(tmem)];
    const mounts: Mount[] = [];
    /** By pool, file and index: the only page that may be found. */
    const truth = new Map<string, number>();
    const tried = { gets: 0, puts: 0 };
    let made = 0;
    const forget = (start: string): void => {
      for (const name of truth.keys()) if (name.startsWith(start)) truth.delete(name);
    };
    const bytes = new Uint8Array(4096);
    const tag = new DataView(bytes.buffer);
    for (let i = 0; i < steps; i++) {
      const what = prng.below(100);
      if (mounts.length === 0 || (what < 4 && mounts.length < 12)) {
        const guest = prng.below(2);
        const { cache } = guests[guest]!;
        const isShared = prng.oneIn(2);
        const fs = isShared ? cache.initSharedFs(UUID, 4096) : cache.initFs(4096);
        mounts.push({ guest, fs, scope: isShared ? 's' : `p${made++}`, isShared });
        continue;
      }
      const mount = mounts[prng.below(mounts.length)]!;
      const { cache } = guests[mount.guest]!;
      const inode = prng.below(3);
      const index = prng.below(4);
      const name = `${mount.scope}/${inode}/${index}`;
      const key = fileKey(inode);
      if (what < 50) {
        tag.setUint32(0, i);
        tag.setUint32(2048, prng.below(3));
        cache.put(mount.fs, key, index, bytes, 0);
        tried.puts++;
        truth.set(name, i);
      } else if (what < 82) {
        tried.gets++;
        const hit = cache.get(mount.fs, key, index, into, 0);
        if (hit) assert.equal(new DataView(into.buffer).getUint32(0), truth.get(name), name);
        else if (slots === 200)
          assert.equal(truth.has(name), false, 'no page is evicted while space is free');
        // After a miss, as after a get that removes the page, every get misses until the next put.
        if (!hit || !mount.isShared) truth.delete(name);
      } else if (what < 90) {
        cache.invalidatePage(mount.fs, key, index);
        truth.delete(name);
      } else if (what < 97) {
        cache.invalidateInode(mount.fs, key);
        forget(`${mount.scope}/${inode}/`);
      } else {
        cache.invalidateFs(mount.fs);
        mounts.splice(mounts.indexOf(mount), 1);
        if (!mounts.some(({ scope }) => scope === mount.scope)) forget(`${mount.scope}/`);
      }
      const sums = guests.map(({ cache: { counters } }) => counters.snapshot());
      const all = (of: (n: (typeof sums)[number]) => number): number =>
        sums.reduce((sum, n) => sum + of(n), 0);
      assert.equal(
        all((n) => n.succGets + n.failedGets),
        tried.gets,
      );
      assert.equal(
        all((n) => n.puts),
        tried.puts,
      );
      assert.equal(
        all((n) => n.puts - n.refusedPuts),
        tmem.index.counters.get('goodEphemeralPuts'),
      );
      tmem.verify();
    }
    if (slots === 12 && steps >= 3000) assert.ok(tmem.index.counters.get('evictions') > 0);
    for (const { guest, fs } of mounts) guests[guest]!.cache.invalidateFs(fs);
    assert.equal(store.storedPages, 0, 'no page remains after its filesystem is unmounted');
    store.verify();
  });
