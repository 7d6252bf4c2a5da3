/**
 * Zeroes the end of a table of an image without reading it or making it resident: releases the full pages in it. If
 * pages cannot be released (a private copy), they are unchanged.
 */
import { PAGE_BYTES } from '../base/units.ts';
import type { PageRelease } from './ops.ts';

/** Zeroes the bytes [from, to) of a memory: at most a page at each end is written. */
export function zeroTail(
  memory: ArrayBufferLike,
  from: number,
  to: number,
  { release }: PageRelease,
): void {
  const bytes = new Uint8Array(memory);
  const first = Math.min(to, Math.ceil(from / PAGE_BYTES) * PAGE_BYTES);
  const end = Math.max(first, Math.floor(to / PAGE_BYTES) * PAGE_BYTES);
  bytes.fill(0, from, first);
  if (end > first) release(first, end - first);
  bytes.fill(0, end, to);
}
