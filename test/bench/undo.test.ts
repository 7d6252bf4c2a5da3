/** What a bench changed on the machine is changed back however the bench ends. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const child = fileURLToPath(new URL('./undo-child.js', import.meta.url));

/** Output and status of the child, which gets `signal` once it is ready. */
async function outcome(signal: NodeJS.Signals | 'throw'): Promise<[string, string, number | null]> {
  const running = spawn(process.execPath, [child, signal]);
  let out = '';
  let err = '';
  running.stderr.on('data', (chunk) => {
    err += String(chunk);
  });
  running.stdout.on('data', (chunk) => {
    out += String(chunk);
    if (signal !== 'throw' && out.endsWith('ready\n')) running.kill(signal);
  });
  return await new Promise((resolve) => {
    running.once('close', (code) => resolve([out, err, code]));
  });
}

for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const)
  test(`${signal}: each change is undone once, the last one first, and a failure is reported`, async () => {
    const [out, err, code] = await outcome(signal);
    assert.equal(out, 'early\nready\nlast\nfirst\n');
    assert.match(err, /not undone: Error: cannot/);
    assert.equal(code, status);
  });

test('after an uncaught exception everything is undone', async () => {
  const [out, , code] = await outcome('throw');
  assert.equal(out, 'early\nlast\nfirst\n');
  assert.equal(code, 1);
});
