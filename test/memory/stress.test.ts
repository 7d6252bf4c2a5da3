/** The stress program for some seconds; for longer see its header. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';

const program = fileURLToPath(new URL('./stress.js', import.meta.url));

test('threads that access, evict, discard, pin, grow and wait read what they wrote', {
  skip: skipUnlessPaging,
  timeout: 200_000,
}, () => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [program, '--seconds', '5', '--json'],
    { encoding: 'utf8', timeout: 180_000 },
  );
  assert.equal(status, 0, `${stdout}${stderr}`);
  const { steps, turns, dropped, wrong, stats } = JSON.parse(stdout);
  assert.equal(wrong, '');
  assert.ok(dropped > 0, 'memories were made and dropped');
  assert.ok(turns > 0, 'waiters took turns');
  assert.ok(steps > 0 && stats.region.pageIns > 0, 'something has been paged');
});
