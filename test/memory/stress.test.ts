/** The stress program for some seconds; for longer see its header. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { skipUnlessPaging } from '../support/fixtures/paging.ts';

const program = fileURLToPath(new URL('./stress.js', import.meta.url));
const options = { skip: skipUnlessPaging, timeout: 200_000 };

interface Report {
  readonly steps: number;
  readonly turns: number;
  readonly dropped: number;
  readonly wrong: string;
  readonly failed: Readonly<Record<string, number>>;
  readonly stats: { readonly region: { readonly pageIns: number } };
}

/** On a busy machine few pages are faulted in within the time: the program goes on until it has served so many. */
const FAULTS_MIN = '1000';

function reportOf(faults: string, more: readonly string[] = []): Report {
  const env = { ...process.env, FRONTSWAP_FAULTS: faults };
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [program, '--seconds', '5', '--json', ...more],
    { encoding: 'utf8', timeout: 180_000, env },
  );
  assert.equal(status, 0, `${stdout}${stderr}`);
  return JSON.parse(stdout) as Report;
}

for (const faults of ['javascript', 'thread', 'signal', 'memfd'])
  test(
    `${faults}: threads that access, evict, discard, pin, grow and wait read what they wrote`,
    options,
    () => {
      const { steps, turns, dropped, wrong, stats } = reportOf(faults, ['--faults', FAULTS_MIN]);
      assert.equal(wrong, '');
      assert.ok(dropped > 0, 'memories were made and dropped');
      assert.ok(turns > 0, 'waiters took turns');
      assert.ok(steps > 0 && stats.region.pageIns > 0, 'something has been paged');
    },
  );

for (const faults of ['thread', 'signal', 'memfd'])
  test(
    `${faults}: threads that wait, lock and notify in memory that is constantly evicted make progress`,
    options,
    () => {
      const { turns, wrong } = reportOf(faults, ['--paged-turn']);
      assert.equal(wrong, '');
      assert.ok(turns > 0, 'waiters took turns');
    },
  );

/** Fewest kinds of calls that must have failed: on a busy machine not every kind gets its turn. */
const KINDS_MIN = 3;

for (const faults of ['thread', 'signal', 'memfd'] as const)
  test(
    `${faults}: where system calls fail, no page is wrong and no thread waits forever`,
    options,
    () => {
      const more = ['--paged-turn', '--file', '--inject', '--seconds', '8', '--faults', FAULTS_MIN];
      const { failed, turns, wrong } = reportOf(faults, more);
      assert.equal(wrong, '');
      assert.ok(turns > 0, 'waiters took turns');
      const kinds = Object.values(failed).filter((count) => count > 0);
      assert.ok(kinds.length >= KINDS_MIN, `${kinds.length} kinds of calls have failed`);
    },
  );
