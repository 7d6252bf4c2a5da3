/**
 * What requests cost, in one unit: a byte read from a compressed disk, about half a nanosecond. The scheduler (net/turns.ts)
 * grants a session an amount of work per turn; the session stops when that is used up.
 *
 *   processor time, LZ4 in WebAssembly       us      work
 *   read a page                              1.9     4,096
 *   write a page                             3.4     8,192
 *   trim or zero a stored page               0.6     1,024
 *   read, or write and read, a part of one   1.9, 5  4,096, 12,288
 *   describe a stored page (BLOCK_STATUS)    0.09      256
 *   64 MiB of holes                     1 .. 180     32,768
 *   a request and its reply                  1       2,048
 *
 * The last two are estimates: a hole costs most if it starts or ends in a group of table rows with pages.
 *
 * The weights are constants instead of being measured at run time, so that the same requests are divided in the same way in
 * each run. Measured values: docs/adr/0026.
 */

import { PAGE_BYTES } from '../../base/units.ts';

/** Work of a request, not counting its data. */
export const REQUEST_WORK = 2048;
/** Work of one call of the negotiation. */
export const OPTION_WORK = 16384;
/** Grant for a call without a grant. */
export const GRANT_DEFAULT: number = 1024 * 1024;

/** Work of a written byte. */
export const WRITE_WORK = 2;

/** Whether a range has a part of a page at an end. Exact for offsets below 2^53: `|` takes the low 32 bits. */
const isPartial = (offset: number, bytes: number): boolean =>
  ((offset | bytes) & (PAGE_BYTES - 1)) !== 0;

/** Reading or writing part of a page costs at least as much as a full page; writing part of a page reads the page first. */
export const readWork = (offset: number, bytes: number): number =>
  isPartial(offset, bytes) ? bytes + PAGE_BYTES : bytes;
export const writeWork = (offset: number, bytes: number): number =>
  WRITE_WORK * bytes + partWork(offset, bytes);
/** Work of a range that is not known to be a hole. A trim does not change parts of pages. */
export const trimWork = (bytes: number): number => bytes / 4;
export const zeroWork = (offset: number, bytes: number): number =>
  bytes / 4 + partWork(offset, bytes);

const partWork = (offset: number, bytes: number): number =>
  isPartial(offset, bytes) ? (1 + WRITE_WORK) * PAGE_BYTES : 0;

/** Work of a range described by BLOCK_STATUS. */
export const statusWork = (bytes: number): number => bytes / 16;
/** Work of a hole in a request that does not send its zeros: groups of table rows without pages are skipped. */
export const holeWork = (bytes: number): number => Math.min(bytes / 16, 32768);
