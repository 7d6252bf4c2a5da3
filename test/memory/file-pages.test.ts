/** The page index of a file cache against a map, and the order of its clock hand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../src/base/assert.ts';
import { FilePages } from '../../src/memory/file-pages.ts';
import { randomTest } from '../support/fixtures/replay.ts';

randomTest('the table of file pages equals a map, at every step', 4000, (prng, steps) => {
  const rows = 1 + prng.below(40);
  const pages = new FilePages(rows);
  const model = new Map<string, number>();
  const files = Math.min(5, rows + 1);
  for (let i = 0; i < steps; i++) {
    const file = 1 + prng.below(files);
    const index = prng.oneIn(4) ? 0xffff_ffff - prng.below(3) : prng.below(12);
    const name = `${file}:${index}`;
    const row = pages.find(file, index);
    assert.equal(row, model.get(name) ?? 0);
    assert.equal(pages.peek(file, index), row);
    if (row === 0 && prng.oneIn(2)) {
      const added = pages.add(file, index);
      assert.equal(added === 0, model.size === rows, 'a row is found while there is one');
      if (added !== 0) {
        assert.ok(![...model.values()].includes(added));
        model.set(name, added);
      }
    } else if (row !== 0 && prng.oneIn(2)) {
      pages.remove(row);
      model.delete(name);
      assert.throws(() => pages.remove(row), InvariantError);
    } else if (prng.oneIn(20)) {
      for (let of = pages.firstOf(file); of !== 0; of = pages.firstOf(file)) pages.remove(of);
      for (const key of model.keys()) if (key.startsWith(`${file}:`)) model.delete(key);
    } else if (prng.oneIn(8)) {
      const except = row;
      const victim = pages.victim(except);
      assert.equal(victim === 0, model.size - (row === 0 ? 0 : 1) === 0);
      if (victim !== 0) {
        assert.notEqual(victim, except);
        assert.ok([...model.values()].includes(victim));
      }
    }
    assert.equal(pages.count, model.size);
    pages.verify();
  }
});

test('the clock hand takes rows in order, and skips a referenced row once', () => {
  const pages = new FilePages(5);
  const rows = [0, 1, 2, 3, 4].map((index) => pages.add(1, index));
  assert.deepEqual(rows, [1, 2, 3, 4, 5]);
  pages.find(1, 0);
  pages.find(1, 2);
  pages.peek(1, 1); // leaves no trace
  assert.deepEqual([pages.victim(0), pages.victim(0), pages.victim(0)], [2, 4, 5]);
  assert.equal(pages.victim(0), 1, 'the second chance is used up');
  pages.remove(1);
  assert.equal(pages.add(1, 9), 1, 'a free row is used again');
  assert.equal(pages.victim(2), 3);
});

test('tables have 1 to 2^30 rows', () => {
  for (const rows of [0, -1, 1.5, 2 ** 30 + 1])
    assert.throws(() => new FilePages(rows), InvariantError);
});
