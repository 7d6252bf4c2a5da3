import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Counters } from '../../src/base/counters.ts';

const make = (): Counters<'puts' | 'losses'> =>
  new Counters({
    puts: { unit: 'pages', mustStayZero: false, help: 'pages that were stored' },
    losses: { unit: 'pages', mustStayZero: true, help: 'pages that were lost' },
  });

test('counters start at 0 and count independently', () => {
  const counters = make();
  counters.add('puts', 2);
  counters.add('puts', 3);
  assert.deepEqual(counters.snapshot(), { puts: 5, losses: 0 });
  assert.equal(counters.get('puts'), 5);
});

test('counters can be written by index', () => {
  const counters = make();
  const at = counters.index.losses;
  counters.values[at]! += 1;
  assert.equal(counters.get('losses'), 1);
  assert.equal(counters.get('puts'), 0);
});

test('only a counter that must stay 0 can be violated', () => {
  const counters = make();
  counters.add('puts', 1);
  assert.deepEqual(counters.violated(), []);
  counters.add('losses', 1);
  assert.deepEqual(counters.violated(), ['losses']);
});

test('describe() prints value, unit, name and meaning', () => {
  const counters = make();
  counters.add('puts', 7);
  assert.equal(
    counters.describe(),
    '7 pages puts: pages that were stored\n0 pages losses: pages that were lost (must stay 0)\n',
  );
});
