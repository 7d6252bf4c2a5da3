/** Shared by the filters: a disk that passes everything on, and slotFree of filters that act on it. */
import { type BioQueue, PageRange } from '../bio.ts';
import type { Disk } from '../ops.ts';

/** A disk that passes every call on to `next`. A filter spreads it and replaces the calls that it handles. */
export function passThrough(next: Disk): Disk {
  return {
    sizeBytes: next.sizeBytes,
    limits: next.limits,
    readOnly: next.readOnly,
    synchronous: next.synchronous,
    submit: (bio) => next.submit(bio),
    tick: () => next.tick(),
    extents: (offset, length, sink) => next.extents(offset, length, sink),
    ...slotFreeWith(next, (slot) => next.slotFree?.(slot)),
  };
}

/** `slotFree` for a filter over `next`; none if `next` has none. */
export const slotFreeWith = (
  next: Disk,
  slotFree: (slot: number) => void,
): Pick<Disk, 'slotFree'> => (next.slotFree === undefined ? {} : { slotFree });

/**
 * `slotFree` for a filter that delays bios. It does not free a slot with a bio in `queue`: a write would store the page
 * again later, and a read would return zeros. `onMiss` counts these cases.
 */
export function slotFreeUnlessQueued(
  next: Disk,
  queue: BioQueue,
  onMiss: () => void,
): Pick<Disk, 'slotFree'> {
  const page = new PageRange();
  return slotFreeWith(next, (slot) => {
    if (queue.touches(page.at(slot))) onMiss();
    else next.slotFree?.(slot);
  });
}
