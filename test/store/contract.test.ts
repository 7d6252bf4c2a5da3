/**
 * The contract tests of a page store, by their numbers in the project's contract: C1 put
 * over put, C3 no accepted page is lost, C5 and C6 drop, C15 exact counters, C16 cost and ceiling, C17 compaction.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { InvariantError } from '../../src/base/assert.ts';
import { Prng } from '../../src/base/prng.ts';
import { slot as slotOf } from '../../src/base/units.ts';
import { PageFormat } from '../../src/codec/codec.ts';
import { CounterAt, GetResult, PutResult } from '../../src/store/results.ts';
import { Store } from '../../src/store/store.ts';
import { type PageKind, madePage as page, pageKinds } from '../support/fixtures/pages.ts';
import { StoreTwin } from '../support/models/store-model.ts';

/** Memory that an open shard uses without pages, bytes: everything below its slot table, and the small tables. */
const OPEN_BYTES = 65536;
const GROUP_BYTES = 12288;

test('C1 a get returns the page that was put last, whatever kind of page it replaces', () => {
  const twin = new StoreTwin(10, 0);
  let seed = 0;
  for (const first of pageKinds)
    for (const second of pageKinds) {
      twin.put(5, page(first, seed++));
      twin.put(5, page(second, seed++));
      twin.get(5);
      twin.check();
    }
});

test('C1 a refused put keeps the old page: the front end invalidates first', () => {
  const twin = new StoreTwin(1000, 600_000);
  const kinds: PageKind[] = ['zero', 'text', 'records', 'cut', 'random'];
  for (let n = 0; n < 1000; n++) twin.put(n, page(kinds[n % 5]!, n));
  assert.ok(twin.refused > 0, 'the store is full');
  const refusedBefore = twin.refused;
  for (let n = 0; n < 1000; n++) twin.put(n, page('random', 5000 + n));
  assert.ok(twin.refused > refusedBefore + 100);
  twin.checkPages();
  twin.check();
});

test('C3 accepted pages survive any pressure', () => {
  const twin = new StoreTwin(2000, 900_000);
  for (let n = 0; n < 60; n++) twin.put(n, page('text', n));
  const prng = new Prng(3);
  for (let i = 0; i < 3000; i++) {
    const n = 60 + prng.below(1940);
    if (prng.oneIn(3)) twin.drop(n);
    else twin.put(n, page(pageKinds[prng.below(pageKinds.length)]!, i));
    if (prng.oneIn(100)) twin.maintain(50);
  }
  assert.ok(twin.refused > 100, 'the store was full');
  twin.checkPages();
});

test('C3 C16 a full store does not read the word of a same-filled page as the location of an object', () => {
  const twin = new StoreTwin(1000, 600_000);
  // Each of these words names an object when it is read as a location: descriptor << 7 | index.
  for (let n = 0; n < 8; n++) twin.putWord(n, (n + 1) << 7, 0);
  for (let n = 8; n < 1000; n++) twin.put(n, page('random', n));
  const { refused } = twin;
  for (let n = 0; n < 8; n++) twin.put(n, page('random', 5000 + n));
  assert.equal(twin.refused, refused + 8);
  twin.checkPages();
  twin.check();
});

test('pages are compressed to at most 3072 bytes, and count as good up to 2048', () => {
  const store = new Store({ slots: 4096, budget: new Budget(0) });
  const lengths = new Set<number>();
  for (let noise = 2900; noise < 3200; noise++) {
    const bytes = new Uint8Array(4096);
    new Prng(7).fill(bytes.subarray(0, noise));
    store.put(slotOf(noise), bytes, 0);
    lengths.add(store.compressedBytes(slotOf(noise)));
  }
  assert.ok(lengths.has(3071) && lengths.has(3072) && lengths.has(0));
  assert.ok(!lengths.has(3073));
  const good = store.counter(CounterAt.goodPages);
  const packed = new Uint8Array(4096);
  store.putCompressed(slotOf(0), PageFormat.lz4, packed, 0, 2048);
  store.putCompressed(slotOf(1), PageFormat.lz4, packed, 0, 2049);
  assert.equal(store.counter(CounterAt.goodPages), good + 1);
});

test('C5 a dropped page is not found, whether dropped alone, in a range or with all pages', () => {
  const twin = new StoreTwin(3000, 0);
  for (let n = 0; n < 3000; n += 7) twin.put(n, page('records', n));
  twin.drop(7);
  twin.dropRange(1000, 1100);
  twin.dropRange(1050, 1050);
  for (const n of [7, 1001, 1099]) twin.get(n);
  twin.checkPages();
  twin.dropRange(0, 3000);
  twin.checkPages();
  twin.check();
  twin.releaseAll();
  twin.check();
});

test('C6 dropping an empty slot returns false and changes nothing', () => {
  const twin = new StoreTwin(3000, 0);
  twin.drop(0);
  twin.dropRange(0, 3000);
  assert.equal(twin.budget.usedBytes, 0, 'a store that was never used reserves nothing');
  twin.put(9, page('text', 1));
  const used = twin.store.usedBytes;
  twin.drop(8);
  twin.drop(9);
  twin.drop(9);
  twin.put(9, page('text', 1));
  assert.equal(twin.store.usedBytes, used);
  twin.check();
});

test('C15 put and refused add up to the puts tried; stored minus dropped is the number of pages', () => {
  const twin = new StoreTwin(1000, 400_000);
  const prng = new Prng(15);
  let accepted = 0;
  let dropped = 0;
  for (let i = 0; i < 4000; i++) {
    const n = prng.below(1000);
    if (twin.pages.has(n)) {
      twin.drop(n);
      dropped++;
    } else if (twin.put(n, page(pageKinds[i % pageKinds.length]!, i)) !== PutResult.refused)
      accepted++;
  }
  twin.check();
  assert.equal(twin.store.storedPages, accepted - dropped);
  assert.ok(twin.refused > 0 && twin.store.counter(CounterAt.refusedByLimit) === twin.refused);
});

test('C16 same-filled pages cost their row and nothing else', () => {
  const twin = new StoreTwin(1024, 0);
  twin.put(0, page('zero', 0));
  const used = twin.store.usedBytes;
  assert.equal(used, OPEN_BYTES + GROUP_BYTES);
  for (let n = 1; n < 1024; n++) twin.put(n, page(n % 2 === 0 ? 'word64' : 'byte', n));
  assert.equal(twin.store.usedBytes, used);
  twin.check();
});

test('C16 a raw page costs one page and 32 bytes of descriptor', () => {
  const twin = new StoreTwin(1024, 0);
  twin.put(0, page('zero', 0));
  const used = twin.store.usedBytes;
  for (let n = 1; n <= 64; n++) {
    twin.put(n, page('random', n));
    const chunks = Math.ceil(n / 32);
    assert.equal(twin.store.usedBytes - used, n * (4096 + 32) + chunks * 16);
  }
  assert.equal(twin.store.formatOf(slotOf(1)), PageFormat.raw);
});

test('C16 the limit is exact to the byte: exactly enough is accepted, one byte less is refused', () => {
  const kinds: [PageKind, number][] = [
    ['zero', 0],
    ['random', 4096 + 32 + 16],
  ];
  for (const [kind, bytes] of kinds) {
    const exact = OPEN_BYTES + GROUP_BYTES + bytes;
    const twin = new StoreTwin(10, exact);
    assert.notEqual(twin.put(3, page(kind, 1)), PutResult.refused, kind);
    assert.equal(twin.budget.usedBytes, exact);
    const short = new StoreTwin(10, exact - 1);
    assert.equal(short.put(3, page(kind, 1)), PutResult.refused, kind);
    short.get(3);
    short.check();
  }
});

test('C16 a refusal is counted by its reason: the limit, also if a page would fit but its tables would not', () => {
  for (const limit of [
    1,
    4096,
    OPEN_BYTES - 1,
    OPEN_BYTES + 4096,
    OPEN_BYTES + GROUP_BYTES + 4096 + 32 + 15,
  ]) {
    const twin = new StoreTwin(10, limit);
    assert.equal(twin.put(0, page('cut', 12)), PutResult.refused, `limit ${limit}`);
    twin.check();
    assert.equal(
      twin.budget.peakBytes,
      twin.budget.usedBytes,
      'finding the reason reserves nothing',
    );
  }
});

test('C17 compaction leaves every get unchanged', () => {
  const twin = new StoreTwin(3000, 0);
  const prng = new Prng(17);
  for (let n = 0; n < 3000; n++) twin.put(n, page(n % 3 === 0 ? 'cut' : 'records', n));
  for (let n = 0; n < 3000; n++) if (!prng.oneIn(4)) twin.drop(n);
  const used = twin.store.usedBytes;
  let calls = 0;
  while (twin.store.maintain(64)) assert.ok(++calls < 1000, 'maintain ends');
  twin.check();
  twin.checkPages();
  assert.ok(twin.store.counter(CounterAt.moves) > 100);
  assert.ok(twin.store.usedBytes < used * 0.8, `${used} to ${twin.store.usedBytes} bytes`);
});

test('freed rows and pages are reusable at once', () => {
  // Same-filled pages, one a group: rows alone fill the limit.
  const twin = new StoreTwin(200 * 1024, OPEN_BYTES + 20 * GROUP_BYTES);
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 20; i++)
      assert.equal(
        twin.putWord((round * 20 + i) * 1024, 0, 0),
        PutResult.sameFilled,
        `round ${round}`,
      );
    assert.equal(twin.putWord(199 * 1024, 0, 0), PutResult.refused);
    for (let i = 0; i < 20; i++) twin.drop((round * 20 + i) * 1024);
  }
  twin.check();
  for (let i = 0; i < 20; i++) twin.putWord(i * 1024, 0, 0);
  for (let i = 0; i < 5; i++) twin.drop(i * 1024);
  for (let i = 0; i < 14; i++)
    assert.equal(
      twin.put(19 * 1024 + 1 + i, page('random', i)),
      PutResult.stored,
      'rows become pages',
    );
  twin.check();
  twin.checkPages();
});

test('a put that finds no space compacts sparse zspages first', () => {
  const limit = OPEN_BYTES + GROUP_BYTES + 60 * 4096;
  const twin = new StoreTwin(1000, limit);
  let count = 0;
  while (twin.put(count, page('records', count)) === PutResult.stored) count++;
  for (let n = 0; n < count; n++) if (n % 4 !== 0) twin.drop(n);
  const used = twin.store.usedBytes;
  let raw = 0;
  while (twin.put(500 + raw, page('random', raw)) === PutResult.stored) raw++;
  assert.ok(twin.store.counter(CounterAt.moves) > 0, 'objects were moved');
  assert.ok(raw * 4096 > 1.5 * (limit - used), `${raw} raw pages and ${used} bytes`);
  twin.check();
  twin.checkPages();
});

test('maintain keeps a reserve of free pages, releaseAll none', () => {
  const twin = new StoreTwin(4000, 0);
  for (let n = 0; n < 4000; n++) twin.put(n, page('random', n));
  for (let n = 10; n < 4000; n++) twin.drop(n);
  let calls = 0;
  while (twin.store.maintain(64)) assert.ok(++calls < 1000, 'maintain ends');
  const free = (twin.budget.usedBytes - twin.store.usedBytes) / 4096;
  assert.ok(free <= 256 && free > 256 - 32, `${free} pages are kept`);
  twin.releaseAll();
  twin.check();
  assert.ok(twin.budget.usedBytes < OPEN_BYTES + GROUP_BYTES + 10 * 4096 + 4000 * 33);
});

test('a source or target that is too short is an InvariantError, and nothing is stored', () => {
  const twin = new StoreTwin(10, 0);
  twin.put(1, page('text', 1));
  for (const [length, at] of [
    [4095, 0],
    [8192, 4097],
    [4096, 1],
    [0, 0],
    [8192, -1],
  ] as const) {
    const bytes = new Uint8Array(length);
    assert.throws(
      () => twin.store.put(slotOf(2), bytes, at),
      InvariantError,
      `put ${length} at ${at}`,
    );
    assert.throws(
      () => twin.store.get(slotOf(1), bytes, at),
      InvariantError,
      `get ${length} at ${at}`,
    );
  }
  twin.check();
});

test('a slot outside the store is an InvariantError', () => {
  const store = new Store({ slots: 10, budget: new Budget(0) });
  const bytes = new Uint8Array(4096);
  for (const n of [-1, 10, 2 ** 19, 2 ** 31, Number.NaN]) {
    assert.throws(() => store.put(slotOf(n), bytes, 0), InvariantError, `put ${n}`);
    assert.throws(() => store.putWord(slotOf(n), 0, 0), InvariantError, `putWord ${n}`);
    assert.throws(() => store.get(slotOf(n), bytes, 0), InvariantError, `get ${n}`);
    assert.throws(() => store.drop(slotOf(n)), InvariantError, `drop ${n}`);
  }
  assert.throws(() => store.dropRange(slotOf(-1), 2), InvariantError);
  assert.throws(() => store.dropRange(slotOf(0), 11), InvariantError);
  for (const slots of [0, -1, 1.5, 2 ** 31 + 1])
    assert.throws(
      () => new Store({ slots, budget: new Budget(0) }),
      InvariantError,
      `${slots} slots`,
    );
});

test('the default store reuses freed memory that it cannot release to the system', () => {
  const budget = new Budget(400_000);
  const store = new Store({ slots: 100, budget });
  const put = (n: number): PutResult => store.put(slotOf(n), page('random', n), 0);
  let count = 0;
  while (put(count) !== PutResult.refused) count++;
  for (let n = 0; n < count; n++) store.drop(slotOf(n));
  for (let n = 0; n < count; n++) assert.equal(put(n), PutResult.stored);
  store.releaseAll();
  store.verify();
  const target = new Uint8Array(4096);
  assert.equal(store.get(slotOf(count), target, 0), GetResult.absent);
});
