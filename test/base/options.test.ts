/** Checks of arguments: options objects, unknown keys, whole numbers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SwapError } from '../../src/base/errors.ts';
import { checkInteger, checkOptions } from '../../src/base/options.ts';

const known = ['offset', 'length'];

test('known keys pass, and so does an empty object', () => {
  for (const options of [{}, { offset: 1 }, { length: undefined, offset: 0 }, Object.create(null)])
    checkOptions(options, 'discard(range)', known);
});

test('a value that is not an object is described in the error', () => {
  const texts: readonly (readonly [unknown, string])[] = [
    [0, 'the number 0'],
    ['8', 'the string 8'],
    [null, 'null'],
    [[0, 1], 'an array'],
    [() => 0, 'of type function'],
  ];
  for (const [options, text] of texts)
    assert.throws(
      () => checkOptions(options, 'discard(range)', known),
      (error: unknown) =>
        error instanceof SwapError &&
        error.code === 'ERR_ARG_VALUE' &&
        error.message === `discard(range) is ${text}; pass an object with offset, length`,
    );
});

test('a whole number must be in its range and a multiple of its step', () => {
  const range = { min: 8, max: 64, multipleOf: 8 };
  for (const value of [8, 16, 64]) checkInteger('open()', 'bytes', value, range);
  for (const value of [0, 7, 9, 72, 8.5, Number.NaN, 2 ** 53, '8', null, undefined])
    assert.throws(() => checkInteger('open()', 'bytes', value, range), { code: 'ERR_ARG_VALUE' });
  assert.throws(() => checkInteger('open()', 'bytes', 7, range), {
    message: 'open(): bytes is the number 7; pass a multiple of 8 from 8 to 64',
  });
  checkInteger('open()', 'count', Number.MAX_SAFE_INTEGER, { min: 0 });
  assert.throws(() => checkInteger('open()', 'count', -1, { min: 0 }), {
    message: 'open(): count is the number -1; pass a whole number from 0 to 9007199254740991',
  });
});

test('an unknown key is reported with the nearest known one', () => {
  assert.throws(
    () => checkOptions({ ofset: 0 }, 'discard(range)', known),
    (error: unknown) =>
      error instanceof SwapError &&
      error.code === 'ERR_ARG_UNKNOWN' &&
      error.message === "discard(range) has no option 'ofset'; did you mean 'offset'?",
  );
});
