/**
 * Locks an open file: flock(2), exclusive, non-blocking. The lock belongs to the open file description: it ends when its last
 * descriptor is closed, even if the process is killed. A second open of the file cannot get the lock, not even in this process.
 */
import { readFileSync, type Stats } from 'node:fs';
import { loadLibC } from './libc.ts';
import { processText } from './process-name.ts';

/** sys/file.h */
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;

/** Locks an open file; false if it is already locked. Without FFI there is no lock, and the result is always true. */
export function systemFileLock(platform: NodeJS.Platform): (fd: number) => boolean {
  const libc = loadLibC(platform);
  if (libc === null) return () => true;
  const flock = libc.bind('int flock(int fd, int operation)');
  return (fd) => flock(fd, LOCK_EX | LOCK_NB) === 0;
}

/** Unlocks an open file. Required if its pages are mapped, because a mapping keeps the lock of a closed file. */
export function systemFileUnlock(platform: NodeJS.Platform): (fd: number) => void {
  const flock = loadLibC(platform)?.bind('int flock(int fd, int operation)');
  return (fd) => void flock?.(fd, LOCK_UN);
}

/**
 * The process that has a lock on the file, as `process 123 (name)`; empty if /proc does not show it. For messages only:
 * the lock may have ended.
 * Source: proc_locks(5).
 */
export function holderOf({ dev, ino }: Pick<Stats, 'dev' | 'ino'>): string {
  const hex = (n: number): string => n.toString(16).padStart(2, '0');
  const file = `${hex(majorOf(dev))}:${hex(minorOf(dev))}:${ino}`;
  try {
    for (const line of readFileSync('/proc/locks', 'utf8').split('\n')) {
      const [, , , , pid, where] = line.split(/\s+/);
      if (where !== file || !/^[1-9][0-9]*$/.test(pid ?? '')) continue;
      return processText(Number(pid)) ?? '';
    }
  } catch {
    // No /proc.
  }
  return '';
}

/** makedev(3): 12 bits of the minor number, 12 of the major number, 8 of the minor number, from high to low. */
export const majorOf = (dev: number): number => Math.floor(dev / 2 ** 8) % 2 ** 12;
export const minorOf = (dev: number): number =>
  (dev % 2 ** 8) + (Math.floor(dev / 2 ** 20) % 2 ** 12) * 2 ** 8;
