/** When an increase of a failure counter is reported. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { QUIET_CHECKS, RefusalWatch } from '../../src/host/refusal-watch.ts';

test('the first failure is reported, the following ones are not', () => {
  const watch = new RefusalWatch();
  assert.deepEqual(
    [0, 0, 7, 9, 9, 10].map((count) => watch.check(count)),
    [false, false, true, false, false, false],
  );
});

test('a failure is reported again after a quiet period, and not one check earlier', () => {
  for (const [quiet, isNews] of [
    [QUIET_CHECKS - 1, false],
    [QUIET_CHECKS, true],
  ] as const) {
    const watch = new RefusalWatch();
    assert.ok(watch.check(1));
    for (let i = 0; i < quiet; i++) assert.equal(watch.check(1), false);
    assert.equal(watch.check(2), isNews, `after ${quiet} quiet checks`);
  }
});
