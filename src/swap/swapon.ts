/**
 * swapon, swapoff, and the partial swapoff that frontswap.shrink() requests.
 *
 *   swapOn   read the header ▶ make the maps ▶ frontswap.init ▶ (discard once) ▶ slots may be allocated
 *   swapOff  allocate no more slots ▶ for each slot: swap cache or read ▶ mm.unuse() ▶ free ▶ frontswap.invalidateArea
 *
 * swapOff() works in steps, because a disk may complete later: call it again while it returns `again`. A step that
 * fails switches the area on again. Pages already read stay in memory, the others in their slots; swapOff() may be
 * retried.
 *
 * Cost: swapOn, 1.3 bytes of tables per slot; swapOff, one map byte per slot and a read per page not in memory.
 */
import { SwapError } from '../base/errors.ts';
import { PAGE_BYTES, SWAP_AREAS_MAX } from '../base/units.ts';
import { type AreaOptions, checkAreaOptions, SwapArea } from './areas.ts';
import { entryOf } from './entry.ts';
import { readHeader } from './header.ts';
import type { SwapDisk } from './ops.ts';
import { type Swap, SwapInResult } from './swap.ts';

/** Result of a step of swapOff(). After noFrame, ioError and refused the area is on again. */
export const SwapOffResult = {
  done: 0,
  /** A bio is in flight, or the step has checked its `slots`: call tick(), then swapOff() again. */
  again: 1,
  /** The memory manager has no free frame for a page. */
  noFrame: 2,
  /** A page could not be read. */
  ioError: 3,
  /** The memory manager left a reference to the slot. */
  refused: 4,
} as const;
export type SwapOffResult = (typeof SwapOffResult)[keyof typeof SwapOffResult];

/**
 * Switches an area on; returns its type.
 * @param page the first page of the disk; pass up to 64 KiB to recognise an area made for larger pages
 * @throws SwapError ERR_IO_SWAP_HEADER; ERR_ARG_AREA: disk already on, 32 areas on, disk read-only, all pages bad;
 *   ERR_ARG_VALUE, ERR_ARG_UNKNOWN: options
 */
export function swapOn(
  swap: Swap,
  disk: SwapDisk,
  page: Uint8Array,
  options: AreaOptions = {},
): number {
  checkAreaOptions(options);
  const header = readHeader(page, Math.floor(disk.sizeBytes / PAGE_BYTES));
  const refuse = (why: string): SwapError =>
    new SwapError('ERR_ARG_AREA', `swapon ${header.uuid}: ${why}`, { uuid: header.uuid });
  if (swap.areas.some((area) => area !== null && area.disk === disk))
    throw refuse('this disk is already on');
  if (disk.readOnly) throw refuse('the disk is read-only');
  const type = swap.areas.indexOf(null);
  if (type === -1) throw refuse(`${SWAP_AREAS_MAX} areas are already on, the maximum`);
  if (header.badPages.length === header.lastPage) throw refuse('every page of the area is bad');
  const priority = options.priority ?? swap.order.nextPriority();
  const area = new SwapArea(type, priority, disk, header, options);
  swap.areas[type] = area;
  swap.order.add(area);
  swap.front.init(type, area.map.slots);
  area.writeOk = area.discard !== 'once';
  return type;
}

/**
 * One step of switching an area off: checks up to `slots` slots.
 * @throws SwapError ERR_ARG_AREA: the area is off, or its discard at swapon has not completed
 */
export function swapOff(swap: Swap, type: number, slots: number): SwapOffResult {
  const area = swap.areas[type] ?? null;
  if (area === null) throw new SwapError('ERR_ARG_AREA', `swapoff: area ${type} is not on`);
  if (area.discard === 'once' && (area.onceAt <= area.header.lastPage || area.onceBios > 0))
    throw new SwapError(
      'ERR_ARG_AREA',
      `swapoff: area ${type} is busy with its discard at swapon; call tick() and retry`,
    );
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

/** Reads up to `pages` pages of an area from frontswap back into memory; returns how many. */
function shrinkArea(swap: Swap, type: number, pages: number): number {
  const area = swap.areas[type] ?? null;
  if (area === null) return 0;
  let read = 0;
  for (let slot = 1; slot < area.map.slots && read < pages; slot++) {
    if (area.map.isBad(slot) || !swap.front.has(type, slot)) continue;
    const off = unuseEntry(swap, area, slot);
    if (off === SwapOffResult.noFrame) return read;
    if (off === SwapOffResult.done) read++;
  }
  return read;
}

/** Registers this swap core for the partial swapoffs of frontswap.shrink(). */
export function offerShrink(swap: Swap): void {
  swap.front.onShrink = (type, pages) => shrinkArea(swap, type, pages);
}

/** Reads a slot's page into memory and frees the slot; returns done if the slot is already free. */
function unuseEntry(swap: Swap, area: SwapArea, slot: number): SwapOffResult {
  if (area.map.isFree(slot)) return SwapOffResult.done;
  const entry = entryOf(area.type, slot);
  let frame = swap.lookup(entry);
  if (frame === -1) {
    swap.counters.add('pagesIn', 1);
    const answer = swap.readCached(area, entry);
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
