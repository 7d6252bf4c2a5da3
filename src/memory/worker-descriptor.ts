/**
 * Descriptors that are closed with a worker, no matter how it ends: Node closes descriptors that a worker has opened with
 * fs.open, so the descriptor is moved to such a number. It is close-on-exec.
 */
import { openSync } from 'node:fs';
import { Process } from '../os/linux/process.ts';
import type { Linux } from '../os/linux/system-call.ts';

/** Moves a descriptor to a number that Node closes with this worker, and closes the old number. */
export function keepWithWorker(linux: Linux, fd: number): number {
  const known = openSync('/dev/null', 'r');
  new Process(linux).duplicate(fd, known);
  linux.close(fd);
  return known;
}
