/**
 * A swap entry: the area and slot of a swapped-out page in one number (kernel: swp_entry_t).
 *
 *    30    26 25                          0
 *   ┌────────┬─────────────────────────────┐
 *   │ type   │ offset: slot of the area    │      0 = no entry: slot 0 of an area is its header
 *   └────────┴─────────────────────────────┘
 *
 * Below 2^31, so V8 keeps it a small integer. At most 32 areas of at most 2^26 slots (256 GiB) each.
 */
import { assert } from '../base/assert.ts';
import { SWAP_AREAS_MAX } from '../base/units.ts';

declare const entryUnit: unique symbol;
/** Area type and slot offset; 0 = none. */
export type SwapEntry = number & { readonly [entryUnit]: 'SwapEntry' };

const OFFSET_BITS = 26;
/** Maximum number of slots of an area, including slot 0, the header. */
export const SWAP_SLOTS_MAX: number = 2 ** OFFSET_BITS;
/** The entry of no page: 0. */
export const NO_ENTRY: SwapEntry = 0 as SwapEntry;

/** @param type 0 .. 31  @param offset 1 .. 2^26 - 1 */
export function entryOf(type: number, offset: number): SwapEntry {
  assert(type >= 0 && type < SWAP_AREAS_MAX, '0 <= type < 32');
  assert(offset > 0 && offset < SWAP_SLOTS_MAX, '0 < offset < 2^26');
  return ((type << OFFSET_BITS) | offset) as SwapEntry;
}

/** The area number of an entry, 0 .. 31. */
export const typeOf = (entry: SwapEntry): number => entry >>> OFFSET_BITS;
/** The slot of an entry in its area, 1 .. 2^26 - 1. */
export const offsetOf = (entry: SwapEntry): number => entry & (SWAP_SLOTS_MAX - 1);
