/** `frontswap host --dashboard` and `frontswap dashboard`: where the token is shown, and where it is not. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { testFolder } from '../support/fixtures/folder.ts';
import { until as waitUntil } from '../support/fixtures/until.ts';
import { cli } from './fake-world.ts';
import { lineCount, shipped, start, timeout, until } from './host-run.ts';

const withToken = /^http:\/\/127\.0\.0\.1:\d+\/#token=[\w-]{43}$/;

const words = (folder: string): string[] => [
  ...['host', '-U', join(folder, 's'), '--control', join(folder, 'c')],
  ...['--disk', 'vm1=1M', '--dashboard', '0'],
];

test('the log of a service has the URL without the token; the command prints it with the token', {
  timeout,
}, async (t) => {
  const folder = testFolder(t);
  const run = start(t, shipped, [...words(folder), '--json']);
  await until(run, () => lineCount(run.text.stdout) === 1 && lineCount(run.text.stderr) === 1);
  const { dashboard } = JSON.parse(run.text.stdout) as { dashboard: string };
  assert.match(dashboard, /^http:\/\/127\.0\.0\.1:\d+\/$/);
  assert.equal(
    run.text.stderr,
    `frontswap host: dashboard at ${dashboard} ('frontswap dashboard' prints its URL with the token for changes)\n`,
  );
  const control = join(folder, 'c');
  const { stdout, status } = await cli(['dashboard', '--control', control]);
  assert.equal(status, 0);
  assert.match(stdout.trim(), withToken);
  assert.ok(stdout.startsWith(dashboard));
  const json = await cli(['dashboard', '--control', control, '--json']);
  assert.deepEqual(JSON.parse(json.stdout), { schemaVersion: 1, url: stdout.trim() });
  const events = await cli(['events', '--no-follow', '--control', control]);
  assert.doesNotMatch(events.stdout + run.text.stderr + run.text.stdout, /token=/);
  run.child.kill('SIGTERM');
  assert.equal(await run.ended, 0);
});

test('frontswap dashboard reports a host without --dashboard, and a host that does not answer', {
  timeout,
}, async (t) => {
  const folder = testFolder(t);
  const run = start(t, shipped, words(folder).slice(0, -2));
  await until(run, () => lineCount(run.text.stdout) === 1);
  const none = await cli(['dashboard', '--control', join(folder, 'c')]);
  assert.equal(none.status, 1);
  assert.match(none.stderr, /the host has no port for browsers; start it with --dashboard 9180/);
  const gone = await cli(['dashboard', '--control', join(folder, 'x')]);
  assert.equal(gone.status, 3);
});

test('without a control socket the page is read-only, and the log says so', {
  timeout,
}, async (t) => {
  const folder = testFolder(t);
  const argv = ['host', '-U', join(folder, 's'), '--no-control', '--dashboard', '0'];
  const run = start(t, shipped, argv);
  await until(run, () => lineCount(run.text.stderr) === 1);
  assert.match(run.text.stderr, /\/ \(read-only, because the host has no control socket\)$/m);
});

test('a terminal shows the URL with the token', { timeout }, async (t) => {
  if (spawnSync('script', ['--version']).status !== 0) return t.skip('script(1) is not installed');
  const line = [process.execPath, shipped, ...words(testFolder(t))].join(' ');
  const child = spawn('script', ['-qefc', line, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { PATH: process.env['PATH'] ?? '', TERM: 'dumb' },
  });
  t.after(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (more: string) => {
    text += more;
  });
  await waitUntil('the URL', () => /dashboard at http:\S+#token=[\w-]{43}/.test(text));
  child.stdin.write('\x03');
  await new Promise((resolve) => child.once('close', resolve));
});
