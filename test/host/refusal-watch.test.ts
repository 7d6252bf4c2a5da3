/** When a disk that refuses writes is news. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { QUIET_CHECKS, RefusalWatch } from '../../src/host/refusal-watch.ts';

test('the first refusal is news, those that follow are not', () => {
  const watch = new RefusalWatch();
  assert.deepEqual(
    [0, 0, 7, 9, 9, 10].map((count) => watch.check(count)),
    [false, false, true, false, false, false],
  );
});

test('a refusal is news again after a quiet while, and not a look earlier', () => {
  for (const [quiet, isNews] of [
    [QUIET_CHECKS - 1, false],
    [QUIET_CHECKS, true],
  ] as const) {
    const watch = new RefusalWatch();
    assert.ok(watch.check(1));
    for (let i = 0; i < quiet; i++) assert.equal(watch.check(1), false);
    assert.equal(watch.check(2), isNews, `after ${quiet} quiet looks`);
  }
});
