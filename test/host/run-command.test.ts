import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RunCommand, statusOfSignal } from '../../src/host/run-command.ts';

test('the command ends with its own status', async () => {
  assert.equal(await new RunCommand('exit 7', {}).ended, 7);
});

test('the command sees the variables, whatever is in them', async () => {
  const command = `[ "$uri" = 'a b"$(x)' ] && [ -n "$PATH" ]`;
  assert.equal(await new RunCommand(command, { uri: 'a b"$(x)' }).ended, 0);
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
