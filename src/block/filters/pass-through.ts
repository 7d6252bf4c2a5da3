/** What every filter has in common: the disk behind it, unless the filter says otherwise. */
import { type BioQueue, PageRange } from '../bio.ts';
import type { Disk } from '../ops.ts';

/** A disk that is `next` in everything. Spread it and replace what the filter is about. */
export function passThrough(next: Disk): Disk {
  return {
    sizeBytes: next.sizeBytes,
    limits: next.limits,
    readOnly: next.readOnly,
    synchronous: next.synchronous,
    submit: (bio) => next.submit(bio),
    tick: () => next.tick(),
    extents: (offset, length, sink) => next.extents(offset, length, sink),
    ...(next.slotFree === undefined ? {} : { slotFree: (slot) => next.slotFree?.(slot) }),
  };
}

/**
 * slotFree for a filter that holds bios back. A slot with a bio on its way is not freed: the bio would bring the
 * data back behind its owner's back, or read zeros in its place. `onMiss` counts those.
 */
export function slotFreeUnlessHeld(
  next: Disk,
  held: BioQueue,
  onMiss: () => void,
): Pick<Disk, 'slotFree'> {
  if (next.slotFree === undefined) return {};
  const page = new PageRange();
  return {
    slotFree(slot) {
      if (held.touches(page.at(slot))) onMiss();
      else next.slotFree?.(slot);
    },
  };
}
