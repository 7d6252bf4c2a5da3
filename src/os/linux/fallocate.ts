/**
 * Holes in files: fallocate(2) with FALLOC_FL_PUNCH_HOLE. The blocks go back to the file system (to the flash, on
 * a block device), the range reads as zeros and the file keeps its size. Node has no call for it.
 */
import { loadLibC } from './libc.ts';

/** linux/falloc.h: punch a hole, and keep the size (the one is not allowed without the other). */
const PUNCH_HOLE = 0x02;
const KEEP_SIZE = 0x01;

/** A hole puncher for open files, or null where there is none (not Linux, no FFI). False: the file system cannot. */
export function systemPunchHole(
  platform: NodeJS.Platform,
): ((fd: number, position: number, length: number) => boolean) | null {
  const libc = loadLibC(platform);
  if (libc === null) return null;
  const fallocate = libc.bind('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
  return (fd, position, length) => fallocate(fd, PUNCH_HOLE | KEEP_SIZE, position, length) === 0;
}
