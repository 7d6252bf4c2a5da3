/** Chooses the worker for a disk: the one with the fewest disks; of several, the first. A disk stays where it is. */

/** @param diskCounts number of disks by worker, of at least one worker */
export function leastLoaded(diskCounts: readonly number[]): number {
  let best = 0;
  for (const [worker, count] of diskCounts.entries()) if (count < diskCounts[best]!) best = worker;
  return best;
}
