import assert from 'node:assert/strict';
import { test } from 'node:test';
import { processIdentity } from '../../../src/nbd/server/client-identity.ts';
import { processText } from '../../../src/os/linux/process-name.ts';

test('a process has a name, an ended one only its id', () => {
  assert.match(processText(process.pid) ?? '', new RegExp(`^process ${process.pid} \\(.+\\)$`));
  assert.equal(processText(2 ** 30), null);
  assert.equal(processIdentity(2 ** 30, 1).text(), `process ${2 ** 30}`);
});
