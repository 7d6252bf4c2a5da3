/** The pid file: used by one running host, taken over from a dead one; other files are not changed. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkPidFile, ifOwnerIsDead, PidFile } from '../../src/host/pid-file.ts';
import { testFolder } from '../support/fixtures/folder.ts';

const mine = `${process.pid}\n`;

test('a second host is refused with the name of the first, until the first ends', (t) => {
  const path = join(testFolder(t), 'pid');
  const first = PidFile.write(path);
  const refused = {
    code: 'ERR_IO_IN_USE',
    message: new RegExp(
      `^--pidfile: ${path} belongs to process ${process.pid} \\(.+\\), which is running: stop`,
    ),
  };
  assert.throws(() => PidFile.write(path), refused);
  assert.throws(() => checkPidFile(path), refused);
  assert.equal(readFileSync(path, 'utf8'), mine);
  first.remove();
  first.remove();
  assert.ok(!existsSync(path));
  PidFile.write(path).remove();
});

test('the file of a dead host is taken over, whatever process id it contains', (t) => {
  const path = join(testFolder(t), 'pid');
  for (const before of ['', '1\n', '2147483646\n', mine, `${' '.repeat(31)}1`]) {
    writeFileSync(path, before);
    checkPidFile(path);
    assert.equal(readFileSync(path, 'utf8'), before);
    const file = PidFile.write(path);
    assert.equal(readFileSync(path, 'utf8'), mine);
    file.remove();
  }
});

test('a file with other contents is refused and not changed', (t) => {
  const path = join(testFolder(t), 'pid');
  for (const text of ['precious', '1'.repeat(33), `${' '.repeat(32)}precious`]) {
    writeFileSync(path, text);
    assert.throws(() => PidFile.write(path), { code: 'ERR_ARG_VALUE', message: /something other/ });
    assert.equal(readFileSync(path, 'utf8'), text);
  }
});

test('an owner is dead only if its file contains the id of a process that does not run', (t) => {
  const path = join(testFolder(t), 'pid');
  for (const [text, isDead] of [
    ['2147483647', true],
    ['2147483648', false],
    ['0', false],
    ['-1', false],
    ['', false],
    ['x', false],
    [String(process.ppid), false],
  ] as const) {
    writeFileSync(path, text);
    let acts = 0;
    const act = (): void => {
      acts++;
    };
    assert.equal(ifOwnerIsDead(path, act), isDead, `'${text}'`);
    assert.equal(acts, isDead ? 1 : 0, `'${text}'`);
  }
});

test('a symbolic link is not followed', (t) => {
  const folder = testFolder(t);
  const [path, target] = [join(folder, 'pid'), join(folder, 'target')];
  symlinkSync(target, path);
  assert.throws(() => PidFile.write(path), { message: /ELOOP/ });
  assert.throws(() => checkPidFile(path), { message: /ELOOP/ });
  assert.ok(!existsSync(target));
});

test("a successor's file is not removed", (t) => {
  const path = join(testFolder(t), 'pid');
  const file = PidFile.write(path);
  writeFileSync(path, '1\n');
  file.remove();
  assert.ok(existsSync(path));
});
