/** The samples that the dashboard's page keeps. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HISTORY_SECONDS, History } from '../../src/page/history.ts';
import type { Hello, SampleValue } from '../../src/page/wire.ts';

function helloOf(columns: readonly string[], history: readonly (readonly SampleValue[])[]): Hello {
  const rest = { schemaVersion: 1, version: '0', pid: 1, canWrite: false, intervalMs: 1000 };
  return { ...rest, columns, history, disks: [], violated: [], events: [] };
}

test('columns are found by name, so a host may send unknown ones and leave some out', () => {
  const history = new History();
  history.load(helloOf(['new', 'time', 'clients'], [[7], [100], [3]]));
  history.add({ values: [8, 101, null], disks: [], violated: [] });
  assert.deepEqual(history.column('clients'), [3, null]);
  assert.equal(history.latest('time'), 101);
  assert.deepEqual(history.column('reads'), []);
  assert.equal(history.latest('reads'), null);
});

test('samples older than 15 minutes are dropped, also after a pause', () => {
  const history = new History();
  history.load(
    helloOf(
      ['time', 'clients'],
      [
        [1, 2, 3],
        [1, 2, 3],
      ],
    ),
  );
  history.add({ values: [HISTORY_SECONDS + 2, 4], disks: [], violated: [] });
  assert.deepEqual(history.column('clients'), [2, 3, 4]);
  history.add({ values: [10 * HISTORY_SECONDS, 5], disks: [], violated: [] });
  assert.deepEqual(history.column('clients'), [5]);
  assert.equal(history.length, 1);
});

test('after the clock was set back the times still increase and span at most 15 minutes', () => {
  const columns = ['time', 'clients'];
  const history = new History();
  const base = { schemaVersion: 1, version: '', pid: 1, canWrite: false, intervalMs: 1000 };
  const rows = [
    [5000, 5001, 1400],
    [1, 2, 3],
  ];
  history.load({ ...base, columns, history: rows, disks: [], violated: [], events: [] });
  assert.deepEqual(history.column('time'), [1400]);
  history.add({ values: [1401, 4], disks: [], violated: [] });
  history.add({ values: [1000, 5], disks: [], violated: [] });
  history.add({ values: [1001, 6], disks: [], violated: [] });
  assert.deepEqual(history.column('time'), [1000, 1001]);
  assert.deepEqual(history.column('clients'), [5, 6]);
});
