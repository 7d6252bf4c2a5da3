import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { processIdentity } from '../../../src/nbd/server/client-identity.ts';
import { processText } from '../../../src/os/linux/process-name.ts';

test('a process has a name, an ended one only its id', () => {
  assert.match(processText(process.pid) ?? '', new RegExp(`^process ${process.pid} \\(.+\\)$`));
  assert.equal(processText(2 ** 30), null);
  assert.equal(processIdentity(2 ** 30, 0, 1).text(), `process ${2 ** 30}`);
});

test('control characters in the name of a process are escaped', (t) => {
  const comm = '/proc/self/comm';
  const before = readFileSync(comm, 'utf8').trim();
  t.after(() => writeFileSync(comm, before));
  writeFileSync(comm, 'a\x1b[2J\nb');
  assert.equal(processText(process.pid), `process ${process.pid} (a\\x1b[2J\\x0ab)`);
});
