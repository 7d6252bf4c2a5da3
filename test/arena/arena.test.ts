/** Checks the arena against a map of owners: payloads survive all other operations, and the budget is exact. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arena } from '../../src/arena/arena.ts';
import { Budget } from '../../src/arena/budget.ts';
import { arenaLayout } from '../../src/arena/layout.ts';
import { sizeClasses } from '../../src/arena/size-classes.ts';
import { InvariantError } from '../../src/base/assert.ts';
import { Prng } from '../../src/base/prng.ts';
import { loadKernels } from '../../src/codec/kernels.ts';
import { createMemory } from '../../src/codec/linear-memory.ts';
import { FakeReturns } from '../support/fakes/fake-returns.ts';
import { randomTest } from '../support/fixtures/replay.ts';

const ROW_BYTES = 32;
const classes = sizeClasses();

interface Held {
  location: number;
  readonly payload: Uint8Array;
}

/** An arena and its model, a map. */
class Twin {
  readonly budget: Budget;
  readonly returns: FakeReturns = new FakeReturns();
  readonly arena: Arena;
  readonly held = new Map<number, Held>();
  readonly all: Uint8Array;
  moves = 0;
  readonly firstByte: number;
  readonly endByte: number;

  constructor(pages: number, limitBytes: number, at = 65536) {
    const layout = arenaLayout(at, pages);
    const memory = createMemory(Math.ceil((layout.end + 4096) / 65536) * 65536);
    this.all = new Uint8Array(memory.buffer);
    this.budget = new Budget(limitBytes);
    this.firstByte = layout.firstPage * 4096;
    this.endByte = layout.end;
    this.arena = new Arena({
      buffer: memory.buffer,
      layout,
      kernels: loadKernels(memory),
      budget: this.budget,
      pageRelease: this.returns.factory(memory),
      onMoved: (owner, location) => {
        this.moves++;
        this.held.get(owner)!.location = location;
      },
    });
  }

  alloc(length: number, owner: number, prng: Prng): boolean {
    const location = this.arena.alloc(length, owner);
    if (location === 0) return false;
    const payload = new Uint8Array(length);
    prng.fill(payload);
    const at = this.arena.address(location) >>> 0;
    assert.ok(
      at >= this.firstByte && at + length <= this.endByte,
      'the object is inside the arena',
    );
    assert.equal(this.arena.classAt(location), this.arena.classOf(length));
    this.all.set(payload, at);
    this.held.set(owner, { location, payload });
    return true;
  }

  free(owner: number): void {
    this.checkPayload(owner);
    this.arena.free(this.held.get(owner)!.location);
    this.held.delete(owner);
  }

  checkPayload(owner: number): void {
    const { location, payload } = this.held.get(owner)!;
    const at = this.arena.address(location) >>> 0;
    assert.ok(
      Buffer.compare(payload, this.all.subarray(at, at + payload.length)) === 0,
      `payload of ${owner}, ${payload.length} bytes`,
    );
  }

  checkAll(): void {
    for (const owner of this.held.keys()) this.checkPayload(owner);
    this.verify();
  }

  verify(): void {
    const holds = this.arena.verify((owner) => this.held.get(owner)?.location ?? -1);
    assert.equal(holds, this.budget.usedBytes, 'the budget holds the arena');
    if (this.budget.limitBytes !== 0) assert.ok(this.budget.peakBytes <= this.budget.limitBytes);
  }
}

/** Longest payload of each class. */
const longestOfClass: readonly (readonly [cls: number, length: number])[] = [
  ...new Map(
    Array.from(
      { length: 3076 },
      (_, i) => [classes.ofEighths[(i + 1 + 11) >>> 3]!, i + 1] as const,
    ),
  ),
  [classes.fullPage, 4096],
];

const lengths = (prng: Prng): number =>
  prng.oneIn(8) ? 3077 + prng.below(1020) : 1 + prng.below(prng.oneIn(4) ? 200 : 3076);

function drive(twin: Twin, prng: Prng, steps: number, verifyEvery: number): void {
  const owners: number[] = [];
  let next = 0;
  for (let i = 0; i < steps; i++) {
    const growing = ((i >>> 9) & 1) === 0;
    const what = prng.below(32);
    if (what === 0) {
      const most = 1 + prng.below(200);
      assert.ok(twin.arena.compact(most) <= most);
    } else if (what === 1) twin.arena.releaseFree(prng.below(60), 1 + prng.below(20));
    else if (what < (growing ? 22 : 11) || owners.length === 0) {
      if (twin.alloc(lengths(prng), next, prng)) owners.push(next);
      next++;
    } else {
      const at = prng.below(owners.length);
      twin.free(owners[at]!);
      owners[at] = owners[owners.length - 1]!;
      owners.pop();
    }
    if (i % verifyEvery === 0) twin.verify();
  }
  twin.checkAll();
  for (const owner of owners) twin.free(owner);
  twin.verify();
}

/** An empty arena keeps descriptors and chunk rows, but no page. */
function checkEmpty(twin: Twin): void {
  twin.arena.releaseFree(0, Number.MAX_SAFE_INTEGER);
  assert.equal(twin.arena.dirtyFreePages, 0);
  assert.ok(twin.budget.usedBytes < ((twin.endByte - twin.firstByte) / 4096) * 48);
  assert.equal(twin.budget.usedBytes % 16, 0, 'only rows are reserved');
  assert.ok(twin.all.subarray(twin.firstByte, twin.endByte).every((byte) => byte === 0));
  twin.verify();
}

randomTest('the arena equals the model, checked at each step', 3000, (prng, steps) => {
  const twin = new Twin(1024, 0);
  drive(twin, prng, steps, 1);
  checkEmpty(twin);
});

randomTest('the arena equals the model over many steps', 60_000, (prng, steps) => {
  const twin = new Twin(4096, 0);
  drive(twin, prng, steps, 1000);
  assert.ok(twin.moves > 0, 'compaction moved objects');
  checkEmpty(twin);
});

randomTest('the arena equals the model under a tight limit', 8000, (prng, steps) => {
  for (const pages of [40, 150, 500]) {
    const twin = new Twin(1024, pages * 4096 + prng.below(4096));
    drive(twin, prng, steps / 3, 7);
    checkEmpty(twin);
  }
});

randomTest('the arena equals the model when address space is short', 4000, (prng, steps) => {
  const twin = new Twin(64, 0);
  drive(twin, prng, steps, 7);
  checkEmpty(twin);
});

randomTest('addresses across 2 GiB and up to 4 GiB are correct', 16_000, (prng, steps) => {
  for (const at of [2 ** 31 - 2 * 2 ** 20, 2 ** 32 - 16 * 2 ** 20]) {
    const twin = new Twin(2048, 0, at);
    drive(twin, prng, steps / 2, 50);
    assert.ok(twin.moves > 0);
    checkEmpty(twin);
  }
});

/** Fills an arena to its limit with objects of one size: each freed object must be reusable at once. */
function checkReuse(twin: Twin, length: number, prng: Prng): void {
  let count = 0;
  while (twin.alloc(length, count, prng)) count++;
  assert.ok(count > 0, `${length} bytes fit at least once`);
  for (let i = 0; i < 20; i++) {
    const owner = prng.below(count);
    twin.free(owner);
    assert.ok(twin.alloc(length, owner, prng), `a freed object of ${length} bytes is reusable`);
  }
  twin.checkAll();
  for (const owner of twin.held.keys()) twin.free(owner);
  twin.verify();
}

test('a full arena accepts an object of any class as soon as one is freed', () => {
  const prng = new Prng(5);
  const twin = new Twin(1024, 60 * 4096 + 1000);
  for (const [, length] of longestOfClass) checkReuse(twin, length, prng);
  checkEmpty(twin);
});

test('a full arena reuses a freed object where the system releases no pages', () => {
  const prng = new Prng(6);
  for (const [, length] of longestOfClass) {
    const twin = new Twin(1024, 60 * 4096 + 1000);
    twin.returns.callsUntilRefusal = 0;
    checkReuse(twin, length, prng);
  }
});

test('the first object fits a limit of exactly its size, but not one byte less', () => {
  const prng = new Prng(1);
  for (const [cls, length] of longestOfClass) {
    const exact = 4096 + ROW_BYTES + 16; // no object overlaps a second page
    const twin = new Twin(64, exact);
    assert.ok(twin.alloc(length, 1, prng), `class ${cls}`);
    assert.equal(twin.budget.usedBytes, exact);
    const short = new Twin(64, exact - 1);
    assert.equal(short.alloc(length, 1, prng), false, `class ${cls}, a byte short`);
    short.verify();
  }
});

test('compaction empties sparse zspages, loses no object, and ends', () => {
  const prng = new Prng(9);
  const twin = new Twin(1024, 0);
  for (let owner = 0; owner < 3000; owner++) twin.alloc(1 + prng.below(900), owner, prng);
  for (let owner = 0; owner < 3000; owner++) if (!prng.oneIn(5)) twin.free(owner);
  twin.arena.releaseFree(0, 1000);
  const before = twin.budget.usedBytes;
  let calls = 0;
  while (twin.arena.compact(16) === 16) assert.ok(++calls < 1000, 'compaction ends');
  twin.checkAll();
  twin.arena.releaseFree(0, 1000);
  assert.ok(twin.budget.usedBytes < before * 0.7, `${before} to ${twin.budget.usedBytes} bytes`);
  assert.equal(twin.arena.compact(1000), 0);
});

/** Naive number of holes at which a class without a tail is compacted. */
function holesMaxOf(cls: number, used: number): number {
  const objects = classes.objects[cls]!;
  const lastPageAt = (classes.zspagePages[cls]! - 1) * 4096;
  let inLastPage = 0;
  for (let i = 0; i < objects; i++)
    if ((i + 1) * classes.objectBytes[cls]! > lastPageAt) inLastPage++;
  return Math.min(Math.max(Math.floor(used / 64), inLastPage), objects);
}

test('compaction starts when a class has holes for a page, for one in 64 of its objects or for a zspage', () => {
  const prng = new Prng(3);
  const bounds = new Set<string>();
  for (const zspages of [2, 40])
    for (const [cls, length] of longestOfClass) {
      if (cls === classes.fullPage || zspages * classes.zspagePages[cls]! > 320) continue;
      const objects = classes.objects[cls]!;
      const twin = new Twin(640, 0);
      const total = zspages * objects;
      for (let owner = 0; owner < total; owner++) assert.ok(twin.alloc(length, owner, prng));
      let holes = 0;
      // The first objects of each zspage in turn, so that none is empty before compaction.
      const freeNext = (): void =>
        twin.free((holes % zspages) * objects + Math.floor(holes++ / zspages));
      while (holes + 1 < holesMaxOf(cls, total - holes - 1)) freeNext();
      assert.equal(twin.arena.compact(1000), 0, `class ${cls}, ${holes} holes`);
      const before = twin.budget.usedBytes;
      freeNext();
      assert.ok(twin.arena.compact(1000) > 0, `class ${cls}, ${holes} holes`);
      twin.checkAll();
      twin.arena.releaseFree(0, 1000);
      assert.ok(before - twin.budget.usedBytes >= 4096, `class ${cls} has a page less`);
      const share = Math.floor((total - holes) / 64);
      bounds.add(holes === objects ? 'zspage' : holes === share ? 'share' : 'page');
    }
  assert.deepEqual([...bounds].sort(), ['page', 'share', 'zspage']);
});

test('a class costs the pages of its objects while its only zspage grows, and while it shrinks', () => {
  const prng = new Prng(4);
  for (const [cls, length] of longestOfClass) {
    const twin = new Twin(64, 0);
    const objects = classes.objects[cls]!;
    const pagesOf = (count: number): number =>
      Math.ceil((count * classes.objectBytes[cls]!) / 4096);
    const inUse = (): number => twin.budget.usedBytes - twin.arena.dirtyFreePages * 4096;
    for (let count = 1; count <= objects; count++) {
      assert.ok(twin.alloc(length, count, prng));
      assert.equal(inUse(), pagesOf(count) * 4096 + ROW_BYTES + 16, `class ${cls}, ${count}`);
    }
    twin.verify();
    assert.equal(inUse(), classes.zspagePages[cls]! * 4096 + ROW_BYTES + 16);
    for (let count = objects; count > 0; count--) {
      twin.free(count);
      // A zspage that was full keeps its pages until compaction makes it the tail.
      twin.arena.compact(1000);
      assert.ok(inUse() >= pagesOf(count - 1) * 4096 + ROW_BYTES + 16);
      const holes = holesMaxOf(cls, count - 1);
      assert.ok(inUse() < pagesOf(count - 1 + holes) * 4096 + ROW_BYTES + 16 + 4096);
    }
    twin.verify();
  }
});

test('the tail grows to exactly the limit, and not a byte beyond', () => {
  const prng = new Prng(8);
  for (const [cls, length] of longestOfClass) {
    if (classes.zspagePages[cls]! < 3) continue;
    const exact = 2 * 4096 + ROW_BYTES + 16;
    const fit = Math.floor((2 * 4096) / classes.objectBytes[cls]!);
    for (const limit of [exact, exact - 1]) {
      const twin = new Twin(64, limit);
      let count = 0;
      while (twin.alloc(length, count, prng)) count++;
      const onePage = Math.floor(4096 / classes.objectBytes[cls]!);
      assert.equal(count, limit === exact ? fit : onePage, `class ${cls}`);
      twin.checkAll();
    }
  }
});

test('holes are filled before the tail grows', () => {
  const prng = new Prng(11);
  const twin = new Twin(64, 0);
  const cls = twin.arena.classOf(1500);
  const objects = classes.objects[cls]!;
  for (let owner = 0; owner < objects + 5; owner++) twin.alloc(1500, owner, prng);
  const { usedBytes } = twin.budget;
  for (let round = 0; round < 3; round++) {
    twin.free(round * 7);
    twin.free(objects + 1);
    for (const owner of [round * 7, objects + 1]) assert.ok(twin.alloc(1500, owner, prng));
    assert.equal(twin.budget.usedBytes, usedBytes);
    twin.checkAll();
  }
});

test('freeing the last zspage releases the descriptors if there are at least 1024', () => {
  for (const count of [1023, 1024]) {
    const twin = new Twin(2048, 0);
    const locations = Array.from({ length: count }, (_, owner) => twin.arena.alloc(4096, owner));
    for (const location of locations) twin.arena.free(location);
    while (twin.arena.releaseFree(0, Number.MAX_SAFE_INTEGER) > 0);
    assert.equal(
      twin.budget.usedBytes >= count * ROW_BYTES,
      count === 1023,
      `${count} descriptors`,
    );
    twin.verify();
  }
});

test('an alloc that finds no free page reserves nothing', () => {
  const twin = new Twin(32, 0);
  for (let owner = 0; owner < 32; owner++) assert.notEqual(twin.arena.alloc(4096, owner), 0);
  const { usedBytes } = twin.budget;
  assert.equal(usedBytes, 32 * (4096 + ROW_BYTES) + 16);
  for (let i = 0; i < 2; i++) assert.equal(twin.arena.alloc(4096, 99), 0);
  assert.equal(twin.budget.usedBytes, usedBytes);
});

test('freeing an object twice is an InvariantError', () => {
  const twin = new Twin(64, 0);
  const location = twin.arena.alloc(100, 1);
  const other = twin.arena.alloc(100, 2);
  twin.arena.free(location);
  assert.throws(() => twin.arena.free(location), InvariantError);
  twin.arena.free(other);
  assert.throws(() => twin.arena.free(other), InvariantError, 'its zspage is freed');
  assert.throws(() => twin.arena.free(0), InvariantError, 'no object');
});

test('a layout separates the tables, has complete chunks and a row for every descriptor', () => {
  for (const pages of [32, 64, 4096, 659_456]) {
    const layout = arenaLayout(4096, pages);
    assert.ok(layout.runTable > layout.classTable && layout.zspageTable > layout.runTable);
    assert.ok(layout.firstPage * 4096 >= layout.zspageTable + (pages + 1) * 32);
    assert.equal(layout.firstPage % 32, 0);
    assert.equal(layout.end, (layout.firstPage + pages) * 4096);
  }
  assert.throws(() => arenaLayout(0, 32), InvariantError);
  assert.throws(() => arenaLayout(100, 32), InvariantError);
  assert.throws(() => arenaLayout(4096, 33), InvariantError);
});
