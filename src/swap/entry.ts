/**
 * A swap entry: where a page is while it is not in memory. One number, so that it fits where a page's frame
 * would stand (kernel: swp_entry_t).
 *
 *    30    26 25                          0
 *   ┌────────┬─────────────────────────────┐
 *   │ type   │ offset: slot of the area    │      0 = no entry: slot 0 of an area is its header
 *   └────────┴─────────────────────────────┘
 *
 * Below 2^31, so V8 keeps it a small integer. An area has at most 2^26 slots (256 GiB), there are at most 32.
 */

import { assert } from '../base/assert.ts';
import { SWAP_AREAS_MAX } from '../base/units.ts';

declare const entryUnit: unique symbol;
/** Type and offset of a slot; 0 = none. */
export type SwapEntry = number & { readonly [entryUnit]: 'SwapEntry' };

const OFFSET_BITS = 26;
/** Most slots an area can have, its header included. */
export const SWAP_SLOTS_MAX: number = 2 ** OFFSET_BITS;
export const NO_ENTRY: SwapEntry = 0 as SwapEntry;

/** @param type 0 .. 31  @param offset 1 .. 2^26 - 1 */
export function entryOf(type: number, offset: number): SwapEntry {
  assert(type >= 0 && type < SWAP_AREAS_MAX, 'the type of an entry is that of an area');
  assert(
    offset > 0 && offset < SWAP_SLOTS_MAX,
    'the offset of an entry is a slot and not the header',
  );
  return ((type << OFFSET_BITS) | offset) as SwapEntry;
}

export const typeOf = (entry: SwapEntry): number => entry >>> OFFSET_BITS;
export const offsetOf = (entry: SwapEntry): number => entry & (SWAP_SLOTS_MAX - 1);
