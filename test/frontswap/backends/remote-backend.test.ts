/**
 * The remote backend against an in-memory peer. C23: if a put to the peer fails, the page stays local; if a load from it
 * fails, that is reported.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PageFormat } from '../../../src/codec/codec.ts';
import { Frontswap } from '../../../src/frontswap/frontswap.ts';
import { LoadResult } from '../../../src/frontswap/ops.ts';
import type { RemoteCounter } from '../../../src/remote/counters.ts';
import { CounterAt } from '../../../src/store/results.ts';
import type { Fault } from '../../support/fakes/fake-peer.ts';
import { madePage as page } from '../../support/fixtures/pages.ts';
import { type Rig, rig } from '../../support/fixtures/remote-rig.ts';

const into = new Uint8Array(4096);
const count = ({ backend }: Rig, name: RemoteCounter): number => backend.counters.get(name);

/** Stores text pages under the slots 0 .. n - 1 of area 0. */
function fill(r: Rig, n: number): void {
  for (let i = 0; i < n; i++) assert.ok(r.front.store(0, i, page('text', i), 0));
}

function loadsAs(r: Rig, offset: number, seed: number): void {
  into.fill(0xee);
  assert.equal(r.front.load(0, offset, into, 0), LoadResult.loaded, `slot ${offset}`);
  assert.deepEqual(into, page('text', seed), `slot ${offset}`);
}

test('the oldest pages move to the peer, and back when they are loaded', () => {
  const r = rig();
  fill(r, 100);
  assert.equal(r.backend.remotify(40), 40);
  assert.equal(r.peer.redis.pages, 40);
  assert.equal(r.backend.remotePages, 40);
  for (let i = 0; i < 100; i++)
    assert.equal(r.local.compressedBytes(0, i) > 0, i >= 40, 'the oldest pages were moved');
  r.backend.verify();
  for (let i = 0; i < 100; i++) loadsAs(r, i, i);
  assert.equal(count(r, 'pagesRepatriated'), 40);
  assert.equal(r.backend.remotePages, 0);
  assert.equal(r.peer.redis.pages, 40, 'deletes wait for the background');
  while (r.backend.maintain());
  assert.equal(r.peer.redis.pages, 0);
  assert.equal(count(r, 'remote_pages_flushed'), 40);
  r.backend.verify();
  assert.deepEqual(r.backend.counters.violated(), []);
});

test('the oldest pages of all areas are moved first', () => {
  const r = rig();
  r.front.init(5, 100);
  const order = [5, 0, 0, 5, 0, 5, 5, 0];
  for (const [i, type] of order.entries()) r.front.store(type, i, page('text', i), 0);
  for (const [i, type] of order.entries()) {
    assert.equal(r.backend.remotify(1), 1);
    for (const [j, other] of order.entries())
      assert.equal(
        r.local.compressedBytes(other, j) > 0,
        j > i,
        `${j} of area ${other}, step ${i}`,
      );
    assert.equal(r.local.compressedBytes(type, i), 0);
  }
  r.backend.verify();
});

test('filtered pages move to the peer and back in their stored format', () => {
  const r = rig();
  const kinds = ['int12', 'text', 'sorted', 'id64'] as const;
  const kindOf = (i: number): (typeof kinds)[number] => kinds[i % kinds.length]!;
  for (let i = 0; i < 40; i++) assert.ok(r.front.store(0, i, page(kindOf(i), i), 0));
  const formats = Array.from({ length: 40 }, (_, i) => r.local.formatOf(0, i));
  assert.equal(formats.filter((format) => format === PageFormat.filtered).length, 30);
  assert.equal(r.backend.remotify(100), 40);
  assert.equal(r.local.counter(CounterAt.storedPages), 0);
  r.backend.verify();
  for (let i = 0; i < 40; i++) {
    assert.equal(r.front.load(0, i, into.fill(0xee), 0), LoadResult.loaded, `slot ${i}`);
    assert.deepEqual(into, page(kindOf(i), i), `slot ${i}`);
    assert.equal(r.local.formatOf(0, i), formats[i]);
  }
  assert.equal(r.local.counter(CounterAt.filteredPages), 30);
  r.backend.verify();
});

test('same-filled and incompressible pages stay local and do not block others', () => {
  const r = rig();
  for (let i = 0; i < 30; i++)
    r.front.store(0, i, page((['zero', 'random', 'text'] as const)[i % 3]!, i), 0);
  assert.equal(r.backend.movablePages, 10);
  assert.equal(r.backend.remotify(100), 10);
  r.backend.verify();
});

for (const [fault, keepBytes] of [
  ['gone', 0],
  ['cut', 0],
  ['cut', 11],
  ['cut', 40],
  ['late', 0],
  ['late', 41],
  ['stuck', 0],
  ['garbage', 0],
  ['broken', 0],
] as [Fault, number][])
  test(`C23 a put that fails (${fault} after ${keepBytes} bytes) leaves the local copy`, () => {
    const r = rig();
    fill(r, 50);
    assert.equal(r.backend.remotify(1), 1);
    r.peer.fault = fault;
    r.peer.keepBytes = keepBytes;
    const went = Math.floor(keepBytes / 4); // ":1\r\n" each
    assert.equal(r.backend.remotify(32), went);
    assert.equal(count(r, 'pers_pages_remoted'), 1 + went);
    assert.equal(count(r, 'pers_pages_remote_failed'), 32 - went);
    for (let i = 0; i < 50; i++)
      assert.equal(r.local.compressedBytes(0, i) > 0, i > went, `slot ${i}`);
    r.backend.verify();
    r.peer.fault = 'none';
    r.peer.release();
    assert.equal(r.backend.remotify(2), 2);
    assert.equal(r.local.compressedBytes(0, went + 1), 0, 'the page is still the oldest');
    assert.equal(r.local.compressedBytes(0, went + 2), 0);
    for (let i = 0; i < 50; i++) loadsAs(r, i, i);
    while (r.backend.maintain());
    assert.equal(r.peer.redis.pages, 0, 'pages that may have been stored were deleted');
    assert.deepEqual(r.backend.counters.violated(), []);
  });

test('C23 a full peer refuses puts, and puts are retried', () => {
  const r = rig();
  fill(r, 50);
  assert.equal(r.backend.remotify(10), 10);
  r.peer.redis.isFull = true;
  assert.equal(r.backend.remotify(20), 0);
  assert.equal(count(r, 'pers_pages_remote_failed'), 20);
  assert.equal(count(r, 'pers_pages_remote_nomem'), 20);
  for (let i = 0; i < 50; i++) loadsAs(r, i, i);
  while (r.backend.maintain());
  assert.equal(r.peer.redis.pages, 0, 'deletes are accepted');
  r.peer.redis.isFull = false;
  assert.equal(r.backend.remotify(50), 50);
  r.backend.verify();
});

test('C23 every load of a page that the peer lost is corrupt, and writes nothing', () => {
  const r = rig();
  fill(r, 20);
  assert.equal(r.backend.remotify(10), 10);
  r.peer.redis.lose();
  for (let i = 0; i < 20; i++) {
    into.fill(0xee);
    assert.equal(r.front.load(0, i, into, 0), i < 10 ? LoadResult.corrupt : LoadResult.loaded);
    if (i < 10) assert.equal(r.backend.load(0, i, into, 0), LoadResult.corrupt, 'not absent');
    if (i < 10) assert.ok(into.every((byte) => byte === 0xee));
  }
  assert.equal(r.front.load(0, 0, into, 0), LoadResult.corrupt, 'again');
  assert.equal(count(r, 'remoteLost'), 21);
  assert.equal(count(r, 'remote_pers_pages_unsucc_get'), 21);
  assert.deepEqual(r.backend.counters.violated(), ['remoteLost']);
  r.front.store(0, 0, page('text', 7), 0);
  loadsAs(r, 0, 7);
  r.backend.verify();
});

test('C23 a page modified on the peer, or another page, is corrupt', () => {
  const changes: ((value: Buffer, others: Buffer[]) => Buffer)[] = [
    (value) => value.subarray(0, value.length - 1),
    (value) => Buffer.concat([value, Buffer.from([0])]),
    () => Buffer.alloc(0),
    () => Buffer.alloc(4096),
    () => Buffer.alloc(100_000),
    (_value, others) => others[1]!,
    ...Array.from({ length: 200 }, (_, bit) => (value: Buffer) => {
      const at = bit < 96 ? bit >> 3 : bit % value.length; // all of the header, some of the rest
      const changed = Buffer.from(value);
      changed[at]! ^= 1 << (bit & 7);
      return changed;
    }),
  ];
  for (const [i, change] of changes.entries()) {
    const r = rig();
    fill(r, 2);
    r.backend.remotify(2);
    const [hash] = r.peer.redis.hashes.values();
    const values = [...hash!.values()];
    hash!.set([...hash!.keys()][0]!, change(values[0]!, values));
    into.fill(0xee);
    assert.equal(r.front.load(0, 0, into, 0), LoadResult.corrupt, `change ${i}`);
    assert.ok(into.every((byte) => byte === 0xee));
    assert.equal(count(r, 'remoteDamaged'), 1);
    loadsAs(r, 1, 1);
  }
});

test('C23 a page that misses its deadline is corrupt, and is found by the next load', () => {
  const r = rig({ deadlineMs: 50 });
  fill(r, 4);
  r.backend.remotify(4);
  for (const fault of ['late', 'stuck', 'garbage', 'broken'] as const) {
    r.peer.fault = fault;
    r.peer.keepBytes = 3;
    const before = r.peer.clock.ms;
    assert.equal(r.front.load(0, 1, into, 0), LoadResult.corrupt, fault);
    assert.ok(r.peer.clock.ms - before <= 100, 'within the deadline and one wait');
    r.peer.fault = 'none';
    r.peer.clock.ms += 60_000;
  }
  assert.equal(count(r, 'remoteLate'), 4);
  assert.equal(count(r, 'remoteLost'), 4);
  for (let i = 0; i < 4; i++) loadsAs(r, i, i);
});

test('a load reconnects after the connection was closed', () => {
  for (const fault of ['gone', 'cut', 'broken'] as const) {
    const r = rig();
    fill(r, 2);
    r.backend.remotify(2);
    r.peer.fault = fault;
    r.peer.healsOnConnect = true;
    loadsAs(r, 0, 0);
    assert.equal(r.peer.connects, 2);
    assert.deepEqual(r.backend.counters.violated(), []);
  }
});

test("a late request for a slot's previous page does not affect the slot's new page", () => {
  for (const when of ['delete', 'put'] as const) {
    const r = rig({ deadlineMs: 10 });
    fill(r, 1);
    if (when === 'delete') {
      r.backend.remotify(1);
      r.front.invalidatePage(0, 0);
    }
    r.peer.fault = 'stuck';
    assert.equal(r.backend.remotify(1), 0);
    assert.ok(r.peer.inFlight.length > 0);
    r.peer.fault = 'none';
    r.peer.clock.ms += 60_000;
    r.front.store(0, 0, page('text', 77), 0);
    assert.equal(r.backend.remotify(1), 1);
    r.peer.release();
    loadsAs(r, 0, 77);
    assert.deepEqual(r.backend.counters.violated(), []);
  }
});

test("a late request for an area's previous use does not affect the area", () => {
  const r = rig({ deadlineMs: 10 });
  fill(r, 3);
  r.backend.remotify(3);
  r.front.invalidateArea(0);
  r.peer.fault = 'stuck';
  assert.equal(r.backend.maintain(), false);
  r.peer.fault = 'none';
  r.peer.clock.ms += 60_000;
  r.front.init(0, 3000);
  fill(r, 3);
  r.backend.remotify(3);
  r.peer.release();
  assert.equal(r.peer.redis.pages, 3);
  for (let i = 0; i < 3; i++) loadsAs(r, i, i);
});

test("C5 invalidateArea deletes the area's pages on the peer, one chunk at a time", () => {
  const r = rig();
  fill(r, 2500);
  assert.equal(r.backend.remotify(2500), 2500);
  assert.equal(r.peer.redis.hashes.size, 3);
  r.front.invalidateArea(0);
  assert.equal(r.backend.remotePages, 0);
  while (r.backend.maintain());
  assert.equal(r.peer.redis.hashes.size, 0);
  assert.equal(count(r, 'remote_objects_flushed'), 3);
  assert.equal(count(r, 'remotePagesFreed'), 2500);
  assert.equal(r.backend.load(0, 1, into, 0), LoadResult.absent);
  assert.equal(r.backend.store(0, 1, page('text', 1), 0), false);
  r.backend.verify();
});

test('an unreachable peer stops only remotify; reconnects back off', () => {
  const r = rig({ pauseMs: 100, pauseMsMax: 1000 });
  fill(r, 10);
  r.backend.remotify(5);
  r.peer.isDown = true;
  r.peer.fault = 'gone';
  assert.equal(r.backend.remotify(5), 0);
  const before = r.peer.connects;
  const tries: number[] = [];
  for (let i = 0; i < 500; i++) {
    r.peer.clock.ms += 10;
    const connects = r.peer.connects;
    assert.equal(r.backend.remotify(5), 0);
    if (r.peer.connects > connects) tries.push(i);
    r.front.store(0, 20 + i, page('text', i), 0);
    r.front.invalidatePage(0, 20 + i);
    r.front.invalidatePage(0, 5);
  }
  assert.ok(r.peer.connects - before < 12, `${r.peer.connects - before} tries in 5 s`);
  assert.ok(tries.at(-1)! - tries.at(-2)! >= 99, 'the longest pause');
  assert.ok(count(r, 'remotifyStopped') >= 500);
  assert.equal(r.front.load(0, 0, into, 0), LoadResult.corrupt);
  loadsAs(r, 6, 6);
  r.peer.isDown = false;
  r.peer.fault = 'none';
  r.peer.clock.ms += 1000;
  loadsAs(r, 0, 0);
  assert.equal(r.backend.remotify(100), r.backend.remotePages - 4);
  r.backend.verify();
});

test('reconnect is tried at once, then with delays that double up to the longest', () => {
  const r = rig({ pauseMs: 100, pauseMsMax: 500 });
  fill(r, 1);
  r.remote.start();
  r.peer.isDown = true;
  r.peer.fault = 'gone';
  assert.equal(r.backend.remotify(1), 0);
  const isTried = (): boolean => {
    const before = r.peer.connects;
    assert.equal(r.backend.remotify(1), 0);
    return r.peer.connects > before;
  };
  assert.ok(isTried(), 'no pause after the first failure');
  for (const pauseMs of [100, 200, 400, 500, 500]) {
    r.peer.clock.ms += pauseMs - 1;
    assert.equal(isTried(), false, `${pauseMs - 1} ms after the last try`);
    r.peer.clock.ms += 1;
    assert.ok(isTried(), `${pauseMs} ms after the last try`);
  }
});

test('frees wait in a bounded queue; pages beyond it stay on the peer until the area is off', () => {
  const r = rig({ flushesMax: 64 });
  fill(r, 100);
  r.backend.remotify(100);
  for (let i = 0; i < 100; i++) r.front.invalidatePage(0, i);
  assert.equal(r.backend.waitingFlushes, 64);
  assert.equal(count(r, 'remote_page_flushes_failed'), 36);
  while (r.backend.maintain());
  assert.equal(r.peer.redis.pages, 36);
  r.front.invalidateArea(0);
  while (r.backend.maintain());
  assert.equal(r.peer.redis.pages, 0);
});

test('without local space a loaded page stays on the peer', () => {
  const r = rig({ limitBytes: 900_000 });
  let n = 0;
  while (r.front.store(0, n, page('text', n), 0)) n++;
  assert.equal(r.backend.remotify(8), 8);
  for (let i = n + 1; r.front.store(0, i, page('text', i), 0); i++);
  for (let i = 0; i < 8; i++) loadsAs(r, i, i);
  assert.ok(count(r, 'repatriationsRefused') > 0);
  assert.equal(count(r, 'repatriationsRefused') + count(r, 'pagesRepatriated'), 8);
  for (let i = 0; i < 8; i++) loadsAs(r, i, i);
  r.backend.verify();
});

test('a page that the peer refuses does not block the others', () => {
  const r = rig();
  fill(r, 3);
  r.peer.redis.putError = '-WRONGTYPE Operation against a key';
  assert.equal(r.backend.remotify(1), 0);
  assert.equal(count(r, 'pers_pages_remote_failed'), 1);
  r.peer.redis.putError = '';
  assert.equal(r.backend.remotify(2), 2);
  assert.ok(r.local.compressedBytes(0, 0) > 0);
  r.backend.verify();
});

test('a locally damaged page is not sent', () => {
  const r = rig();
  fill(r, 3);
  const readCompressed = r.local.readCompressed.bind(r.local);
  r.local.readCompressed = (type, offset, target, at) =>
    offset === 1 ? -1 : readCompressed(type, offset, target, at);
  assert.equal(r.backend.remotify(3), 2);
  assert.equal(count(r, 'localDamaged'), 1);
  assert.ok(r.local.compressedBytes(0, 1) > 0);
  r.backend.verify();
});

test('a page that the remote backend refuses goes to the next backend', () => {
  const r = rig({ limitBytes: 700_000 });
  const older = rig();
  const front = new Frontswap();
  front.register(older.backend);
  front.register(r.backend);
  front.init(1, 400);
  for (let i = 0; i < 300; i++) assert.ok(front.store(1, i, page('random', i), 0));
  for (let i = 0; i < 300; i++) {
    assert.equal(front.load(1, i, into, 0), LoadResult.loaded);
    assert.deepEqual(into, page('random', i));
  }
  front.verify();
  r.backend.verify();
  older.backend.verify();
});

test('the tables are charged to the budget, and an area that does not fit is refused', () => {
  const r = rig({ limitBytes: 900_000 });
  const before = r.budget.usedBytes;
  r.front.init(1, 100_000);
  assert.equal(count(r, 'areasRefused'), 1);
  assert.equal(r.front.store(1, 0, page('text', 0), 0), false);
  r.front.invalidateArea(1);
  assert.equal(r.budget.usedBytes, before);
  assert.throws(() => rig({ limitBytes: 1000 }), { code: 'ERR_ARG_VALUE' });
});

test('wrong options are refused with a code', () => {
  for (const flushesMax of [0, 100, 2 ** 25, 1.5])
    assert.throws(() => rig({ flushesMax }), { code: 'ERR_ARG_VALUE' }, String(flushesMax));
});
