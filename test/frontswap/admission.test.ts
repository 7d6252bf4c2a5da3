/** Admission: after a refusal nothing is taken until enough has gone; everything else passes through. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { admission } from '../../src/frontswap/admission.ts';
import { Frontswap } from '../../src/frontswap/frontswap.ts';
import { LoadResult } from '../../src/frontswap/ops.ts';
import { StrictBackend } from './strict-backend.ts';

const page = new Uint8Array(4096).fill(3);

test('after a refusal no page is taken until what is used is well below the ceiling', () => {
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
  assert.ok(!front.store(0, 11, page, 0), '9 of 10: there is room, and it waits');
  assert.equal(inner.calls.length, calls, 'the backend is not asked');
  assert.equal(gate.refused, 1);
  assert.equal(front.load(0, 5, new Uint8Array(4096), 0), LoadResult.loaded, 'loads go on');
  front.invalidatePage(0, 1);
  assert.ok(front.store(0, 11, page, 0), '8 of 10');
  assert.ok(!gate.isWaiting);
  assert.ok(front.store(0, 12, page, 0), 'up to the ceiling');
  assert.ok(!front.store(0, 13, page, 0));
  front.invalidateArea(0);
  front.verify();
  assert.equal(inner.pages.size, 0);
});

test('a refusal at the threshold itself closes nothing, a page above it does', () => {
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

test('a refusal far below the ceiling, for another reason, closes nothing', () => {
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

test('ages pass through where the backend knows them, and only there', () => {
  const inner = new StrictBackend('inner');
  assert.equal(admission(inner, () => 0, 1).coldest, undefined);
  const asked: number[] = [];
  const knows = Object.assign(new StrictBackend('knows'), {
    coldest: () => 4,
    age: (_type: number, from: number) => asked.push(from),
  });
  const gate = admission(knows, () => 0, 1);
  assert.equal(gate.coldest!(0, 0, 9, 1, false), 4);
  gate.age!(0, 7, 9);
  assert.deepEqual(asked, [7]);
});
