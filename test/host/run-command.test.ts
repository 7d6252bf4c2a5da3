import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { RunCommand, statusOfSignal } from '../../src/host/run-command.ts';
import { testFolder } from '../support/fixtures/folder.ts';

test('the exit status is that of the command', async () => {
  assert.equal(await new RunCommand('exit 7', {}).ended, 7);
});

test('the command gets the variables unchanged', async () => {
  const command = `[ "$uri" = 'a b"$(x)' ] && [ -n "$PATH" ]`;
  assert.equal(await new RunCommand(command, { uri: 'a b"$(x)' }).ended, 0);
});

test('the PATH of the command starts with frontswap of this package', async (t) => {
  const folder = testFolder(t);
  const out = join(folder, 'out');
  const variables = { OUT: out, NO_COLOR: '1' };
  const command =
    'command -v frontswap > "$OUT"; frontswap version >> "$OUT"; command -v ls >> "$OUT"';
  assert.equal(await new RunCommand(command, variables).ended, 0);
  const [program = '', version, ls] = readFileSync(out, 'utf8').split('\n');
  assert.equal(program, fileURLToPath(new URL('../../src/bin/frontswap', import.meta.url)));
  assert.match(version ?? '', /^frontswap \d/);
  assert.match(ls ?? '', /\/ls$/);
});

test('a command that is ended by a signal has status 128 + n', async () => {
  assert.equal(await new RunCommand('kill -KILL $$', {}).ended, 137);
  assert.equal(statusOfSignal('SIGINT'), 130);
});

test('terminate() ends the command', async () => {
  const command = new RunCommand('exec sleep 60', {});
  command.terminate();
  assert.equal(await command.ended, 143);
});
