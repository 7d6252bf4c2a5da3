/** The private folder: where it is, and whom it is refused for. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  controlPathIn,
  makePrivateFolder,
  makeRandomFolder,
  runtimeFolder,
} from '../../src/host/runtime-folder.ts';
import { testFolder } from './folder.ts';

const uid = process.getuid?.() ?? 0;
const unsafe = { code: 'ERR_IO_UNSAFE_PATH' };

test('root, a user with a runtime directory, a user without', () => {
  assert.equal(runtimeFolder({ XDG_RUNTIME_DIR: '/run/user/7' }, 0), '/run/frontswap');
  assert.equal(runtimeFolder({ XDG_RUNTIME_DIR: '/run/user/7' }, 7), '/run/user/7/frontswap');
  assert.equal(runtimeFolder({}, 7), join(tmpdir(), 'frontswap-7'));
  // The XDG specification: a relative path there is invalid and is not used.
  assert.equal(runtimeFolder({ XDG_RUNTIME_DIR: 'run' }, 7), join(tmpdir(), 'frontswap-7'));
  assert.equal(controlPathIn('/run/frontswap'), '/run/frontswap/control.sock');
});

test('a new folder is for its owner alone, and is taken again', (t) => {
  const path = join(testFolder(t), 'a', 'b');
  const umask = process.umask(0);
  t.after(() => process.umask(umask));
  makePrivateFolder(path, uid);
  assert.equal(statSync(path).mode & 0o777, 0o700);
  makePrivateFolder(path, uid);
  const random = makeRandomFolder(path);
  assert.equal(statSync(random).mode & 0o777, 0o700);
  assert.notEqual(random, makeRandomFolder(path));
});

test('a folder of somebody else is refused', (t) => {
  const path = testFolder(t);
  assert.throws(() => makePrivateFolder(path, uid + 1), {
    ...unsafe,
    message: new RegExp(`belongs to user ${uid}, not to ${uid + 1}`),
  });
});

test('a folder that others may write to is refused', (t) => {
  const path = join(testFolder(t), 'd');
  mkdirSync(path);
  for (const mode of [0o720, 0o702, 0o777]) {
    chmodSync(path, mode);
    assert.throws(() => makePrivateFolder(path, uid), unsafe);
  }
  chmodSync(path, 0o750); // systemd's RuntimeDirectoryMode=0750 is fine
  makePrivateFolder(path, uid);
});

test('a link to a folder is refused, a file is too', (t) => {
  const folder = testFolder(t);
  symlinkSync(folder, join(folder, 'link'));
  assert.throws(() => makePrivateFolder(join(folder, 'link'), uid), unsafe);
  writeFileSync(join(folder, 'file'), '');
  assert.throws(() => makePrivateFolder(join(folder, 'file'), uid), { code: 'ERR_IO_SYSTEM' });
});
