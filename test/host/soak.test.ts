/** The soak for some seconds; for longer see its header. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('./soak.js', import.meta.url));

interface Report {
  readonly requests: number;
  readonly pagesVerified: number;
  readonly miscompares: number;
  readonly operations: Readonly<Record<string, number>>;
  readonly descriptors: { readonly before: number; readonly after: number };
  readonly problems: readonly string[];
}

test('clients read what they wrote while disks are added, frozen, resized, reset and removed', {
  timeout: 120_000,
}, () => {
  const { stdout, stderr } = spawnSync(process.execPath, [program, '--minutes', '0.07', '--json'], {
    encoding: 'utf8',
    timeout: 100_000,
  });
  assert.notEqual(stdout, '', stderr);
  const report = JSON.parse(stdout) as Report;
  // In so short a time resident memory still grows.
  const problems = report.problems.filter((line) => !line.startsWith('resident memory'));
  assert.deepEqual(problems, []);
  assert.equal(report.miscompares, 0);
  assert.equal(report.descriptors.after, report.descriptors.before);
  assert.ok(report.requests > 0, 'requests had replies');
  assert.ok(report.pagesVerified > 0, 'pages were verified');
  for (const name of ['add', 'remove', 'freeze'])
    assert.ok((report.operations[name] ?? 0) > 0, `${name} was used`);
});
