/** Durations: units, limits, errors with a code. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDuration } from '../../src/base/duration.ts';

const valid: readonly (readonly [string, number])[] = [
  ['100ms', 100],
  ['1s', 1000],
  ['1.5s', 1500],
  [' 2m ', 120_000],
  ['596h', 596 * 3_600_000],
];
for (const [text, ms] of valid)
  test(`'${text}' is ${ms} ms`, () => assert.equal(parseDuration('--every', text, 100), ms));

const invalid: readonly (readonly [string, RegExp])[] = [
  ['', /^--every: '' is not a valid duration; give a number with ms, s, m or h/],
  ['1', /is not a valid duration/],
  ['1 s', /is not a valid duration/],
  ['-1s', /is not a valid duration/],
  ['1e3s', /is not a valid duration/],
  ['1d', /is not a valid duration/],
  ['99ms', /is too short: at least 100ms/],
  ['0s', /is too short/],
  ['597h', /is too long: at most 596h/],
];
for (const [text, message] of invalid)
  test(`'${text}' is an error`, () => {
    assert.throws(() => parseDuration('--every', text, 100), { code: 'ERR_ARG_VALUE', message });
  });
