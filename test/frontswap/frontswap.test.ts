/** The front end's contract, under the numbers it has in the project's contract: C1, C2, C5 to C8, C10 to C13, C15, C21. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../src/base/assert.ts';
import { SWAP_AREAS_MAX } from '../../src/base/units.ts';
import { Frontswap } from '../../src/frontswap/frontswap.ts';
import { LoadResult } from '../../src/frontswap/ops.ts';
import { noisePage } from '../model/pages.ts';
import { StrictBackend } from './strict-backend.ts';

const A = noisePage(1);
const B = noisePage(2);
const into = new Uint8Array(4096);

/** A front end with one area (3, 100 slots) and so many backends; `backends[0]` is the newest. */
function setUp(count = 1): { front: Frontswap; backends: StrictBackend[]; first: StrictBackend } {
  const front = new Frontswap();
  const backends = Array.from({ length: count }, (_, i) => new StrictBackend(`backend ${i}`));
  for (const backend of backends.toReversed()) front.register(backend);
  front.init(3, 100);
  return { front, backends, first: backends[0]! };
}

function expectLoad(front: Frontswap, offset: number, want: Uint8Array): void {
  into.fill(0xee);
  assert.equal(front.load(3, offset, into, 0), LoadResult.loaded);
  assert.deepEqual(into, want);
}

test('C1 a load returns what was stored last', () => {
  const { front, first } = setUp();
  assert.equal(front.store(3, 7, A, 0), true);
  assert.equal(front.store(3, 7, B, 0), true);
  expectLoad(front, 7, B);
  assert.equal(front.currPages(), 1);
  assert.equal(front.counters.get('dupInvalidates'), 1);
  assert.equal(front.counters.get('invalidates'), 0, 'the front end counts its own apart');
  assert.deepEqual(first.calls.slice(1), [
    'store 3 7',
    'invalidatePage 3 7',
    'store 3 7',
    'load 3 7',
  ]);
  front.verify();
});

test('C1 pages are taken from and brought to any place of a larger array', () => {
  const { front } = setUp();
  const large = new Uint8Array(3 * 4096);
  large.set(A, 100);
  assert.equal(front.store(3, 0, large, 100), true);
  const target = new Uint8Array(2 * 4096);
  assert.equal(front.load(3, 0, target, 4096), LoadResult.loaded);
  assert.deepEqual(target.subarray(4096), A);
  assert.ok(target.subarray(0, 4096).every((b) => b === 0));
});

test('C2 a refused store over a page leaves no page', () => {
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

test('C2 a backend that throws leaves no old page either', () => {
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

test('a store goes to the newest backend that accepts, a load finds it there, a free asks all', () => {
  const { front, backends } = setUp(3);
  backends[0]!.accepts = () => false;
  assert.equal(front.store(3, 1, A, 0), true);
  assert.deepEqual(
    backends.map((b) => b.pages.size),
    [0, 1, 0],
  );
  expectLoad(front, 1, A);
  assert.ok(!backends[2]!.calls.includes('load 3 1'), 'the search ends with the page');
  front.invalidatePage(3, 1);
  for (const backend of backends) assert.ok(backend.calls.includes('invalidatePage 3 1'));
  assert.equal(front.counters.get('succStores'), 1);
  assert.equal(front.counters.get('failedStores'), 0);
});

test('C5 a freed slot and a freed area hold nothing', () => {
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

test('C6 freeing what is not held changes nothing', () => {
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

test('C7 without a backend there is no bit, no count and no check', () => {
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

test('C8 an exclusive load removes the page and says that the caller owns it', () => {
  const { front, backends } = setUp(2);
  backends[0]!.accepts = () => false;
  front.store(3, 5, A, 0);
  expectLoad(front, 5, A);
  assert.equal(front.lastLoadExclusive, false);
  front.exclusiveGets = true;
  expectLoad(front, 5, A);
  assert.equal(front.lastLoadExclusive, true);
  assert.equal(front.has(3, 5), false);
  assert.equal(backends[1]!.pages.size, 0, 'no copy stays behind');
  assert.equal(front.load(3, 5, into, 0), LoadResult.absent);
  assert.equal(front.lastLoadExclusive, false, 'a miss hands nothing over');
  assert.equal(front.counters.get('exclusiveLoads'), 1);
  front.verify();
});

test('C21 a reader that will not own the page leaves it where it is', () => {
  const { front } = setUp();
  front.exclusiveGets = true;
  front.store(3, 5, A, 0);
  assert.equal(front.peek(3, 5, into, 0), LoadResult.loaded);
  assert.equal(front.lastLoadExclusive, false);
  assert.equal(front.has(3, 5), true);
  expectLoad(front, 5, A);
  assert.equal(front.peek(3, 5, into, 0), LoadResult.absent);
  assert.equal(front.lastLoadExclusive, false, 'what an earlier load handed over is said once');
});

test('C10 written through, the store holds the page and the caller writes it as well', () => {
  const { front, first } = setUp();
  front.writethrough = true;
  assert.equal(front.store(3, 5, A, 0), false);
  assert.equal(front.has(3, 5), true);
  assert.equal(front.counters.get('succStores'), 1);
  assert.equal(front.counters.get('failedStores'), 0);
  expectLoad(front, 5, A);
  first.pages.clear(); // the backend may: the device has it
  assert.equal(front.load(3, 5, into, 0), LoadResult.absent);
  assert.equal(front.has(3, 5), false, 'after one miss all miss');
  assert.equal(front.counters.get('loadsToDevice'), 1);
  front.verify();
});

test('C10 damage to a written-through page falls to the device too', () => {
  const { front, first } = setUp();
  front.writethrough = true;
  front.store(3, 5, A, 0);
  front.writethrough = false; // what was written through stays so
  first.damaged.add(StrictBackend.key(3, 5));
  assert.equal(front.load(3, 5, into, 0), LoadResult.absent);
  assert.equal(first.pages.size, 0);
  assert.deepEqual(front.counters.violated(), []);
  front.verify();
});

test('C3 an accepted page that a backend lost or damaged is an error, never the old block', () => {
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
  front.invalidatePage(3, 5); // the slot's end ends the error
  assert.equal(front.load(3, 5, into, 0), LoadResult.absent);
  front.verify();
});

/** Has shrink() bring home what the model of a swap core can: `room` pages. */
function shrinker(front: Frontswap, asked: string[], room: (type: number) => number): void {
  front.onShrink = (type, pages) => {
    asked.push(`${type}: ${pages}`);
    let brought = 0;
    for (let offset = 0; offset < 10 && brought < Math.min(pages, room(type)); offset++) {
      if (!front.has(type, offset)) continue;
      front.invalidatePage(type, offset);
      brought++;
    }
    return brought;
  };
}

test('C11 shrink asks area after area until the target is reached', () => {
  const { front } = setUp();
  for (const type of [0, 1, 2, 4, 5, 31]) front.init(type, 10);
  for (const type of [0, 1, 2, 4, 5, 31])
    for (let offset = 0; offset < 5; offset++) front.store(type, offset, A, 0);
  const asked: string[] = [];
  shrinker(front, asked, () => 100);
  assert.equal(front.shrink(30), 0);
  assert.deepEqual(asked, [], 'nothing to do is nothing asked');
  assert.equal(front.shrink(3), 27); // more areas than four rounds would reach
  assert.equal(front.currPages(), 3);
  assert.deepEqual(asked, ['0: 5', '1: 5', '2: 5', '4: 5', '5: 5', '31: 2']);
  assert.equal(front.counters.get('shrunkPages'), 27);
  front.verify();
});

test('C11 where memory is short shrink goes on with the next area, and ends', () => {
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
  assert.equal(front.shrink(0), 0, 'nobody to ask');
});

test('C12 a late backend sees init for every area that is on, and for no other', () => {
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
  assert.equal(later.pages.size, 1, 'the newest is asked first');
});

test('C12 pages held by an older backend stay where they are when a newer one comes', () => {
  const { front, first } = setUp();
  front.store(3, 5, A, 0);
  const newer = new StrictBackend('newer');
  front.register(newer);
  expectLoad(front, 5, A);
  front.store(3, 5, B, 0);
  assert.equal(first.pages.size, 0, 'the older one was told');
  assert.equal(newer.pages.size, 1);
});

test('C12 areas do not change while a backend is told of them; a failed registration leaves no trace', () => {
  const { front } = setUp();
  for (const change of [() => front.init(4, 10), () => front.invalidateArea(3)]) {
    const meddler = new StrictBackend('meddler');
    meddler.init = change;
    assert.throws(() => front.register(meddler), InvariantError);
    front.store(3, 5, A, 0);
    assert.equal(meddler.calls.length, 0);
    front.init(4, 10);
    front.invalidateArea(4);
  }
  const twice = new StrictBackend('twice');
  front.register(twice);
  assert.throws(() => front.register(twice), InvariantError);
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

test('slots and areas out of range are bugs of the caller', () => {
  const { front } = setUp();
  for (const offset of [-1, 100, 1.5, Number.NaN, 2 ** 32 + 5]) {
    assert.throws(() => front.store(3, offset, A, 0), InvariantError);
    assert.throws(() => front.load(3, offset, into, 0), InvariantError);
    assert.throws(() => front.invalidatePage(3, offset), InvariantError);
  }
  assert.equal(SWAP_AREAS_MAX, 32, 'as in Linux');
  for (const type of [-1, SWAP_AREAS_MAX, 0.5, Number.NaN]) {
    assert.throws(() => front.init(type, 10), InvariantError);
    assert.throws(() => front.store(type, 0, A, 0), InvariantError);
    assert.throws(() => front.invalidateArea(type), InvariantError);
    assert.throws(() => front.currPagesOf(type), InvariantError);
  }
  for (const slots of [0, -1, 2 ** 31, 1.5])
    assert.throws(() => front.init(0, slots), InvariantError);
  assert.throws(() => front.init(3, 100), InvariantError, 'an area is switched on once');
  for (const at of [-1, 1]) {
    assert.throws(() => front.store(3, 0, A, at), InvariantError);
    assert.throws(() => front.load(3, 0, into, at), InvariantError);
  }
  assert.throws(() => front.shrink(-1), InvariantError);
  front.verify();
});

test('C18 a page that was written back is given up on every backend, and its bit is clear', () => {
  const [first, second] = [new StrictBackend('first'), new StrictBackend('second')];
  const front = new Frontswap();
  front.register(first);
  front.register(second);
  front.init(0, 100);
  const bytes = new Uint8Array(4096).fill(9);
  front.store(0, 5, bytes, 0);
  front.completeWriteback(0, 5);
  assert.equal(first.pages.size + second.pages.size, 0);
  assert.equal(front.load(0, 5, bytes, 0), LoadResult.absent, 'it is on the device');
  assert.equal(front.counters.get('writtenBack'), 1);
  front.verify();
  assert.throws(() => front.completeWriteback(0, 5), { name: 'InvariantError' });
});

test('the coldest page is the first of those that any backend tells of; where none can tell, every page is old', () => {
  const front = new Frontswap();
  front.init(0, 100);
  assert.equal(front.coldest(0, 0, 100, 3, false), -1, 'no backend, no page');
  front.register(new StrictBackend('mute'));
  const bytes = new Uint8Array(4096).fill(9);
  for (const offset of [31, 32, 70]) front.store(0, offset, bytes, 0);
  const all = [0, 32, 33, 71].map((from) => front.coldest(0, from, 100, 3, false));
  assert.deepEqual(all, [31, 32, 70, -1]);
  assert.equal(front.coldest(0, 0, 31, 3, false), -1);
  assert.equal(front.coldest(0, 0, 100, 3, true), -1, 'nobody knows that they are poor');
  const grown: number[][] = [];
  for (const answer of [60, 50, -1]) {
    const knows = Object.assign(new StrictBackend(`knows ${answer}`), {
      coldest: (_type: number, from: number, to: number) =>
        answer >= from && answer < to ? answer : -1,
      age: (...args: number[]) => grown.push(args),
    });
    front.register(knows);
  }
  assert.equal(front.coldest(0, 0, 100, 1, false), 50);
  assert.equal(front.coldest(0, 51, 100, 1, false), 60);
  assert.equal(front.coldest(0, 61, 100, 1, false), -1, 'who cannot tell keeps its pages');
  front.age(0, 3, 9);
  assert.deepEqual(grown, [
    [0, 3, 9],
    [0, 3, 9],
    [0, 3, 9],
  ]);
  assert.equal(front.coldest(1, 0, 0, 1, false), -1, 'an area that is off');
});
