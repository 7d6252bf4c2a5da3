/** The runtime folder: its path, and the folders that are refused. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PidFile } from '../../src/host/pid-file.ts';
import {
  makePrivateFolder,
  makeRandomFolder,
  runtimeFolder,
  sweepDeadFolders,
} from '../../src/host/runtime-folder.ts';
import { testFolder } from '../support/fixtures/folder.ts';

const uid = process.getuid?.() ?? 0;
const unsafe = { code: 'ERR_IO_UNSAFE_PATH' };

test('the folder for root, for a user with a runtime directory, and for one without', () => {
  assert.equal(runtimeFolder({ XDG_RUNTIME_DIR: '/run/user/7' }, 0), '/run/frontswap');
  assert.equal(runtimeFolder({ XDG_RUNTIME_DIR: '/run/user/7' }, 7), '/run/user/7/frontswap');
  assert.equal(runtimeFolder({}, 7), join(tmpdir(), 'frontswap-7'));
  // The XDG specification: a relative path there is invalid and is not used.
  assert.equal(runtimeFolder({ XDG_RUNTIME_DIR: 'run' }, 7), join(tmpdir(), 'frontswap-7'));
});

test('a new folder is private to its owner, and can be used again', (t) => {
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

test('a folder of another user is refused', (t) => {
  const path = testFolder(t);
  assert.throws(() => makePrivateFolder(path, uid + 1), {
    ...unsafe,
    message: new RegExp(`belongs to user ${uid}, not to ${uid + 1}`),
  });
});

test('a folder that others can write to is refused', (t) => {
  const path = join(testFolder(t), 'd');
  mkdirSync(path);
  for (const mode of [0o720, 0o702, 0o777]) {
    chmodSync(path, mode);
    assert.throws(() => makePrivateFolder(path, uid), unsafe);
  }
  chmodSync(path, 0o750); // systemd's RuntimeDirectoryMode=0750 is fine
  makePrivateFolder(path, uid);
});

test('a link to a folder and a file are refused', (t) => {
  const folder = testFolder(t);
  symlinkSync(folder, join(folder, 'link'));
  assert.throws(() => makePrivateFolder(join(folder, 'link'), uid), unsafe);
  writeFileSync(join(folder, 'file'), '');
  assert.throws(() => makePrivateFolder(join(folder, 'file'), uid), { code: 'ERR_IO_SYSTEM' });
});

test('only private folders of dead hosts are removed', (t) => {
  const inside = testFolder(t);
  const make = (name: string, pid: string | null, mode = 0o700): void => {
    mkdirSync(join(inside, name));
    if (pid !== null) writeFileSync(join(inside, name, 'pid'), pid);
    writeFileSync(join(inside, name, 'nbd.sock'), '');
    chmodSync(join(inside, name), mode);
  };
  make('host-dead', '2147483646\n');
  make('host-open', '2147483646\n', 0o755);
  make('host-alive', '1\n'); // without a lock: that process is alive all the same
  make('host-new', '');
  make('host-old', null);
  make('other', '2147483646\n');
  mkdirSync(join(inside, 'host-locked'));
  const locked = PidFile.write(join(inside, 'host-locked', 'pid'));
  symlinkSync(join(inside, 'other'), join(inside, 'host-link'));
  const before = readdirSync(inside);
  assert.equal(sweepDeadFolders(inside, uid + 1), 0);
  assert.equal(sweepDeadFolders(inside, uid), 1);
  assert.deepEqual(
    readdirSync(inside),
    before.filter((name) => name !== 'host-dead'),
  );
  assert.deepEqual(readdirSync(join(inside, 'other')).sort(), ['nbd.sock', 'pid']);
  locked.remove();
});
