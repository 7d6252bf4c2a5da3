/**
 * The number of descriptors that this process can still open: its limit (RLIMIT_NOFILE, whose soft value Node raises to
 * the hard one) minus the open ones. When none is left, libuv closes new connections without reporting them.
 * Source: proc_pid_limits(5), libuv src/unix/core.c (uv__emfile_trick).
 */
import { readdirSync, readFileSync } from 'node:fs';

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
