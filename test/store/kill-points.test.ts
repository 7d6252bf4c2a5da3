/**
 * Every kill point: random commands on a page store whose tables report every write. After each write the image is copied,
 * as a killed process would leave it, and adopted by a second page store, whose pages must be those of a naive model:
 * before or after the command in progress. It must not need more memory than the first store had reserved. Some of the
 * adoptions are killed, too, and done again.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { BITS, CLASS_WORDS, classTable, PAGE, STATE, TAIL } from '../../src/arena/layout.ts';
import { SwapError } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import { slot as slotOf } from '../../src/base/units.ts';
import { createMemory, type LinearMemory } from '../../src/codec/linear-memory.ts';
import {
  imageOf,
  LOG_AT,
  OPEN_BYTES,
  type ShardImages,
  SLOT_TABLE,
} from '../../src/store/image.ts';
import { CounterAt, GetResult, PutResult } from '../../src/store/results.ts';
import { Store } from '../../src/store/store.ts';
import { FakeReturns } from '../support/fakes/fake-returns.ts';
import { madePage, pageKinds } from '../support/fixtures/pages.ts';
import { randomTest } from '../support/fixtures/replay.ts';
import { watchAtomics, withWatchedTables } from '../support/fixtures/watched-tables.ts';
import { repeating, tinyDense } from './tiny-dense.ts';

const SLOTS = 40;
const layout = imageOf(SLOTS);
/** Tables, and more pages than 40 slots need. */
const PREFIX_BYTES = layout.arena.firstPage * 4096 + 256 * 4096;

/** A memory as the images of a store; a store that is created with it has the pages in it. */
function imagesIn(memory: LinearMemory): ShardImages {
  return {
    has: () => new Int32Array(memory.buffer, 0, 1)[0] !== 0,
    open: (_number, bytes) => {
      assert.equal(bytes, memory.buffer.byteLength);
      return { memory, release: new FakeReturns().over(new Uint8Array(memory.buffer)) };
    },
  };
}

const openWith = (memory: LinearMemory, budget: Budget): Store =>
  new Store({ slots: SLOTS, budget, dense: tinyDense, images: imagesIn(memory) });

const openStore = (memory: LinearMemory, limitBytes: number): Store =>
  openWith(memory, new Budget(limitBytes));

/** Steps between two calls of #fillAndThin(). */
const THIN_STEPS = 80;

type Page = Uint8Array | null;
type MakePage = (prng: Prng) => Uint8Array;

const pageOfAnyKind: MakePage = (prng) =>
  madePage(pageKinds[prng.below(pageKinds.length)]!, prng.u32());

/** Noise for objects of two classes, 7 in 5 pages and 4 in 3, so that a class has several zspages. Bytes. */
const fewSizes = [2870, 2870, 2870, 3025] as const;

const pageOfSize = (bytes: number, seed: number): Uint8Array => {
  const page = new Uint8Array(4096);
  new Prng(seed).fill(page.subarray(0, bytes));
  return page;
};

const pageOfFewSizes: MakePage = (prng) =>
  pageOfSize(fewSizes[prng.below(fewSizes.length)]!, prng.u32());

/** The tail of each class. */
const tailsOf = (memory: LinearMemory): number[] => {
  const words = new Int32Array(memory.buffer, layout.arena.classTable);
  return Array.from({ length: classTable.count }, (_, cls) => words[cls * CLASS_WORDS + TAIL]!);
};

class Trial {
  readonly #live = createMemory(layout.bytes);
  readonly #copy = createMemory(layout.bytes);
  readonly #copyOfCopy = createMemory(layout.bytes);
  readonly #model: Page[] = new Array(SLOTS).fill(null);
  readonly #store: Store;
  readonly #budget: Budget;
  readonly #makePage: MakePage;
  readonly #target = new Uint8Array(4096);
  /** What a slot may have instead of the model's page: the command in progress. */
  readonly #next = new Map<number, Page>();
  #isArmed = false;
  points = 0;
  redone = 0;
  refused = 0;
  /** Kills of adoptions. */
  adoptionPoints = 0;
  /** Classes in which another zspage is the tail after an adoption. */
  tailsMoved = 0;

  constructor(limitBytes: number, makePage: MakePage) {
    this.#budget = new Budget(limitBytes);
    this.#makePage = makePage;
    this.#store = withWatchedTables(
      () => this.#kill(),
      () => openWith(this.#live, this.#budget),
    );
  }

  /** Objects moved by compaction, and pages that it freed. */
  get compacted(): readonly [moves: number, pages: number] {
    const { moves, compactedPages } = CounterAt;
    return [this.#store.counter(moves), this.#store.counter(compactedPages)];
  }

  run(prng: Prng, steps: number): void {
    const restore = watchAtomics(() => this.#kill());
    try {
      for (let step = 0; step < steps; step++) {
        if (step % THIN_STEPS === 0) this.#fillAndThin(prng);
        this.#step(prng);
      }
    } finally {
      restore();
    }
    const tail = Buffer.from(this.#live.buffer, PREFIX_BYTES);
    assert.ok(
      tail.every((byte) => byte === 0),
      'the copied part has all that was stored',
    );
  }

  /** Leaves a class with a full zspage that lost its last objects, and a tail that needs more of its pages. */
  #fillAndThin(prng: Prng): void {
    this.#drop(0, SLOTS);
    for (let at = 0; at < 12; at++) this.#put(at, pageOfSize(fewSizes[0], prng.u32()));
    for (let at = 6; at >= 2; at--) this.#drop(at, at + 1);
    this.#armed(() => this.#store.maintain(1 + prng.below(3)));
  }

  #step(prng: Prng): void {
    const at = prng.below(SLOTS);
    const kind = prng.below(100);
    if (kind < 5) this.#put(at, repeating(madePage('random', prng.u32())));
    else if (kind < 55) this.#put(at, this.#makePage(prng));
    else if (kind < 80) this.#drop(at, at + 1);
    else if (kind < 85) this.#drop(at, Math.min(SLOTS, at + 8));
    else if (kind < 90) this.#armed(() => this.#store.recompress(slotOf(at)));
    else if (kind < 92) this.#armed(() => this.#store.age(slotOf(0), SLOTS));
    else if (kind < 94) this.#armed(() => this.#store.get(slotOf(at), this.#target, 0));
    else if (kind < 98) this.#armed(() => this.#store.maintain(8));
    else this.#armed(() => this.#store.compactIdle());
  }

  #put(at: number, page: Uint8Array): void {
    this.#next.set(at, page);
    const result = this.#armed(() => this.#store.put(slotOf(at), page, 0));
    if (result < PutResult.refused) this.#model[at] = page;
    else this.refused++;
    this.#next.clear();
  }

  #drop(from: number, to: number): void {
    for (let at = from; at < to; at++) this.#next.set(at, null);
    this.#armed(() => this.#store.dropRange(slotOf(from), to));
    for (let at = from; at < to; at++) this.#model[at] = null;
    this.#next.clear();
  }

  /** Runs a command, with a kill after each of its writes. */
  #armed<T>(command: () => T): T {
    this.#isArmed = true;
    try {
      return command();
    } finally {
      this.#isArmed = false;
    }
  }

  #kill(): void {
    if (!this.#isArmed) return;
    this.#isArmed = false;
    this.points++;
    if (this.points % 256 === 0) this.#killAdoption();
    const store = this.#adopt(this.#live, this.#copy);
    this.redone += store.adopted.redone;
    const after = tailsOf(this.#copy);
    for (const [cls, tail] of tailsOf(this.#live).entries())
      if (tail !== 0 && after[cls] !== 0 && after[cls] !== tail) this.tailsMoved++;
    if (this.points % 64 === 0) this.#goOn(store);
    this.#isArmed = true;
  }

  /** Adopts a copy of what a kill left in `from`. */
  #adopt(from: LinearMemory, into: LinearMemory): Store {
    this.#copyTorn(from, into);
    const budget = new Budget(this.#budget.limitBytes);
    const store = openWith(into, budget);
    assert.equal(store.adopted.damaged, 0, 'every page is intact');
    assert.ok(
      budget.usedBytes <= this.#budget.usedBytes,
      `${budget.usedBytes} bytes are reserved after ${this.#budget.usedBytes}`,
    );
    this.#check(store);
    return store;
  }

  /** Kills an adoption after every 32nd of its writes, and adopts what it left. */
  #killAdoption(): void {
    this.#copyTorn(this.#live, this.#copy);
    let isArmed = true;
    let stores = this.points / 256;
    const onStore = (): void => {
      if (!isArmed || stores++ % 32 !== 0) return;
      isArmed = false;
      this.adoptionPoints++;
      this.#adopt(this.#copy, this.#copyOfCopy);
      isArmed = true;
    };
    withWatchedTables(onStore, () => openStore(this.#copy, this.#budget.limitBytes));
  }

  /** While a log entry is pending, the process may be killed at any byte of the copy to the object. */
  #copyTorn(from: LinearMemory, into: LinearMemory): void {
    new Uint8Array(into.buffer).set(new Uint8Array(from.buffer, 0, PREFIX_BYTES));
    const words = new Int32Array(into.buffer);
    const log = LOG_AT / 4;
    if (words[log] === 0 || words[log + 1] === 0) return;
    const location = words[log + 2]!;
    const row = (layout.arena.zspageTable >>> 2) + ((location >>> 7) << 3);
    const cls = words[row + STATE]! >>> 8;
    assert.ok(BITS > STATE && cls < classTable.count);
    const bytes = classTable.objectBytes[cls]!;
    const at = words[row + PAGE]! * 4096 + (location & 127) * bytes;
    const header = cls === classTable.fullPage ? 0 : 4;
    const length = words[log + 4]! & 0x1fff;
    new Uint8Array(into.buffer).fill(0xa5, at + header, at + header + length / 2);
  }

  #check(store: Store): void {
    for (let at = 0; at < SLOTS; at++) {
      const result = store.get(slotOf(at), this.#target, 0);
      assert.notEqual(result, GetResult.corrupt, `slot ${at}`);
      const is = (page: Page): boolean =>
        page === null
          ? result === GetResult.absent
          : result === GetResult.found && Buffer.compare(page, this.#target) === 0;
      const next = this.#next.get(at);
      const isRight = is(this.#model[at]!) || (next !== undefined && is(next));
      assert.ok(isRight, `slot ${at} has its page of before or after the command`);
    }
  }

  /** An adopted store is a store: everything can be dropped and put. */
  #goOn(store: Store): void {
    store.dropRange(slotOf(0), SLOTS);
    store.releaseAll();
    store.verify();
    for (let at = 0; at < SLOTS; at++) store.put(slotOf(at), madePage('text', at), 0);
    store.verify();
    const again = openStore(this.#copy, this.#budget.limitBytes);
    assert.equal(again.adopted.pages, store.storedPages);
  }
}

const LIMIT_BYTES: number = OPEN_BYTES + 56 * 1024;

for (const [name, limitBytes, makePage] of [
  ['without a limit', 0, pageOfAnyKind],
  ['at its limit', LIMIT_BYTES, pageOfAnyKind],
  ['of few size classes', 0, pageOfFewSizes],
  ['of few size classes at its limit', LIMIT_BYTES, pageOfFewSizes],
] as const)
  randomTest(
    `a page store ${name}, killed after any write to its tables, has each page of before or after the command`,
    200,
    (prng, steps, t) => {
      const trial = new Trial(limitBytes, makePage);
      trial.run(prng, steps);
      const { points, adoptionPoints, redone, refused, compacted, tailsMoved } = trial;
      t.diagnostic(
        `${points} kill points and ${adoptionPoints} in adoptions, ${redone} completed from the log, ${refused} puts refused`,
      );
      t.diagnostic(
        `${compacted.join(' objects moved, ')} pages freed; ${tailsMoved} times, another zspage became the tail`,
      );
      assert.ok(points > steps, 'commands store');
      assert.ok(redone > 0, 'some kills were behind a commit');
      assert.ok(compacted[0] > 0 && compacted[1] > 0, 'objects moved and freed pages');
      assert.ok(tailsMoved > 0, 'adoptions made another zspage the tail');
      if (limitBytes > 0) assert.ok(refused > 0, 'the limit was reached');
    },
  );

const filled = (): { memory: LinearMemory; words: Int32Array; store: Store } => {
  const memory = createMemory(layout.bytes);
  const store = openStore(memory, 0);
  for (let at = 0; at < SLOTS; at++)
    store.put(slotOf(at), madePage(at % 2 === 0 ? 'text' : 'random', at), 0);
  return { memory, words: new Int32Array(memory.buffer), store };
};

const row = (at: number): number => SLOT_TABLE / 4 + at * 3;

const refusals: readonly [name: string, damage: (words: Int32Array) => void, reason: RegExp][] = [
  ['the magic number', (words) => (words[0] = 1), /magic/],
  ['the version', (words) => (words[1]! += 1), /layout/],
  ['the number of slots', (words) => (words[2]! += 1), /slots/],
  [
    'a zspage that does not exist',
    (words) => (words[row(4)] = 9999 << 7),
    /slot 4 names zspage 9999/,
  ],
  ['zspage 0', (words) => (words[row(4)] = 3), /slot 4 names zspage 0/],
  ['an object of another slot', (words) => (words[row(4)] = words[row(6)]!), /slot (4|6) shares/],
  ['an unknown format', (words) => (words[row(4) + 2] = 7 << 13), /slot 4 has the unknown format/],
  ['no length', (words) => (words[row(4) + 2] = 3 << 13), /slot 4 has the impossible length/],
  [
    'a length beyond its object',
    (words) => (words[row(4) + 2] = (3 << 13) | 4095),
    /slot 4 has 4095 bytes/,
  ],
  ['a slot past the last', (words) => (words[row(SLOTS + 1) + 2] = 1 << 13), /past the last/],
  ['a log of an unknown slot', (words) => (words[LOG_AT / 4] = SLOTS + 1), /log names slot/],
];

for (const [name, damage, reason] of refusals)
  test(`an image with ${name} is refused`, () => {
    const { memory, words } = filled();
    damage(words);
    assert.throws(
      () => openStore(memory, 0),
      (error: unknown) => {
        assert.ok(error instanceof SwapError);
        assert.equal(error.code, 'ERR_IO_IMAGE');
        assert.match(error.message, reason);
        return true;
      },
    );
  });

test('a page whose bytes changed is reported and never returned; the others are returned', () => {
  const { memory, words } = filled();
  words[row(5) + 1]! ^= 1;
  const store = openStore(memory, 0);
  assert.deepEqual([store.adopted.damaged, store.adopted.damagedSlots], [1, [5]]);
  const into = new Uint8Array(4096);
  assert.equal(store.get(slotOf(5), into, 0), GetResult.corrupt);
  for (let at = 0; at < SLOTS; at++)
    if (at !== 5) {
      assert.equal(store.get(slotOf(at), into, 0), GetResult.found);
      assert.deepEqual(
        Buffer.from(into),
        Buffer.from(madePage(at % 2 === 0 ? 'text' : 'random', at)),
      );
    }
});

test('an image whose pages exceed the limit is refused and not changed', () => {
  const { memory, store } = filled();
  const used = store.usedBytes;
  assert.throws(() => openStore(memory, used - 1), { code: 'ERR_IO_NO_ROOM' });
  assert.equal(openStore(memory, used).adopted.pages, SLOTS);
});
