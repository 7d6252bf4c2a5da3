/**
 * How many more files and sockets this process may open: its limit (RLIMIT_NOFILE, whose soft value Node raises to the hard
 * one) less what is open. Nobody is told of a connection for which there is no descriptor: libuv closes it.
 * Source: proc_pid_limits(5), libuv src/unix/core.c (uv__emfile_trick).
 */
import { readdirSync, readFileSync } from 'node:fs';

/** Infinity where there is no /proc, or no limit. */
export function freeDescriptors(): number {
  try {
    const text = readFileSync('/proc/self/limits', 'utf8');
    const limit = /^Max open files\s+([0-9]+)/m.exec(text)?.[1];
    return limit === undefined ? Infinity : Number(limit) - readdirSync('/proc/self/fd').length;
  } catch {
    return Infinity;
  }
}
