/**
 * Checks page runs against a naive set of pages. Every step checks that runs do not overlap, that the count of free
 * resident pages is exact, and that the budget equals the pages that may be resident.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from '../../src/arena/budget.ts';
import {
  CHUNK_PAGES,
  findRun,
  longestRun,
  PageRuns,
  pageRunsTableBytes,
} from '../../src/arena/page-runs.ts';
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
}

/** PageRuns and its naive model. */
class Twin {
  readonly budget: Budget;
  readonly returns: FakeReturns = new FakeReturns();
  readonly runs: PageRuns;
  readonly held: Run[] = [];
  readonly #firstPage = 3;
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
    this.#used = new Uint8Array(pages);
    this.#dirty = new Uint8Array(pages);
    this.returns.onTake = (first, length) => {
      for (let page = first / 4096; page < (first + length) / 4096; page++) {
        const index = page - this.#firstPage;
        assert.equal(this.#used[index], 0, 'only free pages are released');
        if (this.returns.refusals === 0)
          assert.equal(this.#dirty[index], 1, 'only dirty pages are released');
        this.#dirty[index] = 0;
      }
    };
  }

  alloc(length: number): boolean {
    const before = this.#canPlace(length);
    const page = this.runs.alloc(length);
    if (page === 0) {
      if (before) assert.fail(`refused ${length} pages although they fit`);
      return false;
    }
    for (let i = 0; i < length; i++) {
      const index = page + i - this.#firstPage;
      assert.equal(this.#used[index], 0, 'an allocated run was free');
      this.#used[index] = 1;
      this.#dirty[index] = 1;
    }
    this.held.push({ page, length });
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
    this.runs.free(page, length);
    this.#used.fill(0, page - this.#firstPage, page - this.#firstPage + length);
  }

  get usedPages(): number {
    return this.#used.reduce((n, u) => n + u, 0);
  }

  check(): void {
    let dirtyFree = 0;
    for (let i = 0; i < this.#used.length; i++)
      if (this.#dirty[i] === 1 && this.#used[i] === 0) dirtyFree++;
    // When the system releases part of a chunk, all its free pages still count as resident: an overestimate.
    if (this.returns.refusals > 0) assert.ok(this.runs.dirtyFreePages >= dirtyFree);
    else assert.equal(this.runs.dirtyFreePages, dirtyFree, 'free resident pages');
    assert.equal(this.runs.verify(), this.budget.usedBytes, 'the budget equals the resident bytes');
    if (this.budget.limitBytes !== 0) assert.ok(this.budget.peakBytes <= this.budget.limitBytes);
  }

  /** True when alloc() must succeed: address space has a run, and the limit allows it once free pages are released. */
  #canPlace(length: number): boolean {
    let hasRun = false;
    for (let chunk = 0; chunk < this.#used.length && !hasRun; chunk += CHUNK_PAGES) {
      let run = 0;
      for (let i = chunk; i < chunk + CHUNK_PAGES && !hasRun; i++) {
        run = this.#used[i] === 0 ? run + 1 : 0;
        hasRun = run === length;
      }
    }
    if (!hasRun || this.returns.isLimited) return false;
    const { limitBytes, usedBytes } = this.budget;
    const least = usedBytes - this.runs.dirtyFreePages * 4096;
    return limitBytes === 0 || least + length * 4096 + ROW_BYTES <= limitBytes;
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
    } else if (what < (phase === 0 ? 11 : 5) || twin.held.length === 0)
      twin.alloc(1 + prng.below(12));
    else twin.free(prng);
    twin.check();
  }
}

test('alloc finds the only reserved run where the system releases no pages', () => {
  for (const length of [3, 4]) {
    // Chunk 0 is full, chunk 1 has three pages that were never used, and the budget is exhausted.
    const twin = new Twin(64, 61 * 4096 + 2 * ROW_BYTES);
    twin.returns.answersLeft = 0;
    for (const run of [3, 12, 12, 5, 12, 12]) assert.ok(twin.alloc(run));
    twin.freeRun(twin.held[0]!); // the first pages of chunk 0
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
      twin.returns.answersLeft = i % 4 === 3 ? Number.POSITIVE_INFINITY : prng.below(12);
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
  assert.notEqual(twin.runs.alloc(5), 0);
  assert.notEqual(twin.runs.alloc(7), 0);
  assert.equal(twin.runs.alloc(1), 0);
});

test('free pages are released to reserve the row of a new chunk', () => {
  // 32 single pages fill a chunk and the limit; every other one is freed, so no run of two is free.
  const twin = new Twin(64, 32 * 4096 + ROW_BYTES);
  for (let i = 0; i < 32; i++) assert.ok(twin.alloc(1));
  for (const run of twin.held) if (run.page % 2 === 0) twin.freeRun(run);
  assert.equal(twin.runs.dirtyFreePages, 16);
  assert.notEqual(twin.runs.alloc(2), 0, '64 KiB are free');
  assert.equal(twin.runs.verify(), twin.budget.usedBytes);
});

test('four free chunks are released in four calls', () => {
  const pages = 32 * 4;
  const returns = new FakeReturns();
  const budget = new Budget(0);
  const buffer = new ArrayBuffer((pages + 2) * 4096);
  const pageRelease = returns.over(new Uint8Array(buffer));
  const runs = new PageRuns({ buffer, tables: 0, firstPage: 2, pages, budget, pageRelease });
  const held = Array.from({ length: 16 }, () => runs.alloc(8));
  for (const page of held) runs.free(page, 8);
  assert.equal(runs.releaseFree(0, 100), pages);
  assert.equal(returns.calls, 4);
  assert.equal(budget.usedBytes, 4 * ROW_BYTES);
});

test('freeing pages that are not all allocated is an InvariantError', () => {
  const twin = new Twin(64, 0);
  const page = twin.runs.alloc(4);
  assert.throws(() => twin.runs.free(page, 5), InvariantError);
  twin.runs.free(page, 4);
  assert.throws(() => twin.runs.free(page, 4), InvariantError);
  assert.throws(() => twin.runs.free(1, 1), InvariantError, 'a page below the first');
  assert.throws(() => twin.runs.free(3 + 64, 1), InvariantError, 'a page past the last');
});
