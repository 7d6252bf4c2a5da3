/**
 * Rebuilds the tables of an arena from some of its objects, as after a kill, and compares them with a naive model of which
 * pages of which zspages are used. The objects keep their bytes, and the arena works.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arena } from '../../src/arena/arena.ts';
import { Budget } from '../../src/arena/budget.ts';
import {
  arenaLayout,
  CLASS_WORDS,
  classTable,
  INDEX_MASK,
  INDEX_SHIFT,
  PAGE,
  ROW_SHIFT,
  TAIL,
} from '../../src/arena/layout.ts';
import { ArenaRebuild } from '../../src/arena/rebuild.ts';
import { Prng } from '../../src/base/prng.ts';
import { loadKernels } from '../../src/codec/kernels.ts';
import { createMemory } from '../../src/codec/linear-memory.ts';
import { FakeReturns } from '../support/fakes/fake-returns.ts';
import { randomTest } from '../support/fixtures/replay.ts';

const layout = arenaLayout(65536, 640);
const BYTES = Math.ceil((layout.end + 4096) / 65536) * 65536;

interface Held {
  location: number;
  readonly length: number;
}

/** An arena in a memory that may have been used before, and its objects by owner. */
class Subject {
  readonly memory = createMemory(BYTES);
  readonly budget = new Budget(0);
  readonly held = new Map<number, Held>();
  readonly arena: Arena;
  readonly #bytes = new Uint8Array(this.memory.buffer);
  #owner = 0;

  constructor(image: Uint8Array | null = null) {
    if (image !== null) this.#bytes.set(image);
    this.arena = new Arena({
      buffer: this.memory.buffer,
      layout,
      kernels: loadKernels(this.memory),
      budget: this.budget,
      pageRelease: new FakeReturns().factory(this.memory),
      onMoved: (owner, location) => {
        this.held.get(owner)!.location = location;
      },
    });
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  alloc(length: number): number {
    const owner = this.#owner++;
    const location = this.arena.alloc(length, owner);
    assert.notEqual(location, 0);
    this.held.set(owner, { location, length });
    new Prng(owner).fill(this.payload(owner));
    return owner;
  }

  free(owner: number): void {
    this.arena.free(this.held.get(owner)!.location);
    this.held.delete(owner);
  }

  payload(owner: number): Uint8Array {
    const { location, length } = this.held.get(owner)!;
    const at = this.arena.address(location) >>> 0;
    return this.#bytes.subarray(at, at + length);
  }

  tail(cls: number): number {
    const words = new Int32Array(this.memory.buffer, layout.classTable);
    return words[cls * CLASS_WORDS + TAIL]!;
  }

  check(): void {
    const bytes = this.arena.verify((owner) => this.held.get(owner)?.location ?? -1);
    assert.equal(bytes, this.budget.usedBytes);
    for (const owner of this.held.keys()) {
      const payload = this.payload(owner);
      const expected = new Uint8Array(payload.length);
      new Prng(owner).fill(expected);
      assert.equal(Buffer.compare(payload, expected), 0, `object ${owner} has its bytes`);
    }
  }

  /** The arena that another process rebuilds from this one if the rows name the objects of `owners`; null: it refuses. */
  rebuilt(owners: Iterable<number>): Subject | null {
    const next = new Subject(this.#bytes);
    const rebuild = new ArenaRebuild(next.memory.buffer, layout);
    for (const owner of owners) {
      const { location, length } = this.held.get(owner)!;
      assert.equal(rebuild.problemOf(location, length), '');
      if (rebuild.claim(location, owner) !== '') return null;
      next.held.set(owner, { location, length });
    }
    next.#owner = this.#owner;
    assert.ok(next.budget.reserve(next.arena.rebuild(rebuild)));
    return next;
  }

  /** Naive number of pages in use: all pages of each zspage, except for the best tail of each class. */
  usedPages(): number {
    const zspages = new Map<number, { cls: number; end: number }>();
    for (const { location } of this.held.values()) {
      const zspage = location >>> INDEX_SHIFT;
      const end = (location & INDEX_MASK) + 1;
      const known = zspages.get(zspage);
      if (known === undefined) zspages.set(zspage, { cls: this.arena.classAt(location), end });
      else known.end = Math.max(known.end, end);
    }
    let used = 0;
    const saved = new Map<number, number>();
    for (const { cls, end } of zspages.values()) {
      const all = classTable.zspagePages[cls]!;
      used += all;
      const unused = all - Math.ceil((end * classTable.objectBytes[cls]!) / 4096);
      saved.set(cls, Math.max(saved.get(cls) ?? 0, unused));
    }
    for (const pages of saved.values()) used -= pages;
    return used;
  }
}

/** Payload lengths of classes of 7 objects in 5 pages, 4 in 3, 8 in 3, many in some, and of a full page. */
const lengths = [2900, 3060, 1500, 300, 100, 4096] as const;

randomTest(
  'a rebuilt arena has the objects that the rows name, and uses no more memory',
  4000,
  (prng, steps) => {
    let subject = new Subject();
    for (let step = 0; step < steps; step++) {
      const owners = [...subject.held.keys()];
      const what = prng.below(100);
      if (what < (owners.length < 200 ? 55 : 30))
        subject.alloc(lengths[prng.below(lengths.length)]!);
      else if (what < 92) {
        if (owners.length > 0) subject.free(owners[prng.below(owners.length)]!);
      } else if (what < 96) subject.arena.compact(1 + prng.below(8));
      else if (what < 97) subject.arena.releaseFree(0, 1000);
      else {
        const share = prng.below(5); // of every four objects, this many lose their rows
        const before = subject.budget.usedBytes;
        const next = subject.rebuilt(owners.filter(() => prng.below(4) >= share));
        assert.ok(next !== null);
        assert.equal(next.arena.dirtyFreePages, 0, 'free pages are released');
        assert.ok(next.budget.usedBytes <= before, 'no more is reserved than before');
        next.check();
        // The rest are rows of fewer than 128 zspages and of chunks.
        assert.equal(Math.floor(next.budget.usedBytes / 4096), next.usedPages());
        subject = next;
      }
    }
    subject.check();
  },
);

test('the zspage that needs the fewest of its pages becomes the tail, and all pages of the former tail count as used', () => {
  const subject = new Subject();
  const length = 2900;
  const cls = subject.arena.classOf(length);
  const objects = classTable.objects[cls]!;
  const all = classTable.zspagePages[cls]!;
  const owners = Array.from({ length: objects + 4 }, () => subject.alloc(length));
  for (let i = 2; i < objects; i++) subject.free(owners[i]!);
  const [listed, tail] = [0, objects].map((i) => subject.held.get(i)!.location >>> INDEX_SHIFT);
  assert.equal(subject.tail(cls), tail);
  const next = subject.rebuilt(subject.held.keys())!;
  next.check();
  assert.equal(next.tail(cls), listed);
  assert.equal(next.usedPages(), all + 2);
  assert.equal(next.budget.usedBytes, subject.budget.usedBytes - 4096);
});

test('zspages that share a page, used or not, or cross a chunk are refused', () => {
  const subject = new Subject();
  const [first, second] = [subject.alloc(2900), subject.alloc(1500)];
  const zspages = new Int32Array(subject.memory.buffer, layout.zspageTable);
  const row = (owner: number): number =>
    (subject.held.get(owner)!.location >>> INDEX_SHIFT) << ROW_SHIFT;
  const pageOf = (owner: number): number => zspages[row(owner) + PAGE]!;
  const [page, length] = [pageOf(first), classTable.zspagePages[subject.arena.classOf(2900)]!];
  const at = pageOf(second);
  zspages[row(second) + PAGE] = page + length - 1; // an unused page of the first
  assert.equal(subject.rebuilt([first, second]), null);
  zspages[row(second) + PAGE] = page + length;
  assert.notEqual(subject.rebuilt([first, second]), null);
  zspages[row(second) + PAGE] = layout.firstPage + 31; // crosses two chunks
  assert.equal(subject.rebuilt([first, second]), null);
  zspages[row(second) + PAGE] = at;
  assert.notEqual(subject.rebuilt([first, second]), null);
});
