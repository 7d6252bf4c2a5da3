/** Admission: after a refusal every store is refused until usage falls to the threshold; other calls pass through. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { admission } from '../../src/frontswap/admission.ts';
import { Frontswap } from '../../src/frontswap/frontswap.ts';
import { LoadResult } from '../../src/frontswap/ops.ts';
import { StrictBackend } from './strict-backend.ts';

const page = new Uint8Array(4096).fill(3);

test('after a refusal no page is accepted until usage is at the threshold', () => {
  const inner = new StrictBackend('inner');
  inner.accepts = () => inner.pages.size < 10;
  const gate = admission(inner, () => inner.pages.size, 10, 80);
  const front = new Frontswap();
  front.register(gate);
  front.init(0, 100);
  for (let n = 0; n < 10; n++) assert.ok(front.store(0, n, page, 0));
  assert.ok(!front.store(0, 10, page, 0), 'full');
  assert.ok(gate.isWaiting);
  front.invalidatePage(0, 0);
  const calls = inner.calls.length;
  assert.ok(!front.store(0, 11, page, 0), '9 of 10: space is free, but above the threshold');
  assert.equal(inner.calls.length, calls, 'the backend is not asked');
  assert.equal(gate.refused, 1);
  assert.equal(front.load(0, 5, new Uint8Array(4096), 0), LoadResult.loaded, 'loads go on');
  front.invalidatePage(0, 1);
  assert.ok(front.store(0, 11, page, 0), '8 of 10');
  assert.ok(!gate.isWaiting);
  assert.ok(front.store(0, 12, page, 0), 'up to the limit');
  assert.ok(!front.store(0, 13, page, 0));
  front.invalidateArea(0);
  front.verify();
  assert.equal(inner.pages.size, 0);
});

test('a refusal at the threshold does not start waiting, one page above it does', () => {
  for (const used of [8, 9]) {
    const inner = new StrictBackend('inner');
    inner.accepts = () => false;
    const gate = admission(inner, () => used, 10, 80);
    const front = new Frontswap();
    front.register(gate);
    front.init(0, 100);
    assert.ok(!front.store(0, 1, page, 0));
    assert.equal(gate.isWaiting, used > 8);
  }
});

test('a refusal below the threshold, for another reason, does not start waiting', () => {
  const inner = new StrictBackend('inner');
  inner.accepts = (_type, offset) => offset !== 1;
  const gate = admission(inner, () => 0, 10);
  const front = new Frontswap();
  front.register(gate);
  front.init(0, 100);
  assert.ok(!front.store(0, 1, page, 0));
  assert.ok(!gate.isWaiting);
  assert.ok(front.store(0, 2, page, 0));
});

test('coldPages is that of the backend', () => {
  const inner = new StrictBackend('inner');
  assert.equal(admission(inner, () => 0, 1).coldPages!(0), null);
  const pages = { coldest: () => 4, age: () => undefined };
  const withAges = Object.assign(new StrictBackend('with ages'), { coldPages: () => pages });
  assert.equal(admission(withAges, () => 0, 1).coldPages!(0), pages);
});

test('a threshold that is not a percentage is refused', () => {
  const inner = new StrictBackend('inner');
  for (const percent of [-1, 101, Number.NaN])
    assert.throws(() => admission(inner, () => 0, 1, percent), { code: 'ERR_ARG_VALUE' });
});
