/** A table states which ratios are quotients of its figures, and the number of its rounds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codecTable } from '../../bench/codec.ts';
import { medianRatio, ofRounds } from '../../bench/measure.ts';

test('a median ratio is the median of the ratios of rounds, not the ratio of medians', () => {
  assert.equal(medianRatio([10, 30, 40], [10, 20, 80]), 1);
  assert.equal(medianRatio([10, 30], [10, 20]), 1.25);
  assert.equal(medianRatio([3], [2]), 1.5);
  assert.ok(Number.isNaN(medianRatio([1], [])));
});

test('one round has no medians', () => {
  assert.equal(ofRounds(1), 'One round, no medians');
  assert.equal(ofRounds(1, 'interleaved'), 'One round, no medians');
  assert.equal(ofRounds(2), 'Medians of 2 rounds');
  assert.equal(ofRounds(7, 'interleaved'), 'Medians of 7 interleaved rounds');
});

test('the table of codecs says which of its ratios are medians, and from how many rounds', () => {
  const round = (compress: number) => ({ compress: [compress], decompress: [100], bytes: [4096] });
  const pages = { classes: ['text'], classOfPage: Uint8Array.of(0, 0), origin: 'two pages' };
  const base = [100, 200, 800].map(round);
  const other = [100, 300, 400].map(round);
  const { columns, rows, notes } = codecTable(pages, ['base', 'other'], [base, other]);
  const row = rows[1]!;
  assert.deepEqual(row.slice(0, 4), ['text', 'other', 300, 1]);
  assert.deepEqual(columns.slice(2, 4), ['compress', 'median x']);
  assert.deepEqual(row.slice(6), ['0.500', '1.000']);
  assert.match(notes!.join(), /Medians of 3 interleaved rounds.*median of the ratios to base/s);
  const one = codecTable(pages, ['base', 'other'], [base.slice(0, 1), other.slice(0, 1)]);
  assert.match(one.notes!.join(), /One round, no medians\./);
});
