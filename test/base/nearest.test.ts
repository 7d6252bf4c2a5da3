import assert from 'node:assert/strict';
import { test } from 'node:test';
import { editDistance, nearest, suggestion } from '../../src/base/nearest.ts';

const distances: readonly [string, string, number][] = [
  ['', '', 0],
  ['', 'abc', 3],
  ['list', 'list', 0],
  ['lits', 'list', 1], // transposition
  ['lst', 'list', 1],
  ['kitten', 'sitting', 3],
];
for (const [from, to, want] of distances)
  test(`'${from}' to '${to}' takes ${want} edits, both ways`, () => {
    assert.equal(editDistance(from, to), want);
    assert.equal(editDistance(to, from), want);
  });

test('the nearest word is found regardless of case', () => {
  assert.equal(nearest('Lits', ['host', 'list', 'attach']), 'list');
  assert.equal(nearest('atach', ['host', 'list', 'attach']), 'attach');
});

test('a word that is far from all known ones has no suggestion', () => {
  assert.equal(nearest('frobnicate', ['host', 'list']), null);
  assert.equal(nearest('x'.repeat(65), ['x'.repeat(64)]), null);
  assert.equal(suggestion('zzz', ['host']), '');
  assert.equal(suggestion('hots', ['host'], '--'), "; did you mean '--host'?");
});
