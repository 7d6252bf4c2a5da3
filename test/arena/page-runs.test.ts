/**
 * Checks page runs against naive sets of pages. Every step checks that runs do not overlap, which of their pages are used,
 * that the count of free resident pages is exact, and that the budget equals the pages that may be resident.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import { noRelease } from '../../src/arena/ops.ts';
import {
  CHUNK_PAGES,
  findRun,
  longestRun,
  PageRuns,
  pageRunsTableBytes,
} from '../../src/arena/page-runs.ts';
import { BATCH_RANGES, ReleaseBatch } from '../../src/arena/release-batch.ts';
import { InvariantError } from '../../src/base/assert.ts';
import { popcount } from '../../src/base/bits.ts';
import type { Prng } from '../../src/base/prng.ts';
import { FakeReturns } from '../support/fakes/fake-returns.ts';
import { randomTest } from '../support/fixtures/replay.ts';

const ROW_BYTES = 16;
const isSet = (word: number, bit: number): boolean => ((word >>> bit) & 1) === 1;

function naivePopcount(word: number): number {
  let n = 0;
  for (let bit = 0; bit < 32; bit++) if (isSet(word, bit)) n++;
  return n;
}

function naiveFindRun(word: number, length: number): number {
  for (let at = 0; at + length <= 32; at++) {
    let n = 0;
    while (n < length && isSet(word, at + n)) n++;
    if (n === length) return at;
  }
  return -1;
}

function naiveLongestRun(word: number): number {
  let longest = 0;
  for (let bit = 0, run = 0; bit < 32; bit++) {
    run = isSet(word, bit) ? run + 1 : 0;
    if (run > longest) longest = run;
  }
  return longest;
}

function checkWord(word: number): void {
  const longest = naiveLongestRun(word);
  assert.equal(popcount(word), naivePopcount(word), `popcount ${word}`);
  assert.equal(longestRun(word), longest, `longestRun ${word}`);
  for (const length of [1, 2, 5, 12, longest, longest + 1])
    if (length > 0 && length <= 32)
      assert.equal(findRun(word, length), naiveFindRun(word, length), `findRun ${word} ${length}`);
}

test('bit searches match naive ones for every 16-bit word, low, high and inverted', () => {
  for (let half = 0; half < 65536; half++) {
    checkWord(half);
    checkWord(half << 16);
    checkWord(~half);
  }
});

test('bit searches match naive ones for every run of every length at every position', () => {
  for (let length = 1; length <= 32; length++)
    for (let at = 0; at + length <= 32; at++) {
      const run = (length === 32 ? -1 : (1 << length) - 1) << at;
      assert.equal(longestRun(run), length);
      assert.equal(findRun(run, length), at);
      if (length < 32) assert.equal(findRun(run, length + 1), -1);
    }
});

randomTest('bit searches equal naive ones for random words', 20_000, (prng, steps) => {
  for (let i = 0; i < steps; i++) {
    const a = prng.u32() | 0;
    for (const word of [a, a & prng.u32(), a | prng.u32(), a | prng.u32() | prng.u32()])
      checkWord(word);
  }
});

interface Run {
  readonly page: number;
  readonly length: number;
  /** Its first pages, which are used. */
  used: number;
}

/** PageRuns and its naive model. */
class Twin {
  readonly budget: Budget;
  readonly returns: FakeReturns = new FakeReturns();
  readonly runs: PageRuns;
  readonly held: Run[] = [];
  readonly #firstPage = 3;
  /** Pages of runs, used pages, and pages that may be resident. */
  readonly #run: Uint8Array;
  readonly #used: Uint8Array;
  readonly #dirty: Uint8Array;

  constructor(pages: number, limitBytes: number) {
    const tables = Math.ceil(pageRunsTableBytes(pages) / 4096) * 4096;
    const buffer = new ArrayBuffer((this.#firstPage + pages) * 4096 + tables);
    this.budget = new Budget(limitBytes);
    this.runs = new PageRuns({
      buffer,
      tables: buffer.byteLength - tables,
      firstPage: this.#firstPage,
      pages,
      budget: this.budget,
      pageRelease: this.returns.over(new Uint8Array(buffer)),
    });
    this.#run = new Uint8Array(pages);
    this.#used = new Uint8Array(pages);
    this.#dirty = new Uint8Array(pages);
    this.returns.onRelease = (first, length) => {
      for (let page = first / 4096; page < (first + length) / 4096; page++) {
        const index = page - this.#firstPage;
        assert.equal(this.#used[index], 0, 'no used page is released');
        if (this.returns.refusals === 0)
          assert.equal(this.#dirty[index], 1, 'only dirty pages are released');
        this.#dirty[index] = 0;
      }
    };
  }

  alloc(length: number, used = length): boolean {
    // Where the system releases no pages, all pages of a run are reserved with it.
    const reserved = this.returns.isReleasing ? used : length;
    const before = this.#canPlace(length, reserved);
    const page = this.runs.alloc(length, used);
    if (page === 0) {
      if (before) assert.fail(`refused ${length} pages, ${used} used, although they fit`);
      return false;
    }
    const index = page - this.#firstPage;
    assert.ok(!this.#run.subarray(index, index + length).includes(1), 'runs do not overlap');
    this.#run.fill(1, index, index + length);
    this.#dirty.fill(1, index, index + reserved);
    this.#used.fill(1, index, index + used);
    this.held.push({ page, length, used });
    return true;
  }

  allocRandom(prng: Prng): boolean {
    const length = 1 + prng.below(12);
    return this.alloc(length, prng.oneIn(2) ? length : 1 + prng.below(length));
  }

  resizeRandom(prng: Prng): boolean {
    const run = this.held[prng.below(this.held.length)]!;
    return this.resize(run, prng.below(run.length + 1));
  }

  /** Grows or shrinks the used pages of a run to its first `used`. */
  resize(run: Run, used: number): boolean {
    const index = run.page - this.#firstPage;
    if (used < run.used) this.runs.unuse(run.page + used, run.used - used);
    else if (used > run.used) {
      const fresh = this.#dirty
        .subarray(index + run.used, index + used)
        .filter((d) => d === 0).length;
      const { limitBytes, usedBytes } = this.budget;
      const least = usedBytes - this.runs.dirtyFreePages * 4096 + (used - run.used) * 4096;
      const mustFit = fresh === 0 || limitBytes === 0 || usedBytes + fresh * 4096 <= limitBytes;
      const mayFit = mustFit || least <= limitBytes;
      const grew = this.runs.use(run.page + run.used, used - run.used);
      assert.ok(
        grew ? mayFit : !mustFit && (this.returns.isLimited || !mayFit),
        'grows if it fits',
      );
      if (!grew) return false;
      this.#dirty.fill(1, index + run.used, index + used);
    }
    this.#used.fill(0, index, index + run.length);
    this.#used.fill(1, index, index + used);
    run.used = used;
    return true;
  }

  free(prng: Prng): void {
    const at = prng.below(this.held.length);
    const run = this.held[at]!;
    this.held[at] = this.held[this.held.length - 1]!;
    this.held.pop();
    this.freeRun(run);
  }

  freeRun({ page, length }: Run): void {
    const index = page - this.#firstPage;
    this.runs.free(page, length);
    this.#run.fill(0, index, index + length);
    this.#used.fill(0, index, index + length);
  }

  check(): void {
    let dirtyFree = 0;
    for (let i = 0; i < this.#used.length; i++)
      if (this.#dirty[i] === 1 && this.#used[i] === 0) dirtyFree++;
    // When the system releases part of a chunk, all its free pages still count as resident: an overestimate.
    if (this.returns.refusals > 0) assert.ok(this.runs.dirtyFreePages >= dirtyFree);
    else assert.equal(this.runs.dirtyFreePages, dirtyFree, 'free resident pages');
    for (const { page, length, used } of this.held)
      assert.equal(this.runs.usedPages(page, length), (1 << used) - 1, 'the used pages of a run');
    assert.equal(this.runs.verify(), this.budget.usedBytes, 'the budget equals the resident bytes');
    if (this.budget.limitBytes !== 0) assert.ok(this.budget.peakBytes <= this.budget.limitBytes);
  }

  /** True when alloc() must succeed: address space has a run, and the limit allows it once free pages are released. */
  #canPlace(length: number, reserved: number): boolean {
    let hasRun = false;
    for (let chunk = 0; chunk < this.#used.length && !hasRun; chunk += CHUNK_PAGES) {
      let run = 0;
      for (let i = chunk; i < chunk + CHUNK_PAGES && !hasRun; i++) {
        run = this.#run[i] === 0 ? run + 1 : 0;
        hasRun = run === length;
      }
    }
    if (!hasRun || this.returns.isLimited) return false;
    const { limitBytes, usedBytes } = this.budget;
    const least = usedBytes - this.runs.dirtyFreePages * 4096;
    return limitBytes === 0 || least + reserved * 4096 + ROW_BYTES <= limitBytes;
  }
}

function drive(twin: Twin, prng: Prng, steps: number): void {
  for (let i = 0; i < steps; i++) {
    const phase = (i >>> 8) & 1; // mostly growing, then mostly shrinking
    const what = prng.below(16);
    if (what === 0) {
      const before = twin.runs.dirtyFreePages;
      const keep = prng.below(40);
      const chunks = 1 + prng.below(8);
      const released = twin.runs.releaseFree(keep, chunks);
      assert.equal(twin.runs.dirtyFreePages, before - released);
      assert.ok(released <= chunks * CHUNK_PAGES);
      if (!twin.returns.isLimited && released < before - keep)
        assert.ok(released >= chunks, 'only chunksMax stops it early');
    } else if (what < (phase === 0 ? 11 : 5) || twin.held.length === 0) twin.allocRandom(prng);
    else if (prng.oneIn(2)) twin.resizeRandom(prng);
    else twin.free(prng);
    twin.check();
  }
}

test('alloc finds the only reserved run where the system releases no pages', () => {
  for (const length of [3, 4]) {
    // Chunk 0 is full, chunk 1 has three pages that were never used, and the budget is exhausted.
    const twin = new Twin(64, 61 * 4096 + 2 * ROW_BYTES);
    twin.returns.callsUntilRefusal = 0;
    for (const run of [3, 12, 12, 5, 12, 12]) assert.ok(twin.alloc(run));
    twin.freeRun(twin.held.shift()!); // the first pages of chunk 0
    assert.ok(twin.alloc(5));
    assert.equal(twin.runs.dirtyFreePages, 3);
    assert.equal(twin.alloc(length), length === 3);
    twin.check();
  }
});

randomTest('page runs match the model without a limit', 4000, (prng, steps) => {
  drive(new Twin(32 * 40, 0), prng, steps);
});

randomTest('page runs match the model under a tight limit', 4000, (prng, steps) => {
  for (const limitPages of [13, 60, 200])
    drive(
      new Twin(32 * 40, limitPages * 4096 + prng.below(prng.oneIn(2) ? 40 : 4096)),
      prng,
      steps / 2,
    );
});

randomTest('page runs match the model when address space is short', 4000, (prng, steps) => {
  drive(new Twin(32 * 3, 0), prng, steps);
  drive(new Twin(32, 30 * 4096), prng, steps / 4);
});

randomTest(
  'page runs match the model when the system stops releasing pages',
  4000,
  (prng, steps) => {
    const twin = new Twin(32 * 40, 200 * 4096);
    for (let i = 0; i < 8; i++) {
      twin.returns.callsUntilRefusal = i % 4 === 3 ? Number.POSITIVE_INFINITY : prng.below(12);
      drive(twin, prng, steps / 8);
    }
  },
);

test('a run fits a limit of exactly its pages and their row, but not one byte less', () => {
  for (let length = 1; length <= 12; length++) {
    const exact = length * 4096 + ROW_BYTES;
    assert.equal(new Twin(64, exact).alloc(length), true, `${length} pages`);
    const short = new Twin(64, exact - 1);
    assert.equal(short.alloc(length), false, `${length} pages less a byte`);
    short.check();
  }
});

test('a freed run is reusable at once when the limit is reached, also in other lengths', () => {
  const twin = new Twin(32 * 40, 24 * 4096 + 2 * ROW_BYTES);
  assert.ok(twin.alloc(12) && twin.alloc(12));
  assert.equal(twin.alloc(1), false);
  twin.freeRun(twin.held[0]!);
  assert.notEqual(twin.runs.alloc(5, 5), 0);
  assert.notEqual(twin.runs.alloc(7, 7), 0);
  assert.equal(twin.runs.alloc(1, 1), 0);
});

test('a run costs its used pages: it grows within the limit, and not a byte beyond', () => {
  for (const short of [0, 1]) {
    const twin = new Twin(64, 12 * 4096 + ROW_BYTES - short);
    assert.ok(twin.alloc(12, 1) && twin.alloc(12, 2));
    assert.equal(twin.budget.usedBytes, 3 * 4096 + ROW_BYTES);
    assert.ok(twin.resize(twin.held[0]!, 9));
    assert.equal(twin.resize(twin.held[1]!, 3), short === 0);
    twin.check();
    assert.ok(twin.resize(twin.held[0]!, 8), 'pages that are not used any more make space');
    assert.ok(twin.resize(twin.held[1]!, 3));
    twin.check();
  }
});

test('a run grows into pages that it used before without reserving them again', () => {
  const twin = new Twin(64, 8 * 4096 + ROW_BYTES);
  twin.returns.callsUntilRefusal = 0;
  assert.ok(twin.alloc(8));
  assert.ok(twin.resize(twin.held[0]!, 3) && twin.resize(twin.held[0]!, 8));
  twin.check();
});

test('a run of a system that releases no pages can always use all of its pages', () => {
  const pages = 64;
  const tables = Math.ceil(pageRunsTableBytes(pages) / 4096) * 4096;
  const buffer = new ArrayBuffer(tables + (pages + 1) * 4096);
  const budget = new Budget(8 * 4096 + ROW_BYTES);
  const at = { tables: 0, firstPage: tables / 4096 + 1, pages };
  const runs = new PageRuns({ buffer, ...at, budget, pageRelease: noRelease });
  const first = runs.alloc(8, 1);
  assert.equal(budget.usedBytes, 8 * 4096 + ROW_BYTES);
  assert.equal(runs.dirtyFreePages, 7);
  assert.equal(runs.alloc(1, 1), 0, 'no other run takes them');
  assert.ok(runs.use(first + 1, 7));
  runs.free(first, 8);
  assert.notEqual(runs.alloc(5, 1), 0);
  assert.notEqual(runs.alloc(3, 1), 0);
  runs.verify();
});

test('use() refuses pages outside the run, and unuse() refuses pages that are not used', () => {
  const twin = new Twin(64, 0);
  const page = twin.runs.alloc(4, 2);
  assert.throws(() => twin.runs.use(page + 2, 3), InvariantError);
  assert.throws(() => twin.runs.unuse(page + 1, 2), InvariantError);
  assert.ok(twin.runs.use(page + 2, 2));
  twin.runs.unuse(page + 1, 3);
  twin.runs.verify();
});

test('free pages are released to reserve the row of a new chunk', () => {
  // 32 single pages fill a chunk and the limit; every other one is freed, so no run of two is free.
  const twin = new Twin(64, 32 * 4096 + ROW_BYTES);
  for (let i = 0; i < 32; i++) assert.ok(twin.alloc(1));
  for (const run of twin.held) if (run.page % 2 === 0) twin.freeRun(run);
  assert.equal(twin.runs.dirtyFreePages, 16);
  assert.notEqual(twin.runs.alloc(2, 2), 0, '64 KiB are free');
  assert.equal(twin.runs.verify(), twin.budget.usedBytes);
});

/** Runs of eight pages in four chunks, all freed. */
function fourFreeChunks(returns: FakeReturns): { runs: PageRuns; budget: Budget } {
  const pages = 32 * 4;
  const budget = new Budget(0);
  const buffer = new ArrayBuffer((pages + 2) * 4096);
  const pageRelease = returns.over(new Uint8Array(buffer));
  const runs = new PageRuns({ buffer, tables: 0, firstPage: 2, pages, budget, pageRelease });
  const held = Array.from({ length: 16 }, () => runs.alloc(8, 8));
  for (const page of held) runs.free(page, 8);
  return { runs, budget };
}

test('four free chunks, which are adjacent, are released in one call', () => {
  const returns = new FakeReturns();
  const { runs, budget } = fourFreeChunks(returns);
  assert.equal(runs.releaseFree(0, 100), 128);
  assert.equal(returns.calls, 1);
  assert.equal(budget.usedBytes, 4 * ROW_BYTES);
});

test('chunks whose release the system refuses still count as resident', () => {
  const returns = new FakeReturns();
  returns.callsUntilRefusal = 0;
  const { runs, budget } = fourFreeChunks(returns);
  assert.equal(runs.releaseFree(0, 100), 0);
  assert.equal(runs.dirtyFreePages, 128);
  assert.equal(runs.verify(), budget.usedBytes);
  returns.callsUntilRefusal = Number.POSITIVE_INFINITY;
  assert.equal(runs.releaseFree(0, 100), 128);
});

test('scattered pages are released in one call up to the limit of a batch, then in two', () => {
  const most = BATCH_RANGES / 16; // every other page of a chunk is a range
  for (const [chunks, calls] of [
    [1, 1],
    [most, 1],
    [most + 1, 2],
    [2 * most, 2],
    [2 * most + 1, 3],
  ] as const) {
    const twin = new Twin(32 * chunks, 0);
    for (let i = 0; i < 32 * chunks; i++) assert.ok(twin.alloc(1));
    for (const run of twin.held) if (run.page % 2 === 0) twin.freeRun(run);
    twin.returns.groupCalls = 0;
    assert.equal(twin.runs.releaseFree(0, chunks), 16 * chunks);
    assert.equal(twin.returns.groupCalls, calls, `${chunks} chunks`);
    assert.equal(twin.runs.dirtyFreePages, 0);
    assert.equal(twin.runs.verify(), twin.budget.usedBytes);
  }
});

test('a batch that is refused ends the release; those before it are released', () => {
  const chunks = BATCH_RANGES / 16 + 4;
  const twin = new Twin(32 * chunks, 0);
  for (let i = 0; i < 32 * chunks; i++) assert.ok(twin.alloc(1));
  for (const run of twin.held) if (run.page % 2 === 0) twin.freeRun(run);
  twin.returns.callsUntilRefusal = BATCH_RANGES + 5;
  assert.equal(twin.runs.releaseFree(0, chunks), BATCH_RANGES);
  assert.equal(twin.runs.dirtyFreePages, 64);
  assert.equal(twin.runs.verify(), twin.budget.usedBytes);
});

test('freeing pages that are not all allocated is an InvariantError', () => {
  const twin = new Twin(64, 0);
  const page = twin.runs.alloc(4, 4);
  assert.throws(() => twin.runs.free(page, 5), InvariantError);
  twin.runs.free(page, 4);
  assert.throws(() => twin.runs.free(page, 4), InvariantError);
  assert.throws(() => twin.runs.free(1, 1), InvariantError, 'a page below the first');
  assert.throws(() => twin.runs.free(3 + 64, 1), InvariantError, 'a page past the last');
});

/** Adds chunks with these free pages, and returns the ranges that are released: pages, in order. */
function rangesOf(chunks: readonly (readonly [first: number, free: number])[]): number[][] {
  const ranges: number[][] = [];
  const release = (at: number, length: number): boolean => {
    ranges.push([at / 4096, length / 4096]);
    return true;
  };
  const batch = new ReleaseBatch({ release });
  chunks.forEach(([first, free], index) => {
    batch.add(index, first, free);
  });
  assert.equal(batch.count, chunks.length);
  assert.ok(batch.release());
  return ranges;
}

test('a batch has the free pages of its chunks, adjacent ones in one range', () => {
  assert.deepEqual(rangesOf([[64, -1]]), [[64, 32]]);
  assert.deepEqual(rangesOf([[64, 1]]), [[64, 1]]);
  assert.deepEqual(rangesOf([[64, 1 << 31]]), [[95, 1]]);
  assert.deepEqual(rangesOf([[64, 0x7fff_fffe]]), [[65, 30]]);
  assert.deepEqual(rangesOf([[64, ~1]]), [[65, 31]]);
  const twoChunks = rangesOf([
    [32, 0b1101 | (1 << 31)],
    [64, 0b11],
    [128, 1],
  ]);
  assert.deepEqual(twoChunks, [
    [32, 1],
    [34, 2],
    [63, 3],
    [128, 1],
  ]);
  // The last page below 4 GiB.
  assert.deepEqual(rangesOf([[2 ** 20 - 32, -1]]), [[2 ** 20 - 32, 32]]);
});

randomTest('the ranges of a batch are the pages that were added', 3000, (prng, steps) => {
  const chunks: (readonly [number, number])[] = [];
  const expected = new Set<number>();
  for (let i = 0, first = 32; i < Math.min(steps, 30); i++, first += 32 * (1 + prng.below(2))) {
    const free = prng.u32() | (1 << prng.below(32)) | 0;
    chunks.push([first, free]);
    for (let bit = 0; bit < 32; bit++) if (isSet(free, bit)) expected.add(first + bit);
  }
  const found = rangesOf(chunks).flatMap(([page, length]) =>
    Array.from({ length: length! }, (_, i) => page! + i),
  );
  assert.deepEqual(found, [...expected]);
});
