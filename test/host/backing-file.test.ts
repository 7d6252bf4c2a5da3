/** Files and devices that can be a backing: private to this user, and used by one disk only. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  type Stats,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BackingFiles, flawOf } from '../../src/host/backing-file.ts';

const SIZE = 1024 * 1024;
const UID = process.getuid!();
const folder = mkdtempSync(join(tmpdir(), 'backing-file-'));
after(() => rmSync(folder, { recursive: true }));

function made(name: string, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, 'what was there');
  truncateSync(path, SIZE);
  chmodSync(path, mode);
  return path;
}

test('a private file of this user can be opened, and opened again after it was closed', () => {
  const files = new BackingFiles(UID);
  const path = made('private');
  for (let i = 0; i < 2; i++) files.open(path, SIZE).disk[Symbol.dispose]();
});

test('a file that is accessible to others or belongs to another user is refused and not changed', () => {
  for (const mode of [0o604, 0o602, 0o640, 0o620, 0o666]) {
    const path = made(`mode-${mode.toString(8)}`, mode);
    assert.throws(() => new BackingFiles(UID).open(path, SIZE), {
      code: 'ERR_IO_UNSAFE_PATH',
      message: /is accessible to other users.*chmod 600/,
      facts: { path, uid: UID, mode },
    });
    assert.equal(readFileSync(path, 'latin1').slice(0, 14), 'what was there');
    chmodSync(path, 0o600);
    new BackingFiles(UID).open(path, SIZE).disk[Symbol.dispose]();
  }
  assert.throws(() => new BackingFiles(UID + 1).open(made('of-another'), SIZE), {
    code: 'ERR_IO_UNSAFE_PATH',
    message: new RegExp(`belongs to user ${UID}, not to ${UID + 1}`),
  });
});

test('a backing smaller than its disk is refused', () => {
  const path = made('small');
  const files = new BackingFiles(UID);
  assert.throws(() => files.open(path, SIZE + 4096), {
    code: 'ERR_ARG_VALUE',
    message: /has 1048576 bytes, its disk needs 1052672: truncate -s 1052672 /,
  });
  files.open(path, SIZE).disk[Symbol.dispose]();
  files.open(path, SIZE - 4096).disk[Symbol.dispose]();
});

test('a file in use by another host is refused with the name of its process, until that host ends', {
  skip: process.platform !== 'linux',
}, () => {
  const path = made('of-two');
  const first = new BackingFiles(UID).open(path, SIZE).disk;
  const second = new BackingFiles(UID);
  assert.throws(() => second.open(path, SIZE), {
    code: 'ERR_IO_IN_USE',
    message: new RegExp(`of-two is in use by process ${process.pid} \\(.+\\)`),
  });
  first[Symbol.dispose]();
  second.open(path, SIZE).disk[Symbol.dispose]();
});

test('a block device must belong to this user or root, and may be accessible to its group', () => {
  const device = (uid: number, mode: number): Stats =>
    ({ uid, mode, isFile: () => false, isBlockDevice: () => true }) as Stats;
  for (const mode of [0o600, 0o660, 0o640]) {
    assert.equal(flawOf(device(0, mode), 1000), '');
    assert.equal(flawOf(device(1000, mode), 1000), '');
  }
  assert.match(flawOf(device(1001, 0o600), 1000), /belongs to user 1001/);
  for (const mode of [0o664, 0o662]) assert.match(flawOf(device(0, mode), 1000), /all users/);
});

test('two disks cannot use one file under two paths', () => {
  const files = new BackingFiles(UID);
  const path = made('one');
  const [hard, soft] = [join(folder, 'hard'), join(folder, 'soft')];
  linkSync(path, hard);
  symlinkSync(path, soft);
  const first = files.open(path, SIZE).disk;
  const another = files.open(made('two'), SIZE).disk;
  for (const name of [path, hard, soft, join(folder, '.', 'one')])
    assert.throws(() => files.open(name, SIZE), { code: 'ERR_ARG_CONFLICT' });
  first[Symbol.dispose]();
  files.open(hard, SIZE).disk[Symbol.dispose]();
  another[Symbol.dispose]();
});

test('something other than a file is refused before it is opened; for a missing file the error says how to create it', () => {
  const files = new BackingFiles(UID);
  for (const path of ['/dev/null', folder])
    assert.throws(() => files.open(path, SIZE), {
      code: 'ERR_ARG_VALUE',
      message: /neither a file nor/,
    });
  assert.throws(() => files.open(join(folder, 'missing'), SIZE), {
    code: 'ERR_IO_SYSTEM',
    message: /umask 077; truncate -s 1048576/,
  });
});
