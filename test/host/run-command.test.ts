import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { RunCommand, statusOfSignal } from '../../src/host/run-command.ts';
import { testFolder } from '../support/fixtures/folder.ts';

test('the command ends with its own status', async () => {
  assert.equal(await new RunCommand('exit 7', {}).ended, 7);
});

test('the command sees the variables, whatever is in them', async () => {
  const command = `[ "$uri" = 'a b"$(x)' ] && [ -n "$PATH" ]`;
  assert.equal(await new RunCommand(command, { uri: 'a b"$(x)' }).ended, 0);
});

test('the command finds frontswap, of this package, and the rest of its PATH behind it', async (t) => {
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

test('a command that a signal ended has 128 + n', async () => {
  assert.equal(await new RunCommand('kill -KILL $$', {}).ended, 137);
  assert.equal(statusOfSignal('SIGINT'), 130);
});

test('a command can be asked to end', async () => {
  const command = new RunCommand('exec sleep 60', {});
  command.terminate();
  assert.equal(await command.ended, 143);
});
