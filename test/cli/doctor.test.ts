import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cli } from './fake-world.ts';

test('doctor prints one line per check, and its status follows the verdict', async () => {
  const { status, stdout } = await cli(['doctor']);
  for (const name of ['platform', 'node', 'ffi', 'kernel', 'userfaultfd', 'features', 'limits'])
    assert.match(stdout, new RegExp(`^(ok|limited|missing) +${name} `, 'm'));
  assert.equal(status, /^missing/m.test(stdout) ? 1 : 0);
});

test('doctor --json is one document', async () => {
  const { stdout } = await cli(['doctor', '--json']);
  const { schemaVersion, verdict, checks } = JSON.parse(stdout);
  assert.equal(schemaVersion, 1);
  assert.match(verdict, /^(good|limited|missing)$/);
  for (const check of checks)
    assert.deepEqual(Object.keys(check), ['name', 'verdict', 'found', 'fix']);
});

test('doctor takes no arguments', async () => {
  const { status, stderr } = await cli(['doctor', 'x']);
  assert.equal(status, 2);
  assert.match(stderr, /x/);
});
