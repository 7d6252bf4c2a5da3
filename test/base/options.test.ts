/** Options objects: values that are not objects, and unknown keys. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SwapError } from '../../src/base/errors.ts';
import { checkOptions } from '../../src/base/options.ts';

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

test('an unknown key is reported with the nearest known one', () => {
  assert.throws(
    () => checkOptions({ ofset: 0 }, 'discard(range)', known),
    (error: unknown) =>
      error instanceof SwapError &&
      error.code === 'ERR_ARG_UNKNOWN' &&
      error.message === "discard(range) has no option 'ofset'; did you mean 'offset'?",
  );
});
