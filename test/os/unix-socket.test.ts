/** Which socket paths can be used. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  changeMode,
  claimSocketPath,
  ownFile,
  removeIfThere,
  removeOwn,
  type SocketPath,
  unixListenError,
} from '../../src/os/unix-socket.ts';
import { testFolder } from '../support/fixtures/folder.ts';

const placeOf = (path: string): SocketPath => ({ path, from: '--unix', advice: 'go elsewhere' });
const claim = (path: string): Promise<void> => claimSocketPath(placeOf(path));
const isRoot = process.getuid?.() === 0;

test('a free path can be used', async (t) => {
  await claim(join(testFolder(t), 's'));
});

test('the socket of a live server is refused and kept', async (t) => {
  const path = join(testFolder(t), 's');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(() => server.close());
  await assert.rejects(claim(path), {
    code: 'ERR_IO_IN_USE',
    message: new RegExp(
      `^--unix: .*/s is in use by process ${process.pid} \\(.+\\): stop it, or go elsewhere$`,
    ),
  });
  assert.ok(existsSync(path));
});

test('the mode of an own socket changes; a file that replaced it keeps its mode', (t) => {
  const path = join(testFolder(t), 's');
  writeFileSync(path, '', { mode: 0o600 });
  const changed = changeMode(ownFile(path), 0o660);
  assert.equal(statSync(path).mode & 0o777, 0o660);
  rmSync(path);
  writeFileSync(path, '', { mode: 0o600 });
  assert.throws(() => changeMode(changed, 0o666), { code: 'ERR_IO_IN_USE' });
  assert.equal(statSync(path).mode & 0o777, 0o600);
  writeFileSync(path, '');
  const own = changeMode(ownFile(path), 0o640);
  removeOwn(own);
  assert.ok(!existsSync(path), 'it is still recognised');
});

test('the stale socket of a killed server is removed', async (t) => {
  const path = join(testFolder(t), 's');
  const code = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', code]);
  assert.ok(existsSync(path));
  await claim(path);
  assert.ok(!existsSync(path));
});

test('a file that is not a socket is refused and kept', async (t) => {
  const path = join(testFolder(t), 's');
  writeFileSync(path, 'precious');
  await assert.rejects(claim(path), {
    code: 'ERR_IO_IN_USE',
    message: /^--unix: .*exists and is not a socket; go elsewhere$/,
  });
  assert.ok(existsSync(path));
});

test('a path that does not fit sockaddr_un is refused first', async () => {
  const max = process.platform === 'linux' ? 107 : 103;
  await claim(`/tmp/${'a'.repeat(max - 5)}`);
  const bytesNotLetters = `${'a'.repeat(max - 1)}é`;
  for (const path of ['a'.repeat(max + 1), bytesNotLetters, 'a\0b'])
    await assert.rejects(claim(path), {
      code: 'ERR_ARG_VALUE',
      message: /^--unix: .* is not a valid socket path/,
    });
});

test('removing a missing file is not an error', (t) =>
  removeIfThere(join(testFolder(t), 'nothing')));

test('the error for a missing folder contains the command to create it', async (t) => {
  const folder = join(testFolder(t), 'no such');
  await assert.rejects(claim(join(folder, 's')), {
    code: 'ERR_IO_SYSTEM',
    message: `cannot listen on ${folder}/s: no such file or directory (ENOENT); create the folder first: mkdir -m 0700 '${folder}' (--unix)`,
  });
});

test('a folder without write permission is reported', { skip: isRoot && 'root may' }, async (t) => {
  const folder = testFolder(t);
  chmodSync(folder, 0o500);
  await assert.rejects(claim(join(folder, 's')), {
    code: 'ERR_IO_SYSTEM',
    message: /permission denied \(EACCES\); this user cannot write to .*: go elsewhere/,
  });
});

test('errors of listen are reported with advice', () => {
  const told = (code: string, errno: number): string => {
    const cause = Object.assign(new Error(`listen ${code}: x /d/s`), { code, errno });
    const { code: ours, message } = unixListenError(placeOf('/d/s'), cause);
    return `${ours} ${message}`;
  };
  assert.equal(
    told('EADDRINUSE', -98),
    'ERR_IO_IN_USE --unix: /d/s is now in use by another server; go elsewhere',
  );
  assert.equal(
    told('EACCES', -13),
    'ERR_IO_SYSTEM cannot listen on /d/s: permission denied (EACCES); this user cannot write to /d: go elsewhere (--unix)',
  );
  assert.equal(
    told('EROFS', -30),
    'ERR_IO_SYSTEM cannot listen on /d/s: read-only file system (EROFS); go elsewhere (--unix)',
  );
});

test('removeOwn() removes only the created file, not a replacement', (t) => {
  const path = join(testFolder(t), 'pid');
  writeFileSync(path, '1');
  const mine = ownFile(path);
  removeIfThere(path);
  writeFileSync(path, '2');
  removeOwn(mine);
  assert.ok(existsSync(path), "the successor's stays");
  removeOwn(ownFile(path));
  assert.ok(!existsSync(path));
  removeOwn(mine);
});
