/**
 * Descriptors of this process: duplicates, and how many can still be opened. That number is the limit (RLIMIT_NOFILE; Node
 * raises its soft value to the hard one) minus the open descriptors. When none is left, libuv closes new connections without
 * reporting them.
 * Source: fcntl(2), proc_pid_limits(5), libuv src/unix/core.c (uv__emfile_trick).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { loadLibC } from './libc.ts';

/** fcntl.h */
const F_DUPFD_CLOEXEC = 1030;

/**
 * Duplicates a descriptor, with close-on-exec; -1 when no more can be opened. Null without a foreign function interface, or
 * outside Linux.
 */
export function systemDuplicate(platform: NodeJS.Platform): ((fd: number) => number) | null {
  const libc = loadLibC(platform);
  if (libc === null) return null;
  const fcntl = libc.bind('int fcntl(int fd, int command, int least)');
  return (fd) => fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

/** Infinity without /proc or without a limit. */
export function freeDescriptors(): number {
  try {
    const text = readFileSync('/proc/self/limits', 'utf8');
    const limit = /^Max open files\s+([0-9]+)/m.exec(text)?.[1];
    return limit === undefined ? Infinity : Number(limit) - readdirSync('/proc/self/fd').length;
  } catch {
    return Infinity;
  }
}
