/**
 * A lock on an open file: flock(2), exclusive, without waiting. It ends when the last descriptor of this opening is closed,
 * however the process ends; another opening of the same file, in this process too, does not get it.
 */
import { loadKoffi } from './koffi.ts';

/** sys/file.h */
const LOCK_EX = 2;
const LOCK_NB = 4;

/** Locks an open file; false: somebody else has it. Where there is no FFI every file is taken for free. */
export function systemFileLock(platform: NodeJS.Platform): (fd: number) => boolean {
  const koffi = platform === 'linux' ? loadKoffi() : null;
  if (koffi === null) return () => true;
  const flock = koffi.load(null).func('int flock(int fd, int operation)');
  return (fd) => flock(fd, LOCK_EX | LOCK_NB) === 0;
}
