/**
 * Switching areas on and off, and the partial swapoff that frontswap.shrink() asks for.
 *
 *   swapOn   header ▶ maps ▶ frontswap.init ▶ (discard once) ▶ slots may be taken
 *   swapOff  no new slots ▶ each slot's page home: cache or read ▶ bringHome() ▶ slot free ▶ invalidateArea ▶ gone
 *
 * swapOff() works in steps, because a disk may answer later: `again` until `done`. A step that fails switches the area
 * back on: what has come home is home, everything else is where it was, and swapOff() may be called again.
 *
 * Cost: swapOn, 1.3 bytes of tables a slot; swapOff, one look at each slot and a read for each page that is not in memory.
 */
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES, SWAP_AREAS_MAX } from '../base/units.ts';
import { type AreaOptions, SwapArea } from './areas.ts';
import { entryOf } from './entry.ts';
import { readHeader } from './header.ts';
import type { SwapDisk } from './ops.ts';
import { type Swap, SwapInResult } from './swap.ts';

/** How a step of swapOff() ended. */
export const SwapOffResult = {
  done: 0,
  /** A bio is under way, or the step's slots are used up: tick() and call again. */
  again: 1,
  /** No frame for a page; the area is on again. */
  noFrame: 2,
  /** A page could not be read; the area is on again. */
  ioError: 3,
  /** The memory manager would not take a page; the area is on again. */
  refused: 4,
} as const;
export type SwapOffResult = (typeof SwapOffResult)[keyof typeof SwapOffResult];

/**
 * Switches an area on; returns its type.
 * @param page the disk's first page, or more (up to 64 KiB) to have areas of larger pages recognised
 * @throws SwapError ERR_IO_SWAP_HEADER; ERR_ARG_AREA: on already, the 33rd, read-only, no good slot; ERR_ARG_VALUE
 */
export function swapOn(
  swap: Swap,
  disk: SwapDisk,
  page: Uint8Array,
  options: AreaOptions = {},
): number {
  const header = readHeader(page, Math.floor(disk.sizeBytes / PAGE_BYTES));
  const { priority } = options;
  if (swap.areas.some((area) => area !== null && area.disk === disk))
    throw new SwapError('ERR_ARG_AREA', `swapon ${header.uuid}: this disk is on already`);
  if (disk.readOnly)
    throw new SwapError('ERR_ARG_AREA', `swapon ${header.uuid}: the disk is read-only`);
  if (priority !== undefined && !(Number.isInteger(priority) && priority >= 0 && priority < 32768))
    throw new SwapError('ERR_ARG_VALUE', `swapon: priority ${priority} is not one of 0 .. 32767`);
  const type = swap.areas.indexOf(null);
  if (type === -1)
    throw new SwapError(
      'ERR_ARG_AREA',
      `swapon ${header.uuid}: ${SWAP_AREAS_MAX} areas are on already`,
    );
  if (header.badPages.length === header.lastPage)
    throw new SwapError('ERR_ARG_AREA', `swapon ${header.uuid}: every page of the area is bad`);
  const area = new SwapArea(type, priority ?? swap.order.nextPriority(), disk, header, options);
  swap.areas[type] = area;
  swap.order.add(area);
  swap.front.init(type, area.map.slots);
  area.writeOk = area.discard !== 'once';
  return type;
}

/**
 * A step of switching an area off: looks at up to `slots` slots.
 * @throws SwapError ERR_ARG_AREA: no such area is on, or its discard at swapon has not ended
 */
export function swapOff(swap: Swap, type: number, slots: number): SwapOffResult {
  const area = swap.areas[type] ?? null;
  if (area === null) throw new SwapError('ERR_ARG_AREA', `swapoff: no area ${type} is on`);
  if (area.discard === 'once' && (area.onceAt <= area.header.lastPage || area.onceBios > 0))
    throw new SwapError('ERR_ARG_AREA', `swapoff: area ${type} is still being discarded at swapon`);
  area.writeOk = false;
  for (let left = slots; left > 0 && area.swapOffAt < area.map.slots; left--) {
    const off = area.map.isBad(area.swapOffAt)
      ? SwapOffResult.done
      : unuseEntry(swap, area, area.swapOffAt);
    if (off === SwapOffResult.again) return SwapOffResult.again;
    if (off !== SwapOffResult.done) {
      area.swapOffAt = 1;
      area.writeOk = true;
      return off;
    }
    area.swapOffAt++;
  }
  if (area.swapOffAt < area.map.slots || area.allocator.reserved > 0) return SwapOffResult.again;
  swap.front.invalidateArea(type);
  swap.order.remove(area);
  swap.areas[type] = null;
  return SwapOffResult.done;
}

/** Brings up to `pages` pages that frontswap holds of an area back to memory; returns how many came. */
function shrinkArea(swap: Swap, type: number, pages: number): number {
  const area = swap.areas[type] ?? null;
  if (area === null) return 0;
  let came = 0;
  for (let slot = 1; slot < area.map.slots && came < pages; slot++) {
    if (area.map.isBad(slot) || !swap.front.has(type, slot)) continue;
    const off = unuseEntry(swap, area, slot);
    if (off === SwapOffResult.noFrame) return came;
    if (off === SwapOffResult.done) came++;
  }
  return came;
}

/** Lets frontswap.shrink() call for partial swapoffs. */
export function offerShrink(swap: Swap): void {
  swap.front.onShrink = (type, pages) => shrinkArea(swap, type, pages);
}

/** One slot's page to memory, and the slot free. `done` also of a slot that is free. */
function unuseEntry(swap: Swap, area: SwapArea, slot: number): SwapOffResult {
  if (area.map.isFree(slot)) return SwapOffResult.done;
  const entry = entryOf(area.type, slot);
  let frame = swap.lookup(entry);
  if (frame === -1) {
    swap.counters.add('pagesIn', 1);
    const answer = swap.readCached(area, slot);
    if (answer === SwapInResult.noFrame) return SwapOffResult.noFrame;
    if (answer === SwapInResult.ioError || answer === SwapInResult.corrupt)
      return SwapOffResult.ioError;
    if (answer === SwapInResult.busy || answer === SwapInResult.pending) return SwapOffResult.again;
    frame = swap.frame;
  }
  if (swap.isBusy(frame)) return SwapOffResult.again;
  if (area.map.isReferenced(slot)) swap.mm.unuse(entry, frame);
  if (area.map.isReferenced(slot)) return SwapOffResult.refused;
  if (swap.lookup(entry) === frame) swap.tryFree(frame);
  swap.counters.add('pagesUnused', 1);
  return SwapOffResult.done;
}
