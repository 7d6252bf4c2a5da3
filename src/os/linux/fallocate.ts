/**
 * Punches holes in files: fallocate(2) with FALLOC_FL_PUNCH_HOLE. The blocks are freed (on a block device, discarded),
 * the range reads as zeros and the file keeps its size. Node has no such call.
 */
import { loadLibC } from './libc.ts';

/** linux/falloc.h: punch a hole and keep the size; punching requires keeping the size. */
const PUNCH_HOLE = 0x02;
const KEEP_SIZE = 0x01;

/** Punches a hole in an open file; false if the file system cannot. Null if not supported (not Linux, no FFI). */
export function systemPunchHole(
  platform: NodeJS.Platform,
): ((fd: number, position: number, length: number) => boolean) | null {
  const libc = loadLibC(platform);
  if (libc === null) return null;
  const fallocate = libc.bind('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
  return (fd, position, length) => fallocate(fd, PUNCH_HOLE | KEEP_SIZE, position, length) === 0;
}
