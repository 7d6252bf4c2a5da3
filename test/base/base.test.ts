import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assert as claim, InvariantError } from '../../src/base/assert.ts';
import { SwapError } from '../../src/base/errors.ts';
import {
  bytes,
  bytesToPages,
  PAGE_BYTES,
  PAGE_SHIFT,
  pages,
  pagesToBytes,
} from '../../src/base/units.ts';

test('pages convert to bytes, and bytes to pages rounded up', () => {
  assert.equal(PAGE_BYTES, 1 << PAGE_SHIFT);
  for (const n of [0, 1, 2, 4095, 2 ** 20, 2 ** 41 - 1]) {
    const size = pagesToBytes(pages(n));
    assert.equal(size, n * 4096);
    assert.equal(bytesToPages(size), n);
    assert.equal(bytesToPages(bytes(size + 1)), n + 1);
    if (n > 0) assert.equal(bytesToPages(bytes(size - 1)), n);
  }
});

test('a failed assertion throws an InvariantError with the claim', () => {
  claim(true, 'holds');
  assert.throws(
    () => claim(false, 'the claim'),
    (e) =>
      e instanceof InvariantError &&
      e.message === 'invariant violated: the claim' &&
      e.code === 'ERR_INVARIANT',
  );
});

test('a SwapError has a code, facts and a cause', () => {
  const cause = new Error('below');
  const error = new SwapError('ERR_IO_SYSTEM', 'read failed', { errno: 5 }, { cause });
  assert.equal(error.name, 'SwapError');
  assert.equal(error.code, 'ERR_IO_SYSTEM');
  assert.deepEqual(error.facts, { errno: 5 });
  assert.equal(error.cause, cause);
  assert.deepEqual(new SwapError('ERR_ARG_VALUE', 'no').facts, {});
});
