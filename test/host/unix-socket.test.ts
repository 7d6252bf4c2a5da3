/** Which socket paths may be taken. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { claimSocketPath, removeIfThere } from '../../src/host/unix-socket.ts';
import { testFolder } from './folder.ts';

test('a free path may be taken', async (t) => {
  await claimSocketPath('--unix', join(testFolder(t), 's'));
});

test('the path of a live server is refused and stays', async (t) => {
  const path = join(testFolder(t), 's');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(() => server.close());
  await assert.rejects(claimSocketPath('--unix', path), {
    code: 'ERR_IO_IN_USE',
    message: /^--unix: .* is served by a live server/,
  });
  assert.ok(existsSync(path));
});

test('a socket that a killed server left behind is removed', async (t) => {
  const path = join(testFolder(t), 's');
  const code = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', code]);
  assert.ok(existsSync(path));
  await claimSocketPath('--unix', path);
  assert.ok(!existsSync(path));
});

test('a file that is no socket is refused and stays', async (t) => {
  const path = join(testFolder(t), 's');
  writeFileSync(path, 'precious');
  await assert.rejects(claimSocketPath('--unix', path), {
    code: 'ERR_IO_IN_USE',
    message: /^--unix: .*exists and is no socket/,
  });
  assert.ok(existsSync(path));
});

test('a path that does not fit sockaddr_un is refused before anything is tried', async () => {
  const max = process.platform === 'linux' ? 107 : 103;
  await claimSocketPath('--unix', 'a'.repeat(max));
  const bytesNotLetters = `${'a'.repeat(max - 1)}é`;
  for (const path of ['a'.repeat(max + 1), bytesNotLetters, 'a\0b'])
    await assert.rejects(claimSocketPath('--unix', path), {
      code: 'ERR_ARG_VALUE',
      message: /^--unix: .* is no path for a socket/,
    });
});

test('removing what is gone is no error', (t) => removeIfThere(join(testFolder(t), 'nothing')));
