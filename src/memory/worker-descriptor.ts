/**
 * Descriptors that end with a worker, however it ends: Node closes what a worker has opened by fs.open, so the
 * descriptor takes such a number. Children of the process do not get it.
 */
import { openSync } from 'node:fs';
import { Process } from '../os/linux/process.ts';
import type { Linux } from '../os/linux/system-call.ts';

/** Moves a descriptor to a number that Node closes with this worker; the old number is closed. */
export function keepWithWorker(linux: Linux, fd: number): number {
  const known = openSync('/dev/null', 'r');
  new Process(linux).duplicate(fd, known);
  linux.close(fd);
  return known;
}
