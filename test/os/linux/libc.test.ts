/** errno is that of the failed call, whatever system calls the runtime makes on this thread. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { Errno } from '../../../src/os/linux/errno.ts';
import { loadLibC } from '../../../src/os/linux/libc.ts';
import { noLinux, theLinux } from './machine.ts';

const libc = loadLibC();
const MAP_PRIVATE_ANONYMOUS = 0x22;
const skip = libc === null && 'no C library to call here';

test('errno is that of the failed call, not of a call of the runtime after it', { skip }, () => {
  const close = libc!.bind('int close(int fd)');
  assert.equal(close(-1), -1);
  assert.equal(existsSync('/no/such/file'), false); // fails with ENOENT on this thread
  assert.equal(libc!.errno(), Errno.EBADF);
});

test('the descriptor of a peer is closed whatever close(2) returns', { skip: noLinux }, () => {
  assert.throws(() => theLinux().close(-1), { code: 'ERR_IO_SYSTEM' });
  theLinux().closeReceived(-1);
});

test('a successful call does not change errno', { skip }, () => {
  const close = libc!.bind('int close(int fd)');
  const getpid = libc!.bind('int getpid()');
  assert.equal(close(-1), -1);
  assert.equal(getpid(), process.pid);
  assert.equal(libc!.errno(), Errno.EBADF);
});

test('functions of zero to six arguments are bound', { skip }, () => {
  const mmap = libc!.bind(
    'int64_t mmap(uintptr_t address, size_t length, int protection, int flags, int fd, int64_t offset)',
  );
  assert.equal(mmap(0, 0, 0, MAP_PRIVATE_ANONYMOUS, -1, 0), -1);
  assert.equal(libc!.errno(), Errno.EINVAL, 'mmap(2): length was 0');
  assert.throws(() => libc!.bind('int many(int a, int b, int c, int d, int e, int f, int g)'));
});
