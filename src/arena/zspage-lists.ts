/**
 * The lists of zspages with a free object, one for each class and quarter of fullness: doubly linked in the descriptors
 * (NEXT, PREV), with the head in the word `at` of the class table.
 *
 * Cost: O(1); the descriptors of the zspage and of its neighbours.
 */
import { NEXT, PREV, ROW_SHIFT } from './layout.ts';

/** Links an unlisted zspage at the head of its list. */
export function linkZspage(
  heads: Int32Array,
  descriptors: Int32Array,
  zspage: number,
  at: number,
): void {
  const row = zspage << ROW_SHIFT;
  const head = heads[at]!;
  descriptors[row + NEXT] = head;
  descriptors[row + PREV] = 0;
  if (head !== 0) descriptors[(head << ROW_SHIFT) + PREV] = zspage;
  heads[at] = zspage;
}

/** Removes a zspage from its list. */
export function unlinkZspage(
  heads: Int32Array,
  descriptors: Int32Array,
  zspage: number,
  at: number,
): void {
  const row = zspage << ROW_SHIFT;
  const next = descriptors[row + NEXT]!;
  const prev = descriptors[row + PREV]!;
  if (prev === 0) heads[at] = next;
  else descriptors[(prev << ROW_SHIFT) + NEXT] = next;
  if (next !== 0) descriptors[(next << ROW_SHIFT) + PREV] = prev;
}
