/** The contract of the front end: C1 to C3, C5 to C8, C10 to C13, C18, C21 of docs/design/contract-tests.md. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../src/base/assert.ts';
import { SWAP_AREAS_MAX } from '../../src/base/units.ts';
import { Frontswap } from '../../src/frontswap/frontswap.ts';
import { type ColdPages, LoadResult } from '../../src/frontswap/ops.ts';
import { noisePage } from '../support/fixtures/pages.ts';
import { StrictBackend } from './strict-backend.ts';

const A = noisePage(1);
const B = noisePage(2);
const into = new Uint8Array(4096);

/** A front end with area 3 of 100 slots and `count` backends; `backends[0]` is the newest. */
function setUp(count = 1): { front: Frontswap; backends: StrictBackend[]; first: StrictBackend } {
  const front = new Frontswap();
  const backends = Array.from({ length: count }, (_, i) => new StrictBackend(`backend ${i}`));
  for (const backend of backends.toReversed()) front.register(backend);
  front.init(3, 100);
  return { front, backends, first: backends[0]! };
}

function expectLoad(
  front: Frontswap,
  offset: number,
  want: Uint8Array,
  result: LoadResult = LoadResult.loaded,
): void {
  into.fill(0xee);
  assert.equal(front.load(3, offset, into, 0), result);
  assert.deepEqual(into, want);
}

test('C1 a load returns the page that was stored last', () => {
  const { front, first } = setUp();
  assert.equal(front.store(3, 7, A, 0), true);
  assert.equal(front.store(3, 7, B, 0), true);
  expectLoad(front, 7, B);
  assert.equal(front.currPages(), 1);
  assert.equal(front.counters.get('dupInvalidates'), 1);
  assert.equal(
    front.counters.get('invalidates'),
    0,
    'an invalidate before a store has its own counter',
  );
  assert.deepEqual(first.calls.slice(1), [
    'store 3 7',
    'invalidatePage 3 7',
    'store 3 7',
    'load 3 7',
  ]);
  front.verify();
});

test('C1 pages are stored from and loaded to any offset of a larger array', () => {
  const { front } = setUp();
  const large = new Uint8Array(3 * 4096);
  large.set(A, 100);
  assert.equal(front.store(3, 0, large, 100), true);
  const target = new Uint8Array(2 * 4096);
  assert.equal(front.load(3, 0, target, 4096), LoadResult.loaded);
  assert.deepEqual(target.subarray(4096), A);
  assert.ok(target.subarray(0, 4096).every((b) => b === 0));
});

test('C2 a refused store leaves neither the new page nor the old one', () => {
  const { front, backends } = setUp(3);
  for (const holder of backends) {
    for (const backend of backends) backend.accepts = () => backend === holder;
    assert.equal(front.store(3, 9, A, 0), true);
    assert.equal(holder.pages.size, 1);
    for (const backend of backends) backend.accepts = () => false;
    assert.equal(front.store(3, 9, B, 0), false);
    assert.equal(front.has(3, 9), false);
    assert.equal(front.load(3, 9, into, 0), LoadResult.absent);
    assert.equal(holder.pages.size, 0);
    front.verify();
  }
  assert.equal(front.counters.get('failedStores'), 3);
  assert.equal(front.counters.get('failedAreaOff'), 0);
});

test('C2 a store during which a backend throws leaves no old page', () => {
  const { front, first } = setUp();
  front.store(3, 9, A, 0);
  first.accepts = () => {
    throw new InvariantError('made up');
  };
  assert.throws(() => front.store(3, 9, B, 0), InvariantError);
  assert.equal(front.has(3, 9), false);
  assert.equal(front.load(3, 9, into, 0), LoadResult.absent);
  assert.equal(first.pages.size, 0);
  front.verify();
});

test('a store goes to the newest backend that accepts it, a load finds it there, a free reaches all', () => {
  const { front, backends } = setUp(3);
  backends[0]!.accepts = () => false;
  assert.equal(front.store(3, 1, A, 0), true);
  assert.deepEqual(
    backends.map((b) => b.pages.size),
    [0, 1, 0],
  );
  expectLoad(front, 1, A);
  assert.ok(
    !backends[2]!.calls.includes('load 3 1'),
    'a load asks no backend after the one that has the page',
  );
  front.invalidatePage(3, 1);
  for (const backend of backends) assert.ok(backend.calls.includes('invalidatePage 3 1'));
  assert.equal(front.counters.get('succStores'), 1);
  assert.equal(front.counters.get('failedStores'), 0);
});

test('C5 a freed slot and a freed area have no pages', () => {
  const { front, first } = setUp();
  for (const offset of [0, 31, 32, 63, 64, 99]) front.store(3, offset, A, 0);
  front.invalidatePage(3, 31);
  assert.equal(front.load(3, 31, into, 0), LoadResult.absent);
  assert.equal(first.pages.size, 5);
  expectLoad(front, 32, A);
  front.invalidateArea(3);
  assert.equal(front.load(3, 0, into, 0), LoadResult.absent);
  assert.equal(first.pages.size, 0);
  assert.equal(front.currPages(), 0);
  assert.equal(front.counters.get('invalidates'), 1);
  assert.equal(front.counters.get('areaInvalidates'), 5);
  front.verify();
});

test('C6 freeing a slot without a page changes nothing', () => {
  const { front } = setUp();
  front.store(3, 1, A, 0);
  const before = front.counters.snapshot();
  front.invalidatePage(3, 2);
  front.invalidatePage(4, 2);
  front.invalidateArea(4);
  assert.deepEqual(front.counters.snapshot(), before);
  assert.equal(front.currPages(), 1);
});

test('C7 with a clear bit no backend is called', () => {
  const { front, first } = setUp();
  front.store(3, 32, A, 0);
  first.calls.length = 0;
  for (const offset of [0, 31, 33, 64]) {
    assert.equal(front.load(3, offset, into, 0), LoadResult.absent);
    front.invalidatePage(3, offset);
  }
  assert.deepEqual(first.calls, []);
  assert.equal(front.counters.get('loads'), 0);
  assert.equal(front.counters.get('loadsElsewhere'), 4);
});

test('C7 without a backend no bit is set, nothing is counted and nothing is checked', () => {
  const front = new Frontswap();
  assert.equal(front.enabled, false);
  front.init(0, 10);
  assert.equal(front.store(0, 1, A, 0), false);
  assert.equal(front.has(0, 1), false);
  assert.equal(front.load(0, 1, into, 0), LoadResult.absent);
  front.invalidatePage(0, 1);
  assert.ok(front.counters.values.every((value) => value === 0));
  front.register(new StrictBackend('late'));
  assert.equal(front.enabled, true);
  front.verify();
});

test('C8 with exclusiveGets a load drops the page and returns loadedExclusive', () => {
  const { front, backends } = setUp(2);
  backends[0]!.accepts = () => false;
  front.store(3, 5, A, 0);
  expectLoad(front, 5, A);
  front.exclusiveGets = true;
  expectLoad(front, 5, A, LoadResult.loadedExclusive);
  assert.equal(front.has(3, 5), false);
  assert.equal(backends[1]!.pages.size, 0, 'the backend keeps no copy');
  assert.equal(front.load(3, 5, into, 0), LoadResult.absent);
  assert.equal(front.counters.get('exclusiveLoads'), 1);
  front.verify();
});

test('C21 peek leaves the page in its backend, even with exclusiveGets', () => {
  const { front } = setUp();
  front.exclusiveGets = true;
  front.store(3, 5, A, 0);
  assert.equal(front.peek(3, 5, into, 0), LoadResult.loaded);
  assert.equal(front.has(3, 5), true);
  expectLoad(front, 5, A, LoadResult.loadedExclusive);
  assert.equal(front.peek(3, 5, into, 0), LoadResult.absent);
});

test('C10 with writethrough the backend stores the page and the caller writes it too', () => {
  const { front, first } = setUp();
  front.writethrough = true;
  assert.equal(front.store(3, 5, A, 0), false);
  assert.equal(front.has(3, 5), true);
  assert.equal(front.counters.get('succStores'), 1);
  assert.equal(front.counters.get('failedStores'), 0);
  expectLoad(front, 5, A);
  first.pages.clear(); // the backend may drop it: the device has the page
  assert.equal(front.load(3, 5, into, 0), LoadResult.absent);
  assert.equal(front.has(3, 5), false, 'after one miss every load misses');
  assert.equal(front.counters.get('loadsToDevice'), 1);
  front.verify();
});

test('C10 a written-through page whose copy is damaged is read from the device', () => {
  const { front, first } = setUp();
  front.writethrough = true;
  front.store(3, 5, A, 0);
  front.writethrough = false; // pages written through so far keep their mark
  first.damaged.add(StrictBackend.key(3, 5));
  assert.equal(front.load(3, 5, into, 0), LoadResult.absent);
  assert.equal(first.pages.size, 0);
  assert.deepEqual(front.counters.violated(), []);
  front.verify();
});

test('C3 a lost or damaged page is an error; the stale block of the device is not read', () => {
  const { front, first } = setUp();
  front.writethrough = true;
  front.store(3, 5, A, 0);
  front.writethrough = false;
  front.store(3, 5, B, 0); // now the device's copy is stale
  front.store(3, 6, A, 0);
  front.init(4, 10);
  front.store(4, 0, A, 0);
  first.pages.delete(StrictBackend.key(3, 5));
  first.damaged.add(StrictBackend.key(3, 6));
  first.pages.delete(StrictBackend.key(4, 0));
  for (let again = 0; again < 2; again++) {
    assert.equal(front.load(3, 5, into, 0), LoadResult.corrupt);
    assert.equal(front.load(3, 6, into, 0), LoadResult.corrupt);
    assert.equal(front.load(4, 0, into, 0), LoadResult.corrupt);
  }
  assert.deepEqual(front.counters.violated(), ['loadsLost', 'loadsDamaged']);
  assert.equal(front.counters.get('loadsLost'), 4);
  assert.equal(front.counters.get('loadsDamaged'), 2);
  front.invalidatePage(3, 5); // freeing the slot clears the error
  assert.equal(front.load(3, 5, into, 0), LoadResult.absent);
  front.verify();
});

/** Sets an onShrink that reads back at most `frames` pages per call. */
function shrinker(front: Frontswap, asked: string[], frames: (type: number) => number): void {
  front.onShrink = (type, pages) => {
    asked.push(`${type}: ${pages}`);
    let readBack = 0;
    for (let offset = 0; offset < 10 && readBack < Math.min(pages, frames(type)); offset++) {
      if (!front.has(type, offset)) continue;
      front.invalidatePage(type, offset);
      readBack++;
    }
    return readBack;
  };
}

test('C11 shrink requests swap-ins from area after area until the target is reached', () => {
  const { front } = setUp();
  for (const type of [0, 1, 2, 4, 5, 31]) front.init(type, 10);
  for (const type of [0, 1, 2, 4, 5, 31])
    for (let offset = 0; offset < 5; offset++) front.store(type, offset, A, 0);
  const asked: string[] = [];
  shrinker(front, asked, () => 100);
  assert.equal(front.shrink(30), 0);
  assert.deepEqual(asked, [], 'below the target no area is asked');
  assert.equal(front.shrink(3), 27); // more areas than four rounds would reach
  assert.equal(front.currPages(), 3);
  assert.deepEqual(asked, ['0: 5', '1: 5', '2: 5', '4: 5', '5: 5', '31: 2']);
  assert.equal(front.counters.get('shrunkPages'), 27);
  front.verify();
});

test('C11 when memory is short shrink continues with the next area, and ends after the last', () => {
  const { front } = setUp();
  for (const type of [0, 1, 2]) front.init(type, 10);
  for (const type of [0, 1, 2])
    for (let offset = 0; offset < 5; offset++) front.store(type, offset, A, 0);
  const asked: string[] = [];
  shrinker(front, asked, (type) => (type === 1 ? 0 : 2));
  assert.equal(front.shrink(4), 4);
  assert.deepEqual(asked, ['0: 5', '1: 5', '2: 5']);
  for (const type of [0, 2]) assert.equal(front.currPagesOf(type), 3);
  front.onShrink = null;
  assert.equal(front.shrink(0), 0, 'without onShrink no page is read back');
});

test('C12 register calls init for every area that is on, and for no other', () => {
  const front = new Frontswap();
  front.init(2, 20);
  front.init(0, 10);
  front.init(31, 30);
  front.invalidateArea(2);
  const late = new StrictBackend('late');
  front.register(late);
  assert.deepEqual(late.calls, ['init 0 10', 'init 31 30']);
  front.init(5, 50);
  assert.deepEqual(late.calls.slice(2), ['init 5 50']);
  const later = new StrictBackend('later');
  front.register(later);
  assert.deepEqual(later.calls, ['init 0 10', 'init 5 50', 'init 31 30']);
  front.store(5, 49, A, 0);
  assert.equal(later.pages.size, 1, 'the newest backend is asked first');
});

test('C12 pages of an older backend stay there when a newer one registers', () => {
  const { front, first } = setUp();
  front.store(3, 5, A, 0);
  const newer = new StrictBackend('newer');
  front.register(newer);
  expectLoad(front, 5, A);
  front.store(3, 5, B, 0);
  assert.equal(first.pages.size, 0, 'the older backend was invalidated');
  assert.equal(newer.pages.size, 1);
});

test('C12 areas cannot change while a backend registers; a failed registration has no effect', () => {
  const { front } = setUp();
  for (const change of [() => front.init(4, 10), () => front.invalidateArea(3)]) {
    const meddler = new StrictBackend('meddler');
    meddler.init = change;
    assert.throws(() => front.register(meddler), { code: 'ERR_ARG_CONFLICT' });
    front.store(3, 5, A, 0);
    assert.equal(meddler.calls.length, 0);
    front.init(4, 10);
    front.invalidateArea(4);
  }
  const twice = new StrictBackend('twice');
  front.register(twice);
  assert.throws(() => front.register(twice), { code: 'ERR_ARG_CONFLICT' });
});

test('C13 after invalidateArea stores are refused until init', () => {
  const { front, first } = setUp();
  front.store(3, 5, A, 0);
  front.invalidateArea(3);
  assert.equal(front.store(3, 5, A, 0), false);
  assert.equal(front.counters.get('failedStores'), 1);
  assert.equal(front.counters.get('failedAreaOff'), 1);
  assert.equal(front.load(3, 5, into, 0), LoadResult.absent);
  assert.deepEqual(first.calls.slice(-1), ['invalidateArea 3']);
  front.init(3, 6);
  assert.equal(front.has(3, 5), false);
  assert.equal(front.store(3, 5, B, 0), true);
  expectLoad(front, 5, B);
  front.verify();
});

test('wrong arguments are refused with a code', () => {
  const { front } = setUp();
  const wrong = { code: 'ERR_ARG_VALUE' };
  for (const offset of [-1, 100, 1.5, Number.NaN, 2 ** 32 + 5]) {
    assert.throws(() => front.store(3, offset, A, 0), wrong);
    assert.throws(() => front.load(3, offset, into, 0), wrong);
    assert.throws(() => front.invalidatePage(3, offset), wrong);
  }
  assert.equal(SWAP_AREAS_MAX, 32, 'as in Linux');
  for (const type of [-1, SWAP_AREAS_MAX, 0.5, Number.NaN]) {
    assert.throws(() => front.init(type, 10), wrong);
    assert.throws(() => front.store(type, 0, A, 0), wrong);
    assert.throws(() => front.invalidateArea(type), wrong);
    assert.throws(() => front.currPagesOf(type), wrong);
  }
  for (const slots of [0, -1, 2 ** 31, 1.5]) assert.throws(() => front.init(0, slots), wrong);
  assert.throws(() => front.init(3, 100), { code: 'ERR_ARG_AREA' }, 'the area is already on');
  for (const at of [-1, 1]) {
    assert.throws(() => front.store(3, 0, A, at), wrong);
    assert.throws(() => front.load(3, 0, into, at), wrong);
  }
  assert.throws(() => front.shrink(-1), wrong);
  front.verify();
});

test('C18 completeWriteback drops the page on every backend and clears its bit', () => {
  const [first, second] = [new StrictBackend('first'), new StrictBackend('second')];
  const front = new Frontswap();
  front.register(first);
  front.register(second);
  front.init(0, 100);
  const bytes = new Uint8Array(4096).fill(9);
  front.store(0, 5, bytes, 0);
  front.completeWriteback(0, 5);
  assert.equal(first.pages.size + second.pages.size, 0);
  assert.equal(front.load(0, 5, bytes, 0), LoadResult.absent, 'the page is on the device');
  assert.equal(front.counters.get('writtenBack'), 1);
  front.verify();
  assert.throws(() => front.completeWriteback(0, 5), { name: 'InvariantError' });
});

test('the coldest page is the lowest that any backend names; without ages every page is cold', () => {
  const front = new Frontswap();
  front.init(0, 100);
  assert.equal(front.coldPages(0), null, 'no backend, no page');
  front.register(new StrictBackend('mute'));
  const bytes = new Uint8Array(4096).fill(9);
  for (const offset of [31, 32, 70]) front.store(0, offset, bytes, 0);
  const pages = front.coldPages(0)!;
  const all = [0, 32, 33, 71].map((from) => pages.coldest(from, 100, 3, false));
  assert.deepEqual(all, [31, 32, 70, -1]);
  assert.equal(pages.coldest(0, 31, 3, false), -1);
  assert.equal(pages.coldest(0, 100, 3, true), -1, 'none is known to be incompressible');
  const aged: number[][] = [];
  for (const answer of [60, 50, -1]) {
    const coldPages = (): ColdPages => ({
      coldest: (from, to) => (answer >= from && answer < to ? answer : -1),
      age: (from, to) => aged.push([from, to]),
    });
    front.register(Object.assign(new StrictBackend(`names ${answer}`), { coldPages }));
  }
  assert.equal(pages.coldest(0, 100, 1, false), 50);
  assert.equal(pages.coldest(51, 100, 1, false), 60);
  assert.equal(pages.coldest(61, 100, 1, false), -1, 'a backend without ages keeps its pages');
  pages.age(3, 9);
  assert.deepEqual(aged, [
    [3, 9],
    [3, 9],
    [3, 9],
  ]);
  assert.equal(front.coldPages(1), null, 'the area is off');
});
