/**
 * A shard's counters of stored pages: updated when a page is stored or dropped; verify() recounts them from the rows.
 *
 * Invariant: after every call the counters of stored pages equal the result of tally().
 */
import { assert } from '../base/assert.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { PageFormat } from '../codec/codec.ts';
import { CounterAt } from './results.ts';
import { formatIn, GROUP_RESIDENT, GROUP_SHIFT, LENGTH_MASK, ROW } from './rows.ts';

/** Pages that compress to at most this many bytes count as good: half a page, as in ramzswap. */
const GOOD_BYTES = PAGE_BYTES / 2;

/** Adds (`by` 1) or subtracts (-1) a page, given its row's third word and whether it is all zero. */
export function countPage(
  counters: Float64Array,
  state: number,
  isZero: boolean,
  by: 1 | -1,
): void {
  const format = formatIn(state);
  counters[CounterAt.storedPages]! += by;
  if (format === PageFormat.same) {
    counters[CounterAt.samePages]! += by;
    if (isZero) counters[CounterAt.zeroPages]! += by;
    return;
  }
  const length = state & LENGTH_MASK;
  counters[CounterAt.storedBytes]! += by * length;
  if (format === PageFormat.raw) {
    counters[CounterAt.rawPages]! += by;
    return;
  }
  if (length <= GOOD_BYTES) counters[CounterAt.goodPages]! += by;
  if (format === PageFormat.zstd) counters[CounterAt.densePages]! += by;
  if (format === PageFormat.filtered) counters[CounterAt.filteredPages]! += by;
}

const pageCounters: readonly number[] = [
  CounterAt.storedPages,
  CounterAt.samePages,
  CounterAt.rawPages,
  CounterAt.storedBytes,
  CounterAt.densePages,
  CounterAt.zeroPages,
  CounterAt.goodPages,
  CounterAt.filteredPages,
];

/** Whether countPage() changes a counter: it can be recounted from the rows. The others count events. */
export const isPageCounter = (at: number): boolean => pageCounters.includes(at);

/**
 * Throws InvariantError unless the counters match the rows. Returns the number of groups whose rows may be resident.
 * Cost: all rows of groups in use.
 */
export function verifyCounters(
  rows: Int32Array,
  groups: Int32Array,
  counters: Float64Array,
): number {
  const sum = new Float64Array(CounterAt.count);
  let resident = 0;
  for (let group = 0; group < groups.length; group++) {
    if (groups[group] === 0) continue; // no rows; reading them would make pages of a file resident
    let inGroup = 0;
    for (let slot = group << GROUP_SHIFT; slot < (group + 1) << GROUP_SHIFT; slot++) {
      const row = slot * ROW;
      const state = rows[row + 2]!;
      if (state === 0) continue;
      inGroup++;
      countPage(sum, state, rows[row] === 0 && rows[row + 1] === 0, 1);
    }
    const word = groups[group]!;
    assert((word & ~GROUP_RESIDENT) === inGroup, 'the group counts its slots in use');
    assert(inGroup === 0 || word >= GROUP_RESIDENT, 'the rows of a group in use are charged');
    if (word >= GROUP_RESIDENT) resident++;
  }
  const isCounted = (at: number): boolean => counters[at] === sum[at];
  assert(isCounted(CounterAt.storedPages), 'stored pages are counted');
  assert(isCounted(CounterAt.samePages), 'same-filled pages are counted');
  assert(isCounted(CounterAt.zeroPages), 'zero pages are counted');
  assert(isCounted(CounterAt.rawPages), 'raw pages are counted');
  assert(isCounted(CounterAt.goodPages), 'pages of at most half a page are counted');
  assert(isCounted(CounterAt.densePages), 'dense pages are counted');
  assert(isCounted(CounterAt.filteredPages), 'filtered pages are counted');
  assert(isCounted(CounterAt.storedBytes), 'stored bytes are counted');
  return resident;
}
