/** Tmem as a frontswap backend: areas are separate, and an area that is off refuses stores. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TmemFrontswap } from '../../../src/frontswap/backends/tmem-frontswap.ts';
import { Frontswap } from '../../../src/frontswap/frontswap.ts';
import { LoadResult } from '../../../src/frontswap/ops.ts';
import { TmemFlushResult, TmemGetResult, TmemPutResult } from '../../../src/tmem/results.ts';
import { Tmem } from '../../../src/tmem/tmem.ts';
import { FakeStore, pageOf } from '../../support/fakes/fake-store.ts';
import { StrictBackend } from '../strict-backend.ts';

const into = new Uint8Array(4096);

test('C13 an area that is off refuses stores, and is empty when it is switched on again', () => {
  const tmem = new Tmem({ store: new FakeStore(50, 1e6) });
  const backend = new TmemFrontswap(tmem, tmem.addClient());
  assert.equal(backend.store(3, 0, pageOf(1), 0), false, 'the area is off');
  for (const type of [3, 4]) backend.init(type, 10);
  for (const type of [3, 4])
    for (let slot = 0; slot < 10; slot++)
      assert.equal(backend.store(type, slot, pageOf(10 * type + slot), 0), true);
  backend.invalidateArea(3);
  assert.equal(backend.load(3, 5, into, 0), LoadResult.absent);
  assert.equal(backend.load(4, 5, into, 0), LoadResult.loaded);
  assert.equal(Buffer.compare(into, pageOf(45)), 0);
  assert.equal(backend.store(3, 0, pageOf(1), 0), false, 'off');
  backend.init(3, 10);
  assert.equal(backend.load(3, 0, into, 0), LoadResult.absent);
  assert.equal(backend.store(3, 0, pageOf(2), 0), true);
  backend.init(3, 10);
  assert.equal(backend.load(3, 0, into, 0), LoadResult.absent, 'init empties the area');
  backend.init(31, 10);
  assert.equal(backend.store(31, 0, pageOf(2), 0), true);
});

test('load keeps the page and reports damage; a refused store is false; an invalidated slot is absent', () => {
  const store = new FakeStore(50, 64);
  const tmem = new Tmem({ store });
  const backend = new TmemFrontswap(tmem, tmem.addClient());
  backend.init(0, 10);
  assert.equal(backend.store(0, 1, pageOf(0), 0), true);
  for (let k = 0; k < 2; k++) assert.equal(backend.load(0, 1, into, 0), LoadResult.loaded);
  assert.equal(backend.store(0, 2, pageOf(5), 0), false, 'no space');
  const page = store.pages.get(0)!;
  store.pages.set(0, new Uint8Array(1));
  assert.equal(backend.load(0, 1, into, 0), LoadResult.corrupt);
  store.pages.set(0, page);
  backend.invalidatePage(0, 1);
  assert.equal(backend.load(0, 1, into, 0), LoadResult.absent);
});

test('a client without a free pool is refused', () => {
  const tmem = new Tmem({ store: new FakeStore(50, 1e6) });
  assert.throws(() => new TmemFrontswap(tmem, 0), { code: 'ERR_ARG_VALUE' });
});

test('a host that does not reply: no load finds the page of an older store, and the page is flushed later', () => {
  const tmem = new Tmem({ store: new FakeStore(50, 1e6) });
  const client = tmem.addClient();
  const number = tmem.newPool(client, { persistent: true });
  let isDown = false;
  const backend = new TmemFrontswap({
    put: (oid, index, page, at) =>
      isDown ? TmemPutResult.down : tmem.put(client, number, oid, index, page, at),
    get: (oid, index, page, at) =>
      isDown ? TmemGetResult.down : tmem.get(client, number, oid, index, page, at),
    flushPage: (oid, index) =>
      isDown ? TmemFlushResult.down : tmem.flushPage(client, number, oid, index),
    flushObject: (oid) => (isDown ? TmemFlushResult.down : tmem.flushObject(client, number, oid)),
  });
  const front = new Frontswap();
  const older = new StrictBackend('older');
  front.register(older);
  front.register(backend);
  front.init(0, 10);
  assert.equal(front.store(0, 1, pageOf(1), 0), true);
  isDown = true;
  assert.equal(front.load(0, 1, into, 0), LoadResult.corrupt);
  // The flush of the first page gets no reply, nor does the put of the second one: the older backend takes it.
  assert.equal(front.store(0, 1, pageOf(2), 0), true);
  isDown = false;
  assert.equal(front.load(0, 1, into, 0), LoadResult.loaded);
  assert.equal(Buffer.compare(into, pageOf(2)), 0);
  assert.equal(tmem.index.counters.get('pages'), 1);
  front.invalidatePage(0, 1);
  assert.equal(tmem.index.counters.get('pages'), 0);
});
